"""Train ResNet-50 at a quarter of the width on the synthetic images, 48 px.

python tools/train.py configs/classification/resnet50_toy.py --tricks resnet_b
"""

_base_ = [
    "../_base_/default_runtime.py",
    "../_base_/models/resnet50.py",
    "../_base_/datasets/toy_imagenet.py",
    "../_base_/schedules/toy_12e.py",
]

model = dict(backbone=dict(base_channels=16))
