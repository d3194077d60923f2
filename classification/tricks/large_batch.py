"""Large batch with linear scaling of the learning rate, section 3.1 of the paper."""

from classification.tricks.declare import trick


@trick(sets=("batch", "optim_wrapper.optimizer.lr"))
def large_batch(cfg, factor: int = 4) -> None:
    """Batch b = ``factor`` times the base batch, lr = ``cfg.lr_at_256`` * b / 256; 0.1 at 256 in the paper (Tables 3 and 4).

    Args:
        factor: b over the base batch, at least 2.

    Raises:
        ValueError: a factor below 2.
    """
    if factor < 2:
        raise ValueError(f"large_batch:factor is {factor}; give a whole number of at least 2.")
    cfg.batch *= factor
    cfg.optim_wrapper.optimizer.lr = cfg.lr_at_256 * cfg.batch / 256
