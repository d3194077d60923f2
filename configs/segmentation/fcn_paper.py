"""FCN-ResNet-50 at output stride 8 on ADE20K. Table 9 of the paper has 37.05 (B-standard) to 39.33 mIoU (+ distill w/ mixup).

python tools/train.py configs/segmentation/fcn_paper.py --backbone work_dirs/runs/KEY/card --protocol he2019

Protocols: configs/segmentation/protocols. Never run here on a GPU.
"""

_base_ = ["../_base_/runtime.py", "../_base_/ade20k.py"]

scale = "paper"
network = "fcn"
protocol = "he2019"  # the default; what it says is set when the run is made
data_root = "{{$DATA_ROOT:data}}/ADEChallengeData2016"
scratch_backbone = dict(depth=50, variant="b", base_channels=64)
train_dataloader = dict(num_workers=4)
test_dataloader = dict(num_workers=4)
