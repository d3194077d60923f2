"""Declare the learning rate warmup (section 3.1 of the paper)."""

from classification.tricks.declare import Gain, trick

STARTS = ("first", "zero")


@trick(
    sets=("param_scheduler",),
    stage="derived",
    gain=Gain("table4", ("+ LR warmup", "bs1024_top1"), ("Linear scaling", "bs1024_top1")),
)
def warmup(cfg, start: str = "first") -> None:
    """Raise the learning rate linearly over the first m updates: i * eta / m, i = 1..m (5 of the 120 epochs).

    Why: the weights are random at first and gradients large, so that the full rate of a large batch can diverge.

    m is the number of updates in ``cfg.warmup_epochs``; they are part of the total. A cosine decay starts after the warmup. Steps
    do not move: they are counted from the first epoch.

    Args:
        start: 'first' as above, or 'zero' for t * eta / m, t = 0..m-1, as in GluonCV's script (paper and code differ).

    Raises:
        ValueError: an unknown start, or the warmup is as long as the training.
    """
    if start not in STARTS:
        raise ValueError(f"warmup:start is {start!r}; allowed: {', '.join(STARTS)}.")
    end = cfg.warmup_epochs
    if end >= cfg.epochs:
        raise ValueError(f"The warmup takes warmup_epochs={end:g} of epochs={cfg.epochs}; lower warmup_epochs.")
    for schedule in cfg.param_scheduler:
        if schedule.type == "CosineAnnealingLR":
            schedule.begin = end
    ramp = dict(type="classification.WarmupLR", start=start, begin=0, end=end, by_epoch=True, convert_to_iter_based=True)
    cfg.param_scheduler.insert(0, ramp)
