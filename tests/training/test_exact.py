"""Check that a stopped and resumed run equals the undisturbed one to the last bit, and that loader workers change nothing."""

import pickle
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.helpers.exact import CLASSIFIER, DETECTOR, SEGMENTER, assert_same, config, trained
from tools.engine.training.checkpoints import check_checkpoint, last_checkpoint
from tools.engine.training.seeding import SampleIndex, own_randomness, seed_everything, seed_of


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
    torch.save({"state_dict": {"a": torch.zeros(100)}, "meta": {"iter": 1}, "optimizer": {}}, tmp_path / "epoch_1.pth")
    whole = (tmp_path / "epoch_1.pth").read_bytes()
    for size in (0, 1, 100, len(whole) - 1):
        time.sleep(0.01)
        (tmp_path / "epoch_2.pth").write_bytes(whole[:size])
        assert last_checkpoint(tmp_path).name == "epoch_1.pth", size
        with pytest.raises(ValueError, match="epoch_2.pth cannot be read as a checkpoint"):
            check_checkpoint(tmp_path / "epoch_2.pth")
    (tmp_path / "epoch_2.pth").write_bytes(whole)
    assert last_checkpoint(tmp_path).name == "epoch_2.pth"
