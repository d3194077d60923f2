"""Build a runner with all hooks of a run whose epochs a benchmark runs, one per round."""

import os
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from logging import FileHandler

from mmengine.runner import EpochBasedTrainLoop

from tools.engine.training.acceleration import keep_freed_memory
from tools.engine.training.building import build_runner
from tools.engine.training.hooks import StopHook


class Loaded:
    """Serve batches from memory like a loader without workers."""

    num_workers = 0

    def __init__(self, batches: list[dict]):
        self.batches = self.dataset = batches

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[dict]:
        return iter(self.batches)


class Rounds(EpochBasedTrainLoop):
    """Stop MMEngine's train loop before its first epoch; the caller runs the epochs."""

    def run(self) -> None:
        self.runner.call_hook("before_train")


def started(cfg, batches: list[dict]):
    """Return the runner of a config as ``train()`` leaves it before the first epoch, with ``batches`` as its data."""
    keep_freed_memory()  # as at the start of a run
    with open(os.devnull, "w") as nowhere, redirect_stdout(nowhere), redirect_stderr(nowhere):
        runner = build_runner(cfg)
    runner.logger.handlers = [handler for handler in runner.logger.handlers if isinstance(handler, FileHandler)]
    runner._train_dataloader = Loaded(batches)
    runner.train()
    next(hook for hook in runner.hooks if isinstance(hook, StopHook)).restore()  # Ctrl-C must stop the benchmark, not the run
    return runner
