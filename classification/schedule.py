"""Schedule the paper's warmup, and that of its code, in MMEngine."""

import copy

import torch
from mmengine.optim import OptimWrapper, _ParamScheduler
from mmengine.registry import PARAM_SCHEDULERS

STARTS = ("first", "zero")


class WarmupLR(_ParamScheduler):
    """Raise the learning rate linearly over m updates (section 3.1 of the paper); t = 0, 1, ... counts the finished updates.

    start='first': (t + 1) * eta / m, that is i * eta / m for i = 1..m, as the paper says. start='zero': t * eta / m, as in
    GluonCV's scripts; the first update then has no effect.

    ``begin`` and ``end`` are given in epochs and converted with ``convert_to_iter_based=True``; m is the number of updates
    between them. MMEngine's LinearLR cannot start from 0, since it multiplies the previous value.

    Raises:
        ValueError: no update lies between ``begin`` and ``end``, or an unknown start.
    """

    def __init__(self, optimizer, start: str = "first", begin: int = 0, end: int = 1, **kwargs):
        if start not in STARTS:
            raise ValueError(f"The start of the warmup is {start!r}; allowed: {', '.join(STARTS)}.")
        self.updates, self.start = end - begin, start
        # one step longer than m: with start='zero', the step after the warmup sets eta
        super().__init__(optimizer, "lr", begin=begin, end=end + 1, **kwargs)

    @classmethod
    def build_iter_from_epoch(cls, *args, begin: int = 0, end: int, by_epoch: bool = True, epoch_length: int, **kwargs):
        first, last = int(begin * epoch_length), int(end * epoch_length)
        if first >= last:
            raise ValueError(
                f"Warmup from epoch {begin} to {end} covers no update, with {epoch_length} updates an epoch; "
                "increase warmup_epochs, or leave out the trick warmup."
            )
        return cls(*args, begin=first, end=last, by_epoch=False, **kwargs)

    def _get_value(self) -> list[float]:
        done = self.last_step + (self.start == "first")
        groups = self.optimizer.param_groups
        if done > self.updates:  # the next schedule now sets the value
            return [group["lr"] for group in groups]
        return [base * done / self.updates for base in self.base_values]


def learning_rates(cfg, updates_per_epoch: int) -> list[float]:
    """Return the learning rate of every update of a training, by stepping MMEngine's schedulers as its runner does.

    Args:
        cfg: resolved config with its tricks.
        updates_per_epoch: number of updates in an epoch.
    """
    optimiser = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=cfg.optim_wrapper.optimizer.lr)
    wrapper = OptimWrapper(optimiser)
    extra = dict(optimizer=wrapper, epoch_length=updates_per_epoch)
    schedulers = [PARAM_SCHEDULERS.build(copy.deepcopy(s), default_args=extra) for s in cfg.param_scheduler]
    rates = []
    for _ in range(cfg.epochs * updates_per_epoch):
        rates.append(optimiser.param_groups[0]["lr"])
        wrapper.step()
        for scheduler in schedulers:
            scheduler.step()
    return rates
