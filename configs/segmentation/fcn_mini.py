"""Train an FCN on CamVid street scenes in ADE20K's layout: 357 training and 85 test images of 240 x 180 px, 11 of 150 ids.

python tools/train.py configs/segmentation/fcn_mini.py --backbone work_dirs/runs/KEY/card
"""

_base_ = ["../_base_/default_runtime.py", "../_base_/models/fcn.py"]

scale = "mini"
seconds = 560  # on two CPU cores; the first estimate of the time left in a study
data_root = "camvid-as-ade/ADEChallengeData2016"
num_workers = 1
protocol = dict(
    name="fcn_mini",
    base="he2019",
    source="chosen here, to fit on two cores",
    chosen="all",
    image_scale=(240, 180),  # limits of the long and the short side
    test_image_scale=(240, 180),
    crop=128,
    crop_max_ratio=0.75,
    blur=0.0,
    batch=4,  # over all processes
    length=dict(epochs=3),
)
