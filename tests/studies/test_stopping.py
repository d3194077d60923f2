"""Check that signals to a study and to its runs end them with their work saved, and that nothing outlives its launcher."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from backbones.common.project import ROOT
from tests.helpers.graph import DEMO, Lines, run_fakes
from tests.helpers.processes import MARK, marked
from tools.engine.launching.local import Share, run_study
from tools.engine.run_folder import LOCK, PROGRESS, RECORD, is_locked, locked, read_progress
from tools.engine.stopping import ECHO, LAUNCHED, SIGNALS, STOPPED, Stopped, StopSignals
from tools.engine.studies.graph import nodes_of
from tools.engine.studies.study import load_study

# A run that takes a minute. On SIGTERM it notes that it saved 3 of 9 updates, or ignores the signal if it is asked to.
RUN = f"""
import json, os, pathlib, signal, sys, time
sys.path[:0] = [{str(ROOT)!r}]
from tools.engine.run_folder import locked
from tools.engine.stopping import stop_with_launcher
folder = pathlib.Path(sys.argv[1])
def save(*_):
    progress = dict(phase="train", done=3, total=9, saved=3, updates=9, stopped=True)
    (folder / "progress.json").write_text(json.dumps(progress))
    sys.exit({STOPPED})
signal.signal(signal.SIGTERM, signal.SIG_IGN if sys.argv[2] == "stubborn" else save)
stop_with_launcher()
folder.mkdir(parents=True, exist_ok=True)
with locked(folder):
    (folder / "pid").write_text(str(os.getpid()))
    for _ in range(600):
        time.sleep(0.1)
"""
# The launcher of one such run, as a process of its own that prints what it logs.
LAUNCHER = f"""
import sys
sys.path[:0] = [{str(ROOT)!r}]
from tests.helpers.graph import Lines
from tools.engine.launching import local
from tools.engine.studies.study import load_study
local.command = lambda node, *_: [sys.executable, "-c", {RUN!r}, str(node.folder), sys.argv[1]]
study = load_study({DEMO!r}, "toy", ["b_standard"])
class Printed(Lines):
    def log(self, line):
        print(line, flush=True)
local.run_study(study, Printed([]))
"""


@pytest.fixture
def here(toy_root, tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("DATA_ROOT", str(toy_root.parent))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def launch(here):
    """Return a function that starts the launcher of a run and returns the launcher, the run's node and the run's process id."""
    launchers, pids = [], []

    def start(kind: str = "obliging") -> tuple[subprocess.Popen, object, int]:
        launcher = subprocess.Popen([sys.executable, "-c", LAUNCHER, kind], stdout=subprocess.PIPE, text=True)
        launchers.append(launcher)
        node = nodes_of(load_study(DEMO, "toy", ["b_standard"]))[0]
        until(lambda: (node.folder / "pid").is_file() and (node.folder / "pid").read_text())
        pids.append(int((node.folder / "pid").read_text()))
        return launcher, node, pids[-1]

    yield start
    for launcher in launchers:
        launcher.kill()
        launcher.wait()
        launcher.stdout.close()
    for pid in pids:
        if is_alive(pid):
            os.kill(pid, signal.SIGKILL)


def until(condition, seconds: float = 60) -> None:
    end = time.time() + seconds
    while not condition():
        assert time.time() < end
        time.sleep(0.05)


def is_alive(pid: int) -> bool:
    """Return whether a process exists that has not ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_to_the_launcher_lets_its_run_save(launch, number):
    launcher, node, pid = launch()
    launcher.send_signal(number)
    lines, _ = launcher.communicate(timeout=60)
    assert launcher.returncode == STOPPED and not is_alive(pid)
    assert lines.splitlines()[0].startswith("Stopping: each run finishes its update")
    assert lines.splitlines()[1] == f"{node.name}: saved at update 3 of 9; the same command goes on"
    assert node.state() == "stopped, 32 %" and not node.failure.exists()


def test_a_second_signal_to_the_launcher_ends_all_at_once(launch):
    launcher, node, pid = launch("stubborn")
    launcher.terminate()
    time.sleep(ECHO + 0.2)
    assert launcher.poll() is None and is_alive(pid)
    launcher.terminate()
    assert launcher.wait(10) == -signal.SIGTERM
    until(lambda: not is_alive(pid), 5)


def test_a_killed_launcher_takes_its_run_with_it(launch):
    launcher, node, pid = launch()
    launcher.kill()
    until(lambda: not is_alive(pid), 10)
    assert node.state() == "stopped, 32 %"


def test_a_run_that_is_stopped_by_itself_has_not_failed(launch):
    launcher, node, pid = launch()
    os.kill(pid, signal.SIGTERM)
    until(lambda: not is_locked(node.folder))
    lines, _ = launcher.communicate(timeout=60)
    assert f"{node.name}: saved at update 3 of 9; the same command goes on" in lines
    assert launcher.returncode == 0 and not node.failure.exists() and "skipped because upstream run" in lines


def test_the_state_of_a_run_is_that_of_its_process(here):
    node = nodes_of(load_study(DEMO, "toy", ["scratch"]))[0]
    node.folder.mkdir(parents=True)
    (node.folder / PROGRESS).write_text(json.dumps(dict(phase="train", done=8, total=10, saved=5, updates=10)))
    assert node.state() == "stopped, 48 %"  # a kill: it goes on from the last checkpoint
    with locked(node.folder):
        assert node.state() == "running 76 %"
    node.failure.write_text("no room")
    assert node.state() == "failed"
    (node.folder / RECORD).write_text('{"status": "done"}')
    assert node.state() == "done"


