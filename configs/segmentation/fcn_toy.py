"""Train an FCN on the synthetic ADE20K: networks at a quarter of the width, crops of 128 px.

python tools/train.py configs/segmentation/fcn_toy.py --backbone work_dirs/runs/KEY/card
"""

_base_ = ["../_base_/default_runtime.py", "../_base_/models/fcn.py"]

scale = "toy"
seconds = 50  # on two CPU cores; the first estimate of the time left in a study
threads = 1
data_root = "toy/ADEChallengeData2016"
num_workers = 1
scratch_backbone = dict(base_channels=16)
protocol = dict(
    name="fcn_toy",
    base="he2019",
    source="chosen here, to fit on two cores",
    chosen="all",
    image_scale=(160, 128),  # limits of the long and the short side
    test_image_scale=(160, 128),
    crop=128,
    crop_max_ratio=0.75,
    blur=0.0,
    batch=4,  # over all processes
    length=dict(epochs=2),
    lr=0.02,
)
