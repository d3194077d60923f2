"""Train ResNet-50 on a small folder of real images (20 classes, 200 images each), 64 px.

python tools/train.py configs/classification/resnet50_mini.py --tricks resnet_d cosine warmup
"""

_base_ = ["../_base_/default_runtime.py", "../_base_/models/resnet50.py", "../_base_/datasets/imagenet.py"]

scale = "mini"
seconds = 620  # on two CPU cores; the first estimate of the time left in a study
epochs, warmup_epochs = 8, 0.5
batch = 16  # over all processes
micro_batch = 16  # number of images that BN computes its statistics over
lr_at_256 = 0.2  # twice the paper's 0.1, because there are only a few hundred updates
data_root = "imagenet-mini"
num_workers = 2
test_batch = 100
size = 64
num_classes = 20
