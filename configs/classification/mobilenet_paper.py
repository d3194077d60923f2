"""Train MobileNet 1.0 on ImageNet, 224 px: Table 2 reports 69.03 / 88.71 (top-1 / top-5).

torchrun --nproc_per_node 8 tools/train.py configs/classification/mobilenet_paper.py --launcher pytorch
The network is timm's mobilenetv1_100, which has ReLU6 where GluonCV's has ReLU. Cost: 6.2 minutes per epoch on 8 V100 in
float32, so 12 hours (Table 3). Untested at this scale.
"""

_base_ = [
    "../_base_/default_runtime.py",
    "../_base_/models/classifier.py",
    "../_base_/datasets/imagenet.py",
    "../_base_/schedules/imagenet_120e.py",
]

model = dict(backbone=dict(type="backbones.TimmBackbone", name="mobilenetv1_100", width=1.0))
