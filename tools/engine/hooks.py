"""Hooks that every run carries: progress for whoever watches, and a stop when the loss is no number."""

import math
import time
from pathlib import Path
from statistics import median

from mmengine.hooks import Hook

from backbones.files import write_json


class Diverged(RuntimeError):
    """The training loss became infinite or NaN."""


class ProgressHook(Hook):
    """Writes ``progress.json`` (update, updates, phase) at most once a second, and checks the loss at that time.

    Leaves ``speed`` in the message hub: images_per_second by the median time from one update to the next, loading included,
    and minutes_per_epoch, which are the updates of an epoch at that pace (checkpoints and evaluations left out).

    Raises:
        Diverged: a loss that is not finite, with the update and the loss terms.
    """

    priority = "VERY_LOW"

    def __init__(self):
        self.last = 0.0
        self.ends: list[float] = []

    def after_train(self, runner) -> None:
        steps = [after - before for before, after in zip(self.ends, self.ends[1:], strict=False)]
        if steps:
            batch, updates = runner.cfg.batch, len(runner.train_dataloader)
            speed = {"images_per_second": batch / median(steps), "minutes_per_epoch": updates * median(steps) / 60}
            runner.message_hub.update_info("speed", speed)

    def _write(self, runner, phase: str, done: int, total: int) -> None:
        if runner.rank == 0:
            path = Path(runner.work_dir) / "progress.json"
            write_json(path, {"phase": phase, "done": done, "total": total, "time": time.time()})

    def after_train_iter(self, runner, batch_idx: int, data_batch=None, outputs: dict | None = None) -> None:
        self.ends.append(time.time())
        if self.ends[-1] - self.last < 1:
            return
        self.last = self.ends[-1]
        terms = {k: v.item() if hasattr(v, "item") else float(v) for k, v in (outputs or {}).items()}
        if not all(math.isfinite(value) for value in terms.values()):
            raise Diverged(f"The loss is not finite at update {runner.iter + 1}: {terms}; lower the learning rate.")
        self._write(runner, "train", runner.iter + 1, runner.max_iters)

    def after_test_iter(self, runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        if time.time() - self.last >= 1:
            self.last = time.time()
            self._write(runner, "test", batch_idx + 1, len(runner.test_dataloader))
