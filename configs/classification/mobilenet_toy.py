"""Train MobileNet at a quarter of the width on the synthetic images, 48 px.

python tools/train.py configs/classification/mobilenet_toy.py
"""

_base_ = [
    "../_base_/default_runtime.py",
    "../_base_/models/classifier.py",
    "../_base_/datasets/toy_imagenet.py",
    "../_base_/schedules/toy_12e.py",
]

model = dict(backbone=dict(type="backbones.TimmBackbone", name="mobilenetv1_100", width=0.25))
