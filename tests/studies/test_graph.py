"""Test a running study: locks, stops and kills, slots and retries, and the explanation of a new run."""

import csv
import json
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from filelock import FileLock

from tests.helpers.graph import DEMO, run_fakes
from tools.engine.launching.local import run_node, slots_of
from tools.engine.run_folder import LOCK, is_locked, keep_log, locked, log_of, open_log, read_progress
from tools.engine.studies.commands import command
from tools.engine.studies.graph import nodes_of, rows_of, why
from tools.engine.studies.study import load_study
from tools.study import node_with_key


@pytest.fixture
def nodes(toy_root, tmp_path, monkeypatch):
    monkeypatch.setenv("DATA_ROOT", str(toy_root.parent))
    monkeypatch.chdir(tmp_path)
    return nodes_of(load_study(DEMO, "toy", ["scratch", "b_standard"]))


def test_a_folder_is_held_by_one_process_at_a_time(tmp_path):
    assert not is_locked(tmp_path)
    with locked(tmp_path):
        assert is_locked(tmp_path)
        with pytest.raises(ValueError, match="is being run by another process; wait for it, or stop that one"):
            with locked(tmp_path, wait=0):
                pass
    assert not is_locked(tmp_path)
    with FileLock(tmp_path / LOCK):
        assert is_locked(tmp_path)


def test_the_lock_of_a_dead_process_is_none(tmp_path):
    code = f"import filelock, os; filelock.FileLock({str(tmp_path / LOCK)!r}).acquire(); os.kill(os.getpid(), 9)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == -9
    assert (tmp_path / LOCK).exists() and not is_locked(tmp_path)


def test_a_run_that_another_process_makes_is_waited_for(nodes, monkeypatch):
    node = nodes[0]
    node.folder.mkdir(parents=True)
    record = json.dumps({"status": "done"})
    code = f"""
import filelock, pathlib, time
with filelock.FileLock({str(node.folder / LOCK)!r}):
    print("held", flush=True)
    time.sleep(1)
    pathlib.Path({str(node.folder / "record.json")!r}).write_text({record!r})
"""
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "held\n"
    monkeypatch.setattr("tools.engine.launching.local.command", lambda *_: pytest.fail("it was run twice"))
    assert run_node(node) and node.state() == "done"
    process.wait()


def test_why_names_the_differences_to_the_closest_run(nodes):
    pretrain, detection = (next(n for n in nodes if n.task == task) for task in ("classification", "detection"))
    assert why(pretrain) == ["no run of classification has finished yet"]
    content = json.loads(json.dumps(pretrain.run_key.content))
    content["config"]["optim_wrapper"]["optimizer"]["lr"] = 7.0
    folder = pretrain.folder.parent / "0123456789ab"
    folder.mkdir(parents=True)
    (folder / "key.json").write_text(json.dumps(content))
    (folder / "record.json").write_text("{}")
    lines = why(pretrain)
    lr = pretrain.run_key.content["config"]["optim_wrapper"]["optimizer"]["lr"]
    assert lines == ["closest finished run: 0123456789ab", f"config.optim_wrapper.optimizer.lr: 7.0 there, {lr} here"]
    assert why(detection) == ["no run of detection has finished yet"]
    pretrain.folder.mkdir()
    (pretrain.folder / "record.json").write_text('{"status": "done"}')
    assert why(pretrain) == []


SMALL = ["--cfg-options", "batch=2", "epochs=3", "model.backbone.base_channels=8"]
ROOT = Path(__file__).parents[2]


def start(arguments: list, cwd: Path, name: str, root: Path, **options) -> subprocess.Popen:
    """Start a tool in a process of its own, with its output in ``name``.txt."""
    cwd.mkdir(exist_ok=True)
    with open(cwd / f"{name}.txt", "a") as out:
        env = os.environ | {"DATA_ROOT": str(root)}
        return subprocess.Popen(list(map(str, arguments)), env=env, cwd=cwd, stdout=out, stderr=subprocess.STDOUT, **options)


def train(folder: Path, root: Path, **options) -> subprocess.Popen:
    arguments = [sys.executable, ROOT / "tools/train.py", "configs/classification/resnet50_toy.py", *SMALL]
    arguments += ["--work-dir", folder, "--resume", "--tricks", "resnet_d", "cosine", "mixup"]
    return start(arguments, folder.parent, folder.name, root, **options)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_killed_run_goes_on_to_the_same_result(toy_root, tmp_path, number):
    undisturbed = train(tmp_path / "whole", toy_root.parent)
    assert undisturbed.wait() == 0, (tmp_path / "whole.txt").read_text()
    run = train(tmp_path / "killed", toy_root.parent, start_new_session=True)
    while not list((tmp_path / "killed").glob("epoch_*.pth")):
        assert run.poll() is None, (tmp_path / "killed.txt").read_text()
        time.sleep(0.05)
    os.killpg(run.pid, number)  # the workers too, as Slurm and a terminal do
    run.wait()
    assert run.returncode == (-9 if number == signal.SIGKILL else 75)
    assert not (tmp_path / "killed/record.json").exists()
    resumed = train(tmp_path / "killed", toy_root.parent)
    assert resumed.wait() == 0, (tmp_path / "killed.txt").read_text()
    records = [json.loads((tmp_path / name / "record.json").read_text()) for name in ("whole", "killed")]
    assert records[0]["metrics"] == records[1]["metrics"] and records[0]["resumed_from"] is None
    assert records[1]["resumed_from"].startswith("epoch_" if number == signal.SIGKILL else "iter_")
    weights = [next((tmp_path / name / "card").glob("weights*.safetensors")).read_bytes() for name in ("whole", "killed")]
    assert weights[0] == weights[1]


