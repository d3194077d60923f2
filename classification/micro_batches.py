"""Train on the micro-batches of an update, so that one process ends with what several give that share them.

Update k trains on a batch of b images, cut into b / m micro-batches of m = ``micro_batch`` images, in the order of the epoch.
Process r of P takes the r-th of P equal runs of consecutive micro-batches. A micro-batch is what one GPU of the paper sees: BN
takes its statistics over it and mixup pairs its images. Which images form a micro-batch, what is drawn for it at random, the mean
of the losses and gradients and the running statistics do not depend on P.
"""

from collections.abc import Callable

import torch
from mmengine.dist import get_rank
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from backbones.randomness import seed_everything, seed_of


def micro_batches(data: dict, size: int | None) -> list[dict]:
    """Split ``data`` (tensors of N rows) into parts of ``size`` rows; None gives one part.

    Raises:
        ValueError: N is not a multiple of ``size``.
    """
    count = len(data["labels"])
    if size is None or size == count:
        return [data]
    if count % size:
        raise ValueError(
            f"A batch of {count} images cannot be divided into parts of {size} (micro_batch); choose a divisor of the batch."
        )
    parts = {key: value.split(size) for key, value in data.items()}
    return [{key: value[i] for key, value in parts.items()} for i in range(count // size)]


def mean_of(logs: list[dict]) -> dict:
    """Average each entry over the micro-batches."""
    return {key: sum(log[key] for log in logs) / len(logs) for key in logs[0]}


class RunningStatistics:
    """Average what the micro-batches of an update do to the running statistics of BN.

    With momentum a (0.1) and the micro-batches g = 1..G, the running mean (and variance) r becomes

        r <- (1 - a) r + a / G sum_g x_g,

    where x_g is the mean (the unbiased variance) of micro-batch g. It is what the paper's G GPUs have on average: each updates
    statistics of its own once per update, r_g <- (1 - a) r_g + a x_g. Without this, r would move G times per update, and the last
    micro-batches would count most. With several processes each averages over its micro-batches, and MMEngine's SyncBuffersHook
    then averages over the processes, before each evaluation and at the end of each epoch; as the rule is linear, that gives the
    same r.

    Args:
        layers: the BN layers, at the start of an update.
    """

    def __init__(self, layers: list[_BatchNorm]):
        self.statistics = [buffer for layer in layers for buffer in (layer.running_mean, layer.running_var)]
        self.counts = [layer.num_batches_tracked for layer in layers]
        self.start = [buffer.clone() for buffer in (*self.statistics, *self.counts)]
        self.total = [torch.zeros_like(buffer) for buffer in self.statistics]

    @torch.no_grad()
    def add(self) -> None:
        """Count the statistics after a micro-batch."""
        torch._foreach_add_(self.total, self.statistics)

    @torch.no_grad()
    def rewind(self) -> None:
        """Give the layers the statistics from before the update, from which the next micro-batch starts."""
        torch._foreach_copy_([*self.statistics, *self.counts], self.start)

    @torch.no_grad()
    def average(self, micro_batch_count: int) -> None:
        """Give the layers the mean of the statistics after each of ``micro_batch_count`` micro-batches."""
        torch._foreach_copy_(self.statistics, torch._foreach_div(self.total, float(micro_batch_count)))


def train_on_micro_batches(step: Callable[[dict], dict], model: nn.Module, data: dict) -> dict:
    """Train on the part of an update's batch that this process has, and return the mean of the logs.

    The draws of a micro-batch, for example of dropout, follow from ``model.update_seed`` and the number of the micro-batch in the
    whole batch. Outside a run, where that is None, they are left alone.

    Args:
        step: trains on a micro-batch and returns its log; the last one makes the update.
        model: the ``ImageClassifier``.
        data: tensors of N rows, a multiple of ``model.micro_batch``.
    """
    parts, logs = micro_batches(data, model.micro_batch), []
    layers = _tracking_layers(model) if len(parts) > 1 else []
    statistics = RunningStatistics(layers) if layers else None
    first = get_rank() * len(parts)
    for i, part in enumerate(parts):
        if statistics and i:
            statistics.rewind()
        if model.update_seed is not None:
            seed_everything(seed_of(model.update_seed, "micro-batch", first + i), cuda=True)
        logs.append(step(part))
        if statistics:
            statistics.add()
    if statistics:
        statistics.average(len(parts))
    return mean_of(logs)


def _tracking_layers(model: nn.Module) -> list[_BatchNorm]:
    """Return the BN layers of a model that keep running statistics."""
    return [layer for layer in model.modules() if isinstance(layer, _BatchNorm) and layer.track_running_stats]
