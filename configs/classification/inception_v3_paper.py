"""Train Inception-V3 on ImageNet, 299 px: Table 2 reports 77.32 / 93.43 (top-1 / top-5).

torchrun --nproc_per_node 8 tools/train.py configs/classification/inception_v3_paper.py --launcher pytorch
The network is timm's, without auxiliary head, and with dropout 0.5 as in GluonCV. Cost: 19.8 minutes per epoch on 8 V100 in
float32, so 40 hours (Table 3). Untested at this scale.
"""

_base_ = [
    "../_base_/default_runtime.py",
    "../_base_/models/classifier.py",
    "../_base_/datasets/imagenet.py",
    "../_base_/schedules/imagenet_120e.py",
]

size = 299
model = dict(dropout=0.5, backbone=dict(type="backbones.TimmBackbone", name="inception_v3", width=1.0))
