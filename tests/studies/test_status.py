"""Test the table that ``study status`` prints."""

import json

import pytest

from tests.helpers.graph import DEMO
from tools.engine.planning.cost import Costs, past_runs
from tools.engine.planning.status_table import status_lines
from tools.engine.studies.graph import nodes_of
from tools.engine.studies.study import load_study

WIDE, NARROW = 200, 60


@pytest.fixture
def study(toy_root, tmp_path, monkeypatch):
    """Return a study of five runs of which one is done, one was stopped and one failed."""
    monkeypatch.setenv("DATA_ROOT", str(toy_root.parent))
    monkeypatch.chdir(tmp_path)
    study = load_study(DEMO, "toy", ["scratch", "smooth"])
    done, stopped, failed, *_ = nodes_of(study)
    for node in (done, stopped, failed):
        node.folder.mkdir(parents=True)
    record = {"status": "done", "key": done.key, "metrics": {"mAP_area": 1.0, "mAP": 18.574}, "task": done.task}
    record |= {"seconds": {"total": 30.0}, "node": "transfer", "network": "faster_rcnn_fpn", "split": "test", "seed": 0}
    (done.folder / "record.json").write_text(json.dumps(record))
    progress = {"phase": "train", "done": 4, "total": 10, "saved": 4, "updates": 10, "stopped": True, "pid": 1}
    (stopped.folder / "progress.json").write_text(json.dumps(progress))
    (failed.folder / "failed.txt").touch()
    return study


def lines_of(study, columns: int) -> list[str]:
    return list(status_lines(Costs(study, past_runs()), {}, 1, columns))


def test_each_run_has_its_state_and_figure(study):
    lines, keys = lines_of(study, WIDE), [node.key for node in nodes_of(study)]
    assert lines[0].split() == ["key", "state", "metric", "run"]
    assert [line.split()[0] for line in lines[1:6]] == keys
    assert lines[1].split()[1:] == ["done", "mAP", "18.57", "detection", "scratch", "seed", "0"]
    assert lines[2].split()[1:4] == ["stopped,", "38", "%"] and lines[3].split()[1] == "failed"


def test_the_totals_and_the_time_left_follow(study):
    *_, totals, left = lines_of(study, WIDE)
    assert totals == "demo at scale toy: 1 done, 1 stopped, 1 failed, 2 waiting."
    assert left.startswith("4 to do: about ") and left.endswith(" left.")


def test_a_study_that_is_done_has_no_time_left(study, monkeypatch):
    first = load_study(DEMO, "toy", ["scratch"], tasks=["detection"])
    assert lines_of(study, WIDE)[0] and lines_of(first, WIDE)[-1] == "demo at scale toy: 1 done."


@pytest.mark.parametrize("columns", [80, NARROW])
def test_a_narrow_terminal_cuts_no_key_and_no_name(study, columns):
    lines = lines_of(study, columns)
    assert all(len(line) <= columns for line in lines)
    for node in nodes_of(study):
        assert any(node.key in line for line in lines) and any(node.name in line for line in lines)
