"""Large batch with linear scaling of the learning rate, section 3.1 of the paper."""

from classification.tricks.declare import Gain, trick


@trick(
    sets=("batch", "micro_batch"),
    follows=("optim_wrapper.optimizer.lr", "model.micro_batch", "train_dataloader.batch_size"),
    gain=Gain("table4", ("Linear scaling", "bs1024_top1"), ("Linear scaling", "bs256_top1")),
)
def large_batch(cfg, factor: int = 4) -> None:
    """The batch b, and that over which BN takes its statistics, ``factor`` times the base; lr = ``cfg.lr_at_256`` * b / 256.

    b counts images over all devices and accumulation steps: 1024 at lr 0.4, in groups of 128, in the paper.

    Args:
        factor: b over the base batch, at least 2.

    Raises:
        ValueError: a factor below 2.
    """
    if factor < 2:
        raise ValueError(f"large_batch:factor is {factor}; give a whole number of at least 2.")
    cfg.batch *= factor
    cfg.micro_batch *= factor
