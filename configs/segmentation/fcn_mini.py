"""Train an FCN on a small part of ADE20K: 357 training and 85 test images of 240 x 180 px.

python tools/train.py configs/segmentation/fcn_mini.py --backbone work_dirs/runs/KEY/card
tools/prepare_data.py subset --for mini makes the data. Without it, CamVid street scenes in ADE20K's layout are read if they exist
(as many images, 11 of the 150 ids); the project's own figures at scale mini are of those. Do not compare one with the other.
"""

_base_ = ["../_base_/default_runtime.py", "../_base_/models/fcn.py"]

scale = "mini"
seconds = 560  # on two CPU cores; the first estimate of the time left in a study
data_root = ["ade20k-mini/ADEChallengeData2016", "camvid-as-ade/ADEChallengeData2016"]  # the first that exists
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
