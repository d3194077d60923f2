"""Learning rate warmup, section 3.1 of the paper."""

from classification.tricks.declare import Gain, trick

STARTS = ("first", "zero")


@trick(
    sets=("param_scheduler",),
    stage="derived",
    gain=Gain("table4", ("+ LR warmup", "bs1024_top1"), ("Linear scaling", "bs1024_top1")),
)
def warmup(cfg, start: str = "first") -> None:
    """Over the first m updates the learning rate is i * eta / m, i = 1..m (5 of the 120 epochs).

    m are the updates of ``cfg.warmup_epochs``, inside the total. A cosine decay starts when they end; steps stay where they
    are, counted from the first epoch.

    Args:
        start: 'first' as above, or 'zero' for t * eta / m, t = 0..m-1, as in GluonCV's script (paper and code differ).

    Raises:
        ValueError: another start.
    """
    if start not in STARTS:
        raise ValueError(f"warmup:start is {start!r}; allowed: {', '.join(STARTS)}.")
    end = cfg.warmup_epochs
    for schedule in cfg.param_scheduler:
        if schedule.type == "CosineAnnealingLR":
            schedule.begin = end
    first = dict(type="classification.WarmupLR", start=start, begin=0, end=end, by_epoch=True, convert_to_iter_based=True)
    cfg.param_scheduler.insert(0, first)
