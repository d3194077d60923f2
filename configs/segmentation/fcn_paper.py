"""Train FCN-ResNet-50 at output stride 8 on ADE20K; Table 9 reports 37.05 (B-standard) to 39.33 mIoU (+ distill w/ mixup).

python tools/train.py configs/segmentation/fcn_paper.py --backbone work_dirs/runs/KEY/card --protocol he2019
Protocols: configs/segmentation/protocols. Untested at this scale.
"""

_base_ = ["../_base_/default_runtime.py", "../_base_/models/fcn.py"]

scale = "paper"
data_root = "ADEChallengeData2016"
num_workers = 4
protocol = "he2019"  # the default of --protocol