@pytest.mark.slow
def test_a_study_killed_twice_ends_in_the_undisturbed_table(toy_root, tmp_path):
    def study(folder: Path, **options) -> subprocess.Popen:
        arguments = [sys.executable, ROOT / "tools/study.py", "run", ROOT / DEMO, "--recipes", "b_standard"]
        arguments += ["--tasks", "classification", "detection"]
        return start(arguments, folder, "study", toy_root.parent, **options)

    def table(folder: Path) -> list[tuple]:
        rows = csv.DictReader(open(folder / "work_dirs/demo-toy/results.csv"))
        return [(row["run"], row["metric"], row["value"]) for row in rows if row["metric"] != "seconds"]

    undisturbed = study(tmp_path / "whole")
    assert undisturbed.wait() == 0, (tmp_path / "whole/study.txt").read_text()
    folder = tmp_path / "killed"
    for pattern in ("runs/*/epoch_1.pth", "runs/*/card"):  # in the pretraining, and in the first transfer
        launcher = study(folder)
        while not list((folder / "work_dirs").glob(pattern)):
            assert launcher.poll() is None, (folder / "study.txt").read_text()
            time.sleep(0.05)
        locked_folders = [path.parent for path in (folder / "work_dirs").glob(f"runs/*/{LOCK}") if is_locked(path.parent)]
        if pattern.endswith("pth"):
            os.kill(read_progress(locked_folders[0]).pid, signal.SIGKILL)
        launcher.kill()  # its run saves and ends; the next launcher waits for that
        launcher.wait()
    assert study(folder).wait() == 0
    assert table(folder) == table(tmp_path / "whole")


@pytest.mark.parametrize(("jobs", "gpus"), [(1, 0), (3, 0), (2, 1), (2, 2)])
def test_jobs_run_at_once_each_with_its_own_gpus_and_after_what_it_rests_on(nodes, monkeypatch, jobs, gpus):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr("tools.engine.launching.local.gpu_count", lambda: 4)
    nodes_run, _, failed = run_fakes(monkeypatch, jobs=jobs, gpus=gpus)
    records = {node.key: node.record for node in nodes_run}
    assert not failed and all(records.values())
    for node in nodes_run:
        if node.above:
            assert records[node.above.key]["end"] <= records[node.key]["start"]
    moments = [r["start"] for r in records.values()]
    at_once = max(sum(r["start"] <= moment < r["end"] for r in records.values()) for moment in moments)
    assert at_once == jobs if jobs > 1 else at_once == 1
    devices = {json.loads((node.folder / "env").read_text())["CUDA_VISIBLE_DEVICES"] for node in nodes_run}
    assert devices == {(2, 1): {"0", "1"}, (2, 2): {"0,1", "2,3"}}.get((jobs, gpus), {None})


@pytest.mark.parametrize(
    ("listed", "available", "message"),
    [
        ("4,7,9", 3, "--gpus 2 with --jobs 2 needs 4 GPUs, but CUDA_VISIBLE_DEVICES=4,7,9 has 3. Lower --jobs or --gpus."),
        ("", 1, "--gpus 2 with --jobs 2 needs 4 GPUs, but this machine has 1. Lower --jobs or --gpus."),
        ("", 0, "but this machine has 0. Leave --gpus out; --processes divides a batch among CPU processes."),
    ],
)
def test_more_gpus_than_there_are_are_refused(monkeypatch, listed, available, message):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", listed)
    monkeypatch.setattr("tools.engine.launching.local.gpu_count", lambda: available)
    with pytest.raises(ValueError, match=re.escape(message)):
        slots_of(2, 2)


