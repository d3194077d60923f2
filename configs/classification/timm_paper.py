"""Train any timm network with feature maps on ImageNet like ResNet-50: here ResNeXt-50 (77.8 by its authors in Table 1).

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
