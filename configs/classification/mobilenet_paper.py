"""MobileNet 1.0 (timm's mobilenetv1_100, with ReLU6 where GluonCV's has ReLU) on ImageNet, 224 px: Table 2, 69.03 / 88.71.

torchrun --nproc_per_node 8 tools/train.py configs/classification/mobilenet_paper.py --launcher pytorch
Cost: 6.2 minutes an epoch on 8 V100 in float32, so 12 hours (Table 3). Untested at this scale.
"""

_base_ = [
    "../_base_/default_runtime.py",
    "../_base_/models/classifier.py",
    "../_base_/datasets/imagenet.py",
    "../_base_/schedules/imagenet_120e.py",
]

model = dict(backbone=dict(type="backbones.TimmBackbone", name="mobilenetv1_100", width=1.0))
