"""The paper's warmup, and its code's, as an MMEngine scheduler."""

import copy

import torch
from mmengine.optim import OptimWrapper, _ParamScheduler
from mmengine.registry import PARAM_SCHEDULERS

STARTS = ("first", "zero")


class WarmupLR(_ParamScheduler):
    """Linear warmup over m updates (section 3.1 of the paper), t = 0, 1, ... being those done before.

    start='first': (t + 1) * eta / m, that is i * eta / m for i = 1..m, as the paper says. start='zero': t * eta / m, as
    GluonCV's scripts have it: the first update has no effect.

    Given in epochs (``begin``, ``end``) and converted with ``convert_to_iter_based=True``: m is the number of updates
    between the two. MMEngine's LinearLR cannot start from 0, since it multiplies the value before.

    Raises:
        ValueError: there is no update between the two; another start.
    """

    def __init__(self, optimizer, start: str = "first", begin: int = 0, end: int = 1, **kwargs):
        if start not in STARTS:
            raise ValueError(f"The start of the warmup is {start!r}; allowed: {', '.join(STARTS)}.")
        self.updates, self.start = end - begin, start
        # one step longer than m: from zero, the step after the last of the warmup sets eta
        super().__init__(optimizer, "lr", begin=begin, end=end + 1, **kwargs)

    @classmethod
    def build_iter_from_epoch(cls, *args, begin: int = 0, end: int, by_epoch: bool = True, epoch_length: int, **kwargs):
        first, last = int(begin * epoch_length), int(end * epoch_length)
        if first >= last:
            raise ValueError(
                f"Warmup from epoch {begin} to {end} covers no update, with {epoch_length} updates an epoch; give more epochs "
                "(warmup_epochs), or leave the trick warmup out."
            )
        return cls(*args, begin=first, end=last, by_epoch=False, **kwargs)

    def _get_value(self) -> list[float]:
        done = self.last_step + (self.start == "first")
        groups = self.optimizer.param_groups
        if done > self.updates:  # eta is reached, and the value belongs to the schedule that follows
            return [group["lr"] for group in groups]
        return [base * done / self.updates for base in self.base_values]


def learning_rates(cfg, updates_per_epoch: int) -> list[float]:
    """The learning rate of every update of a training: that of its optimiser when MMEngine's schedulers step as in its runner.

    Args:
        cfg: a config with its tricks.
        updates_per_epoch: of the training.
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
