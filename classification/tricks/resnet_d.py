"""ResNet-D, section 4.2 of the paper."""

from classification.tricks.declare import trick


@trick(sets=("model.backbone.variant",), group="variant of the ResNet")
def resnet_d(cfg) -> None:
    """ResNet-D: b, a stem of three 3x3 convolutions, an average pool before the shortcut's convolution (figure 2; Table 5)."""
    cfg.model.backbone.variant = "d"
