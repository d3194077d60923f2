"""FCN-ResNet-50 on ADE20K, base 520, crop 480: values of GluonCV (no schedule is in the paper; Table 9: 37.05 to 39.33 mIoU).

Never run here on a GPU.

python tools/train.py configs/segmentation/fcn_paper.py --backbone work_dirs/runs/KEY/card

"""

_base_ = ["../_base_/runtime.py", "../_base_/ade20k.py"]

scale = "paper"
network = "fcn"
batch, epochs = 16, 120  # batch: in all, over every process
image_scale = (2080, 520)  # the long side at most, and the short side
crop = (480, 480)
lr = 0.01
data_root = "{{$DATA_ROOT:data}}/ADEChallengeData2016"
scratch_backbone = dict(depth=50, variant="b", base_channels=64)
protocol = dict(
    name="fcn_paper",
    selection="last",
    metric="pixAcc and mIoU over the classes in the ground truth, 0 ignored, masks at full size",
    inference="single scale, whole image",
    image_scale=image_scale,
    crop=crop,
    batch=batch,
    epochs=epochs,
)

train_pipeline = [
    dict(type="backbones.LoadImage"),
    dict(type="segmentation.LoadMask"),
    dict(type="RandomResize", scale=image_scale, ratio_range=(0.5, 2.0), keep_ratio=True),
    dict(type="RandomCrop", crop_size=crop, cat_max_ratio=0.75),
    dict(type="RandomFlip", prob=0.5),
    dict(type="PackSegInputs"),
]
test_pipeline = [
    dict(type="backbones.LoadImage"),
    dict(type="Resize", scale=image_scale, keep_ratio=True),
    dict(type="segmentation.LoadMask"),
    dict(type="PackSegInputs"),
]
train_dataloader = dict(
    num_workers=4,
    persistent_workers=True,
    drop_last=True,
    sampler=dict(type="DefaultSampler", shuffle=True),
    dataset=dict(
        type="segmentation.ADE20KDataset",
        data_root=data_root,
        data_prefix=dict(img_path="images/training", seg_map_path="annotations/training"),
        pipeline=train_pipeline,
    ),
)
test_dataloader = dict(
    batch_size=1,
    num_workers=4,
    persistent_workers=True,
    drop_last=False,
    sampler=dict(type="DefaultSampler", shuffle=False),
    dataset=dict(
        type="segmentation.ADE20KDataset",
        data_root=data_root,
        data_prefix=dict(img_path="images/validation", seg_map_path="annotations/validation"),
        test_mode=True,
        pipeline=test_pipeline,
    ),
)

model = dict(data_preprocessor=dict(size=crop))
optim_wrapper = dict(
    type="OptimWrapper",
    optimizer=dict(type="SGD", lr=lr, momentum=0.9, weight_decay=1e-4),
    paramwise_cfg=dict(custom_keys={"decode_head": dict(lr_mult=10.0), "auxiliary_head": dict(lr_mult=10.0)}),
)
param_scheduler = [dict(type="PolyLR", power=0.9, eta_min=0.0, begin=0, end=epochs, by_epoch=True, convert_to_iter_based=True)]
train_cfg = dict(max_epochs=epochs)
