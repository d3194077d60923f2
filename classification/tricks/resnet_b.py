"""Declare ResNet-B (section 4.2 of the paper), and set the variant of a ResNet."""

from classification.tricks.declare import Gain, trick

VARIANT = "variant of the ResNet"


@trick(
    sets=("model.backbone.variant",),
    gain=Gain("table5", ("ResNet-50-B", "top1"), ("ResNet-50", "top1")),
    group=VARIANT,
)
def resnet_b(cfg) -> None:
    """Use ResNet-B: move the stride of a block from its first 1x1 convolution to its 3x3 (figure 2a).

    Why: a 1x1 convolution with stride 2 ignores three quarters of its input; a 3x3 convolution reads all of it.

    Raises:
        ValueError: the network is not one of this project's ResNets, or has depth 18 or 34.
    """
    set_variant(cfg, "b")


def set_variant(cfg, variant: str) -> None:
    """Set the variant of the config's ResNet, in place.

    Raises:
        ValueError: the network is not one of this project's ResNets, or has a depth at which the variant changes nothing.
    """
    backbone = cfg.model.backbone
    if "depth" not in backbone:
        raise ValueError(f"The trick resnet_{variant} is for ResNets; {backbone.get('name', backbone.type)} has no such variant.")
    if variant == "b" and backbone.depth in (18, 34):
        raise ValueError(
            f"The trick resnet_b does nothing at depth {backbone.depth}, where blocks have no 1x1 convolution to move the stride "
            "from. Leave it out, or use a depth of 26, 50, 101 or 152."
        )
    backbone.variant = variant
