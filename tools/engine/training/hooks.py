"""Provide the hooks of every run: stop on a signal, stop on divergence, report progress, and write the training curve."""

import json
import math
import time
from dataclasses import asdict
from pathlib import Path
from statistics import fmean

import torch
from mmengine.dist import all_reduce, barrier, get_comm_device, get_world_size
from mmengine.hooks import Hook

from backbones.common.files import write_json, write_text
from tools.engine.console import SHOWN
from tools.engine.run_folder import CURVE, PROGRESS, Progress, read_curve, refuse_removed
from tools.engine.stopping import STOPPED, Stopped, StopSignals
from tools.engine.training.record import PACES, pace
from tools.engine.training.runner import RECENT


class Diverged(RuntimeError):
    """Report that the training loss or a weight became infinite or NaN."""


def all_reduce_max(*values: float) -> list[float]:
    """Return the maximum of each value over the processes of a run, all of which must call this."""
    if get_world_size() == 1:
        return list(values)
    maxima = torch.tensor(values, dtype=torch.float64, device=get_comm_device())
    all_reduce(maxima, "max")
    return maxima.tolist()


class SyncSchedule:
    """Choose the updates at which the processes of a run exchange values: the same in each, about a second apart."""

    def __init__(self):
        self.next = 0
        self.last: tuple[int, float] | None = None  # update and time of the last exchange

    def due(self, update: int) -> bool:
        """Return whether ``update`` is the next one at which to exchange values."""
        return update >= self.next

    def ask(self, update: int, *values: float) -> list[float]:
        """Return ``all_reduce_max`` of ``values``, and agree on the next exchange: 1 to 100 updates later.

        The slowest process decides how many updates make a second.
        """
        now, seconds = time.time(), 1.0  # seconds of an update
        if self.last:
            last_update, last_time = self.last
            seconds = (now - last_time) / max(1, update - last_update)
        maxima = all_reduce_max(*values, seconds)
        slowest = max(maxima[-1], 1e-9)
        self.next, self.last = update + max(1, min(100, int(1 / slowest))), (update, now)
        return maxima[:-1]


