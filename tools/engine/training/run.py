"""One run: train, test, keep per-image results, and write the record last."""

import copy
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

from backbones.common.dataset_checks import first_names
from backbones.common.fact_cache import check_device
from backbones.common.files import remove_parts, write_json, write_text
from backbones.resolving import TRANSFER_HOOK, Machine
from tools.engine.config import Resolved, processes_of, resolve, task_of
from tools.engine.config.dumped import dumped_text
from tools.engine.run_folder import (
    CONFIG,
    CONTENT,
    FAILED,
    LOCK,
    LOG,
    PROGRESS,
    RECORD,
    SKIPPED,
    keep_log,
    locked,
    put_log_out,
    skipped_images,
)
from tools.engine.training.record import describe, peak_memory_gb

RUN_HOOKS = ("runner.ExactHook", "hooks.DivergenceHook", "hooks.ProgressHook", "hooks.CurveHook", "hooks.StopHook")


def run(
    resolved: Resolved,
    folder: Path,
    launcher: str = "none",
    resume: bool = False,
    visualizer: dict | None = None,
) -> dict:
    """Train and test what ``resolved`` says and return the record, which is also ``folder/record.json``.

    Everything that can be checked before training is checked before the folder is made; a start that fails before its first
    update removes the folder that it made.

    Args:
        resolved: the config; its tasks' data is there.
        folder: where everything goes; made if need be. It is locked, so that a run is never made twice at once.
        launcher: 'none', 'pytorch' or 'slurm', as in MMEngine.
        resume: go on from the last checkpoint in ``folder``.
        visualizer: where scalars go, see ``tools.engine.training.visualizers.visualizer``; by default to the folder alone.

    Raises:
        ValueError: what ``check_device`` and ``check_data`` of the task refuse, a backbone that fails its certificate, another
            process runs this run, or there is no room for its files.
        Stopped: a signal stopped the run, see ``tools.engine.training.hooks.StopHook``.
    """
    check_device()
    set_threads(resolved.cfg)
    remarks = resolved.task.check_data(resolved.cfg)
    check_certificate(resolved.cfg)
    rank = int(os.environ.get("RANK", os.environ.get("SLURM_PROCID", 0))) if launcher != "none" else 0
    with held_folder(folder) if rank == 0 else nullcontext():
        cfg = copy.deepcopy(resolved.cfg)
        cfg.work_dir, cfg.run, cfg.launcher = str(folder), resolved.key.name, launcher
        if visualizer:
            cfg.visualizer = visualizer
        return _run(resolved, cfg, folder, resume, remarks)


