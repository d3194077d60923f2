"""Build the runner or the model of a resolved config, and load the config of a run that has ended."""

import copy
import time
from pathlib import Path

from tools.engine.config import Resolved, RunKey, resolve_run, task_of
from tools.engine.run_folder import SKIPPED, refuse_missing_checkpoint
from tools.engine.training.checkpoints import check_resumed, check_tested

RUN_HOOKS = ("exact_resume.ExactHook", "hooks.DivergenceHook", "hooks.ProgressHook", "hooks.CurveHook", "hooks.StopHook")


def build_runner(cfg, resume: bool = False, remarks: list[str] | None = None, key: RunKey | None = None):
    """Return MMEngine's runner of a resolved config that has its ``work_dir`` and ``launcher``.

    Args:
        cfg: the config; it is not changed.
        resume: continue from the last checkpoint in ``work_dir``.
        remarks: a list to which a sentence is appended if a checkpoint cannot be read.
        key: of the run; the checkpoint of another run is refused.

    Raises:
        ValueError: see ``check_resumed``.
    """
    import torch

    from tools.engine.training.acceleration import prepare
    from tools.engine.training.runner import ExactRunner, PreformattedConfig

    if cfg.launcher == "pytorch" and not torch.cuda.is_available() and not torch.distributed.is_initialized():
        torch.distributed.init_process_group("gloo")  # MMEngine's own start requires a GPU for each process
    folder, run_cfg = Path(cfg.work_dir), copy.deepcopy(cfg)
    prepare(run_cfg)
    if cfg.get("on_bad_image") == "skip":
        run_cfg.train_dataloader.skipped = str(folder / SKIPPED)
    run_cfg.test_evaluator = dict(run_cfg.test_evaluator, out_file=str(folder / task_of(cfg).PER_IMAGE))
    hooks = [dict(type=f"tools.engine.training.{name}") for name in RUN_HOOKS]
    run_cfg.custom_hooks = [*run_cfg.get("custom_hooks", []), *hooks]
    run_cfg.default_hooks.checkpoint.max_keep_ckpts = -1  # ExactRunner removes old checkpoints
    # MMEngine's default name is the config's and the second: two runs of one second would share a visualiser and so a folder
    run_cfg.experiment_name = f"{folder.name}-{time.time_ns()}"
    if resume:
        _resume_from_last(run_cfg, folder, remarks, key)
    return ExactRunner.from_cfg(PreformattedConfig(run_cfg._cfg_dict, cfg_text=cfg.pretty_text, filename=cfg.filename))


def _resume_from_last(run_cfg, folder: Path, remarks: list[str] | None, key: RunKey | None) -> None:
    """Set the checkpoint to resume from in ``run_cfg``, if there is one; append to ``remarks`` which could not be read."""
    from tools.engine.training.checkpoints import last_checkpoint

    unread: list[str] = []
    checkpoint = last_checkpoint(folder, unread)
    if checkpoint:
        if key:
            check_resumed(checkpoint, key)
        run_cfg.resume, run_cfg.load_from = True, str(checkpoint)
    if unread and remarks is not None:
        start = f"continued from {checkpoint.name}" if checkpoint else "started over"
        remarks.append(f"{', '.join(unread)} could not be read as a checkpoint, so the run {start}.")


def build_model(cfg):
    """Build the model of a resolved config outside a runner."""
    from mmengine.registry import MODELS, init_default_scope

    init_default_scope(cfg.default_scope)
    return MODELS.build(cfg.model)


def load_run(config: str, checkpoint: Path, launcher: str = "none") -> Resolved:
    """Resolve the dumped config of a run, to test or export ``checkpoint``.

    Raises:
        ValueError: see ``resolve_run``; the checkpoint is missing or of another run.
    """
    resolved = resolve_run(config, launcher)
    refuse_missing_checkpoint(checkpoint)
    check_tested(checkpoint, config, resolved.origin.run)
    cfg = resolved.cfg
    cfg.run = resolved.origin.run
    cfg.pop("visualizer", None)  # training sent its scalars there
    if "teacher" in cfg:  # only training needs the teacher, neither a test nor a card
        cfg.model.distillation = None
    return resolved
