"""Check that weights which do not fit a model are refused by name wherever a checkpoint enters: test, --resume and load_from."""

import os
import re
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from backbones.common import files
from tests.helpers.bad_input import CLASSIFIER, DETECTOR, SMALL, SMALL_DENSE
from tests.helpers.bad_input import refused as refused
from tests.helpers.bad_input import world as world
from tools.engine.config import Options, resolve
from tools.engine.training.building import build_model
from tools.engine.training.checkpoints import check_checkpoint, check_fit
from tools.engine.training.run import dump

NARROW = {"batch": 2, "num_workers": 0, "epochs": 1, "model.backbone.base_channels": 8}
NARROW_DENSE = {"protocol.batch": 2, "num_workers": 0, "protocol.length.epochs": 1, "scratch_backbone.base_channels": 8}


def renamed(state: dict, old: str, new: str) -> dict:
    return {name.replace(old, new): tensor for name, tensor in state.items()}


def spoilt(state: dict, value: float) -> dict:
    weight = state["backbone.layer3.0.bn1.weight"].clone()
    weight[:2] = value
    return state | {"backbone.layer3.0.bn1.weight": weight}


FAULTS = {
    "without layer3": (
        lambda s: {name: tensor for name, tensor in s.items() if "layer3" not in name},
        r"114 missing \(backbone\.layer3\.0\.conv1\.weight, .*, \.\.\.\)",
    ),
    "bakbone": (lambda s: renamed(s, "backbone.", "bakbone."), r"missing \(backbone\.conv1.* left over \(bakbone\.conv1"),
    "a tensor more": (lambda s: s | {"neck.weight": torch.zeros(1)}, r": 1 left over \(neck\.weight\)"),
    "another width": (lambda s: s | {"fc.weight": torch.zeros(8, 9)}, r": 1 of another shape \(fc\.weight\)"),
    "NaN": (lambda s: spoilt(s, float("nan")), r"backbone\.layer3\.0\.bn1\.weight holds 2 NaN or infinite values"),
    "infinite": (lambda s: spoilt(s, float("inf")), r"backbone\.layer3\.0\.bn1\.weight holds 2 NaN or infinite values"),
}


class Doors:
    """Bring a state dict to a tool in one of the ways in which a checkpoint enters."""

    def __init__(self, refused, folder: Path):
        self.refused, self.folder = refused, folder
        options = Options(overrides=NARROW)
        self.words = ["--cfg-options", *(f"{key}={value}" for key, value in NARROW.items())]
        self.resolved = resolve(CLASSIFIER, options)

    def model(self) -> torch.nn.Module:
        return build_model(self.resolved.cfg)

    def save(self, state: dict) -> Path:
        run = self.folder / "run"
        run.mkdir(exist_ok=True)
        (run / "config.py").write_text(dump(self.resolved))
        meta = {"iter": 1, "epoch": 1}
        content = {"state_dict": state, "meta": meta, "optimizer": {}, "run_key": self.resolved.key.name}
        torch.save(content, run / "epoch_1.pth")
        return run / "epoch_1.pth"

    def test(self, state: dict) -> str:
        file = self.save(state)
        text = self.refused("test", file.parent / "config.py", file, "--out", self.folder / "out")
        assert not (self.folder / "out").exists()
        return text

    def resume(self, state: dict) -> str:
        file = self.save(state)
        before = {path: path.read_bytes() for path in file.parent.glob("*.*")}
        text = self.refused("train", CLASSIFIER, *self.words, "--resume", "--work-dir", file.parent)
        assert {path: path.read_bytes() for path in before} == before
        return text

    def load_from(self, state: dict) -> str:
        file = self.save(state)
        text = self.refused("train", CLASSIFIER, *self.words, f"load_from={file}", "--work-dir", self.folder / "new")
        assert not (self.folder / "new").exists()
        return text


@pytest.fixture
def doors(refused, world, tmp_path) -> Doors:  # noqa: F811
    return Doors(refused, tmp_path)


@pytest.mark.parametrize("fault", FAULTS)
def test_tensors_that_do_not_fit_a_model_are_named(doors, fault):
    change, message = FAULTS[fault]
    model = doors.model()
    with pytest.raises(ValueError, match=message):
        check_fit(doors.save(change(model.state_dict())), model)


