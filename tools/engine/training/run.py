"""Train and test one run, save its per-image results, and write its record last."""

import copy
import os
import time
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from backbones.common.dataset_checks import first_names
from backbones.common.fact_cache import check_device
from backbones.common.files import remove_parts, write_json, write_text
from tools.engine.cli import explained, start_error
from tools.engine.config import Resolved
from tools.engine.config.dumped import dumped_text
from tools.engine.config.fingerprint import read_digest
from tools.engine.console import SHOWN, RunConsole
from tools.engine.run_folder import (
    CONFIG,
    CONTENT,
    LOG,
    PROGRESS,
    RECORD,
    SKIPPED,
    read_record,
    refuse_removed,
    skipped_images,
)
from tools.engine.stopping import StopSignals, stop_now
from tools.engine.subset.recipe import read_recipe
from tools.engine.training.building import build_runner
from tools.engine.training.checkpoints import check_folder
from tools.engine.training.record import describe, peak_memory_gb
from tools.engine.training.starting import (
    check_certificate,
    check_processes,
    facts_of_data,
    facts_of_run,
    held_folder,
    set_threads,
)


@dataclass(frozen=True)
class Start:
    """Say how a run is started; none of it changes the result.

    Args:
        launcher: 'none', 'pytorch' or 'slurm', as in MMEngine.
        resume: continue from the last checkpoint in the run's folder.
        visualizer: where scalars go, see ``tools.engine.training.visualizers.visualizer``; None for the folder alone.
        console: where the run is shown; by default nowhere, and all output goes where it goes.
    """

    launcher: str = "none"
    resume: bool = False
    visualizer: dict | None = None
    console: RunConsole = field(default_factory=RunConsole)


@dataclass(frozen=True)
class Outcome:
    """Hold how a run's training and test ended.

    Args:
        status: 'done' or 'diverged'.
        metrics: those of the test, in percent; none if the run diverged.
        trained: the time at which training ended, in seconds.
        remarks: sentences for the record.
    """

    status: str
    metrics: dict[str, float]
    trained: float
    remarks: list[str]


def run(resolved: Resolved, folder: Path, start: Start = Start()) -> dict:
    """Train and test the run of ``resolved`` and return its record, which is also written to ``folder/record.json``.

    Everything that can be checked before training is checked before the folder is made. A start that fails before its first
    update removes the folder if it made it.

    Args:
        resolved: the config; the data of its task must exist.
        folder: the folder for all files of the run, made if missing. It is locked, so that no run is trained twice at once.
        start: how it is started.

    Raises:
        ValueError: ``check_device`` or ``check_data`` of the task refuses, a backbone fails its certificate, another process
            runs this run, the folder or its checkpoint is of another run, or the disk has no room for its files.
        Stopped: SIGTERM, SIGINT or SIGHUP stopped the run: training as in ``tools.engine.training.hooks.StopHook``, what comes
            before or after it at once.
    """
    check_device()
    check_processes()
    set_threads(resolved)
    subset = read_recipe(Path(resolved.data_folder))
    remarks = [*resolved.task.check_data(resolved.cfg), *([subset.sentence()] if subset else [])]
    check_certificate(resolved.cfg)
    for line in facts_of_run(resolved, folder):
        start.console.say(line)
    with held_folder(folder) if rank_of(start.launcher) == 0 else nullcontext(), StopSignals(stop_now):
        check_folder(folder, resolved.key)
        if start.launcher == "none" and (record := read_record(folder)):  # made while this process waited for the lock
            return record
        cfg = copy.deepcopy(resolved.cfg)
        cfg.work_dir, cfg.run, cfg.launcher = str(folder), resolved.key.name, start.launcher
        if start.visualizer:
            cfg.visualizer = start.visualizer
        return _run(resolved, cfg, folder, start, remarks)


def rank_of(launcher: str) -> int:
    """Return the number of this process among those that a launcher has started for a run."""
    return int(os.environ.get("RANK", os.environ.get("SLURM_PROCID", 0))) if launcher != "none" else 0


def _run(resolved: Resolved, cfg, folder: Path, start: Start, remarks: list[str]) -> dict:
    """Do the work of ``run`` in its locked folder; ``cfg`` is the config with the folder and launcher in it."""
    import torch
    from mmengine.dist import is_main_process

    from tools.engine.training.acceleration import keep_freed_memory
    from tools.engine.training.checkpoints import check_fit

    keep_freed_memory()
    started, data = time.time(), _data_facts(resolved)
    with explained():
        runner = build_runner(cfg, start.resume, remarks, resolved.key)
    if record := _record_of_main(folder):
        return record
    _show(runner, start.console, folder, resolved.data_folder)
    resumed_from = Path(runner._load_from).name if runner._resume else None
    if runner._load_from:
        check_fit(runner._load_from, runner.model)  # before anything is written
    if is_main_process():
        _prepare_folder(runner, resolved, folder, resumed_from)
    runner.logger.info(f"{cfg.task} in {cfg.get('precision', 'float32')}, seed {cfg.randomness.seed}, run {resolved.key}")
    for remark in remarks:
        runner.logger.warning(remark, extra=SHOWN)
    outcome = _train_and_test(runner, remarks)
    record = describe(cfg, resolved.key.name, outcome.status, outcome.metrics)
    record |= {"remarks": outcome.remarks, "resumed_from": resumed_from, "updates": runner.max_iters}
    record["data"] = data
    record |= {"epochs": runner.max_iters / len(runner.train_dataloader), "peak_memory_gb": peak_memory_gb()}
    record["seconds"] = {
        "earlier": runner.spent,
        "train": outcome.trained - started,
        "test": time.time() - outcome.trained,
    }
    if cfg.get("on_bad_image") == "skip":
        _add_skipped_images(record, runner, folder)
    if is_main_process():
        if outcome.status == "done":
            record.update(resolved.task.finish(runner, cfg, outcome.metrics, folder))
        record |= _hub_facts()
        refuse_removed(folder)
        record["seconds"]["total"] = runner.spent + time.time() - started
        write_json(folder / RECORD, record)
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
    return record


