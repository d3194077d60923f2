"""Define ResNet-50 as a classifier: variant A at full width."""

_base_ = "classifier.py"

model = dict(backbone=dict(type="backbones.ResNet", depth=50, variant="a", base_channels=64, zero_gamma=False))
