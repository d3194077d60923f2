"""Test the requests and decisions of the Slurm launcher, without a Slurm."""

import json
import os
import signal
import subprocess
import sys
from argparse import Namespace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from backbones.common.fact_cache import DEVICE
from tests.helpers.graph import Lines
from tools.engine.launching import local as launch
from tools.engine.launching import slurm as launcher
from tools.engine.launching.local import last_lines, run_node
from tools.engine.launching.slurm import Job, Jobs, Settings, queue, settings_of
from tools.engine.launching.slurm_job import undisturbed
from tools.engine.run_folder import locked
from tools.engine.studies.graph import nodes_of
from tools.engine.studies.node import Node
from tools.engine.studies.study import load_study

DEMO = "configs/studies/demo.py"
PROGRAMS = ("sbatch", "squeue", "srun", "scontrol")


def options(**changes) -> Namespace:
    return Namespace(**dict(executor="slurm", jobs=None, partition=None, time=None, gpus=0, processes=1, cpus=None) | changes)


@pytest.fixture
def programs(tmp_path, monkeypatch) -> Path:
    """Return a folder on the path with Slurm's programs, which do nothing."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in PROGRAMS:
        (folder / name).write_text("#!/bin/sh\n")
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    return folder


def test_job_settings_have_defaults_for_each_process(programs):
    assert settings_of(options()) == Settings(gpus=0, cpus=8, minutes=240, partition=None)
    assert settings_of(options(gpus=4, time=90, partition="gpu")) == Settings(4, 32, 90, "gpu")
    assert settings_of(options(processes=2)) == Settings(0, 16, 240, None)
    assert settings_of(options(cpus=2)).cpus == 2
    assert settings_of(options(executor="local", jobs=2, gpus=1)) is None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (dict(jobs=2), "--jobs is for runs on this machine; with --executor slurm, Slurm decides"),
        (dict(jobs=1), "--jobs is for runs on this machine"),
        (dict(gpus=4, cpus=3), "--cpus is 3; give 4 or more, at least one for each process"),
        (dict(cpus=0), "--cpus is 0; give 1 or more"),
        (dict(time=4), "--time is 4 minutes; give 5 or more, since a run is asked to save 120 s before"),
        (dict(executor="local", partition="gpu"), "--partition is for --executor slurm; on this machine use --jobs"),
        (dict(executor="local", time=60), "--time is for --executor slurm"),
        (dict(executor="local", cpus=1), "--cpus is for --executor slurm"),
    ],
)
def test_wrong_slurm_options_are_refused(programs, changes, message):
    with pytest.raises(ValueError, match=message):
        settings_of(options(**changes))


def test_slurm_and_the_number_of_threads_are_needed(programs, monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS")
    with pytest.raises(ValueError, match=r"part of a run's key: export OMP_NUM_THREADS=8, for `status` too"):
        settings_of(options(gpus=2))
    (programs / "sbatch").unlink()
    (programs / "srun").unlink()
    with pytest.raises(ValueError, match="needs Slurm's sbatch, srun; run this where jobs are submitted"):
        settings_of(options())


@pytest.mark.parametrize(("gpus", "device", "hinted"), [(1, None, True), (0, None, False), (1, "cpu", False), (1, "cuda", False)])
def test_a_host_without_a_gpu_is_told_what_its_keys_say(programs, monkeypatch, gpus, device, hinted):
    monkeypatch.setattr(launcher, "rounds", lambda study: [])
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    if device:
        monkeypatch.setenv(DEVICE, device)
    lines = []
    assert launcher.run_on_slurm(None, Lines(lines), Settings(gpus, 8, 60, None)) == []
    assert [f"`export {DEVICE}=cuda`" in line for line in lines] == ([True] if hinted else [])


def test_the_queue_knows_a_job_by_its_name_and_folder(programs, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    lines = [
        f"12|PENDING|Dependency|aaa|{tmp_path}",
        f"9|FAILED|NonZeroExitCode|aaa|{tmp_path}",  # an earlier job of the same run
        f"14|COMPLETED|None|bbb|{tmp_path}",
        f"13|CANCELLED|None|bbb|{tmp_path}",
        "15|RUNNING|None|ccc|/elsewhere",
        f"16_[0-3]|PENDING|None|ddd|{tmp_path}",
    ]
    (programs / "squeue").write_text("#!/bin/sh\necho '" + "\n".join(lines) + "'\n")
    assert queue() == {"aaa": Job("12", "PENDING", "Dependency"), "bbb": Job("14", "COMPLETED", "None")}
    reports = []
    assert launcher.waiting_jobs(reports.append) == {}  # nothing was ever submitted from here
    (tmp_path / launcher.LOGS).mkdir(parents=True)
    assert launcher.waiting_jobs(reports.append) == {"aaa": Job("12", "PENDING", "Dependency")} and not reports
    with pytest.raises(ValueError, match="use --executor slurm to continue with them, or `scancel 12` to end them"):
        launcher.refuse_queued([SimpleNamespace(key="aaa"), SimpleNamespace(key="bbb")], reports.append)
    launcher.refuse_queued([SimpleNamespace(key="bbb")], reports.append)
    (programs / "squeue").write_text("#!/bin/sh\necho 'squeue: error: no answer' >&2\nexit 1\n")
    assert launcher.waiting_jobs(reports.append) == {}
    assert reports == ["squeue does not answer: squeue: error: no answer; jobs are not shown"]
    (programs / "squeue").unlink()
    with pytest.raises(ValueError, match="squeue does not answer: .*No such file"):
        queue()


def test_the_state_of_a_run_names_its_job(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    node = nodes_of(load_study(DEMO, "toy", ["scratch"]))[0]
    assert node.state() == "waiting" and node.state(Job("12", "PENDING")) == "queued (job 12)"
    node.folder.mkdir(parents=True)
    (node.folder / "failed.txt").write_text("no data")
    assert node.state() == "failed" and node.state(Job("12", "PENDING")) == "queued (job 12)"
    (node.folder / "progress.json").write_text(json.dumps(dict(phase="train", done=1, total=2, saved=1, updates=2)))
    assert node.state(Job("12", "RUNNING")) == "running 48 % (job 12)"
    (node.folder / "record.json").write_text('{"status": "diverged"}')
    assert node.state(Job("12", "RUNNING")) == "diverged"


def test_the_last_lines_leave_out_the_page_of_torchrun(tmp_path):
    log = tmp_path / "log.txt"
    assert last_lines(log) == ""
    log.write_text("one\ntwo\nthree\nfour\nfive\nerror: no data\n")
    assert last_lines(log, 2) == "five\nerror: no data\n"
    page = "Traceback\nChildFailedError:\n=====\ntrain.py FAILED\nRoot Cause:\n=====\n"
    stopped = "W1124 api.py:1] Sending process 7 closing signal SIGTERM\n"
    failed = "E1124 api.py:2] failed (exitcode: 1) local_rank: 0 (pid: 6) of binary: python\n"
    log.write_text(log.read_text() + stopped + failed + page)
    assert last_lines(log, 2) == "five\nerror: no data\n"
    log.write_text(log.read_text() + "again\nerror: still none\n" + failed + page)
    assert last_lines(log, 2) == "again\nerror: still none\n"
    log.write_text(log.read_text() + "one process\nerror: no room\n")
    assert last_lines(log, 2) == "one process\nerror: no room\n"


class FakeSlurm:
    """Replace Slurm by jobs that only a test starts and ends; ``ids`` has their ids by key, ``found`` is the queue."""

    def __init__(self, monkeypatch):
        self.found: dict[str, Job] = {}
        self.ids: dict[str, list[str]] = {}
        self.depends: dict[str, str] = {}
        self.limit = 100
        monkeypatch.setattr(launcher, "queue", lambda: dict(self.found))
        monkeypatch.setattr(launcher, "submit", self.submit)
        monkeypatch.setattr(launcher, "slurm_executor", lambda *_: None)
        monkeypatch.setattr(launcher, "SETTLE", 0)

    def submit(self, nodes, command, partition, minutes, gpus, folder, executor, queued):
        jobs = {}
        for node in nodes:
            if len(self.found) >= self.limit:
                raise ValueError(f"Slurm takes no job for {node.key}: error: too many jobs")
            ids = dict(queued) | {key: job.job_id for key, job in jobs.items()}
            number = str(100 + sum(map(len, self.ids.values())))
            self.ids.setdefault(node.key, []).append(number)
            if node.above and node.above.key in ids:
                self.depends[number] = ids[node.above.key]
            jobs[node.key] = SimpleNamespace(job_id=number)
            self.found[node.key] = Job(number, "PENDING")
        return jobs

    def end(self, node: Node, state: str = "FAILED", reason: str = "None", failure: str = "", status: str = "") -> None:
        self.found[node.key] = Job(self.found[node.key].id, state, reason)
        if failure:  # of a start that made no folder
            node.failure.parent.mkdir(parents=True, exist_ok=True)
            node.failure.write_text(failure)
        if status:
            node.folder.mkdir(parents=True, exist_ok=True)
            record = dict(status=status, metrics={}, seconds=dict(total=1))
            (node.folder / "record.json").write_text(json.dumps(record))


@pytest.fixture
def three(tmp_path, monkeypatch):
    """Return ``make(retry)``, which gives a pretraining with two transfers, their launcher, its log and the fake Slurm."""
    monkeypatch.chdir(tmp_path)
    fake, lines = FakeSlurm(monkeypatch), []

    def make(retry: int = 0):
        nodes = nodes_of(load_study(DEMO, "toy", ["b_standard"]))
        return nodes, Jobs(nodes, Settings(0, 1, 60, None), retry, Lines(lines)), lines, fake

    return make


def test_queued_runs_are_not_submitted_twice(three):
    (pretraining, detection, segmentation), jobs, lines, fake = three()
    jobs.look()
    jobs.look()
    assert fake.ids == {pretraining.key: ["100"], detection.key: ["101"], segmentation.key: ["102"]}
    assert fake.depends == {"101": "100", "102": "100"}
    (pretraining, detection, segmentation), second, lines, fake = three()
    del fake.found[segmentation.key]
    second.look()  # another launcher: one job of the three is not there, and waits for the one that is
    assert fake.ids[segmentation.key] == ["102", "103"] and fake.ids[pretraining.key] == ["100"] and fake.depends["103"] == "100"
    assert f"{pretraining.name}: already in the queue, job 100" in lines
    fake.end(pretraining, "COMPLETED", status="done")
    second.look()
    assert set(second.waiting) == {detection.key, segmentation.key} and f"{pretraining.name}: 1 s, done" in lines
    for node in (detection, segmentation):
        fake.end(node, "COMPLETED", status="done")
    second.look()
    assert not second.waiting and not second.failed and sum(map(len, fake.ids.values())) == 4
    (pretraining, detection, segmentation), third, lines, fake = three()
    third.look()
    assert not third.waiting and sum("done earlier" in line for line in lines) == 3


def test_a_run_has_started_once_its_job_runs(three):
    (pretraining, *_), jobs, _, fake = three()
    jobs.look()
    assert jobs.events.begun == []
    fake.end(pretraining, "RUNNING")
    jobs.look()
    jobs.look()
    assert jobs.events.begun == [pretraining.name]


def test_a_failed_run_is_tried_again_and_what_rests_on_it_waits_anew(three):
    (pretraining, detection, segmentation), jobs, lines, fake = three(retry=1)
    jobs.look()
    fake.end(pretraining, failure="no data\n")
    jobs.look()  # the transfers have not been cancelled yet
    assert fake.ids[pretraining.key] == ["100", "103"] and not pretraining.failure.exists()
    for node in (detection, segmentation):
        fake.end(node, "CANCELLED", reason="DependencyNeverSatisfied")
    jobs.look()
    assert fake.ids[detection.key] == ["101", "104"] and fake.depends["104"] == fake.depends["105"] == "103"
    fake.end(pretraining, failure="still none\n")
    jobs.look()
    assert jobs.failed == [pretraining] and pretraining.failure.read_text() == "still none\n"
    for node in (detection, segmentation):
        fake.end(node, "CANCELLED", reason="DependencyNeverSatisfied")
    jobs.look()
    assert not jobs.waiting and jobs.failed == [pretraining]
    assert sum("skipped because upstream run classification b_standard seed 0 has not finished" in line for line in lines) == 2


@pytest.mark.parametrize("state", ["CANCELLED", "TIMEOUT", None])
def test_a_job_that_ends_without_a_result_has_failed_and_says_how(three, state):
    nodes, jobs, lines, fake = three(retry=1)
    pretraining = nodes[0]
    jobs.look()
    log = Path(launcher.LOGS) / "100_0_log.err"
    log.parent.mkdir(parents=True, exist_ok=True)
    log.write_text("slurmstepd: error: no memory\n")
    fake.end(pretraining, state or "RUNNING")
    if state is None:
        del fake.found[pretraining.key]  # Slurm has forgotten it
    jobs.look()
    if state == "CANCELLED":  # whoever cancelled it does not want it
        assert jobs.failed == [pretraining] and fake.ids[pretraining.key] == ["100"]
        text = "job 100 ended as CANCELLED, without a result\nslurmstepd: error: no memory\n"
        assert pretraining.failure.read_text() == text
    else:
        assert not jobs.failed and fake.ids[pretraining.key] == ["100", "103"]


def test_a_cancelled_transfer_is_given_up_while_its_pretraining_goes_on(three):
    (pretraining, detection, segmentation), jobs, lines, fake = three(retry=1)
    jobs.look()
    fake.end(detection, "CANCELLED", reason="Dependency")  # by hand
    del fake.found[segmentation.key]  # Slurm has forgotten it, and it cannot have started
    jobs.look()
    assert (
        jobs.failed == [detection] and len(fake.ids[detection.key]) == 1 and fake.depends[fake.ids[segmentation.key][1]] == "100"
    )


def test_below_a_diverged_run_nothing_is_run(three):
    (pretraining, detection, segmentation), jobs, lines, fake = three()
    jobs.look()
    fake.end(pretraining, status="diverged")
    for node in (detection, segmentation):
        fake.end(node, "CANCELLED", reason="DependencyNeverSatisfied")
    jobs.look()
    assert not jobs.waiting and not jobs.failed and f"{pretraining.name}: 1 s, diverged" in lines
    assert f"{detection.name}: skipped because upstream run {pretraining.name} has diverged" in lines


def test_runs_that_slurm_refuses_are_submitted_once_a_job_has_ended(three, monkeypatch):
    (pretraining, detection, segmentation), jobs, lines, fake = three()
    fake.limit = 0
    with pytest.raises(ValueError, match="too many jobs"):  # and none of this study is there
        jobs.look()
    fake.limit = 2
    jobs.look()
    assert set(fake.ids) == {pretraining.key, detection.key} and "too many jobs; trying again every minute" in lines[-1]
    fake.end(pretraining, "COMPLETED", status="done")
    del fake.found[pretraining.key]
    jobs.look()
    assert segmentation.key not in fake.ids
    monkeypatch.setattr(launcher, "REFUSED", 0)
    jobs.look()
    assert fake.ids[segmentation.key] == ["102"] and fake.ids[detection.key] == ["101"] and not jobs.failed


def test_a_run_of_another_process_and_a_silent_queue_are_waited_for(three, monkeypatch):
    (pretraining, detection, segmentation), jobs, lines, fake = three()
    pretraining.folder.mkdir(parents=True)
    with locked(pretraining.folder):
        jobs.look()
        jobs.look()
        assert not fake.ids and len(jobs.waiting) == 3
        assert lines.count(f"{pretraining.name}: waiting for another process that runs it") == 1
    (pretraining.folder / "record.json").write_text(json.dumps(dict(status="done", metrics={}, seconds=dict(total=1))))
    jobs.look()
    assert set(fake.ids) == {detection.key, segmentation.key} and not fake.depends

    def silent():
        raise ValueError("squeue does not answer: no route")

    monkeypatch.setattr(launcher, "queue", silent)
    jobs.look()
    jobs.look()
    assert len(jobs.waiting) == 2 and lines.count("squeue does not answer: no route; asking again") == 1


def test_ctrl_c_waits_for_a_job_to_be_submitted():
    code = "import os, signal, sys; os.kill(os.getpid(), signal.SIGINT); sys.exit(7)"
    with pytest.raises(KeyboardInterrupt):
        with undisturbed():
            os.kill(os.getpid(), signal.SIGINT)
            program = subprocess.run([sys.executable, "-c", code])
    assert program.returncode == 7
    with undisturbed():
        pass


def test_a_run_has_a_session_of_its_own(tmp_path, monkeypatch):
    """Check that Ctrl-C at a terminal reaches the launcher alone, so that a run is asked to stop once."""
    monkeypatch.chdir(tmp_path)
    node = nodes_of(load_study(DEMO, "toy", ["scratch"]))[0]
    code = "import os; print(os.getsid(0) == os.getpid())"
    monkeypatch.setattr(launch, "command", lambda *_: [sys.executable, "-c", code])
    assert not run_node(node) and node.failure.read_text() == "True\n"