@pytest.mark.parametrize("door", ["test", "resume", "load_from"])
@pytest.mark.parametrize("fault", ["without layer3", "bakbone"])
def test_weights_that_do_not_fit_are_refused_wherever_they_enter(doors, door, fault):
    change, message = FAULTS[fault]
    text = getattr(doors, door)(change(doors.model().state_dict()))
    assert re.search(message, text) and "epoch_1.pth" in text


def test_a_classifiers_checkpoint_is_refused_by_a_detector(doors, refused, tmp_path):  # noqa: F811
    file = doors.save(doors.model().state_dict())
    text = refused("train", DETECTOR, "--backbone", "scratch", *SMALL_DENSE, f"load_from={file}", "--work-dir", tmp_path / "new")
    assert "epoch_1.pth does not fit the FasterRCNN of this config" in text and "left over (fc.weight, fc.bias)" in text
    assert "roi_head" in text or "neck" in text
    assert not (tmp_path / "new").exists()


def test_weights_that_fit_are_loaded(doors, tmp_path):
    from tools.engine.training.building import build_runner
    from tools.engine.training.runner import end_workers

    state = doors.model().state_dict()
    cfg = doors.resolved.cfg
    cfg.work_dir, cfg.launcher, cfg.load_from = str(tmp_path / "new"), "none", str(doors.save(state))
    runner = build_runner(cfg)
    runner.load_or_resume()
    end_workers(runner)
    loaded = runner.model.state_dict()
    assert loaded.keys() == state.keys() and all(torch.equal(loaded[name], state[name]) for name in state)


def test_a_card_and_load_from_contradict_each_other(refused, world, make_card):  # noqa: F811
    text = refused("train", DETECTOR, "--backbone", make_card().path, *SMALL_DENSE, "load_from=x.pth")
    assert "load_from=x.pth and --backbone" in text and "leave out one of them" in text


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([1], "no state_dict of tensors"),
        ({"state_dict": {"a": 1}}, "no state_dict of tensors"),
        ({"a": torch.zeros(1)}, "no state_dict of tensors"),
    ],
)
def test_a_file_that_is_no_checkpoint_is_refused(refused, world, tmp_path, content, message):  # noqa: F811
    torch.save(content, tmp_path / "x.pth")
    assert message in refused("train", CLASSIFIER, *SMALL, f"load_from={tmp_path / 'x.pth'}")
    assert not list((tmp_path / "work_dirs").rglob("config.py"))


def test_a_checkpoint_that_is_not_there_is_refused(refused, world):  # noqa: F811
    assert "There is no checkpoint nowhere.pth" in refused("train", CLASSIFIER, *SMALL, "load_from=nowhere.pth")


def test_a_pipe_is_refused_without_waiting(tmp_path):
    os.mkfifo(tmp_path / "pipe.pth")
    for read in (check_checkpoint, files.read_npz):
        with pytest.raises(ValueError, match=r"pipe\.pth is a pipe or a device and no file"):
            read(tmp_path / "pipe.pth")


def test_an_archive_that_inflates_is_refused_unread(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "INFLATED", 1 << 20)
    path = tmp_path / "x.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("x/data/0", "w") as file:
        file.write(bytes(8 << 20))
    for read in (check_checkpoint, files.read_npz):
        with pytest.raises(ValueError, match=r"has 8,\d+ bytes and would unpack to 8,388,608, which no file of this kind does"):
            read(path)


def test_an_archive_that_packs_well_is_read(tmp_path):
    np.savez_compressed(tmp_path / "x.npz", zeros=np.zeros(1 << 22))  # 1000 to 1
    assert files.read_npz(tmp_path / "x.npz")["zeros"].shape == (1 << 22,)


def test_the_names_of_a_distributed_checkpoint_fit(tmp_path):
    model = torch.nn.Linear(2, 1)
    torch.save({"state_dict": {f"module.{k}": v for k, v in model.state_dict().items()}}, tmp_path / "x.pth")
    check_fit(tmp_path / "x.pth", model)
