"""Declare ResNet-C (section 4.2 of the paper)."""

from classification.tricks.declare import Gain, trick
from classification.tricks.resnet_b import VARIANT, set_variant


@trick(
    sets=("model.backbone.variant",),
    gain=Gain("table5", ("ResNet-50-C", "top1"), ("ResNet-50", "top1")),
    group=VARIANT,
)
def resnet_c(cfg) -> None:
    """Use ResNet-C: ResNet-B with a stem of three 3x3 convolutions instead of one 7x7 (figure 2b).

    Why: a 7x7 convolution costs 5.4 times as much as a 3x3; three small ones also add two nonlinearities.

    Raises:
        ValueError: the network is not one of this project's ResNets.
    """
    set_variant(cfg, "c")
