"""How fast this machine could be: a large matrix product, the fastest arithmetic there is, beside which a step is judged."""

import time
from collections.abc import Callable
from statistics import median

import torch

from tools.benchmarks.rounds import Contender, wait_for_device

SIDE = {"cpu": 2048, "cuda": 8192}  # of the square matrices: large enough that nothing but arithmetic counts
STEP = 3  # forward passes that a training step is worth: backward, the gradient of the input and of the weight cost one each
LIMIT = "the limit"  # name of the contender


def peak_flops(dtype: torch.dtype, device: str | torch.device) -> float:
    """Operations a second, two for a multiply-add, of a large matrix product of ``dtype`` on ``device``: the median of five."""
    run, operations = product(dtype, device)
    run()  # warm
    return operations / median(_seconds(run) for _ in range(5))


def limit(multiply_adds: float, dtype: torch.dtype, device: str | torch.device) -> Contender:
    """A contender that does matrix products only, at the rate at which a training step could at most take images.

    The ratio of ours to it is the part of the limit that ours reaches.

    Args:
        multiply_adds: of the forward pass of one image; a training step is worth three of them.
    """
    run, operations = product(dtype, device)
    return Contender(LIMIT, run, units=operations / (2 * STEP * multiply_adds))


def product(dtype: torch.dtype, device: str | torch.device) -> tuple[Callable[[], None], int]:
    """A call that multiplies two square matrices, and how many operations that takes, two for a multiply-add."""
    side = SIDE[torch.device(device).type]
    left, right, out = (torch.randn(side, side, device=device, dtype=dtype) for _ in range(3))

    def run() -> None:
        torch.mm(left, right, out=out)

    return run, 2 * side**3


def _seconds(run: Callable[[], None]) -> float:
    wait_for_device()
    started = time.perf_counter()
    run()
    wait_for_device()
    return time.perf_counter() - started
