"""Check that files in a run's folder that are damaged, or are no files, are named and passed over, or refused in one sentence."""

import json
import os
import shutil
import sys
from pathlib import Path

import pytest
import torch

from tests.helpers.bad_input import CLASSIFIER, SMALL
from tests.helpers.bad_input import refused as refused
from tests.helpers.bad_input import world as world
from tests.helpers.graph import DEMO
from tools import collect as collect_tool
from tools import study as study_tool
from tools.engine.run_folder import CONTENT, CURVE, LOCK, PROGRESS, RECORD, locked, read_curve, refuse_odd, refuse_removed
from tools.engine.studies.collect import collect
from tools.engine.studies.graph import rows_of, why
from tools.engine.studies.study import load_study
from tools.engine.training.checkpoints import last_checkpoint
from tools.engine.training.starting import held_folder


@pytest.fixture
def rows(toy_root, tmp_path, monkeypatch) -> list:
    """Return the rows of a study, all finished."""
    monkeypatch.setenv("DATA_ROOT", str(toy_root.parent))
    monkeypatch.chdir(tmp_path)
    rows = list(rows_of(load_study(DEMO, "toy", ["scratch"])))
    for row in rows:
        record = dict(key=row.key, node="transfer", task=row.task, network="resnet50", split="val", seed=0, status="done")
        record |= dict(metrics={"mAP": 1.0}, protocol={"name": "toy"}, seconds={"total": 1.0}, machine={"device": "cpu"})
        row.folder.mkdir(parents=True)
        (row.folder / RECORD).write_text(json.dumps(record))
        (row.folder / CONTENT).write_text(json.dumps(row.run_key.content))
    return rows


WHOLE = {"state_dict": {"a": torch.zeros(3)}, "meta": {"iter": 7}}
ODD = {
    "a list": lambda path: torch.save([1], path),
    "no meta": lambda path: torch.save(WHOLE | {"meta": None}, path),
    "weights alone": lambda path: torch.save({"state_dict": WHOLE["state_dict"]}, path),
    "text as updates": lambda path: torch.save(WHOLE | {"meta": {"iter": "7"}}, path),
    "an empty file": lambda path: path.touch(),
    "a folder": lambda path: path.mkdir(),
    "a link to itself": lambda path: path.symlink_to(path),
    "a link to nothing": lambda path: path.symlink_to("nowhere"),
    "a pipe": lambda path: os.mkfifo(path),
}


@pytest.mark.parametrize("kind", ODD)
def test_a_run_goes_on_from_the_last_good_checkpoint(tmp_path, kind):
    torch.save(WHOLE, tmp_path / "iter_7.pth")
    ODD[kind](tmp_path / "iter_9.pth")
    torch.save([1], tmp_path / "of_a_user.pth")
    unread = []
    assert last_checkpoint(tmp_path, unread).name == "iter_7.pth" and unread == ["iter_9.pth"]


@pytest.mark.parametrize("name", [RECORD, PROGRESS, CONTENT, CURVE, LOCK, "log.txt", "config.py", "epoch_3.pth"])
@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo], ids=["folder", "pipe"])
def test_what_is_not_a_file_where_a_run_writes_one_is_refused(tmp_path, name, make):
    if name == "epoch_3.pth" and make is os.mkfifo:
        return refuse_odd(tmp_path)  # a pipe is replaced by a checkpoint
    make(tmp_path / name)
    with pytest.raises(ValueError, match=f"{name} is not a file, so the run cannot write it; remove it"):
        with held_folder(tmp_path):
            pass


def test_a_file_in_place_of_the_folder_of_a_run_is_refused(refused, world, tmp_path):
    (tmp_path / "run").write_text("x")
    text = refused("train", CLASSIFIER, *SMALL, "--work-dir", tmp_path / "run")
    assert "run is not a folder" in text and "--work-dir" in text


@pytest.mark.parametrize("removed", ["folder", "folder and made again"])
def test_a_run_whose_folder_is_removed_ends_in_one_sentence(refused, world, tmp_path, monkeypatch, removed):
    """Remove the folder at the first update; the run must not make it anew without its lock."""
    folder = tmp_path / "run"

    def remove(hook, runner, *args, **kwargs) -> None:
        shutil.rmtree(folder)
        if removed != "folder":
            folder.mkdir()
            (folder / LOCK).touch()

    monkeypatch.setattr("tools.engine.training.hooks.StopHook.after_train_iter", remove)
    text = refused("train", CLASSIFIER, *SMALL, "model.backbone.base_channels=8", "--work-dir", folder)
    assert f"{folder} was removed while its run was going on, so the run has ended; start it again" in text
    assert not list(folder.glob("*.pth")) and not (folder / RECORD).exists()


def test_a_removed_folder_is_none_of_another_process(tmp_path):
    refuse_removed(tmp_path)  # this process does not hold it
    with locked(tmp_path):
        refuse_removed(tmp_path)


BROKEN = ["{", "[1]", "null", '{"status": 1}', '{"status": "done", "metrics": [1]}', '{"status": "done"}', "\xff"]


@pytest.mark.parametrize("text", BROKEN)
def test_status_and_collect_name_a_broken_record_and_go_on(rows, monkeypatch, capsys, text):
    bad, good = rows[0], rows[1:]
    (bad.folder / RECORD).write_bytes(text.encode("latin-1"))
    monkeypatch.setattr(sys, "argv", ["study.py", "status", DEMO, "--recipes", "scratch"])
    study_tool.study()
    lines = {line.split()[0]: line for line in capsys.readouterr().out.splitlines() if line}
    lacks_all = text == '{"status": "done"}'
    assert ("unreadable" in lines[bad.key]) != lacks_all and all("done" in lines[row.key] for row in good)
    assert lacks_all or str(bad.folder / RECORD) in lines[bad.key]
    monkeypatch.setattr(sys, "argv", ["collect.py", DEMO, "--recipes", "scratch"])
    collect_tool.collect()
    written = capsys.readouterr()
    assert written.err.startswith("left out: ") and str(bad.folder / RECORD) in written.err
    table = (Path(written.out.strip())).read_text()
    assert bad.key not in table and all(row.key in table for row in good)


def test_a_study_with_a_broken_record_is_not_run(rows, monkeypatch):
    (rows[0].folder / RECORD).write_text("{")
    monkeypatch.setattr(sys, "argv", ["study.py", "run", DEMO, "--recipes", "scratch"])
    with pytest.raises(ValueError, match=f"{rows[0].folder / RECORD} is not JSON"):
        study_tool.study()


@pytest.mark.parametrize("text", ["{", "[1]", '{"phase": "lunch"}', "", "\xff"])
def test_progress_and_keys_that_cannot_be_read_stop_nothing(rows, text):
    row = rows[0]
    (row.folder / RECORD).unlink()
    for name in (PROGRESS, CURVE):
        (row.folder / name).write_bytes(text.encode("latin-1"))
    assert row.state() == "waiting" and row.progress() == 0 and read_curve(row.folder / CURVE) == []
    (rows[1].folder / CONTENT).write_bytes(text.encode("latin-1"))
    assert why(row)
    if text != '{"phase": "lunch"}':  # a dict, and so a key of a run
        with pytest.raises(ValueError, match="No run of demo at scale toy has finished"):
            collect(load_study(DEMO, "toy", ["scratch"]))
