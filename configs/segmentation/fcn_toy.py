"""Train an FCN on the synthetic ADE20K: networks at a quarter of the width, crops of 64 px.

python tools/train.py configs/segmentation/fcn_toy.py --backbone work_dirs/runs/KEY/card
"""

_base_ = ["../_base_/default_runtime.py", "../_base_/models/fcn.py"]

scale = "toy"
seconds = 26  # on two CPU cores; the first estimate of the time left in a study
threads = 1
data_root = "toy/ADEChallengeData2016"
num_workers = 1
scratch_backbone = dict(base_channels=16)
protocol = dict(
    name="fcn_toy",
    base="he2019",
    source="chosen here, to fit on two cores",
    chosen="all",
    image_scale=(120, 96),  # limits of the long and the short side
    test_image_scale=(120, 96),
    crop=64,
    crop_max_ratio=0.75,
    blur=0.0,
    batch=8,  # over all processes
    length=dict(epochs=8),
    lr=0.02,
    head_lr_mult=1.0,  # with 10 the gain of pretraining is smaller (docs/LOG.md)
)
