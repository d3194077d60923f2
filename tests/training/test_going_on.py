"""Check that train.py goes on from the checkpoint of a stopped run by itself, and what --restart does."""

import json
import math
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from backbones.common.project import ROOT
from tests.helpers.bad_input import CLASSIFIER, SMALL
from tests.helpers.bad_input import world as world
from tools import train as train_tool
from tools.engine.cli import main
from tools.engine.run_folder import read_progress
from tools.engine.stopping import STOPPED
from tools.engine.training.hooks import ProgressHook
from tools.engine.training.starting import held_folder


@pytest.fixture
def train(world, tmp_path, monkeypatch, capfd):
    """Return a function that runs train.py and returns its status and output; ``stop_at`` is an update, 'start' or 'test'."""

    def run(*options: str, stop_at: int | str | None = None) -> tuple[int, str]:
        line = ["train.py", CLASSIFIER, *SMALL, "model.backbone.base_channels=8", "--work-dir", str(tmp_path / "run"), *options]
        monkeypatch.setattr(sys, "argv", line)
        monkeypatch.setattr(sys, "path", list(sys.path))
        with monkeypatch.context() as patch:
            if stop_at == "test":
                patch.setattr(ProgressHook, "after_test_iter", lambda *_, **__: signal.raise_signal(signal.SIGHUP))
            elif stop_at == "start":
                patch.setattr("tools.engine.training.run._prepare_folder", lambda *_: signal.raise_signal(signal.SIGTERM))
            elif stop_at:
                patch.setattr(ProgressHook, "before_train_iter", _signal_at(stop_at))
            with pytest.raises(SystemExit) as end:
                main(train_tool.train)
        out, errors = capfd.readouterr()
        assert "Traceback" not in errors, errors
        return end.value.code, out + errors

    return run


def _signal_at(update: int):
    before = ProgressHook.before_train_iter

    def hook(self, runner, *args, **kwargs) -> None:
        if runner.iter + 1 == update:
            signal.raise_signal(signal.SIGHUP)
        before(self, runner, *args, **kwargs)

    return hook


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("*.pth"))


def test_a_stopped_run_goes_on_by_itself_and_says_so(train, tmp_path):
    folder = tmp_path / "run"
    assert train(stop_at=3)[0] == STOPPED and names(folder) == ["iter_3.pth"]
    progress = read_progress(folder)
    assert (progress.stopped, progress.saved, progress.done) == (True, 3, 3)
    status, text = train()
    assert status == 0 and f"Going on from {folder}/iter_3.pth; --restart starts the run over." in text
    assert json.loads((folder / "record.json").read_text())["resumed_from"] == "iter_3.pth"
    status, text = train("--restart")
    assert status == 2 and "holds a finished run, which --restart does not touch" in text


def test_the_console_has_a_few_lines_and_the_log_has_all(world, tmp_path):
    folder = tmp_path / "run"
    line = [sys.executable, ROOT / "tools/train.py", CLASSIFIER, *SMALL, "model.backbone.base_channels=8", "--work-dir", folder]
    process = subprocess.run(list(map(str, line)), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    status, text = process.returncode, process.stdout
    lines, log = text.splitlines(), (folder / "log.txt").read_text()
    assert status == 0 and "mmengine" not in text and "Epoch(train)" in log and "System environment" in log
    assert lines[:3] == ["classification: resnet50 at scale toy, seed 0", "tricks: none", f"folder: {folder}"]
    assert lines[3].startswith(f"data: {tmp_path / 'data/toy/imagenet'}, ") and lines[4].startswith("length: 1 epoch, ")
    assert lines[5].startswith("iteration 1/") and lines[-2].startswith("done: top1 ") and lines[-1] == str(folder)
    assert len(lines) < 20 and math.isfinite(read_progress(folder).loss)


def test_restart_starts_over_and_removes_old_checkpoints_once_it_trains(train, tmp_path):
    folder = tmp_path / "run"
    assert train(stop_at=3)[0] == STOPPED
    assert train("--restart", stop_at="start")[0] == STOPPED and names(folder) == ["iter_3.pth"]
    assert train("--restart", stop_at=2)[0] == STOPPED and names(folder) == ["iter_2.pth"]
    status, text = train("--restart")
    assert status == 0 and "Going on from" not in text
    assert json.loads((folder / "record.json").read_text())["resumed_from"] is None


def test_a_signal_in_the_test_keeps_the_last_checkpoint(train, tmp_path):
    folder = tmp_path / "run"
    assert train(stop_at="test")[0] == STOPPED and names(folder) == ["epoch_1.pth"]
    assert train()[0] == 0 and json.loads((folder / "record.json").read_text())["resumed_from"] == "epoch_1.pth"


def test_a_signal_before_the_first_update_leaves_no_folder(train, tmp_path):
    assert train(stop_at="start")[0] == STOPPED and not (tmp_path / "run").exists()


def test_resume_and_restart_exclude_each_other(train):
    status, text = train("--resume", "--restart")
    assert status == 2 and "not allowed with argument --resume" in text


def test_a_folder_that_was_there_stays_after_a_failed_start(tmp_path):
    (tmp_path / "iter_3.pth").touch()
    with pytest.raises(KeyError):
        with held_folder(tmp_path):
            raise KeyError
    assert names(tmp_path) == ["iter_3.pth"]
