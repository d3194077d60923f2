"""Hooks that every run carries: a stop on request or when the loss is no number, progress, and the training curve."""

import json
import math
import os
import signal
import time
from pathlib import Path

import torch
from mmengine.dist import all_reduce, barrier, get_comm_device, get_world_size
from mmengine.hooks import Hook

from backbones.common.files import write_json, write_text
from tools.engine.run_folder import CURVE, read_curve
from tools.engine.training.throughput import PACES, pace

STOPPED = 75  # exit status of a run that a signal stopped and that --resume goes on with; EX_TEMPFAIL of sysexits.h
ECHO = 2.0  # seconds within which a second signal is the first one's: a launcher passes on what its whole group has got


class Stopped(SystemExit):
    """A signal asked the run to stop, and its state was saved."""


class Diverged(RuntimeError):
    """The training loss, or a weight, became infinite or NaN."""


def all_reduce_max(*values: float) -> list[float]:
    """The largest of each value among the processes of a run, which must all ask."""
    if get_world_size() == 1:
        return list(values)
    asked = torch.tensor(values, dtype=torch.float64, device=get_comm_device())
    all_reduce(asked, "max")
    return asked.tolist()


class SyncSchedule:
    """Says at which updates the processes of a run ask each other something: the same in each, about a second apart."""

    def __init__(self):
        self.next, self.last = 0, None

    def due(self, update: int) -> bool:
        return update >= self.next

    def ask(self, update: int, *values: float) -> list[float]:
        """``largest``, and agrees on the next update to ask at: 1 to 100 later, by the slowest process."""
        now = time.time()
        pace = (now - self.last[1]) / max(1, update - self.last[0]) if self.last else 1.0
        *answers, pace = all_reduce_max(*values, pace)
        self.next, self.last = update + max(1, min(100, int(1 / max(pace, 1e-9)))), (update, now)
        return answers


