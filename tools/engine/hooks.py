"""Hooks that every run carries: progress for whoever watches, and a stop when the loss is no number."""

import json
import math
import signal
import time
from pathlib import Path
from statistics import median

import torch
from mmengine.dist import all_reduce, get_comm_device, get_world_size
from mmengine.hooks import Hook

from backbones.files import write_json, write_text
from tools.engine.curves import CURVE, read_curve

STOPPED = 75  # exit status of a run that a signal stopped and that --resume goes on with; EX_TEMPFAIL of sysexits.h


class Stopped(SystemExit):
    """A signal asked the run to stop, and its state was saved."""


class StopHook(Hook):
    """On SIGTERM or SIGINT: finishes the update, saves a checkpoint, and leaves with status 75. A second signal ends at once.

    Several processes stop at the same update: they ask each other every tenth one.
    """

    priority = "LOWEST"

    def __init__(self):
        self.asked = False
        self.old: dict = {}

    def before_train(self, runner) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            self.old[number] = signal.signal(number, self._ask)

    def _ask(self, number: int, frame) -> None:
        if self.asked:
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)
        self.asked = True

    def after_train_iter(self, runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        if not self._agreed(runner.iter + 1):
            return
        name = f"iter_{runner.iter + 1}.pth"
        runner.save_checkpoint(runner.work_dir, name, by_epoch=False)
        runner.logger.warning(f"Stopped by a signal after update {runner.iter + 1}; saved {name}. Go on with --resume.")
        self._restore()
        raise Stopped(STOPPED)

    def _agreed(self, update: int) -> bool:
        if get_world_size() == 1:
            return self.asked
        if update % 10:
            return False
        asked = torch.tensor(float(self.asked), device=get_comm_device())
        all_reduce(asked, "max")
        return bool(asked.item())

    def after_train(self, runner) -> None:
        self._restore()

    def _restore(self) -> None:
        for number, handler in self.old.items():
            signal.signal(number, handler)
        self.old = {}


class Diverged(RuntimeError):
    """The training loss became infinite or NaN."""


class ProgressHook(Hook):
    """Writes ``progress.json`` (update, updates, phase) at most once a second, and checks the loss at that time.

    Leaves ``speed`` in the message hub: images_per_second by the median time from one update to the next, and
    minutes_per_epoch, which are the updates of an epoch at that pace (checkpoints and evaluations left out). Of that time
    data_images_per_second is the pace of waiting for data alone, compute_images_per_second that of all the rest.

    Raises:
        Diverged: a loss that is not finite, with the update and the loss terms.
    """

    priority = "VERY_LOW"

    def __init__(self):
        self.last = 0.0
        self.begins: list[float] = []  # of each update, once its data is there
        self.ends: list[float] = []

    def before_train_iter(self, runner, batch_idx: int, data_batch=None) -> None:
        self.begins.append(time.time())

    def after_train(self, runner) -> None:
        if len(self.ends) < 2:
            return
        batch, updates = runner.cfg.batch, len(runner.train_dataloader)
        step = median(after - before for before, after in zip(self.ends, self.ends[1:], strict=False))
        wait = median(begin - end for end, begin in zip(self.ends, self.begins[1:], strict=False))
        speed = {
            "images_per_second": batch / step,
            "minutes_per_epoch": updates * step / 60,
            "data_images_per_second": batch / max(wait, 1e-9),
            "compute_images_per_second": batch / max(step - wait, 1e-9),
        }
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


class CurveHook(Hook):
    """Writes ``curve.jsonl``, the training curve: a line {update, epoch, loss, lr} a hundred times a run, and for each
    evaluation while training one with its metrics (percent) in place of loss and lr.

    ``loss`` is the mean since the line before. A resumed run takes back the lines of updates that it makes again.
    """

    priority = "VERY_LOW"

    def before_train(self, runner) -> None:
        self.path = Path(runner.work_dir) / CURVE
        self.every, self.losses = max(1, runner.max_iters // 100), []
        if runner.rank == 0:
            kept = [json.dumps(line) + "\n" for line in read_curve(self.path) if line["update"] <= runner.iter]
            write_text(self.path, "".join(kept))

    def after_train_iter(self, runner, batch_idx: int, data_batch=None, outputs: dict | None = None) -> None:
        if "loss" in (outputs or {}):
            self.losses.append(torch.as_tensor(outputs["loss"]).detach())
        update = runner.iter + 1
        if self.losses and (update % self.every == 0 or update == runner.max_iters):
            loss, self.losses = float(torch.stack(self.losses).mean()), []
            self._append(runner, update, {"loss": loss, "lr": runner.optim_wrapper.get_lr()["lr"][0]})

    def after_val_epoch(self, runner, metrics: dict[str, float] | None = None) -> None:
        self._append(runner, runner.iter, {name.rpartition("/")[2]: float(value) for name, value in (metrics or {}).items()})

    def _append(self, runner, update: int, values: dict[str, float]) -> None:
        if runner.rank == 0:
            with open(self.path, "a") as file:
                file.write(json.dumps({"update": update, "epoch": update / len(runner.train_dataloader)} | values) + "\n")
