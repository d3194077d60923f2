"""Train Inception-V3 at a quarter of the width on the synthetic images, 80 px; it needs at least 75 px.

python tools/train.py configs/classification/inception_v3_toy.py
"""

_base_ = [
    "../_base_/default_runtime.py",
    "../_base_/models/classifier.py",
    "../_base_/datasets/toy_imagenet.py",
    "../_base_/schedules/toy_12e.py",
]

size = 80
model = dict(dropout=0.5, backbone=dict(type="backbones.TimmBackbone", name="inception_v3", width=0.25))
