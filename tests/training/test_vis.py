"""Check that --vis also sends a run's scalars to MMEngine's backends and changes nothing else about the run."""

import copy
import json
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from mmengine.registry import VISBACKENDS
from mmengine.visualization import LocalVisBackend

from tools.engine.config import Options, resolve
from tools.engine.studies.commands import command
from tools.engine.studies.graph import nodes_of
from tools.engine.studies.study import load_study
from tools.engine.training.building import build_runner, load_run
from tools.engine.training.run import dump
from tools.engine.training.runner import end_workers
from tools.engine.training.visualizers import PACKAGES, backends, missing_named, refuse_missing, visualizer

CLASSIFIER = "configs/classification/resnet50_toy.py"


class FakeVisBackend(LocalVisBackend):
    """Keep the scalars that it is sent."""

    sent: list[dict] = []

    def add_scalars(self, scalar_dict, step=0, file_path=None, **kwargs) -> None:
        self.sent.append(scalar_dict | {"step": step})


@pytest.fixture
def fake(monkeypatch):
    monkeypatch.setitem(VISBACKENDS.module_dict, "FakeVisBackend", FakeVisBackend)
    FakeVisBackend.sent = []
    return FakeVisBackend


@pytest.fixture
def resolved(tmp_path, monkeypatch, toy_root):
    monkeypatch.setenv("DATA_ROOT", str(toy_root.parent))
    overrides = {"batch": 2, "micro_batch": 2, "epochs": 1, "num_workers": 0, "model.backbone.base_channels": 8}
    resolved = resolve(CLASSIFIER, Options(overrides=overrides))
    resolved.cfg.work_dir, resolved.cfg.launcher = str(tmp_path / "run"), "none"
    return resolved


@pytest.fixture
def cfg(resolved):
    return resolved.cfg


def test_all_backends_of_mmengine_have_a_name():
    types = backends()
    assert types["tensorboard"] == "TensorboardVisBackend" and {"local", "wandb", "mlflow", "clearml", "aim"} <= set(types)
    assert set(types.values()) == set(VISBACKENDS.module_dict)


@pytest.mark.parametrize("name, near", [("tensorbord", "nearest: tensorboard"), ("zzz", "all: local, wandb, tensorboard")])
def test_an_unknown_name_is_refused_with_the_nearest(name, near):
    with pytest.raises(ValueError, match=f"--vis has no backend '{name}'.*{near}"):
        visualizer(["wandb", name])


def test_local_scalars_stay_whatever_is_asked_for():
    kinds = [[backend["type"] for backend in visualizer(names)["vis_backends"]] for names in ([], ["local"], ["wandb", "wandb"])]
    assert kinds == [["LocalVisBackend"], ["LocalVisBackend"], ["LocalVisBackend", "WandbVisBackend"]]


def test_a_visualizer_does_not_change_the_key(resolved):
    before = replace(resolved).key
    resolved.cfg.visualizer = visualizer(["tensorboard"])
    assert resolved.key == before


def test_a_backend_gets_the_scalars_and_so_does_the_run_itself(cfg, fake):
    cfg.visualizer = visualizer(["fake"])
    cfg.default_hooks.logger.interval = 2
    runner = build_runner(cfg)
    try:
        runner.train()
    finally:
        end_workers(runner)
    local = [json.loads(line) for path in Path(cfg.work_dir).rglob("scalars.json") for line in path.read_text().splitlines()]
    assert len(fake.sent) == len(local) > 1
    assert [sent["loss"] for sent in fake.sent] == [line["loss"] for line in local]


def test_a_backend_that_is_not_installed_is_named_before_training(cfg, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)  # as if it were not installed
    cfg.visualizer = visualizer(["tensorboard"])
    with pytest.raises(ValueError, match="--vis tensorboard needs a package that is not installed. .*pip install.*tensorboard"):
        with missing_named(["tensorboard"]):
            build_runner(cfg)
    with pytest.raises(ImportError), missing_named([]):
        raise ImportError("something else")


@pytest.mark.parametrize(("name", "package"), [("tensorboard", "tensorboard"), ("wandb", "wandb"), ("dvclive", "pygit2")])
def test_a_package_that_is_not_installed_is_named_before_anything_starts(monkeypatch, name, package):
    monkeypatch.setattr("tools.engine.training.visualizers.find_spec", lambda name: None if name == package else "found")
    with pytest.raises(ValueError, match=f"--vis {name} needs the package {package}, which is not installed; pip install"):
        refuse_missing(["local", name])


def test_each_backend_of_mmengine_with_a_package_of_its_own_names_it():
    assert set(backends()) == {"local", *PACKAGES}


def test_two_runs_of_one_second_keep_their_scalars_apart(cfg, tmp_path, monkeypatch):
    monkeypatch.setattr(time, "strftime", lambda *_: "20260101_000000")
    other = copy.deepcopy(cfg)
    other.work_dir = str(tmp_path / "other")
    first, second = build_runner(cfg), build_runner(other)
    for runner in (first, second):
        assert Path(runner.visualizer.get_backend("LocalVisBackend")._save_dir).is_relative_to(runner.work_dir)
    assert first.logger is not second.logger


def test_testing_a_run_sends_nothing(resolved, tmp_path):
    resolved.cfg.visualizer = visualizer(["tensorboard"])
    (tmp_path / "config.py").write_text(dump(resolved))
    torch.save({"run_key": resolved.key.name, "state_dict": {}}, tmp_path / "epoch_1.pth")
    loaded = load_run(str(tmp_path / "config.py"), tmp_path / "epoch_1.pth")
    assert "visualizer" not in loaded.cfg and not loaded.notices and loaded.key == resolved.key


def test_a_study_passes_the_names_to_its_runs_and_keeps_their_keys():
    plain, sent = (load_study("configs/studies/demo.py", "toy", vis=names) for names in (None, ["tensorboard", "wandb"]))
    assert [node.key for node in nodes_of(sent)] == [node.key for node in nodes_of(plain)]
    assert all("--vis tensorboard wandb" in " ".join(command(node)) for node in nodes_of(sent))
    assert not any("--vis" in command(node) for node in nodes_of(plain))
