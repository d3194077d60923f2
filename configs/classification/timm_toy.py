"""Train any timm network with feature maps, here ResNeXt-50, at a quarter of the width on the synthetic images.

python tools/train.py configs/classification/timm_toy.py --cfg-options model.backbone.name=seresnet50
"""

_base_ = [
    "../_base_/default_runtime.py",
    "../_base_/models/classifier.py",
    "../_base_/datasets/toy_imagenet.py",
    "../_base_/schedules/toy_12e.py",
]

model = dict(backbone=dict(type="backbones.TimmBackbone", name="resnext50_32x4d", width=0.25))
