"""Mixup, section 5.4 of the paper."""

from classification.tricks.declare import Gain, trick

SCHEDULES = ("paper", "same")
MOST = 100  # all but an even mix of the two
LONGER = 5 / 3  # 200 epochs instead of 120


@trick(
    sets=("model.mixup", "epochs"),
    follows=("train_cfg.max_epochs", "param_scheduler"),
    gain=Gain("table6", ("+ mixup w/o distill", "ResNet-50-D_top1"), ("+ label smoothing", "ResNet-50-D_top1")),
)
def mixup(cfg, alpha: float = 0.2, schedule: str = "paper") -> None:
    """Images and smoothed targets are mixed with those of the reversed batch, by one lambda ~ Beta(alpha, alpha) an update.

    The paper trains longer with it: 200 epochs instead of 120, so a gain over another row is one of trick and length.

    Args:
        alpha: above 0, at most 100.
        schedule: 'paper' for 5/3 of the epochs (rounded), 'same' for as many as without.

    Raises:
        ValueError: alpha or schedule outside these.
    """
    if not 0 < alpha <= MOST:
        raise ValueError(f"mixup:alpha is {alpha}; give a number above 0, and at most {MOST}.")
    if schedule not in SCHEDULES:
        raise ValueError(f"mixup:schedule is {schedule!r}; allowed: {', '.join(SCHEDULES)}.")
    cfg.model.mixup = dict(alpha=float(alpha))
    if schedule == "paper":
        cfg.epochs = round(cfg.epochs * LONGER)
