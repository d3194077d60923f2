"""Any network of timm that gives feature maps, on ImageNet as ResNet-50 is: here ResNeXt-50 (Table 1, 77.8, by its authors).

torchrun --nproc_per_node 8 tools/train.py configs/classification/timm_paper.py --launcher pytorch --cfg-options \
    model.backbone.name=seresnet50
Untested at this scale.
"""

_base_ = [
    "../_base_/default_runtime.py",
    "../_base_/models/classifier.py",
    "../_base_/datasets/imagenet.py",
    "../_base_/schedules/imagenet_120e.py",
]

model = dict(backbone=dict(type="backbones.TimmBackbone", name="resnext50_32x4d", width=1.0))