@contextmanager
def held_folder(folder: Path) -> Iterator[None]:
    """Make a run's folder and hold its lock; remove a new folder where what happens inside fails before a first update.

    The log of a launcher, which moves into the folder, moves out again then.

    Raises:
        ValueError: another process holds it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with locked(folder):
        new = {path.name for path in folder.iterdir()} <= {LOCK, LOG, FAILED}
        keep_log(folder)
        try:
            yield
        except BaseException:
            started = any((folder / name).is_file() for name in (RECORD, PROGRESS)) or any(folder.glob("*.pth"))
            if new and not started:
                put_log_out(folder)
                shutil.rmtree(folder, ignore_errors=True)
            raise


def set_threads(cfg) -> None:
    """Give this process the threads of its config on a CPU; a config that names none takes what torch takes."""
    import torch

    if "threads" in cfg and not torch.cuda.is_available():
        torch.set_num_threads(cfg.threads)


def check_certificate(cfg) -> None:
    """Build the backbone of a transfer with its card's weights, and certify it, without the rest of the model.

    Raises:
        ValueError: see ``backbones.transfer.certificate.certify``.
    """
    for hook in cfg.custom_hooks:
        if hook["type"] == TRANSFER_HOOK:
            from backbones.transfer.certificate import certify_config

            certify_config(cfg, hook)


def _run(resolved: Resolved, cfg, folder: Path, resume: bool, remarks: list[str]) -> dict:
    import torch
    from mmengine.dist import is_main_process
    from mmengine.logging import MessageHub

    from tools.engine.training.hooks import StopHook
    from tools.engine.training.memory import keep_freed_memory
    from tools.engine.training.runner import end_workers

    keep_freed_memory()
    key, task = resolved.key, resolved.task
    started = time.time()
    runner = build_runner(cfg, resume, remarks)
    resumed_from = Path(runner._load_from).name if runner._resume else None
    if is_main_process():
        if not resumed_from:
            (folder / SKIPPED).unlink(missing_ok=True)
        for name in remove_parts(folder):
            runner.logger.warning(f"Removed {name}, which an earlier process of this run left half written.")
        write_text(folder / CONFIG, dump(resolved))
        write_json(folder / CONTENT, key.content)
    runner.logger.info(f"{cfg.task} in {cfg.get('precision', 'float32')}, seed {cfg.randomness.seed}, run {key}")
    for remark in remarks:
        runner.logger.warning(remark)
    try:
        runner.train()
        trained = time.time()
        metrics = {name: float(value) for name, value in runner.test().items()}
        status = "done"
    except Exception as error:
        if lost_worker(error):
            raise ValueError(
                f"{str(error).split(': ')[0].rstrip('. ')}; where memory is short, lower num_workers with --cfg-options. Go on "
                "from the last checkpoint with --resume."
            ) from None
        if not (reason := divergence(runner, error)):
            raise
        metrics, status, trained = {}, "diverged", time.time()
        remarks = [*remarks, reason]
        runner.logger.error(reason)
    finally:
        end_workers(runner)
        for hook in runner.hooks:
            if isinstance(hook, StopHook):  # which is not told when training fails
                hook.restore()
    record = describe(cfg, key.name, status, metrics)
    record |= {"remarks": remarks, "resumed_from": resumed_from, "updates": runner.max_iters}
    record |= {"epochs": runner.max_iters / len(runner.train_dataloader), "peak_memory_gb": peak_memory_gb()}
    record["seconds"] = {"earlier": runner.spent, "train": trained - started, "test": time.time() - trained}
    if cfg.get("on_bad_image") == "skip":
        record["skipped_images"] = skipped = skipped_images(folder)
        if skipped:
            remark = (
                f"Training images that could not be read were replaced by the next ones ({len(skipped)}): {first_names(skipped)}"
            )
            record["remarks"] = [*remarks, remark]
            runner.logger.warning(remark)
    if is_main_process():
        if status == "done":
            record.update(task.finish(runner, cfg, metrics, folder))
        for name in ("certificate", "speed"):
            if facts := MessageHub.get_current_instance().runtime_info.get(name):
                record[name] = dict(facts)
        record["seconds"]["total"] = runner.spent + time.time() - started
        write_json(folder / RECORD, record)
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
    return record


def dump(resolved: Resolved) -> str:
    """Return the text of the config.py of a run: the resolved config, and what it was resolved from."""
    root = os.environ.get("DATA_ROOT", "data")
    return dumped_text(resolved.cfg, resolved.origin, resolved.machine, resolved.card, root, resolved.key.name)


def lost_worker(error: Exception) -> bool:
    """Whether ``error`` says that a process which loads data was killed."""
    return isinstance(error, RuntimeError) and str(error).startswith("DataLoader worker (pid")


def divergence(runner, error: Exception) -> str | None:
    """A sentence where ``error``, with which training ended, is that the run diverged; else None.

    What is no number can make a model fail before its loss is there: the boxes of a detector, say.
    """
    from tools.engine.training.hooks import Diverged, not_finite

    if isinstance(error, Diverged):
        return str(error)
    if name := not_finite(runner.model):
        return f"The tensor {name} of the model is not finite, and training failed on it ({error}); lower the learning rate."
    return None


def build_runner(cfg, resume: bool = False, remarks: list[str] | None = None):
    """Return MMEngine's runner of a resolved config that has its ``work_dir`` and ``launcher``.

    ``remarks`` gets a sentence where it cannot go on from what was saved last.
    """
    import torch

    from tools.engine.training import acceleration as speed
    from tools.engine.training.runner import ExactRunner, PreformattedConfig, last_checkpoint

    if cfg.launcher == "pytorch" and not torch.cuda.is_available() and not torch.distributed.is_initialized():
        torch.distributed.init_process_group("gloo")  # MMEngine's own start wants a GPU for each process
    folder, ready = Path(cfg.work_dir), copy.deepcopy(cfg)
    speed.prepare(ready)
    if cfg.get("on_bad_image") == "skip":
        ready.train_dataloader.skipped = str(folder / SKIPPED)
    ready.test_evaluator = dict(ready.test_evaluator, out_file=str(folder / task_of(cfg).PER_IMAGE))
    ready.custom_hooks = [*ready.get("custom_hooks", []), *(dict(type=f"tools.engine.training.{name}") for name in RUN_HOOKS)]
    ready.default_hooks.checkpoint.max_keep_ckpts = -1  # ExactRunner keeps the last
    # by itself the name is the config's and the second: two runs of one second would share a visualiser, and so a folder
    ready.experiment_name = f"{folder.name}-{time.time_ns()}"
    unread: list[str] = []
    if resume and (checkpoint := last_checkpoint(folder, unread)):
        ready.resume, ready.load_from = True, str(checkpoint)
    if unread and remarks is not None:
        start = f"went on from {checkpoint.name}" if checkpoint else "started anew"
        remarks.append(f"{', '.join(unread)} could not be read as a checkpoint, so the run {start}.")
    return ExactRunner.from_cfg(PreformattedConfig(ready._cfg_dict, cfg_text=cfg.pretty_text, filename=cfg.filename))


def build_model(cfg):
    """The model of a resolved config, outside a runner."""
    from mmengine.registry import MODELS, init_default_scope

    init_default_scope(cfg.default_scope)
    return MODELS.build(cfg.model)


def load_run(config: str, checkpoint: Path, launcher: str = "none") -> Resolved:
    """Resolve the dumped config of a run, ready to test or export ``checkpoint``.

    Raises:
        ValueError: no such file, or a config that no run has dumped.
    """
    resolved = resolve(config, machine=Machine.here(processes_of(launcher)))
    if not resolved.origin.run:
        raise ValueError(f"{config} is no run's config; give the config.py beside the checkpoint, which says what was trained.")
    if not checkpoint.is_file():
        names = ", ".join(sorted(p.name for p in checkpoint.parent.glob("*.pth"))) or "none"
        raise ValueError(f"There is no checkpoint {checkpoint}; in that folder: {names}.")
    cfg = resolved.cfg
    cfg.run = resolved.origin.run
    cfg.pop("visualizer", None)  # what trained sent its scalars there
    if "teacher" in cfg:  # trained with it; neither testing nor a card has any use for it
        cfg.model.distillation = None
    return resolved
