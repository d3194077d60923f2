"""Cosine learning rate decay, section 5.1 of the paper."""

from classification.tricks.declare import Gain, trick


@trick(
    sets=("param_scheduler",),
    stage="derived",
    gain=Gain("table6", ("+ cosine decay", "ResNet-50-D_top1"), ("Efficient", "ResNet-50-D_top1")),
)
def cosine(cfg) -> None:
    """Update t of T has the learning rate 0.5 (1 + cos(pi t / T)) eta, instead of steps (equation 2).

    T counts updates; with the trick warmup, T leaves out those of the warmup.
    """
    cfg.param_scheduler = [
        dict(type="CosineAnnealingLR", eta_min=0.0, begin=0, end=cfg.epochs, by_epoch=True, convert_to_iter_based=True)
    ]
