"""Declare mixup (section 5.4 of the paper)."""

from classification.tricks.declare import Gain, trick

SCHEDULES = ("paper", "same")
MOST = 100  # beyond it lambda is always close to 1/2
LONGER = 5 / 3  # the paper trains 200 epochs instead of 120


@trick(
    sets=("model.mixup", "epochs"),
    follows=("train_cfg.max_epochs", "param_scheduler"),
    gain=Gain("table6", ("+ mixup w/o distill", "ResNet-50-D_top1"), ("+ label smoothing", "ResNet-50-D_top1")),
)
def mixup(cfg, alpha: float = 0.2, schedule: str = "paper") -> None:
    """Mix images and smoothed targets with those of the reversed batch, with one lambda ~ Beta(alpha, alpha) per update.

    Why: the network also learns from what lies between two training images, and memorises single images less.

    The paper trains longer with mixup, 200 epochs instead of 120. A gain over another row is thus due to trick and length.

    Args:
        alpha: above 0, at most 100.
        schedule: 'paper' for 5/3 of the epochs (rounded), or 'same' for the same number of epochs.

    Raises:
        ValueError: an alpha or schedule that is not allowed.
    """
    if not 0 < alpha <= MOST:
        raise ValueError(f"mixup:alpha is {alpha}; give a number above 0, and at most {MOST}.")
    if schedule not in SCHEDULES:
        raise ValueError(f"mixup:schedule is {schedule!r}; allowed: {', '.join(SCHEDULES)}.")
    cfg.model.mixup = dict(alpha=float(alpha))
    if schedule == "paper":
        cfg.epochs = round(cfg.epochs * LONGER)
