"""One run: train, test, keep per-image results, and write the record last."""

import copy
import os
import time
from contextlib import nullcontext
from pathlib import Path

from backbones.checking import some
from backbones.files import remove_parts, write_json, write_text
from backbones.kept import check_device
from tools.engine.config import load, task_of
from tools.engine.record import CONFIG, CONTENT, RECORD, SKIPPED, describe, locked, peak_memory_gb, skipped_images


def run(cfg, key: str, folder: Path, launcher: str = "none", resume: bool = False) -> dict:
    """Trains and tests what ``cfg`` says and returns the record, which is also ``folder/record.json``.

    Args:
        cfg: a resolved config.
        key: of the run.
        folder: where everything goes; made if need be. It is locked, so that a run is never made twice at once.
        launcher: 'none', 'pytorch' or 'slurm', as in MMEngine.
        resume: go on from the last checkpoint in ``folder``.

    Raises:
        ValueError: what ``check_device`` and ``check_data`` of the task refuse, another process runs this run, or there is no
            room for its files.
        Stopped: a signal stopped the run, see ``tools.engine.hooks.StopHook``.
    """
    check_device()
    task = task_of(cfg)
    remarks = task.check_data(cfg)
    folder.mkdir(parents=True, exist_ok=True)
    rank = int(os.environ.get("RANK", os.environ.get("SLURM_PROCID", 0))) if launcher != "none" else 0
    with locked(folder) if rank == 0 else nullcontext():
        return _run(cfg, key, folder, launcher, resume, remarks)


def _run(cfg, key: str, folder: Path, launcher: str, resume: bool, remarks: list[str]) -> dict:
    import torch
    from mmengine.dist import is_main_process
    from mmengine.logging import MessageHub

    from tools.engine.heap import keep_freed_memory
    from tools.engine.hooks import StopHook
    from tools.engine.runner import end_workers

    keep_freed_memory()
    task = task_of(cfg)
    cfg.work_dir, cfg.run, cfg.launcher = str(folder), str(key), launcher
    started = time.time()
    runner = build_runner(cfg, resume, remarks)
    resumed_from = Path(runner._load_from).name if runner._resume else None
    if is_main_process():
        if not resumed_from:
            (folder / SKIPPED).unlink(missing_ok=True)
        for name in remove_parts(folder):
            runner.logger.warning(f"Removed {name}, which an earlier process of this run left half written.")
        write_text(folder / CONFIG, runner.cfg.pretty_text)
        write_json(folder / CONTENT, getattr(key, "content", {}))
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
                f"{str(error).split(': ')[0].rstrip('. ')}; where memory is short, lower train_dataloader.num_workers with "
                "--cfg-options. Go on from the last checkpoint with --resume."
            ) from None
        if not (found := divergence(runner, error)):
            raise
        metrics, status, trained = {}, "diverged", time.time()
        remarks = [*remarks, found]
        runner.logger.error(found)
    finally:
        end_workers(runner)
        for hook in runner.hooks:
            if isinstance(hook, StopHook):  # which is not told when training fails
                hook.restore()
    record = describe(cfg, key, status, metrics)
    record |= {"remarks": remarks, "resumed_from": resumed_from, "updates": runner.max_iters}
    record |= {"epochs": runner.max_iters / len(runner.train_dataloader), "peak_memory_gb": peak_memory_gb()}
    record["seconds"] = {"earlier": runner.spent, "train": trained - started, "test": time.time() - trained}
    if cfg.get("on_bad_image") == "skip":
        record["skipped_images"] = skipped = skipped_images(folder)
        if skipped:
            found = f"Training images that could not be read were replaced by the next ones ({len(skipped)}): {some(skipped)}"
            record["remarks"] = [*remarks, found]
            runner.logger.warning(found)
    if is_main_process():
        if status == "done":
            record.update(task.finish(runner, cfg, metrics, folder))
        for name in ("certificate", "speed"):
            if found := MessageHub.get_current_instance().runtime_info.get(name):
                record[name] = dict(found)
        record["seconds"]["total"] = runner.spent + time.time() - started
        write_json(folder / RECORD, record)
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
    return record


def lost_worker(error: Exception) -> bool:
    """Whether ``error`` says that a process which loads data was killed."""
    return isinstance(error, RuntimeError) and str(error).startswith("DataLoader worker (pid")


def divergence(runner, error: Exception) -> str | None:
    """A sentence where ``error``, with which training ended, is that the run diverged; else None.

    What is no number can make a model fail before its loss is there: the boxes of a detector, say.
    """
    from tools.engine.hooks import Diverged, not_finite

    if isinstance(error, Diverged):
        return str(error)
    if name := not_finite(runner.model):
        return f"The tensor {name} of the model is not finite, and training failed on it ({error}); lower the learning rate."
    return None


