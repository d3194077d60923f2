"""Declare the cosine decay of the learning rate (section 5.1 of the paper)."""

from classification.tricks.declare import Gain, trick


@trick(
    sets=("param_scheduler",),
    stage="derived",
    gain=Gain("table6", ("+ cosine decay", "ResNet-50-D_top1"), ("Efficient", "ResNet-50-D_top1")),
)
def cosine(cfg) -> None:
    """Decay the learning rate by a cosine instead of steps: 0.5 (1 + cos(pi t / T)) eta at update t of T (equation 2).

    Why: the rate stays high for longer at first, and falls without the jumps of a step schedule.

    T does not count the updates of the trick warmup.
    """
    cfg.param_scheduler = [
        dict(type="CosineAnnealingLR", eta_min=0.0, begin=0, end=cfg.epochs, by_epoch=True, convert_to_iter_based=True)
    ]