def test_two_who_ask_for_the_lock_do_not_take_each_other_for_the_run(tmp_path):
    (tmp_path / LOCK).touch()
    code = f"""
import pathlib, sys
sys.path[:0] = [{str(ROOT)!r}]
from tools.engine.run_folder import is_locked
print(sum(is_locked(pathlib.Path({str(tmp_path)!r})) for _ in range(20_000)))
"""
    askers = [subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) for _ in range(2)]
    assert [asker.communicate()[0] for asker in askers] == ["0\n", "0\n"]


def test_nothing_starts_after_a_stop(here, monkeypatch):
    def stop_at_once(share: Share) -> list[str]:
        lines = []
        monkeypatch.setattr(
            "tools.engine.launching.local.command",
            lambda node, *_: [sys.executable, "-c", "import os, signal; os.kill(os.getppid(), signal.SIGTERM)"],
        )
        with pytest.raises(Stopped) as stop:
            run_study(load_study(DEMO, "toy", ["b_standard"]), Lines(lines), share)
        assert stop.value.code == STOPPED
        return lines

    lines = stop_at_once(Share(retry=3))
    assert lines[-1].endswith("stopped before its first checkpoint; the same command starts it again") and len(lines) == 2
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


def test_a_stopped_study_goes_on(launch, monkeypatch):
    launcher, node, _ = launch()
    launcher.terminate()
    launcher.communicate(timeout=60)
    nodes, _, failed = run_fakes(monkeypatch)
    assert not failed and all(node.record for node in nodes)


# ---- real runs: forked, and in two processes under torchrun


@pytest.fixture
def long_root(toy_root, tmp_path) -> Path:
    """Return the small synthetic data with ten times as many images to train on."""
    shutil.copytree(toy_root, tmp_path / "data/toy")
    ade = tmp_path / "data/toy/ADEChallengeData2016"
    for folder in (tmp_path / "data/toy/imagenet/train", ade / "images/training", ade / "annotations/training"):
        for image in [path for path in folder.rglob("*") if path.is_file()]:
            for number in range(9):
                shutil.copy(image, image.with_stem(f"{image.stem}_{number}"))
    return tmp_path / "data"


FORKED = ["--recipes", "b_standard", "--tasks", "classification"]
TORCHRUN = ["--recipes", "scratch", "--tasks", "segmentation", "--processes", "2"]


@pytest.mark.slow
@pytest.mark.parametrize("options", [FORKED, TORCHRUN], ids=["forked", "torchrun"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_nothing_outlives_a_study_and_all_of_it_is_saved(long_root, tmp_path, options, number):
    line = [sys.executable, ROOT / "tools/study.py", "run", ROOT / DEMO, *options]
    env = os.environ | {"DATA_ROOT": str(long_root), MARK: str(tmp_path)}
    with open(tmp_path / "study.txt", "w") as out:
        launcher = subprocess.Popen(list(map(str, line)), env=env, cwd=tmp_path, stdout=out, stderr=out)
    until(lambda: list(tmp_path.glob("work_dirs/runs/*/epoch_1.pth")) or launcher.poll() is not None, 300)
    launcher.send_signal(number)
    status = -signal.SIGKILL if number == signal.SIGKILL else STOPPED
    assert launcher.wait(180) == status, (tmp_path / "study.txt").read_text()
    until(lambda: not marked(str(tmp_path)), 60 if number == signal.SIGKILL else 10)
    (folder,) = (tmp_path / "work_dirs/runs").iterdir()
    progress = read_progress(folder)
    assert progress.stopped and progress.saved and not (folder / RECORD).exists() and not (folder / "failed.txt").exists()
    if number != signal.SIGKILL:
        text = f"saved at update {progress.saved} of {progress.updates}; the same command goes on"
        assert text in (tmp_path / "study.txt").read_text()


# ---- signals in a process


def test_a_hang_up_that_the_parent_ignores_stays_ignored():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup starts a command
    try:
        with StopSignals() as signals:
            os.kill(os.getpid(), signal.SIGHUP)
            assert signals.time is None
            os.kill(os.getpid(), signal.SIGTERM)
            assert signals.time is not None
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_second_signal_shortly_after_the_first_is_its_echo():
    calls = []
    with StopSignals(lambda: calls.append("first"), lambda: calls.append("last")):
        for number in SIGNALS:
            os.kill(os.getpid(), number)
    assert calls == ["first"]


def test_a_process_of_torchrun_ends_when_torchrun_dies(tmp_path):
    """Let a child of a child wait for the end of its parent, as torchrun starts the processes of a run."""
    worker = f"import sys, time; sys.path[:0] = [{str(ROOT)!r}]; from tools.engine.stopping import stop_with_launcher\n"
    worker += f"stop_with_launcher(); open({str(tmp_path / 'started')!r}, 'w').close(); time.sleep(60)"
    agent = (
        f"import subprocess, sys; child = subprocess.Popen([sys.executable, '-c', {worker!r}]); print(child.pid, flush=True)\n"
    )
    agent += "child.wait()"
    env = os.environ | {"TORCHELASTIC_RUN_ID": "run"}
    env.pop(LAUNCHED, None)
    process = subprocess.Popen([sys.executable, "-c", agent], env=env, stdout=subprocess.PIPE, text=True, start_new_session=True)
    pid = int(process.stdout.readline())
    until((tmp_path / "started").exists)
    process.kill()
    process.communicate()
    until(lambda: not is_alive(pid), 10)