class StopHook(Hook):
    """On SIGTERM or SIGINT: finishes the update, saves a checkpoint, and leaves with status 75. A second signal ends at once.

    Several processes stop at the same update, and none leaves before the file is there.
    """

    priority = "LOWEST"

    def __init__(self):
        self.asked: float | None = None  # when
        self.old: dict = {}
        self.pulse = SyncSchedule()

    def before_train(self, runner) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            self.old[number] = signal.signal(number, self._ask)

    def _ask(self, number: int, frame) -> None:
        if self.asked and time.monotonic() - self.asked > ECHO:
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)
        self.asked = self.asked or time.monotonic()

    def after_train_iter(self, runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        update = runner.iter + 1
        if not (self.asked if get_world_size() == 1 else self.pulse.due(update) and self.pulse.ask(update, bool(self.asked))[0]):
            return
        name = f"iter_{update}.pth"
        runner.save_checkpoint(runner.work_dir, name, by_epoch=False)
        self._stop(runner, f"after update {update}; saved {name}")

    def after_train(self, runner) -> None:
        self.restore()
        if all_reduce_max(bool(self.asked))[0]:
            self._stop(runner, "after the last update, before the test")

    def _stop(self, runner, where: str) -> None:
        barrier()  # a launcher of several ends them all when the first one leaves
        runner.logger.warning(f"Stopped by a signal {where}. Go on with --resume.")
        self.restore()
        raise Stopped(STOPPED)

    def restore(self) -> None:
        """Gives signals back to whom they belonged to before training."""
        for number, handler in self.old.items():
            signal.signal(number, handler)
        self.old = {}


class DivergenceHook(Hook):
    """Ends a run whose loss or weights are no numbers, before they are saved or tested.

    The loss terms of every update are looked at: on a CPU at once, on a GPU or among several processes about once a second
    (reading them waits for the GPU), and before each checkpoint and at the end, when all weights are looked at, too.

    Raises:
        Diverged: with the update, the terms, the learning rate and the last good checkpoint; also when the scale of a gradient
            scaler is below 1: it halves at each overflow, from 65,536.
    """

    priority = "BELOW_NORMAL"  # before the learning rate moves on and before anything is saved

    def __init__(self):
        self.unread: list[tuple[int, float, dict]] = []  # update, learning rate, terms
        self.update, self.pulse = 0, SyncSchedule()

    def after_train_iter(self, runner, batch_idx: int, data_batch=None, outputs: dict | None = None) -> None:
        self.update = update = runner.iter + 1
        terms = {k: v.detach() if hasattr(v, "detach") else v for k, v in (outputs or {}).items()}
        self.unread.append((update, runner.optim_wrapper.get_lr()["lr"][0], terms))
        if get_world_size() == 1 and not on_gpu(terms):
            self.check(runner)
        elif self.pulse.due(update):
            self.pulse.ask(update)
            self.check(runner)

    def before_saving(self, runner) -> None:
        self.check(runner, weights=True)

    def after_train(self, runner) -> None:
        self.check(runner, weights=True)

    def check(self, runner, weights: bool = False) -> None:
        """All processes of a run ask at once, and all raise if one has to."""
        found = self.fault(runner, weights)
        if all_reduce_max(found is not None)[0]:
            raise Diverged(found or f"Another process of this run found that it diverged; {self.advice(runner)}")

    def fault(self, runner, weights: bool) -> str | None:
        """What is wrong in this process, in a sentence."""
        unread, self.unread = self.unread, []
        for update, lr, terms in unread:
            values = {name: float(value) for name, value in terms.items()}
            if not all(map(math.isfinite, values.values())):
                shown = ", ".join(f"{name} {value:.4g}" for name, value in values.items())
                where = f"at update {update} of {runner.max_iters} ({shown}; learning rate {lr:.4g})"
                return f"The loss is not finite {where}; {self.advice(runner)}"
        scaler = getattr(runner.optim_wrapper, "loss_scaler", None)
        if scaler is not None and unread and (scale := scaler.get_scale()) < 1:
            where = f"{scale:.4g} at update {unread[-1][0]} of {runner.max_iters} (learning rate {unread[-1][1]:.4g})"
            return f"The gradients overflow float16 at any scale: the scaler is down to {where}; {self.advice(runner)}"
        if weights and (name := not_finite(runner.model)):
            return f"The tensor {name} of the model is not finite after update {self.update}; {self.advice(runner)}"
        return None

    def advice(self, runner) -> str:
        return f"the last good checkpoint is {getattr(runner, 'last', None) or 'none'}. Lower the learning rate."


def on_gpu(terms: dict) -> bool:
    """Whether to read ``terms`` is to wait for a GPU."""
    return any(getattr(value, "is_cuda", False) for value in terms.values())


def not_finite(model: torch.nn.Module) -> str | None:
    """The name of a weight or buffer of ``model`` that holds a NaN or an infinity; None where none does."""
    for name, tensor in model.state_dict().items():
        if tensor.is_floating_point() and not tensor.isfinite().all():
            return name
    return None


class ProgressHook(Hook):
    """Writes ``progress.json`` (update, updates, phase, time, process) at most once a second, and logs the ``pace`` of each
    epoch, or, where a run goes by updates, of what is between two evaluations.

    Leaves ``speed`` in the message hub: the pace of the run, and minutes_per_epoch, which are the updates of an epoch at that
    pace (checkpoints and evaluations left out).
    """

    priority = "VERY_LOW"

    def __init__(self):
        self.last = 0.0
        self.begins: list[float] = []  # of each update, once its data is there
        self.ends: list[float] = []
        self.told = 0  # updates of this process whose pace is in the log

    def before_train_iter(self, runner, batch_idx: int, data_batch=None) -> None:
        self.begins.append(time.time())

    def after_train_epoch(self, runner) -> None:
        self._tell(runner)

    def before_val_epoch(self, runner) -> None:
        if hasattr(runner.train_loop, "dataloader_iterator"):  # by updates: there is one epoch, which ends with the run
            self._tell(runner)

    def _tell(self, runner) -> None:
        """A log line on the pace since the last one."""
        begins, ends, self.told = self.begins[self.told :], self.ends[self.told :], len(self.ends)
        if len(ends) > 1:
            found = pace(runner.cfg.batch, begins, ends)
            shown = ", ".join(f"{name} {found[f'{key}images_per_second']:.5g}" for name, key in PACES.items())
            runner.logger.info(f"Pace of updates {runner.iter - len(ends) + 1} to {runner.iter}, images/s: {shown}")

    def after_train(self, runner) -> None:
        if len(self.ends) > 1:
            found = pace(runner.cfg.batch, self.begins, self.ends)
            per_epoch = len(runner.train_dataloader) * runner.cfg.batch / found["images_per_second"] / 60
            runner.message_hub.update_info("speed", found | {"minutes_per_epoch": per_epoch})

    def _write(self, runner, phase: str, done: int, total: int) -> None:
        if runner.rank == 0:
            path = Path(runner.work_dir) / "progress.json"
            write_json(path, {"phase": phase, "done": done, "total": total, "time": time.time(), "pid": os.getpid()})

    def after_train_iter(self, runner, batch_idx: int, data_batch=None, outputs: dict | None = None) -> None:
        self.ends.append(time.time())
        if self.ends[-1] - self.last >= 1:
            self.last = self.ends[-1]
            self._write(runner, "train", runner.iter + 1, runner.max_iters)

    def after_test_iter(self, runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        if time.time() - self.last >= 1:
            self.last = time.time()
            self._write(runner, "test", batch_idx + 1, len(runner.test_dataloader))


class CurveHook(Hook):
    """Writes ``curve.jsonl``, the training curve: a line {update, epoch, loss, lr} a hundred times a run, and for each
    evaluation while training one with its metrics (percent) in place of loss and lr.

    ``loss`` is the mean since the line before, over all processes. A resumed run takes back the lines of updates that it makes
    again, goes on with the losses since the last line, and makes up for an evaluation that a kill cut short.
    """

    priority = "VERY_LOW"
    LINES = 100

    def __init__(self):
        self.losses: list[torch.Tensor] = []  # since the last line

    def state(self, runner) -> list[float]:
        return torch.stack(self.losses).tolist() if self.losses else []

    def restore(self, runner, state: list[float], checkpoint: dict) -> None:
        self.losses = list(torch.tensor(state))

    def before_train(self, runner) -> None:
        self.path, self.every = Path(runner.work_dir) / CURVE, max(1, runner.max_iters // self.LINES)
        lines = [line for line in read_curve(self.path) if line["update"] <= runner.iter]
        if runner.rank == 0:
            write_text(self.path, "".join(json.dumps(line) + "\n" for line in lines))
        evaluated = any("loss" not in line and line["update"] == runner.iter for line in lines)
        if runner.iter and not evaluated and self._evaluates_here(runner):
            runner.val_loop.run()

    @staticmethod
    def _evaluates_here(runner) -> bool:
        """Whether an evaluation belongs to where the run stands: MMEngine's rule in its two loops."""
        loop, updates = runner.train_loop, len(runner.train_dataloader)
        by_update = hasattr(loop, "dataloader_iterator")
        done, all_ = (loop.iter, loop.max_iters) if by_update else (loop.epoch, loop.max_epochs)
        between = by_update or loop.iter == loop.epoch * updates
        due = done >= loop.val_begin and (done % loop.val_interval == 0 or done == all_)
        return runner.val_loop is not None and between and due

    def after_train_iter(self, runner, batch_idx: int, data_batch=None, outputs: dict | None = None) -> None:
        if "loss" in (outputs or {}):
            self.losses.append(torch.as_tensor(outputs["loss"]).detach().float())
        update = runner.iter + 1
        if self.losses and (update % self.every == 0 or update == runner.max_iters):
            loss, self.losses = torch.stack([value.to(self.losses[-1].device) for value in self.losses]).mean(), []
            all_reduce(loss, "mean")
            if math.isfinite(loss):  # else the run is about to end
                self._append(runner, update, {"loss": float(loss), "lr": runner.optim_wrapper.get_lr()["lr"][0]})

    def after_val_epoch(self, runner, metrics: dict[str, float] | None = None) -> None:
        self._append(runner, runner.iter, {name.rpartition("/")[2]: float(value) for name, value in (metrics or {}).items()})

    def _append(self, runner, update: int, values: dict[str, float]) -> None:
        if runner.rank == 0:
            with open(self.path, "a") as file:
                file.write(json.dumps({"update": update, "epoch": update / len(runner.train_dataloader)} | values) + "\n")
