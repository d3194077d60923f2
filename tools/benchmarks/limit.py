"""Measure the limit of this machine with a large matrix product, its fastest arithmetic, to judge a training step by."""

import time
from collections.abc import Callable
from statistics import median

import torch

from tools.benchmarks.rounds import Contender, wait_for_device

SIDE = {"cpu": 2048, "cuda": 8192}  # of the square matrices: so large that only arithmetic matters
STEP = 3  # cost of a training step in forward passes: forward, gradient of the input, gradient of the weight
LIMIT = "the limit"  # name of the contender


def peak_flops(dtype: torch.dtype, device: str | torch.device) -> float:
    """Return the operations per second of a matrix product of ``dtype`` on ``device``, two per multiply-add; median of five."""
    run, operations = product(dtype, device)
    run()  # warm-up
    return operations / median(_seconds(run) for _ in range(5))


def limit(multiply_adds: float, dtype: torch.dtype, device: str | torch.device) -> Contender:
    """Return a contender that only multiplies matrices; its rate is the most images per second that a training step could reach.

    The ratio of ours to it is the part of the limit that ours reaches.

    Args:
        multiply_adds: multiply-adds of the forward pass of one image; a training step costs three forward passes.
        dtype: dtype of the product.
        device: device of the product.
    """
    run, operations = product(dtype, device)
    return Contender(LIMIT, run, units=operations / (2 * STEP * multiply_adds))


def product(dtype: torch.dtype, device: str | torch.device) -> tuple[Callable[[], None], int]:
    """Return a call that multiplies two square matrices, and its number of operations, two per multiply-add."""
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
