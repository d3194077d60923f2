"""Run studies through a real Slurm, which tests/slurm/start.sh starts (see test_slurm.py)."""

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers.graph import Lines
from tests.helpers.networks import ROOT
from tests.helpers.slurm import slurm as slurm  # noqa: F401  (a fixture, by its name)
from tests.helpers.slurm import until
from tools.engine.launching import slurm as launcher
from tools.engine.launching.slurm import Settings, run_on_slurm
from tools.engine.studies.graph import nodes_of, rows_of
from tools.engine.studies.study import load_study

DEMO = "configs/studies/demo.py"

FAKE = """
import json, pathlib, sys, time
folder, fails, value = pathlib.Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
folder.mkdir(parents=True, exist_ok=True)
tries = folder / "tries"
tries.write_text(tries.read_text() + "x" if tries.exists() else "x")
if len(tries.read_text()) <= fails:
    raise SystemExit("not yet")
record = dict(status="done", metrics=dict(mAP=value, mIoU=value, pixAcc=value), seconds=dict(total=1), time=time.time())
(folder / "record.json").write_text(json.dumps(record))
"""


@pytest.fixture
def fakes(slurm, tmp_path, monkeypatch):  # noqa: F811
    """Return ``run(study, fails, retry)``: run a study through Slurm with fake runs; return the failed nodes and the log."""
    monkeypatch.chdir(tmp_path)
    for name, value in dict(POLL=0.5, SETTLE=3).items():
        monkeypatch.setattr(launcher, name, value)

    def run(study, fails=None, retry: int = 0):
        def command(node):
            factor = node.options.lr_factor or 1.0
            return [sys.executable, "-c", FAKE, str(node.folder), str((fails or {}).get(node.name, 0)), str(factor)]

        monkeypatch.setattr(launcher, "command", command)
        lines = []
        return run_on_slurm(study, Lines(lines), Settings(0, 1, 30, None), retry), lines

    return run


@pytest.mark.slow
def test_a_run_that_fails_once_is_tried_again_on_slurm(fakes):
    study = load_study(DEMO, "toy", ["scratch", "b_standard"])
    bad = "classification b_standard seed 0"
    failed, lines = fakes(study, {bad: 2})
    assert [node.name for node in failed] == [bad] and failed[0].failure.read_text() == "not yet\n"
    assert {n.recipe: bool(n.record) for n in nodes_of(study)} == {"scratch": True, "b_standard": False}
    assert sum(f"skipped because upstream run {bad} has not finished" in line for line in lines) == 2
    failed, lines = fakes(study, {bad: 2}, retry=1)
    assert not failed and all(node.record for node in nodes_of(study)) and sum("done earlier" in line for line in lines) == 2
    times = {node.key: node.record["time"] for node in nodes_of(study)}
    assert all(times[node.above.key] < times[node.key] for node in nodes_of(study) if node.above)


@pytest.mark.slow
def test_a_tuned_run_is_submitted_once_its_grid_is_done(fakes):
    study = load_study(DEMO, "toy", ["scratch"], tasks=["detection"], tune_lr=True)
    assert len(nodes_of(study)) == 4
    failed, lines = fakes(study)
    rows = list(rows_of(study))
    assert not failed and len(nodes_of(study)) == 5 and all(node.record for node in nodes_of(study))
    assert [row.options.lr_factor for row in rows] == [None, 2.0]  # the fake's metric is the factor
    assert max(n.record["time"] for n in rows[0].grid) < rows[1].record["time"]


@pytest.mark.slow
def test_what_slurm_refuses_is_one_sentence(slurm, tmp_path, monkeypatch):  # noqa: F811
    monkeypatch.chdir(tmp_path)
    study = load_study(DEMO, "toy", ["scratch"])
    with pytest.raises(ValueError, match="Slurm takes no job for .*: error: invalid partition specified: nowhere"):
        run_on_slurm(study, Lines([]), Settings(0, 1, 30, "nowhere"))


@pytest.fixture(scope="module")
def tree(tmp_path_factory, toy_root) -> Path:
    """Copy the project with a smaller toy scale, whose pretraining has enough updates to be stopped between them."""
    tree = tmp_path_factory.mktemp("tree")
    for name in ("backbones", "classification", "detection", "segmentation", "configs", "tools"):
        shutil.copytree(ROOT / name, tree / name, ignore=shutil.ignore_patterns("__pycache__"))
    narrow = "base_channels=16", "base_channels=8"
    edits = {
        "_base_/schedules/toy_12e": [
            ("warmup_epochs = 12,", "warmup_epochs = 20,"),
            ("\nbatch = 16", "\nbatch = 4"),
            ("_batch = 16", "_batch = 2"),
        ],
        "classification/resnet50_toy": [narrow],
        "detection/faster_rcnn_fpn_toy": [("batch=8", "batch=2"), ("epochs=10", "epochs=1"), narrow],
        "segmentation/fcn_toy": [("batch=8", "batch=2"), ("epochs=8", "epochs=1"), narrow],
    }
    for name, pairs in edits.items():
        path = tree / f"configs/{name}.py"
        text = path.read_text()
        for old, new in pairs:
            assert old in text, (name, old)
            text = text.replace(old, new)
        path.write_text(text)
    return tree


