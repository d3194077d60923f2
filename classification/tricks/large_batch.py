"""Declare the large batch with linear scaling of the learning rate (section 3.1 of the paper)."""

from classification.tricks.declare import Gain, trick


@trick(
    sets=("batch", "micro_batch"),
    follows=("optim_wrapper.optimizer.lr", "model.micro_batch", "train_dataloader.batch_size", "train_dataloader.sampler.batch"),
    gain=Gain("table4", ("Linear scaling", "bs1024_top1"), ("Linear scaling", "bs256_top1")),
)
def large_batch(cfg, factor: int = 4) -> None:
    """Multiply the batch b and the micro-batch of BN statistics by ``factor``, and set lr = ``cfg.lr_at_256`` * b / 256.

    Why: a large batch keeps many GPUs busy. Its gradient has less noise, so the learning rate may grow with it.

    b counts images over all devices and accumulation steps. In the paper b = 1024, with lr 0.4 and micro-batches of 128.

    Args:
        factor: ratio of b to the base batch, at least 2.

    Raises:
        ValueError: a factor below 2.
    """
    if factor < 2:
        raise ValueError(f"large_batch:factor is {factor}; give a whole number of at least 2.")
    cfg.batch *= factor
    cfg.micro_batch *= factor