class StopHook(Hook):
    """On SIGTERM, SIGINT or SIGHUP, finish the update, save a checkpoint and exit with status 75; at a second one, end at once.

    Several processes stop at the same update, and none exits before the file is written.
    """

    priority = "LOWEST"

    def __init__(self):
        self.signals = StopSignals()
        self.sync = SyncSchedule()

    def before_train(self, runner) -> None:
        self.signals.__enter__()

    def after_train_iter(self, runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        update = runner.iter + 1
        if self._stops_after(update):
            name = f"iter_{update}.pth"
            runner.save_checkpoint(runner.work_dir, name, by_epoch=False)
            self._stop(runner, update, f"after update {update}; saved {name}")

    def _stops_after(self, update: int) -> bool:
        """Return whether a process of the run got a signal; several processes exchange this only now and then."""
        if get_world_size() == 1:
            return bool(self.signals.time)
        return self.sync.due(update) and bool(self.sync.ask(update, bool(self.signals.time))[0])

    def after_train(self, runner) -> None:
        self.restore()
        if all_reduce_max(bool(self.signals.time))[0]:
            self._stop(runner, runner.iter, "after the last update, before the test")

    def _stop(self, runner, update: int, where: str) -> None:
        if runner.rank == 0:
            progress = Progress(
                "train", update, runner.max_iters, update, runner.max_iters, stopped=True, seconds=runner.seconds()
            )
            write_progress(runner, progress)
        barrier()  # when one process exits, the launcher ends all others
        runner.logger.warning(f"Stopped by a signal {where}. The same command goes on.", extra=SHOWN)
        self.restore()
        raise Stopped(STOPPED)

    def restore(self) -> None:
        """Restore the signal handlers from before training."""
        self.signals.__exit__()


def write_progress(runner, progress: Progress) -> None:
    """Write ``progress.json``, and show it where the run has a console.

    Raises:
        ValueError: the run's folder was removed.
    """
    folder = Path(runner.work_dir)
    refuse_removed(folder)
    write_json(folder / PROGRESS, asdict(progress))
    runner.watch(progress)


class DivergenceHook(Hook):
    """Stop when the loss or a weight is NaN or infinite, before it is saved or tested.

    Every update's loss terms are checked: at once on a CPU, and about once a second on a GPU (reading them waits for it) or among
    several processes. Before each checkpoint and at the end, all loss terms and all weights are checked.

    Raises:
        Diverged: a loss term or a weight is not finite, or the scale of a gradient scaler is below 1: the scale starts at 65,536
            and halves at each overflow. The message has the update, the terms, the learning rate and the last good checkpoint.
    """

    priority = "BELOW_NORMAL"  # before the learning rate of the next update is set and before anything is saved

    def __init__(self):
        self.unread: list[tuple[int, float, dict]] = []  # update, learning rate, terms
        self.update, self.sync = 0, SyncSchedule()

    def after_train_iter(self, runner, batch_idx: int, data_batch=None, outputs: dict | None = None) -> None:
        self.update = update = runner.iter + 1
        terms = {name: value.detach() if hasattr(value, "detach") else value for name, value in (outputs or {}).items()}
        self.unread.append((update, runner.optim_wrapper.get_lr()["lr"][0], terms))
        if get_world_size() == 1 and not on_gpu(terms):
            self.check(runner)
        elif self.sync.due(update):
            self.sync.ask(update)
            self.check(runner)

    def before_saving(self, runner) -> None:
        self.check(runner, weights=True)

    def after_train(self, runner) -> None:
        self.check(runner, weights=True)

    def check(self, runner, weights: bool = False) -> None:
        """Raise ``Diverged`` in every process if one finds a fault; all processes must call this together."""
        fault = self.fault(runner, weights)
        if all_reduce_max(fault is not None)[0]:
            raise Diverged(fault or f"Another process of this run diverged; {self.advice(runner)}")

    def fault(self, runner, weights: bool) -> str | None:
        """Return a sentence about the first fault in this process, or None."""
        unread, self.unread = self.unread, []
        for update, lr, terms in unread:
            values = {name: float(value) for name, value in terms.items()}
            if not all(map(math.isfinite, values.values())):
                loss = ", ".join(f"{name} {value:.4g}" for name, value in values.items())
                where = f"at update {update} of {runner.max_iters} ({loss}; learning rate {lr:.4g})"
                return f"The loss is not finite {where}; {self.advice(runner)}"
            if "loss" in values:
                runner.losses.append(values["loss"])
        scaler = getattr(runner.optim_wrapper, "loss_scaler", None)
        if scaler is not None and unread and (scale := scaler.get_scale()) < 1:
            update, lr, _ = unread[-1]
            where = f"{scale:.4g} at update {update} of {runner.max_iters} (learning rate {lr:.4g})"
            return f"The gradients overflow float16 at any scale: the scaler is down to {where}; {self.advice(runner)}"
        if weights and (name := not_finite(runner.model)):
            return f"The tensor {name} of the model is not finite after update {self.update}; {self.advice(runner)}"
        return None

    def advice(self, runner) -> str:
        """Return the end of an error message: the last good checkpoint, and what to do."""
        return f"the last good checkpoint is {getattr(runner, 'last', None) or 'none'}. Lower the learning rate."


def on_gpu(terms: dict) -> bool:
    """Return whether reading ``terms`` means waiting for a GPU."""
    return any(getattr(value, "is_cuda", False) for value in terms.values())


def not_finite(model: torch.nn.Module) -> str | None:
    """Return the name of the first weight or buffer of ``model`` with a NaN or infinite value, or None."""
    for name, tensor in model.state_dict().items():
        if tensor.is_floating_point() and not tensor.isfinite().all():
            return name
    return None


class ProgressHook(Hook):
    """Write ``progress.json`` (see ``Progress``) at most once a second, and log the ``pace`` of each epoch.

    A run that counts updates instead of epochs logs the pace between two evaluations.

    After training, ``speed`` in the message hub holds the pace of the run and minutes_per_epoch: the time that the updates of an
    epoch take at that pace, without checkpoints and evaluations.
    """

    priority = "VERY_LOW"

    def __init__(self):
        self.last = 0.0  # time at which the file was last written
        self.begins: list[float] = []  # the time at which each update had its data
        self.ends: list[float] = []  # the time at which each update ended
        self.logged_updates = 0  # updates of this process whose pace was logged

    def before_train_iter(self, runner, batch_idx: int, data_batch=None) -> None:
        self.begins.append(time.time())

    def after_train_iter(self, runner, batch_idx: int, data_batch=None, outputs: dict | None = None) -> None:
        self.ends.append(time.time())
        if self.ends[-1] - self.last >= 1:
            self.last = self.ends[-1]
            self._write(runner, "train", runner.iter + 1, runner.max_iters)

    def after_train_epoch(self, runner) -> None:
        self._log_pace(runner)

    def before_val_epoch(self, runner) -> None:
        if hasattr(runner.train_loop, "dataloader_iterator"):  # a run that counts updates has one epoch, which ends with the run
            self._log_pace(runner)

    def _log_pace(self, runner) -> None:
        """Log the pace since the last such line."""
        begins, ends = self.begins[self.logged_updates :], self.ends[self.logged_updates :]
        self.logged_updates = len(self.ends)
        if len(ends) > 1:
            speed = pace(runner.cfg.batch, begins, ends)
            numbers = ", ".join(f"{name} {speed[f'{key}images_per_second']:.5g}" for name, key in PACES.items())
            runner.logger.info(f"Pace of updates {runner.iter - len(ends) + 1} to {runner.iter}, images/s: {numbers}")

    def after_train(self, runner) -> None:
        if len(self.ends) > 1:
            speed = pace(runner.cfg.batch, self.begins, self.ends)
            minutes = len(runner.train_dataloader) * runner.cfg.batch / speed["images_per_second"] / 60
            runner.message_hub.update_info("speed", speed | {"minutes_per_epoch": minutes})

    def after_test_iter(self, runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        if time.time() - self.last >= 1:
            self.last = time.time()
            self._write(runner, "test", batch_idx + 1, len(runner.test_dataloader))

    def _write(self, runner, phase: str, done: int, total: int) -> None:
        if runner.rank != 0:
            return
        recent = -RECENT - 1  # place of the first of the last updates, which end one after another
        speed = pace(runner.cfg.batch, self.begins[recent:], self.ends[recent:]) if len(self.ends) > 1 else {}
        progress = Progress(
            phase,
            done,
            total,
            runner.saved,
            runner.max_iters,
            seconds=runner.seconds(),
            loss=fmean(runner.losses) if runner.losses else None,
            images_per_second=speed.get("images_per_second"),
        )
        write_progress(runner, progress)


class CurveHook(Hook):
    """Write the training curve, ``curve.jsonl``.

    A hundred times a run a line gives {update, epoch, loss, lr}. Each evaluation during training adds a line with its metrics
    (percent) instead of loss and lr. ``loss`` is the mean since the last line, over all processes.

    A resumed run removes the lines of the updates that it repeats, keeps the losses since the last line, and repeats an
    evaluation that a kill cut short.
    """

    priority = "VERY_LOW"
    LINES = 100

    def __init__(self):
        self.losses: list[torch.Tensor] = []  # since the last line

    def state(self, runner) -> list[float]:
        """Return the losses since the last line."""
        return torch.stack(self.losses).tolist() if self.losses else []

    def restore(self, runner, state: list[float], checkpoint: dict) -> None:
        """Continue with the losses of ``state``."""
        self.losses = list(torch.tensor(state))

    def before_train(self, runner) -> None:
        path = Path(runner.work_dir) / CURVE
        lines = [line for line in read_curve(path) if line["update"] <= runner.iter]
        if runner.rank == 0:
            write_text(path, "".join(json.dumps(line) + "\n" for line in lines))
        evaluated = any("loss" not in line and line["update"] == runner.iter for line in lines)
        if runner.iter and not evaluated and self._evaluates_here(runner):
            runner.val_loop.run()

    @staticmethod
    def _evaluates_here(runner) -> bool:
        """Return whether MMEngine's two training loops evaluate at the current update."""
        loop, updates = runner.train_loop, len(runner.train_dataloader)
        by_update = hasattr(loop, "dataloader_iterator")
        done, total = (loop.iter, loop.max_iters) if by_update else (loop.epoch, loop.max_epochs)
        between = by_update or loop.iter == loop.epoch * updates
        due = done >= loop.val_begin and (done % loop.val_interval == 0 or done == total)
        return runner.val_loop is not None and between and due

    def after_train_iter(self, runner, batch_idx: int, data_batch=None, outputs: dict | None = None) -> None:
        if "loss" in (outputs or {}):
            self.losses.append(torch.as_tensor(outputs["loss"]).detach().float())
        update, interval = runner.iter + 1, max(1, runner.max_iters // self.LINES)
        if self.losses and (update % interval == 0 or update == runner.max_iters):
            loss, self.losses = torch.stack([value.to(self.losses[-1].device) for value in self.losses]).mean(), []
            all_reduce(loss, "mean")
            if math.isfinite(loss):  # else the run is about to stop as diverged
                self._append(runner, update, {"loss": float(loss), "lr": runner.optim_wrapper.get_lr()["lr"][0]})

    def after_val_epoch(self, runner, metrics: dict[str, float] | None = None) -> None:
        self._append(runner, runner.iter, {name.rpartition("/")[2]: float(value) for name, value in (metrics or {}).items()})

    def _append(self, runner, update: int, values: dict[str, float]) -> None:
        if runner.rank == 0:
            with open(Path(runner.work_dir) / CURVE, "a") as file:
                file.write(json.dumps({"update": update, "epoch": update / len(runner.train_dataloader)} | values) + "\n")