def test_the_gpus_of_a_run_are_those_that_are_visible(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,7,9")
    monkeypatch.setattr("tools.engine.launching.local.gpu_count", lambda: 3)
    assert slots_of(3, 1) == [{"CUDA_VISIBLE_DEVICES": name} for name in "479"]


def test_a_failed_run_leaves_its_siblings_going_and_is_tried_again(nodes, monkeypatch):
    failing = "classification b_standard seed 0"
    nodes_run, lines, failed = run_fakes(monkeypatch, {failing: 2}, jobs=2)
    assert [node.name for node in failed] == [failing] and failed[0].failure.read_text() == "not yet\n"
    unfinished = [node for node in nodes_run if not node.record]
    assert {node.recipe for node in unfinished} == {"b_standard"} and len(unfinished) == 3
    assert sum("skipped because upstream run classification b_standard seed 0 has not finished" in line for line in lines) == 2
    nodes_run, lines, failed = run_fakes(monkeypatch, {failing: 3}, retry=2)
    assert not failed and all(node.record for node in nodes_run)
    assert next(node.folder / "tries" for node in nodes_run if node.name == failing).read_text() == "xxxx"


def test_the_last_words_of_a_start_that_leaves_no_folder_are_kept(nodes, monkeypatch):
    """Check that the log survives if a run fails before its first update and removes the folder that it made."""
    code = f"""
import pathlib, sys, time
sys.path[:0] = [{str(ROOT)!r}]
from tools.engine.training.starting import held_folder
with held_folder(pathlib.Path(sys.argv[1])):
    print("no room", flush=True)
    time.sleep(1)  # the launcher looks meanwhile
    raise SystemExit(2)
"""
    monkeypatch.setattr("tools.engine.launching.local.command", lambda node, *_: [sys.executable, "-c", code, str(node.folder)])
    for _ in range(2):  # a second start begins the log anew
        assert not run_node(nodes[0]) and not nodes[0].folder.exists()
        assert nodes[0].log.read_text() == nodes[0].failure.read_text() == "no room\n"


def test_what_a_run_that_outlives_its_launcher_said_stays_in_its_log(tmp_path):
    folder = tmp_path / "runs/key"
    with open_log(folder) as out:
        out.write("first\n")
        folder.mkdir(parents=True)  # and its launcher was killed
    with open_log(folder) as out:
        out.write("second\n")
        out.flush()
        keep_log(folder)
        out.write("third\n")
    keep_log(folder)
    assert log_of(folder).read_text() == "first\nsecond\nthird\n"


def test_a_run_and_its_launcher_may_move_a_log_at_the_same_time(tmp_path, monkeypatch):
    folder = tmp_path / "runs/key"
    with open_log(folder) as out:
        out.write("first\n")
    folder.mkdir(parents=True)
    replace = os.replace
    monkeypatch.setattr(os, "replace", lambda *paths: [replace(*paths) for _ in range(2)])  # the other one just before
    keep_log(folder)
    assert log_of(folder).read_text() == "first\n"


def test_rows_follow_seeds_fine_tunings_tasks_and_protocol():
    table8 = "configs/studies/table8.py"
    study = load_study(table8, "paper", ["b_standard", "smooth"], seeds=2, fine_tunings=3, protocol="moco")
    rows = list(rows_of(study))
    transfers = [row for row in rows if not row.pretrain]
    assert len(rows) == 2 * 2 * (1 + 3) and len({row.key for row in rows}) == len(rows)
    assert [row.options.seed for row in transfers if row.recipe == "smooth"] == [0, 100, 200, 1, 101, 201]
    assert all(row.options.protocol == "moco" and "--protocol moco" in " ".join(command(row)) for row in transfers)
    only = load_study(table8, "paper", ["smooth"], tasks=["detection"])
    assert [row.task for row in rows_of(only)] == ["detection"]
    assert [node.task for node in nodes_of(only)] == ["classification", "detection"]
    three = load_study("configs/studies/one_at_a_time.py", "paper", ["b_standard"], protocol="mmseg")
    assert {row.task: row.options.protocol for row in rows_of(three)} == {
        "classification": None,
        "detection": None,
        "segmentation": "mmseg",
    }
    scratch = load_study(DEMO, "toy", ["scratch"], seeds=2, fine_tunings=3)
    assert len(nodes_of(scratch)) == 4  # a run from scratch has no pretraining to fine-tune


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(tasks=["detektion"]), "table8 has no task 'detektion'; nearest: detection"),
        (dict(protocol="mocko"), "There is no protocol 'mocko' for classification, detection; nearest: moco"),
        (dict(seeds=101), "--seeds is 101x1; give 1 to 100 pretrainings"),
        (dict(fine_tunings=0), "--seeds is 1x0"),
    ],
)
def test_wrong_study_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        load_study("configs/studies/table8.py", "paper", **options)


def test_a_run_is_found_by_the_beginning_of_its_key_or_the_nearest_is_named():
    study = load_study(DEMO, "toy", seeds=3)
    nodes = nodes_of(study)
    key = nodes[5].key
    assert node_with_key(study, nodes, key[:11]) is node_with_key(study, nodes, key) is nodes[5]
    with pytest.raises(ValueError, match=f"^demo has no run '{key[:8]}x' with these options; nearest: {key}; .* status shows"):
        node_with_key(study, nodes, f"{key[:8]}x")


def test_several_processes_are_started_by_torchrun():
    node = nodes_of(load_study(DEMO, "toy", ["b_standard"]))[0]
    node = replace(node, options=replace(node.options, processes=4))
    line = " ".join(command(node))
    assert "-m torch.distributed.run --standalone --nproc_per_node 4" in line and "--launcher pytorch" in line