@pytest.fixture
def study(tree, toy_root, tmp_path):
    """Return ``start(name, command, *options)``: start the tree's study.py in a folder, with its output in study.txt."""

    def start(name: str, command: str, *options: str) -> subprocess.Popen:
        folder = tmp_path / name
        folder.mkdir(exist_ok=True)
        with open(folder / "study.txt", "a") as out:
            env = os.environ | {"DATA_ROOT": str(toy_root.parent), "COLUMNS": "200"}
            line = [sys.executable, str(tree / "tools/study.py"), command, str(tree / DEMO), *options]
            return subprocess.Popen(line, env=env, cwd=folder, stdout=out, stderr=subprocess.STDOUT, start_new_session=True)

    return start


def table(folder: Path) -> list[tuple]:
    rows = csv.DictReader(open(folder / "work_dirs/demo-toy/results.csv"))
    return [(row["run"], row["metric"], row["value"]) for row in rows if row["metric"] != "seconds"]


def weights(folder: Path) -> bytes:
    """Return the weights of the only pretraining."""
    (path,) = folder.glob("work_dirs/runs/*/card/weights.safetensors")
    return path.read_bytes()


def jobs_in(folder: Path) -> dict[str, str]:
    """Return the queued jobs that were submitted from a folder, {id: key}, after checking that no run has two."""
    answer = subprocess.run(["squeue", "-h", "-o", "%i %j %Z"], capture_output=True, text=True, check=True).stdout
    rows = [line.split() for line in answer.splitlines()]
    assert len({key for _, key, _ in rows}) == len(rows)
    return {number: key for number, key, job_folder in rows if job_folder == str(folder)}


@pytest.mark.slow
def test_the_demo_through_slurm_ends_in_the_table_of_this_machine(slurm, study, tmp_path):  # noqa: F811
    def partition(state: str) -> None:
        subprocess.run(["scontrol", "update", "PartitionName=main", f"State={state}"], check=True)

    options, slurm_options = ["--recipes", "scratch", "b_standard"], ["--executor", "slurm", "--cpus", "1", "--time", "30"]
    local = study("here", "run", *options)
    assert local.wait() == 0, (tmp_path / "here/study.txt").read_text()
    pretrain = next(path.parent.name for path in (tmp_path / "here/work_dirs/runs").glob("*/card"))
    folder = tmp_path / "there"
    run, text = folder / "work_dirs/runs" / pretrain, folder / "study.txt"

    partition("DOWN")  # it accepts jobs and starts none
    first = study("there", "run", *options, *slurm_options)
    until(lambda: len(jobs_in(folder)) == 5, 300)
    first.send_signal(signal.SIGINT)
    assert first.wait() == 130, text.read_text()
    jobs = jobs_in(folder)
    assert len(jobs) == 5 and f"`scancel {' '.join(sorted(jobs, key=int))}` ends them" in text.read_text()
    assert study("there", "status", *options).wait() == 0
    assert all(f"{key}  queued (job {number})" in text.read_text() for number, key in jobs.items()), text.read_text()
    assert study("there", "run", *options).wait() == 2 and "Slurm has jobs of this study" in text.read_text()

    partition("UP")
    until(lambda: list(run.glob("epoch_*.pth")), 300)
    (number,) = [number for number, key in jobs.items() if key == pretrain]
    subprocess.run(["scancel", number], check=True)  # Slurm also cancels the jobs that wait for it
    until(lambda: number not in jobs_in(folder))
    assert not (run / "record.json").exists()
    both = [study("there", "run", *options, *slurm_options) for _ in range(2)]
    until(lambda: (run / "log.txt").read_text().count(f"run {pretrain}") == 2, 300)
    (number,) = [number for number, key in jobs_in(folder).items() if key == pretrain]
    subprocess.run(["scancel", "--signal=USR2", number], check=True)  # a preemption
    assert [launched.wait() for launched in both] == [0, 0], text.read_text()
    assert not jobs_in(folder) and table(folder) == table(tmp_path / "here") and weights(folder) == weights(tmp_path / "here")
    record = json.loads((run / "record.json").read_text())
    assert record["resumed_from"] and record["key"] == pretrain


@pytest.mark.slow
@pytest.mark.parametrize("number", ["USR2", "TERM"])
def test_two_processes_of_a_run_stop_and_go_on_to_the_same_result(slurm, study, tmp_path, number):  # noqa: F811
    options = ["--recipes", "b_standard", "--tasks", "classification", "--processes", "2"]
    local = study("here", "run", *options)
    assert local.wait() == 0, (tmp_path / "here/study.txt").read_text()
    launched = study("there", "run", *options, "--executor", "slurm", "--cpus", "2", "--time", "30")
    folder, text = tmp_path / "there", tmp_path / "there/study.txt"
    until(lambda: list(folder.glob("work_dirs/runs/*/epoch_*.pth")), 300)
    (job,) = jobs_in(folder)
    subprocess.run(["scancel", f"--signal={number}", job], check=True)
    if number == "TERM":  # Slurm signals all processes of a preempted job and requeues it
        until(lambda: list(folder.glob("work_dirs/runs/*/iter_*.pth")))
        subprocess.run(["scontrol", "requeue", job], check=True)
    assert launched.wait() == 0, text.read_text() + next(folder.glob("work_dirs/runs/*/log.txt")).read_text()
    assert table(folder) == table(tmp_path / "here") and weights(folder) == weights(tmp_path / "here")
    (run,) = folder.glob("work_dirs/runs/*/record.json")
    record, log = json.loads(run.read_text()), (run.parent / "log.txt").read_text()
    assert record["resumed_from"].startswith("iter_") and "Stopped by a signal" in log
