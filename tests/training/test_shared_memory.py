"""Check that a run is refused where shared memory is too small for its loader's workers, and that the estimate suffices."""

import os
import shutil
import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch
from torch.utils.data import BatchSampler, DataLoader

from backbones.common.project import ROOT
from tests.helpers.bad_input import CLASSIFIER
from tools.engine.training.seeding import EpochBatchSampler
from tools.engine.training.starting import check_shared_memory


def loader(workers: int) -> DataLoader:
    """Return a loader of 10 samples of 40 kB in batches of 2, with its batch sampler as a run wraps it."""
    data = [{"image": torch.zeros(10_000)} for _ in range(10)]
    made = DataLoader(data, batch_sampler=BatchSampler(range(10), 2, False), num_workers=workers)
    object.__setattr__(made, "batch_sampler", EpochBatchSampler(made.batch_sampler))
    return made


@pytest.mark.parametrize(("workers", "free", "fits"), [(2, 300_000, False), (2, 500_000, True), (0, 0, True)])
def test_the_batches_that_workers_hold_ready_must_fit(monkeypatch, workers, free, fits):
    monkeypatch.setattr(os, "statvfs", lambda path: SimpleNamespace(f_bavail=free, f_frsize=1))
    if fits:
        return check_shared_memory(loader(workers))
    with pytest.raises(ValueError, match=r"2 loader workers need about 0.4\d* MB of shared memory, and /dev/shm has 0.3 MB"):
        check_shared_memory(loader(workers))


def test_processes_of_one_host_share_its_memory(monkeypatch):
    monkeypatch.setattr(os, "statvfs", lambda path: SimpleNamespace(f_bavail=500_000, f_frsize=1))
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    with pytest.raises(ValueError, match=r"need about 0.8\d* MB"):
        check_shared_memory(loader(2))


def can_mount() -> bool:
    """Return whether this user may give a process a /dev/shm of its own."""
    words = ["unshare", "--mount", "mount", "-t", "tmpfs", "tmpfs", "/dev/shm"]
    return bool(shutil.which("unshare")) and subprocess.run(words, capture_output=True).returncode == 0


@pytest.mark.slow
@pytest.mark.skipif(not can_mount(), reason="mounting needs root")
@pytest.mark.parametrize("size", ["64k", "2m"])
def test_a_run_in_a_container_with_little_shared_memory_is_refused_or_ends_well(toy_root, tmp_path, size):
    words = [sys.executable, ROOT / "tools/train.py", CLASSIFIER, "--work-dir", tmp_path / "run", "--cfg-options", "epochs=1"]
    words += ["batch=4", "model.backbone.base_channels=8"]
    line = f"mount -t tmpfs -o size={size} tmpfs /dev/shm && exec {' '.join(map(str, words))}"
    env = os.environ | {"DATA_ROOT": str(toy_root.parent)}
    ended = subprocess.run(
        ["unshare", "--mount", "sh", "-c", line], env=env, cwd=ROOT, capture_output=True, text=True, timeout=300
    )
    if size == "64k":
        assert (
            ended.returncode == 2 and "MB of shared memory, and /dev/shm has" in ended.stderr and "Traceback" not in ended.stderr
        )
        assert not (tmp_path / "run").exists()
    else:
        assert ended.returncode == 0, ended.stderr
