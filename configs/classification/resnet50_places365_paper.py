"""ResNet-50 on Places365-Standard, 224 px: Table 7 has 56.34 / 86.87 with d_efficient and 56.70 / 87.33 with mixup.

torchrun --nproc_per_node 8 tools/train.py configs/classification/resnet50_places365_paper.py --launcher pytorch
The data is the archive of 256 px images in class folders (easy directory structure). The paper gives no recipe for Places365:
batch, learning rate, epochs and training from scratch are those of ImageNet, chosen here. Figures are of the validation set;
the labels of the test set are not public. Cost: 1.4 times the iterations of ImageNet. Never run here on a GPU.
"""

_base_ = ["../_base_/runtime.py", "../_base_/classifier.py"]

scale = "paper"
network = "resnet50"
val_interval = 10
batch, epochs, warmup_epochs, size = 256, 120, 5, 224  # batch: in all, over every process
micro_batch = 32  # images over which BN takes its statistics: those of one of eight GPUs
lr_at_256 = 0.1  # learning rate of a batch of 256; section 3.1 scales it with the batch
data_root = "{{$DATA_ROOT:data}}/places365_standard"
val_folder = "val"
model = dict(num_classes=365, backbone=dict(base_channels=64))

train_pipeline = [
    dict(
        type="torchvision.transforms.v2.RandomResizedCrop",
        size=size,
        scale=(0.08, 1.0),
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
train_dataloader = dict(num_workers=8, dataset=dict(root=data_root + "/train", pipeline=train_pipeline))
test_dataloader = dict(
    batch_size=250,
    num_workers=8,
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
