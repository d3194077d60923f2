"""Declare ResNet-D (section 4.2 of the paper)."""

from classification.tricks.declare import Gain, trick
from classification.tricks.resnet_b import VARIANT, set_variant


@trick(
    sets=("model.backbone.variant",),
    gain=Gain("table5", ("ResNet-50-D", "top1"), ("ResNet-50", "top1")),
    group=VARIANT,
)
def resnet_d(cfg) -> None:
    """Use ResNet-D: ResNet-C with an average pool before the convolution of a shortcut that halves the map (figure 2c).

    Why: the 1x1 convolution of that shortcut has stride 2 and ignores three quarters of its input; the pool reads all of it.

    Raises:
        ValueError: the network is not one of this project's ResNets.
    """
    set_variant(cfg, "d")
