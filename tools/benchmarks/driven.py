"""A runner of ours whose epochs a benchmark runs, one a round, with all hooks of a run."""

import os
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from logging import FileHandler

from mmengine.runner import EpochBasedTrainLoop

from tools.engine.training.hooks import StopHook
from tools.engine.training.memory import keep_freed_memory
from tools.engine.training.run import build_runner


class Loaded:
    """A loader of batches that are there."""

    def __init__(self, batches: list[dict]):
        self.batches = self.dataset = batches

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[dict]:
        return iter(self.batches)


class Rounds(EpochBasedTrainLoop):
    """MMEngine's train loop up to its first epoch: whoever has it runs the epochs."""

    def run(self) -> None:
        self.runner.call_hook("before_train")


def started(cfg, batches: list[dict]):
    """The runner of a config after all that ``train()`` does before the first epoch, on ``batches`` for its data."""
    keep_freed_memory()  # as a run begins
    with open(os.devnull, "w") as nowhere, redirect_stdout(nowhere), redirect_stderr(nowhere):
        runner = build_runner(cfg)
    runner.logger.handlers = [handler for handler in runner.logger.handlers if isinstance(handler, FileHandler)]
    runner._train_dataloader = Loaded(batches)
    runner.train()
    next(hook for hook in runner.hooks if isinstance(hook, StopHook)).restore()  # Ctrl-C is the benchmark's
    return runner
