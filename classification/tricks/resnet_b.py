"""ResNet-B, section 4.2 of the paper."""

from classification.tricks.declare import trick


@trick(sets=("model.backbone.variant",), group="variant of the ResNet")
def resnet_b(cfg) -> None:
    """ResNet-B: the stride of a block moves from its first 1x1 convolution to its 3x3 (figure 2; Table 5).

    Raises:
        ValueError: the network has depth 18 or 34.
    """
    backbone = cfg.model.backbone
    if backbone.depth in (18, 34):
        raise ValueError(
            f"The trick resnet_b does nothing at depth {backbone.depth}: blocks of two 3x3 convolutions have no 1x1 to move the "
            "stride from, so variants a and b are one network; leave it out, or use a depth of 26, 50, 101 or 152."
        )
    backbone.variant = "b"
