"""Train ResNet-50 on ImageNet, 224 px: the baseline of Table 2, 75.87 / 92.70 (top-1 / top-5, a single run of the paper).

torchrun --nproc_per_node 8 tools/train.py configs/classification/resnet50_paper.py --launcher pytorch
Cost: 13.3 minutes per epoch on 8 V100 in float32, so 27 hours (Table 3). Untested at this scale.
"""

_base_ = [
    "../_base_/default_runtime.py",
    "../_base_/models/resnet50.py",
    "../_base_/datasets/imagenet.py",
    "../_base_/schedules/imagenet_120e.py",
]
