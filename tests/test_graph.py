"""The graph of a study in motion: locks, stops and kills, and what makes a run new."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from filelock import FileLock

from tools.engine.run import LOCK, is_locked, locked
from tools.engine.study import load_study, nodes_of, run_node, why

DEMO = "configs/studies/demo.py"


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
    other = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert other.stdout.readline() == "held\n"
    monkeypatch.setattr("tools.engine.study.command", lambda _: pytest.fail("it was run twice"))
    assert run_node(node, lambda *_: None) and node.state() == "done"
    other.wait()


def test_why_names_what_differs(nodes):
    pretrain, detection = (next(n for n in nodes if n.task == task) for task in ("classification", "detection"))
    assert why(pretrain) == ["no run of classification has finished yet"]
    other = json.loads(json.dumps(pretrain.key.content))
    other["config"]["optim_wrapper"]["optimizer"]["lr"] = 7.0
    folder = pretrain.folder.parent / "0123456789ab"
    folder.mkdir(parents=True)
    (folder / "key.json").write_text(json.dumps(other))
    (folder / "record.json").write_text("{}")
    lines = why(pretrain)
    lr = pretrain.key.content["config"]["optim_wrapper"]["optimizer"]["lr"]
    assert lines == ["nearest finished run: 0123456789ab", f"config.optim_wrapper.optimizer.lr: 7.0 there, {lr} here"]
    assert why(detection) == ["no run of detection has finished yet"]
    pretrain.folder.mkdir()
    (pretrain.folder / "record.json").write_text('{"status": "done"}')
    assert why(pretrain) == []


SMALL = ["--cfg-options", "batch=2", "micro_batch=2", "epochs=3", "train_cfg.max_epochs=3", "model.backbone.base_channels=8"]
ROOT = Path(__file__).parents[1]


def start(words: list, cwd: Path, name: str, root: Path, **options) -> subprocess.Popen:
    """A tool in a process of its own, with its output in ``name``.txt."""
    cwd.mkdir(exist_ok=True)
    with open(cwd / f"{name}.txt", "a") as out:
        env = os.environ | {"DATA_ROOT": str(root)}
        return subprocess.Popen(list(map(str, words)), env=env, cwd=cwd, stdout=out, stderr=subprocess.STDOUT, **options)


def train(folder: Path, root: Path, **options) -> subprocess.Popen:
    words = [sys.executable, ROOT / "tools/train.py", "configs/classification/resnet50_toy.py", *SMALL]
    words += ["--work-dir", folder, "--resume", "--tricks", "resnet_d", "cosine", "mixup"]
    return start(words, folder.parent, folder.name, root, **options)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_killed_run_goes_on_to_the_same_result(toy_root, tmp_path, number):
    whole = train(tmp_path / "whole", toy_root.parent)
    assert whole.wait() == 0, (tmp_path / "whole.txt").read_text()
    run = train(tmp_path / "killed", toy_root.parent, start_new_session=True)
    while not list((tmp_path / "killed").glob("epoch_*.pth")):
        assert run.poll() is None, (tmp_path / "killed.txt").read_text()
        time.sleep(0.05)
    asked = time.time()
    os.killpg(run.pid, number)  # the workers too, as Slurm and a terminal do
    run.wait()
    assert run.returncode == (-9 if number == signal.SIGKILL else 75) and time.time() - asked < 30
    assert not (tmp_path / "killed/record.json").exists()
    again = train(tmp_path / "killed", toy_root.parent)
    assert again.wait() == 0, (tmp_path / "killed.txt").read_text()
    records = [json.loads((tmp_path / name / "record.json").read_text()) for name in ("whole", "killed")]
    assert records[0]["metrics"] == records[1]["metrics"] and records[0]["resumed_from"] is None
    assert records[1]["resumed_from"].startswith("epoch_" if number == signal.SIGKILL else "iter_")
    weights = [next((tmp_path / name / "card").glob("weights*.safetensors")).read_bytes() for name in ("whole", "killed")]
    assert weights[0] == weights[1]


@pytest.mark.slow
def test_a_study_killed_twice_ends_in_the_undisturbed_table(toy_root, tmp_path):
    def study(folder: Path, **options) -> subprocess.Popen:
        words = [sys.executable, ROOT / "tools/study.py", "run", ROOT / DEMO, "--recipes", "b_standard"]
        return start(words, folder, "study", toy_root.parent, **options)

    def table(folder: Path) -> list[tuple]:
        rows = csv.DictReader(open(folder / "work_dirs/demo-toy/results.csv"))
        return [(row["run"], row["metric"], row["value"]) for row in rows if row["metric"] != "seconds"]

    whole = study(tmp_path / "whole")
    assert whole.wait() == 0, (tmp_path / "whole/study.txt").read_text()
    folder = tmp_path / "killed"
    for pattern in ("runs/*/epoch_1.pth", "runs/*/card"):  # in the pretraining, and in the first transfer
        launcher = study(folder)
        while not list((folder / "work_dirs").glob(pattern)):
            assert launcher.poll() is None, (folder / "study.txt").read_text()
            time.sleep(0.05)
        launcher.kill()  # its node goes on by itself, and is waited for or gone on with
        launcher.wait()
        held = [path.parent for path in (folder / "work_dirs").glob(f"runs/*/{LOCK}") if is_locked(path.parent)]
        if pattern.endswith("pth"):
            subprocess.run(["pkill", "-9", "-f", f"{held[0].name}"], check=False)
    assert study(folder).wait() == 0
    assert table(folder) == table(tmp_path / "whole")
