"""Stand in for Places365 at toy: there is no second synthetic dataset, so the images are those of resnet50_toy.py.

python tools/train.py configs/classification/resnet50_places365_toy.py --tricks resnet_d
"""

_base_ = [
    "../_base_/default_runtime.py",
    "../_base_/models/resnet50.py",
    "../_base_/datasets/toy_imagenet.py",
    "../_base_/schedules/toy_12e.py",
]

model = dict(backbone=dict(base_channels=16))
