"""Use the synthetic images of scale toy: 8 classes, 48 px."""

_base_ = "imagenet.py"

data_root = "toy/imagenet"
num_workers = 1
test_batch = 100
size = 48
crop_scale = (0.25, 1.0)  # 0.08 in the paper, but a twelfth of these small objects shows too little
num_classes = 8