def build_runner(cfg, resume: bool = False, remarks: list[str] | None = None):
    """MMEngine's runner of a resolved config, with the batch divided among the processes.

    ``remarks`` gets a sentence where it cannot go on from what was saved last.
    """
    import torch

    from tools.engine import speed
    from tools.engine.runner import ExactRunner, Written, last_checkpoint

    task = task_of(cfg)
    world = int(os.environ.get("WORLD_SIZE", os.environ.get("SLURM_NTASKS", 1))) if cfg.launcher != "none" else 1
    ready = copy.deepcopy(cfg)
    ready.train_dataloader.batch_size, ready.optim_wrapper.accumulative_counts = divide(cfg, world)
    if cfg.launcher == "pytorch" and not torch.cuda.is_available():  # MMEngine's own start wants a GPU for each process
        if not torch.distributed.is_initialized():
            torch.distributed.init_process_group("gloo")
        wrapper = ready.get("model_wrapper_cfg") or dict(type="MMDistributedDataParallel", broadcast_buffers=False)
        ready.model_wrapper_cfg = wrapper | dict(device_ids=None)
        ready.pop("sync_bn", None)  # torch has SyncBN on GPUs only: on CPUs each process takes its own statistics
    for loader in (ready.train_dataloader, ready.test_dataloader):
        if not loader.num_workers:
            loader.persistent_workers = False
    speed.prepare(ready)
    if cfg.get("on_bad_image") == "skip":
        ready.train_dataloader.skipped = str(Path(cfg.work_dir) / SKIPPED)
    evaluator = ready.test_evaluator
    evaluator.out_file = str(Path(cfg.work_dir) / task.PER_IMAGE)
    if cfg.val_interval:
        ready.train_cfg.val_interval = cfg.val_interval
        ready.val_dataloader, ready.val_cfg = ready.test_dataloader, dict()
        ready.val_evaluator = {k: v for k, v in evaluator.items() if k != "out_file"}
    own = ("runner.ExactHook", "hooks.DivergenceHook", "hooks.ProgressHook", "hooks.CurveHook", "hooks.StopHook")
    ready.custom_hooks = [*ready.get("custom_hooks", []), *(dict(type=f"tools.engine.{name}") for name in own)]
    if world > 1 and not any(hook["type"] == "SyncBuffersHook" for hook in ready.custom_hooks):
        ready.custom_hooks.append(dict(type="SyncBuffersHook"))  # else each would test with BN statistics of its own
    ready.default_hooks.checkpoint.max_keep_ckpts = -1  # ExactRunner keeps the last
    # by itself the name is the config's and the second: two runs of one second would share a visualiser, and so a folder
    ready.experiment_name = f"{Path(cfg.work_dir).name}-{time.time_ns()}"
    unread: list[str] = []
    if resume and (found := last_checkpoint(Path(cfg.work_dir), unread)):
        ready.resume, ready.load_from = True, str(found)
    if unread and remarks is not None:
        start = f"went on from {found.name}" if found else "started anew"
        remarks.append(f"{', '.join(unread)} could not be read as a checkpoint, so the run {start}.")
    return ExactRunner.from_cfg(Written(ready._cfg_dict, cfg_text=cfg.pretty_text, filename=cfg.filename))


def divide(cfg, world: int) -> tuple[int, int]:
    """A batch over ``world`` processes: images of an update in each, and into how many micro-batches they are divided.

    A task whose config has ``micro_batch``, the images over which BN takes its statistics, gets the rest by accumulation.

    Raises:
        ValueError: it cannot be divided so; names the numbers of processes that can.
    """
    micro = min(cfg.micro_batch, cfg.batch) if "micro_batch" in cfg else None
    if cfg.batch % (world * (micro or 1)) == 0:
        return cfg.batch // world, cfg.batch // (world * micro) if micro else 1
    parts = cfg.batch // (micro or 1)
    if not micro:
        raise ValueError(f"The batch of {cfg.batch} cannot be divided among {world} processes; choose another number of them.")
    if cfg.batch % micro:
        raise ValueError(f"The batch of {cfg.batch} is no multiple of micro_batch, {micro}; give --cfg-options micro_batch=N.")
    counts = ", ".join(str(n) for n in range(1, parts + 1) if parts % n == 0)
    raise ValueError(
        f"The batch of {cfg.batch} in parts of {micro}, over which BN takes its statistics (micro_batch), can be divided among "
        f"{counts} processes, not {world}; choose another number of them, or --cfg-options micro_batch=N."
    )


def build_model(cfg):
    """The model of a resolved config, outside a runner."""
    from mmengine.registry import MODELS, init_default_scope

    init_default_scope(cfg.default_scope)
    return MODELS.build(cfg.model)


def load_run(config: str, checkpoint: Path):
    """The dumped config of a run, ready to test or export ``checkpoint``.

    Raises:
        ValueError: no such file, or a config that no run has dumped.
    """
    cfg = load(config)
    if "run" not in cfg:
        raise ValueError(f"{config} is no run's config; give the config.py beside the checkpoint, which says what was trained.")
    if not checkpoint.is_file():
        found = ", ".join(sorted(p.name for p in checkpoint.parent.glob("*.pth"))) or "none"
        raise ValueError(f"There is no checkpoint {checkpoint}; in that folder: {found}.")
    cfg.pop("visualizer", None)  # what trained sent its scalars there
    if "teacher" in cfg:  # trained with it; neither testing nor a card has any use for it
        cfg.model.distillation = None
    return cfg
