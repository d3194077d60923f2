"""Declare zero-gamma (section 3.1 of the paper)."""

from classification.tricks.declare import Gain, trick


@trick(
    sets=("model.backbone.zero_gamma",),
    gain=Gain("table4", ("+ Zero gamma", "bs1024_top1"), ("+ LR warmup", "bs1024_top1")),
)
def zero_gamma(cfg) -> None:
    """Initialise gamma to 0 in the last BN of each residual block, so that every block starts as its shortcut.

    Why: the network starts as if it had fewer layers, which is easier to train at first.

    Raises:
        ValueError: the network has no residual block that ends in a BN.
    """
    backbone = cfg.model.backbone
    if "name" in backbone:
        import torch

        from backbones.networks.factory import build

        with torch.device("meta"):
            build({"name": backbone.name, "width": backbone.get("width", 1.0)}, zero_gamma=True)
    backbone.zero_gamma = True
