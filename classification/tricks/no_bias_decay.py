"""Declare no bias decay (section 3.1 of the paper)."""

from classification.tricks.declare import Gain, trick


@trick(
    sets=("optim_wrapper.paramwise_cfg",),
    gain=Gain("table4", ("+ No bias decay", "bs1024_top1"), ("+ Zero gamma", "bs1024_top1")),
)
def no_bias_decay(cfg) -> None:
    """Apply weight decay to the weights of convolutions and fully connected layers only, not to biases, gamma and beta.

    Why: decay regularises the many weights; the few other parameters gain nothing from being drawn to 0.

    MMEngine's optimiser constructor recognises norm layers by their type, so the BN of a shortcut is one of them.
    """
    cfg.optim_wrapper.paramwise_cfg = dict(norm_decay_mult=0.0, bias_decay_mult=0.0)
