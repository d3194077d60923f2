"""FCN on the made ADE20K: networks at a quarter of the width, crops of 128 px.

python tools/train.py configs/segmentation/fcn_toy.py --backbone work_dirs/runs/KEY/card

"""

_base_ = ["../_base_/runtime.py", "../_base_/ade20k.py"]

scale = "toy"
seconds = 50  # expected on 2 cores; a study's estimate of the time left starts from it
network = "fcn"
data_root = "{{$DATA_ROOT:data}}/toy/ADEChallengeData2016"
scratch_backbone = dict(depth=50, variant="b", base_channels=16)
image_scale = (160, 128)  # the long side at most, and the short side
protocol = dict(
    name="fcn_toy",
    source="chosen here, to fit on two cores",
    networks=("fcn",),
    image_scale=image_scale,
    ratio_range=(0.5, 2.0),
    test_image_scale=image_scale,
    crop=128,
    crop_max_ratio=0.75,
    flip=0.5,
    blur=0.0,
    photometric=False,
    shortcut_pool="pool1x1",
    num_convs=1,
    concat_input=False,
    dropout=0.1,
    aux_weight=0.5,
    avg_non_ignore=True,
    batch=4,
    length=dict(epochs=2),
    lr=0.02,
    head_lr_mult=10.0,
    momentum=0.9,
    weight_decay=1e-4,
    power=0.9,
    min_lr=0.0,
    warmup=0,
    norm="sync",
    inference="whole",
    metric_classes="gt",
    selection="last",
)
train_dataloader = dict(num_workers=1)
test_dataloader = dict(num_workers=1)
