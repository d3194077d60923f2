"""Make short runs that are stopped, killed and compared."""

import os
import signal
from pathlib import Path

import torch
from mmengine.hooks import Hook

from backbones.resolving import Machine
from tools.engine.config import Options, Resolved, resolve
from tools.engine.stopping import STOPPED, Stopped
from tools.engine.training.building import build_runner
from tools.engine.training.checkpoints import last_checkpoint
from tools.engine.training.runner import end_workers

CLASSIFIER, DETECTOR, SEGMENTER = (
    f"configs/{name}_toy.py" for name in ("classification/resnet50", "detection/faster_rcnn_fpn", "segmentation/fcn")
)
SMALL = {"batch": 2, "micro_batch": 2, "model.backbone.base_channels": 8}


class Kill(Hook):
    """Send SIGTERM to the process after ``after`` updates."""

    priority = "NORMAL"

    def __init__(self, after: int):
        self.after = after

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        if runner.iter + 1 == self.after:
            os.kill(os.getpid(), signal.SIGTERM)


class SaveAndStop(Hook):
    """Save a checkpoint after ``after`` updates and stop training, in all processes at once."""

    priority = "LOWEST"  # after the schedules have stepped

    def __init__(self, after: int):
        self.after = after

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        if runner.iter + 1 == self.after:
            runner.save_checkpoint(runner.work_dir, f"iter_{self.after}.pth", by_epoch=False)
            raise Stopped(STOPPED)


def resolved_config(path: str, processes: int = 1, workers: int = 0, tricks: list = (), **overrides) -> Resolved:
    """Resolve the config ``path`` for two epochs of two images at a narrow width."""
    dense = path != CLASSIFIER
    if dense:
        values = {"scratch_backbone.base_channels": 8, "protocol.batch": 2, "protocol.length.epochs": 2}
    else:
        values = SMALL | {"epochs": 2}
    values = values | {"train_dataloader.num_workers": workers, "test_dataloader.num_workers": 0} | overrides
    options = Options(tricks=list(tricks), backbone="scratch" if dense else None, overrides=values)
    return resolve(path, options, Machine.here(processes))


def config(path: str, folder: Path, workers: int = 0, kill: int | None = None, processes: int = 1, **overrides):
    """Return the config of ``resolved_config``, ready for ``build_runner`` in ``folder``; ``kill`` is an update to stop after."""
    resolved = resolved_config(path, processes, workers, **overrides)
    cfg = resolved.cfg
    cfg.work_dir, cfg.launcher, cfg.run = str(folder), "none", resolved.key.name
    if kill:
        cfg.custom_hooks.append(dict(type="tests.helpers.exact.Kill", after=kill))
    return cfg


def trained(cfg, resume: bool = False) -> dict:
    """Train a run and return what its last checkpoint holds, or {} if a signal stopped it."""
    runner = build_runner(cfg, resume)
    try:
        runner.train()
    except Stopped as stop:
        assert stop.code == STOPPED
        return {}
    finally:
        end_workers(runner)
    state = torch.load(last_checkpoint(Path(cfg.work_dir)), weights_only=True)
    return {name: state[name] for name in ("state_dict", "optimizer", "param_schedulers")}


def assert_same(a, b) -> None:
    """Assert that two nested structures are equal, tensors bit by bit."""
    if isinstance(a, dict):
        assert a.keys() == b.keys()
        for key in a:
            assert_same(a[key], b[key])
    elif isinstance(a, list | tuple):
        assert len(a) == len(b)
        for item_a, item_b in zip(a, b, strict=True):
            assert_same(item_a, item_b)
    elif isinstance(a, torch.Tensor):
        assert torch.equal(a, b)
    else:
        assert a == b
