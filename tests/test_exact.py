"""Check that a stopped and resumed run equals the undisturbed one to the last bit, and that loader workers change nothing."""

import os
import pickle
import signal
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.hooks import Hook
from mmengine.registry import HOOKS

from backbones.resolving import Machine
from tools.engine.config import Options, Resolved, resolve
from tools.engine.training.checkpoints import check_checkpoint, last_checkpoint
from tools.engine.training.hooks import STOPPED, Stopped
from tools.engine.training.run import build_runner
from tools.engine.training.runner import end_workers
from tools.engine.training.seeding import SampleIndex, own_randomness, seed_everything, seed_of

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


HOOKS.register_module(module=Kill)


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
    cfg = resolved_config(path, processes, workers, **overrides).cfg
    cfg.work_dir, cfg.launcher = str(folder), "none"
    if kill:
        cfg.custom_hooks.append(dict(type="Kill", after=kill))
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


@pytest.mark.slow
@pytest.mark.parametrize("path", [CLASSIFIER, DETECTOR, SEGMENTER])
@pytest.mark.parametrize(("stop", "workers"), [(1, 0), (2, 2), (3, 2)])
def test_a_resumed_run_is_the_undisturbed_one(toy_root, tmp_path, monkeypatch, path, stop, workers):
    monkeypatch.setenv("DATA_ROOT", str(toy_root.parent))
    whole = trained(config(path, tmp_path / "whole"))
    assert trained(config(path, tmp_path / "again", workers, kill=stop)) == {}
    assert last_checkpoint(tmp_path / "again").name == f"iter_{stop}.pth"
    assert_same(trained(config(path, tmp_path / "again", workers), resume=True), whole)
    assert len(list((tmp_path / "again").glob("*.pth"))) == 1


def test_draws_follow_from_seed_epoch_and_index():
    seeds = {seed_of(*parts) for parts in ((0, "sample", 0, 1), (0, "sample", 1, 0), (1, "sample", 0, 1), (0, "update", 0, 1))}
    assert len(seeds) == 4 and all(0 <= seed < 2**63 for seed in seeds)
    seed_everything(5, cuda=False)
    before = torch.rand(1), np.random.rand()
    seed_everything(5, cuda=False)
    with own_randomness(7):
        inside = torch.rand(1), np.random.rand()
    assert (torch.rand(1), np.random.rand()) == before != inside
    index = pickle.loads(pickle.dumps(SampleIndex(3, 8)))
    assert index == 3 and index.epoch == 8


def test_a_checkpoint_with_code_is_refused_and_never_run(tmp_path):
    class Evil:
        def __reduce__(self):
            return Path.touch, (tmp_path / "ran",)

    torch.save({"state_dict": {}, "meta": Evil()}, tmp_path / "evil.pth")
    with pytest.raises(ValueError, match=r"evil.pth holds Python objects besides tensors; it is not loaded"):
        check_checkpoint(tmp_path / "evil.pth")
    assert not (tmp_path / "ran").exists() and last_checkpoint(tmp_path) is None


def test_the_last_whole_checkpoint_is_used(tmp_path):
    torch.save({"a": torch.zeros(100)}, tmp_path / "epoch_1.pth")
    whole = (tmp_path / "epoch_1.pth").read_bytes()
    for size in (0, 1, 100, len(whole) - 1):
        time.sleep(0.01)
        (tmp_path / "epoch_2.pth").write_bytes(whole[:size])
        assert last_checkpoint(tmp_path).name == "epoch_1.pth", size
        with pytest.raises(ValueError, match="epoch_2.pth cannot be read as a checkpoint"):
            check_checkpoint(tmp_path / "epoch_2.pth")
    (tmp_path / "epoch_2.pth").write_bytes(whole)
    assert last_checkpoint(tmp_path).name == "epoch_2.pth"
