"""Check that a run goes on from its own checkpoint alone, and takes only its own record for its result."""

import json
import sys

import pytest
import torch

from tests.helpers.exact import CLASSIFIER, config, resolved_config, trained
from tools.engine.run_folder import CONTENT, RECORD, RUNS
from tools.engine.training.building import load_run
from tools.engine.training.checkpoints import check_folder, check_tested, last_checkpoint, run_of
from tools.engine.training.run import Start, dump, run

OTHER = "0123456789ab"


@pytest.fixture
def resolved(toy_root, tmp_path, monkeypatch):
    monkeypatch.setenv("DATA_ROOT", str(toy_root.parent))
    monkeypatch.chdir(tmp_path)
    return resolved_config(CLASSIFIER)


def put_checkpoint(folder, name: str | None) -> None:
    """Save a checkpoint of the run ``name``; None as versions that wrote no key did."""
    folder.mkdir(exist_ok=True)
    torch.save({"state_dict": {}, "meta": {"iter": 4}} | ({"run_key": name} if name else {}), folder / "iter_4.pth")


def test_a_checkpoint_carries_the_key_of_its_run(resolved, tmp_path):
    assert trained(config(CLASSIFIER, tmp_path / "run", kill=1)) == {}
    assert run_of(last_checkpoint(tmp_path / "run")) == resolved.key.name


def test_a_run_does_not_resume_from_the_checkpoint_of_another(resolved, tmp_path):
    put_checkpoint(tmp_path / "run", OTHER)
    with pytest.raises(ValueError, match=rf"iter_4.pth is of the run {OTHER}, and this run is {resolved.key}. Resume it with"):
        run(resolved, tmp_path / "run", Start(resume=True))
    assert [path.name for path in (tmp_path / "run").iterdir() if path.name != "lock"] == ["iter_4.pth"]


def test_the_refusal_of_a_checkpoint_names_what_differs_where_that_is_known(resolved, tmp_path):
    other = resolved_config(CLASSIFIER, epochs=3)
    put_checkpoint(tmp_path / "run", other.key.name)
    (RUNS / other.key.name).mkdir(parents=True)
    (RUNS / other.key.name / CONTENT).write_text(json.dumps(other.key.content))
    with pytest.raises(ValueError, match=r"\(config\.epochs: 3 there, 2 here; .*\)\. Resume"):
        run(resolved, tmp_path / "run", Start(resume=True))


def test_a_checkpoint_without_a_key_is_not_resumed(resolved, tmp_path):
    put_checkpoint(tmp_path / "run", None)
    with pytest.raises(ValueError, match="does not say which run wrote it, so it is not resumed"):
        run(resolved, tmp_path / "run", Start(resume=True))


@pytest.mark.parametrize("resume", [False, True])
def test_a_folder_with_the_files_of_another_run_is_refused(resolved, tmp_path, resume):
    folder, other = tmp_path / "run", resolved_config(CLASSIFIER, epochs=3)
    folder.mkdir()
    (folder / CONTENT).write_text(json.dumps(other.key.content))
    with pytest.raises(
        ValueError, match=rf"holds the run {other.key}, and this run is {resolved.key} \(config.epochs: 3 there, 2"
    ):
        run(resolved, folder, Start(resume=resume))
    check_folder(folder, other.key)


def test_a_finished_record_of_another_run_is_not_taken_as_done(resolved, tmp_path, monkeypatch, capsys):
    from tools.engine.cli import main
    from tools.train import train

    (tmp_path / "run").mkdir()
    (tmp_path / "run" / RECORD).write_text(json.dumps({"key": OTHER, "status": "done"}))
    monkeypatch.setattr(sys, "argv", ["train.py", CLASSIFIER, "--work-dir", str(tmp_path / "run")])
    with pytest.raises(SystemExit) as stop:
        main(train)
    error = capsys.readouterr().err
    assert stop.value.code == 2 and f"run holds the finished run {OTHER}, and this run is" in error


def test_a_record_that_appears_before_the_lock_is_taken_is_the_result(resolved, tmp_path, monkeypatch):
    record = {"key": resolved.key.name, "status": "done", "metrics": {"top1": 12.0}}

    def finish_elsewhere(cfg):
        (tmp_path / "run").mkdir()
        (tmp_path / "run" / RECORD).write_text(json.dumps(record))

    monkeypatch.setattr("tools.engine.training.run.check_certificate", finish_elsewhere)
    assert run(resolved, tmp_path / "run") == record


def test_a_test_takes_a_checkpoint_of_its_own_run_alone(resolved, tmp_path):
    (tmp_path / "config.py").write_text(dump(resolved))
    put_checkpoint(tmp_path, OTHER)
    with pytest.raises(ValueError, match=f"is of the run {OTHER}, and .* is of the run {resolved.key}; give"):
        load_run(str(tmp_path / "config.py"), tmp_path / "iter_4.pth")
    put_checkpoint(tmp_path, None)
    with pytest.raises(ValueError, match="does not say which run wrote it, and"):
        load_run(str(tmp_path / "config.py"), tmp_path / "iter_4.pth")
    put_checkpoint(tmp_path, resolved.key.name)
    check_tested(tmp_path / "iter_4.pth", "config.py", resolved.key.name)
    assert load_run(str(tmp_path / "config.py"), tmp_path / "iter_4.pth").cfg.run == resolved.key.name
