"""The paper's warmup as an MMEngine scheduler."""

from mmengine.optim import LinearLR


class WarmupLR(LinearLR):
    """Linear warmup, section 3.1 of the paper: at update i of m the learning rate is i * eta / m, for i = 1..m.

    Given in epochs (``begin``, ``end``) and converted with ``convert_to_iter_based=True``: m is the number of updates
    between the two, and only then is the first factor, 1 / m, known.

    Raises:
        ValueError: there is no update between the two.
    """

    @classmethod
    def build_iter_from_epoch(cls, *args, begin: int = 0, end: int, by_epoch: bool = True, epoch_length: int, **kwargs):
        first, last = int(begin * epoch_length), int(end * epoch_length)
        if first >= last:
            raise ValueError(
                f"Warmup from epoch {begin} to {end} covers no update, with {epoch_length} updates an epoch; give more epochs "
                "(warmup_epochs), or leave the trick warmup out."
            )
        return cls(*args, start_factor=1 / (last - first), begin=first, end=last, by_epoch=False, **kwargs)