def _record_of_main(folder: Path) -> dict | None:
    """Return the record that the first of several processes found once it held the lock; None if the run is to be trained."""
    from mmengine.dist import broadcast_object_list

    records = [read_record(folder)]
    broadcast_object_list(records)
    return records[0]


def _show(runner, console: RunConsole, folder: Path, data_folder: str) -> None:
    """Show a run on a console from here on, and keep the log of everything else in its folder."""
    console.keep_log(folder / LOG)
    console.listen(runner.logger)
    runner.watch = console.show
    with explained():
        console.say(facts_of_data(runner, data_folder))


def _prepare_folder(runner, resolved: Resolved, folder: Path, resumed_from: str | None) -> None:
    """Remove what an earlier process left half written, and write the files that say what is run."""
    if resumed_from:
        runner.logger.warning(f"Going on from {folder / resumed_from}; --restart starts the run over.", extra=SHOWN)
    else:
        for name in (SKIPPED, PROGRESS):
            (folder / name).unlink(missing_ok=True)
    for name in remove_parts(folder):
        runner.logger.warning(f"Removed {name}, which an earlier process of this run left half written.", extra=SHOWN)
    write_text(folder / CONFIG, dump(resolved))
    write_json(folder / CONTENT, resolved.key.content)


def _train_and_test(runner, remarks: list[str]) -> Outcome:
    """Train and test; return the outcome with ``remarks`` and, if the run diverged, the reason.

    Raises:
        ValueError: a process that loads data was killed, or the first update failed.
    """
    from tools.engine.training.hooks import StopHook
    from tools.engine.training.runner import end_workers

    try:
        runner.train()
        trained = time.time()
        metrics = {name: float(value) for name, value in runner.test().items()}
        return Outcome("done", metrics, trained, remarks)
    except Exception as error:
        if lost_worker(error):
            raise ValueError(
                f"{str(error).split(': ')[0].rstrip('. ')}; if memory is short, lower num_workers with --cfg-options. The same "
                "command continues from the last checkpoint."
            ) from None
        reason = divergence(runner, error)
        if not reason and updates(runner):
            raise
        if not reason:
            raise start_error(error) from error
        trained = time.time()
        runner.logger.error(reason, extra=SHOWN)
        return Outcome("diverged", {}, trained, [*remarks, reason])
    finally:
        end_workers(runner)
        for hook in runner.hooks:
            if isinstance(hook, StopHook):  # MMEngine does not call its after_train when training fails
                hook.restore()


def _add_skipped_images(record: dict, runner, folder: Path) -> None:
    """Add the training images that were skipped to ``record``, and a remark on them."""
    record["skipped_images"] = skipped = skipped_images(folder)
    if skipped:
        remark = f"Training images that could not be read were replaced by the next ones ({len(skipped)}): {first_names(skipped)}"
        record["remarks"] = [*record["remarks"], remark]
        runner.logger.warning(remark, extra=SHOWN)


def _data_facts(resolved: Resolved) -> dict[str, Any]:
    """Return the fingerprint of the data and, if ``prepare_data.py`` made or checked this very data, its recipe and digest.

    The digest is of all content; the recipe says of what the data is a subset.
    """
    fingerprint = resolved.key.content["data"]
    facts = {"fingerprint": fingerprint, "digest": read_digest(resolved.data_folder, fingerprint)}
    subset = read_recipe(Path(resolved.data_folder))
    return facts | ({"subset": msgspec.to_builtins(subset)} if subset else {})


def _hub_facts() -> dict[str, dict]:
    """Return the certificate and the speed of the run, if hooks left them in MMEngine's message hub."""
    from mmengine.logging import MessageHub

    info = MessageHub.get_current_instance().runtime_info
    return {name: dict(info[name]) for name in ("certificate", "speed") if info.get(name)}


def dump(resolved: Resolved) -> str:
    """Return the text of a run's config.py: the resolved config, and what it was resolved from."""
    return dumped_text(resolved.cfg, resolved.origin, resolved.machine, resolved.card, resolved.key.name)


def updates(runner) -> int:
    """Return the number of updates that this process has made."""
    from tools.engine.training.hooks import ProgressHook

    return sum(len(hook.ends) for hook in runner.hooks if isinstance(hook, ProgressHook))


def lost_worker(error: Exception) -> bool:
    """Return whether ``error`` says that a process which loads data was killed."""
    return isinstance(error, RuntimeError) and str(error).startswith("DataLoader worker (pid")


def divergence(runner, error: Exception) -> str | None:
    """Return a sentence if training ended with ``error`` because the run diverged, else None.

    A NaN or infinite value can make a model fail before it returns a loss, for example in the boxes of a detector.
    """
    from tools.engine.training.hooks import Diverged, not_finite

    if isinstance(error, Diverged):
        return str(error)
    if name := not_finite(runner.model):
        return f"The tensor {name} of the model is not finite, and training failed on it ({error}). Lower the learning rate."
    return None
