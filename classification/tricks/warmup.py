"""Learning rate warmup, section 3.1 of the paper."""

from classification.tricks.declare import trick


@trick(sets=("param_scheduler",))
def warmup(cfg) -> None:
    """Over the first m updates the learning rate is i * eta / m, i = 1..m (Table 4; 5 of 120 epochs).

    m are the updates of ``cfg.warmup_epochs``, inside the total. A cosine decay starts when they end; steps stay where they
    are, counted from the first epoch.
    """
    end = cfg.warmup_epochs
    for schedule in cfg.param_scheduler:
        if schedule.type == "CosineAnnealingLR":
            schedule.begin = end
    first = dict(type="classification.WarmupLR", begin=0, end=end, by_epoch=True, convert_to_iter_based=True)
    cfg.param_scheduler.insert(0, first)
