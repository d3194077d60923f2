"""Call the tools with bad input and read the one sentence that they answer."""

import importlib
import logging
import shutil
import sys
from pathlib import Path

import pytest

CLASSIFIER, DETECTOR, SEGMENTER = (
    f"configs/{name}_toy.py" for name in ("classification/resnet50", "detection/faster_rcnn_fpn", "segmentation/fcn")
)
SMALL = ["--cfg-options", "batch=2", "num_workers=0", "epochs=1"]
SMALL_DENSE = ["--cfg-options", "protocol.batch=2", "num_workers=0", "protocol.length.epochs=1"]


@pytest.fixture
def world(toy_root, tmp_path, monkeypatch) -> Path:
    """Set DATA_ROOT to a copy of the small synthetic data that a test may spoil, and enter an empty working folder."""
    shutil.copytree(toy_root, tmp_path / "data/toy")
    monkeypatch.setenv("DATA_ROOT", str(tmp_path / "data"))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "data/toy"


@pytest.fixture
def refused(monkeypatch, capsys, tmp_path):
    """Return a function that runs a tool in this process and returns its one sentence: ``refused('train', args...)``."""

    def run(tool: str, *args: str) -> str:
        monkeypatch.setattr(sys, "argv", [f"{tool}.py", *map(str, args)])
        monkeypatch.setattr(sys, "path", list(sys.path))
        monkeypatch.setattr(logging, "raiseExceptions", False)  # MMEngine's logger outlives the stream of an earlier test
        module = importlib.import_module(f"tools.{tool}")
        from tools.engine.cli import main

        with pytest.raises(SystemExit) as stop:
            main(getattr(module, tool.split("_")[0]))
        errors = capsys.readouterr().err
        lines = [line for line in errors.splitlines() if line.startswith("error: ")]
        assert stop.value.code == 2 and len(lines) == 1 and "Traceback" not in errors, errors
        runs = tmp_path / "work_dirs"
        assert not list(runs.rglob("record.json")) and not list(runs.rglob("card.json"))
        return lines[0]

    return run
