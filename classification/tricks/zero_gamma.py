"""Zero-gamma, section 3.1 of the paper."""

from classification.tricks.declare import trick


@trick(sets=("model.backbone.zero_gamma",))
def zero_gamma(cfg) -> None:
    """gamma = 0 at the start in the last BN of each residual block, so that every block starts as its shortcut (Table 4)."""
    cfg.model.backbone.zero_gamma = True
