"""MobileNet at a quarter of the width on the made images, 64 px.

python tools/train.py configs/classification/mobilenet_toy.py
"""

_base_ = ["../_base_/runtime.py", "../_base_/classifier.py"]

scale = "toy"
seconds = 35  # expected on 2 cores; a study's estimate of the time left starts from it
network = "mobilenet"
batch, epochs, warmup_epochs, size = 16, 4, 0.5, 64  # batch: in all, over every process
micro_batch = 16  # images over which BN takes its statistics
lr_at_256 = 0.2  # twice the 0.1 of the paper: there are some hundred updates only
data_root = "{{$DATA_ROOT:data}}/toy/imagenet"
val_folder = "val"
model = dict(
    num_classes=8,
    backbone=dict(_delete_=True, type="backbones.TimmBackbone", name="mobilenetv1_100", width=0.25),
)

train_pipeline = [
    dict(
        type="torchvision.transforms.v2.RandomResizedCrop",
        size=size,
        scale=(0.25, 1.0),  # 0.08 in the paper: a twelfth of these small objects tells nothing
        ratio=(3 / 4, 4 / 3),
        antialias=True,
    ),
    dict(type="torchvision.transforms.v2.RandomHorizontalFlip", p=0.5),
    dict(type="classification.ColorJitter", strength=0.4, form="bcs"),
    dict(type="torchvision.transforms.v2.PILToTensor"),
    dict(type="classification.PCANoise", std=0.1),
]
test_pipeline = [
    dict(type="torchvision.transforms.v2.Resize", size=-(-size * 8 // 7), antialias=True),  # ceil(size / 0.875)
    dict(type="torchvision.transforms.v2.CenterCrop", size=size),
    dict(type="torchvision.transforms.v2.PILToTensor"),
]
train_dataloader = dict(num_workers=2, dataset=dict(root=data_root + "/train", pipeline=train_pipeline))
test_dataloader = dict(
    batch_size=100,
    num_workers=2,
    dataset=dict(root=data_root + "/" + val_folder, pipeline=test_pipeline),
)

optim_wrapper = dict(optimizer=dict(lr=lr_at_256 * batch / 256))
param_scheduler = [
    dict(
        type="MultiStepLR",
        milestones=[int(epochs * part / 120) for part in (30, 60, 90)],
        gamma=0.1,
        by_epoch=True,
        convert_to_iter_based=True,
    )
]
train_cfg = dict(max_epochs=epochs)
