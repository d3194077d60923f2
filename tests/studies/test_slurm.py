"""Test jobs on a real Slurm, which tests/slurm/start.sh starts on loopback; some tests need no Slurm."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import submitit
from submitit.helpers import DelayedSubmission

from tests.helpers.slurm import SCRIPT, until
from tests.helpers.slurm import slurm as slurm
from tools.engine.launching.slurm_job import TrainNode, slurm_executor, submit
from tools.engine.run_folder import failure_of, log_of
from tools.engine.stopping import STOPPED

# Saves on SIGTERM and exits; a second SIGTERM kills it at once, as it does a training. It finishes once it has saved.
TRAINING = f"""
import pathlib, signal, sys, time
folder = pathlib.Path(sys.argv[1])
folder.mkdir(parents=True, exist_ok=True)
if (folder / "saved").exists():
    print("resumed from", (folder / "saved").read_text())
    (folder / "done").touch()
    sys.exit()
def save(*_):
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    time.sleep(1)
    (folder / "saved").write_text("update 7")
    sys.exit({STOPPED})
signal.signal(signal.SIGTERM, save)
(folder / "started").touch()
print("started", flush=True)
time.sleep(100)
"""


def result(job: submitit.Job, seconds: float = 60):
    """Return a job's result; submitit alone would wait forever, since this Slurm keeps no accounting records."""
    until(job.paths.result_pickle.exists, seconds)
    return job.result()


def about(job: submitit.Job) -> dict[str, str]:
    answer = subprocess.run(["scontrol", "-o", "show", "job", job.job_id], capture_output=True, text=True, check=True)
    return dict(word.split("=", 1) for word in answer.stdout.split() if "=" in word)


def send(job: submitit.Job, name: str) -> None:
    subprocess.run(["scancel", f"--signal={name}", job.job_id], check=True)


def counter(path: Path):
    """Return a callable that waits on its first start, and returns the number of its start on later ones."""

    class Counter:
        def __call__(self) -> int:
            starts = len(path.read_text().split()) + 1 if path.exists() else 1
            path.write_text(f"{path.read_text() if starts > 1 else ''}start\n")
            if starts == 1:
                time.sleep(100)
            return starts

        def checkpoint(self):
            (path.parent / "asked").touch()
            return DelayedSubmission(self)

    return Counter()


@pytest.mark.slow
def test_the_script_starts_a_cluster_once(slurm):
    ran = subprocess.run(
        ["sbatch", "--wait", "--gpus-per-node=1", f"--output={slurm}/out", "--wrap", "echo gpu $CUDA_VISIBLE_DEVICES"], timeout=30
    )
    assert ran.returncode == 0 and (slurm / "out").read_text() == "gpu 0\n"
    second = subprocess.run([SCRIPT, "start", slurm], capture_output=True, text=True)
    assert (
        second.returncode == 0
        and "runs already" in second.stderr
        and second.stdout == f"export SLURM_CONF='{slurm}/slurm.conf'\n"
    )


@pytest.mark.slow
def test_a_function_returns_its_result(slurm, tmp_path):
    executor = submitit.AutoExecutor(tmp_path, cluster="slurm")
    executor.update_parameters(timeout_min=2, slurm_partition="main")
    assert result(executor.submit(lambda a, b: a * b, 6, b=7)) == 42


@pytest.mark.slow
def test_a_job_waits_for_the_one_above(slurm, tmp_path):
    path = tmp_path / "above"

    def above():
        time.sleep(3)
        path.write_text("done")

    executor = submitit.AutoExecutor(tmp_path, cluster="slurm")
    executor.update_parameters(timeout_min=2)
    first = executor.submit(above)
    executor.update_parameters(slurm_dependency=f"afterok:{first.job_id}")
    second = executor.submit(lambda: path.read_text())
    assert about(second)["Reason"] == "Dependency"
    assert result(second) == "done"


@pytest.mark.slow
@pytest.mark.parametrize("minutes, case, timeouts", [(1, "timed-out", 2), (60, "preempted", 3)])
def test_a_stopped_job_is_put_back_and_finishes(slurm, tmp_path, minutes, case, timeouts):
    executor = submitit.SlurmExecutor(tmp_path, max_num_timeout=3)
    executor.update_parameters(time=minutes, signal_delay_s=20)
    job = executor.submit(counter(tmp_path / "starts"))
    until((tmp_path / "starts").exists)
    if minutes > 1:  # the other one meets its time limit
        send(job, "USR2")
    assert result(job, 100) == 2
    assert (tmp_path / "asked").exists() and about(job)["Restarts"] == "1"
    log = job.stdout() + job.stderr()
    assert f"this job is {case}" in log and f"({timeouts} remaining timeouts)" in log


@pytest.mark.slow
def test_a_job_is_given_up_after_too_many_time_outs(slurm, tmp_path):
    executor = submitit.SlurmExecutor(tmp_path, max_num_timeout=0)
    executor.update_parameters(time=10)
    job = executor.submit(counter(tmp_path / "starts"))
    until((tmp_path / "starts").exists)
    send(job, "USR2")
    with pytest.raises(submitit.core.utils.FailedJobError, match="timed-out too many times"):
        result(job)


def node(folder: Path, key: str, above=None):
    return SimpleNamespace(key=key, above=above, folder=folder / "runs" / key)


def chain(tmp_path, upper: str, lower: str):
    """Return an upstream and a downstream node, and the jobs that run these two programs for them."""
    above = node(tmp_path, "above")
    below = node(tmp_path, "below", above)
    programs = {"above": upper, "below": lower}
    executor = slurm_executor(tmp_path / "jobs", cpus=1)
    jobs = submit(
        [above, below],
        lambda node: [sys.executable, "-c", programs[node.key], str(node.folder)],
        "main",
        60,
        0,
        tmp_path / "jobs",
        executor,
    )
    return above, below, jobs


@pytest.mark.slow
@pytest.mark.parametrize("how", ["USR2", "TERM first", "preempted"])
def test_a_run_is_stopped_and_resumed_before_the_one_below_starts(slurm, tmp_path, how):
    above, below, jobs = chain(tmp_path, TRAINING, f"assert open({str(tmp_path / 'runs/above/done')!r}); print('below')")
    until((above.folder / "started").exists)
    if how == "preempted":
        subprocess.run(["sbatch", "--partition=urgent", "--exclusive", "--output=/dev/null", "--wrap", "sleep 2"], check=True)
    else:
        if how == "TERM first":
            send(jobs["above"], "TERM")
        send(jobs["above"], "USR2")
    assert result(jobs["above"]) == 0
    assert about(jobs["above"])["Restarts"] == "1"
    assert (above.folder / "log.txt").read_text() == "started\nresumed from update 7\n"
    assert result(jobs["below"]) == 0
    assert log_of(below.folder).read_text() == "below\n"


@pytest.mark.slow
def test_a_run_that_slurm_put_back_is_resumed(slurm, tmp_path):
    above, _, jobs = chain(tmp_path, TRAINING, "")
    until((above.folder / "started").exists)
    send(jobs["above"], "TERM")  # a preemption with a grace time, which Slurm does not announce to submitit
    until((above.folder / "saved").exists)
    time.sleep(1)
    assert about(jobs["above"])["JobState"] == "RUNNING"
    subprocess.run(["scontrol", "requeue", jobs["above"].job_id], check=True)
    assert result(jobs["above"]) == 0
    assert (above.folder / "log.txt").read_text() == "started\nresumed from update 7\n"
    assert result(jobs["below"]) == 0


@pytest.mark.slow
def test_below_a_failed_run_nothing_starts(slurm, tmp_path):
    above, below, jobs = chain(tmp_path, "print('no data'); raise SystemExit(3)", "print('below')")
    with pytest.raises(submitit.core.utils.FailedJobError, match="ended with status 3; see"):
        result(jobs["above"])
    assert failure_of(above.folder).read_text() == "no data\n" and not above.folder.exists()
    until(lambda: about(jobs["below"])["JobState"] == "CANCELLED")
    assert not below.folder.exists() and not log_of(below.folder).exists()


class Asked(Exception):
    """End a call from the signal handler of ``stopping``."""


@pytest.fixture
def stopping(monkeypatch):
    """Return ``stop(call, numbers, when)``: run the call, send it the signals once ``when`` exists, return its checkpoint."""
    before = {number: signal.getsignal(number) for number in (signal.SIGUSR2, signal.SIGTERM)}

    def stop(call: TrainNode, numbers, when: Path) -> DelayedSubmission:
        resumed = []

        def handler(*_):
            resumed.append(call.checkpoint())
            raise Asked

        def later():
            until(when.exists)
            if signal.SIGTERM in numbers:  # Slurm's reaches all processes of a step
                os.kill(call._process.pid, signal.SIGTERM)
            for number in numbers:
                os.kill(os.getpid(), number)

        signal.signal(signal.SIGUSR2, handler)
        signal.signal(signal.SIGTERM, lambda *_: None)  # as submitit does
        thread = threading.Thread(target=later)
        thread.start()
        with pytest.raises(Asked):
            call()
        thread.join()
        return resumed[0]

    yield stop
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("numbers", [[signal.SIGUSR2], [signal.SIGTERM, signal.SIGUSR2]])
def test_a_checkpoint_waits_for_the_save(tmp_path, stopping, numbers):
    call = TrainNode([sys.executable, "-c", TRAINING, str(tmp_path)], str(tmp_path))
    started = time.monotonic()
    resumed = stopping(call, numbers, tmp_path / "started")
    assert time.monotonic() - started < 20 and (tmp_path / "saved").exists()
    assert resumed.result() == 0 and (tmp_path / "done").exists()
    assert resumed.function.command == call.command


def test_a_run_that_does_not_save_in_time_is_killed(tmp_path, stopping):
    code = f"import signal, time; signal.signal(15, signal.SIG_IGN); open({str(tmp_path / 'started')!r}, 'w'); time.sleep(100)"
    call = TrainNode([sys.executable, "-c", code], str(tmp_path), grace=0.5)
    assert stopping(call, [signal.SIGUSR2], tmp_path / "started")
    assert call._process.wait() == -signal.SIGKILL


def test_a_run_ignores_the_usr2_of_its_job(tmp_path):
    code = "import os, signal; os.kill(os.getpid(), signal.SIGUSR2); print('alive')"
    for _ in range(2):
        TrainNode([sys.executable, "-c", code], str(tmp_path))()
    assert (tmp_path / "log.txt").read_text() == "alive\nalive\n"
    assert signal.SIGUSR2 not in signal.pthread_sigmask(signal.SIG_BLOCK, ())


def test_a_run_that_fails_fails_its_job(tmp_path):
    call = TrainNode([sys.executable, "-c", "print('no data'); raise SystemExit(1)"], str(tmp_path))
    with pytest.raises(RuntimeError, match="ended with status 1; see .*log.txt"):
        call()
    assert (tmp_path / "failed.txt").read_text() == "no data\n"


def test_the_output_of_a_run_is_where_its_folder_is(tmp_path):
    """Check that output goes elsewhere until a run has created its folder, which it does once its checks have passed."""
    folder, early = tmp_path / "runs/key", tmp_path / "logs/key.txt"
    code = "print('no data'); raise SystemExit(1)"
    with pytest.raises(RuntimeError, match="ended with status 1; see .*logs/key.txt"):
        TrainNode([sys.executable, "-c", code], str(folder))()
    assert early.read_text() == failure_of(folder).read_text() == "no data\n" and not folder.exists()
    code = f"import pathlib; pathlib.Path({str(folder)!r}).mkdir(parents=True); print('alive')"
    TrainNode([sys.executable, "-c", code], str(folder))()
    assert (folder / "log.txt").read_text() == "alive\n" and not any(early.parent.iterdir())


class FakeExecutor:
    """Keep parameters from job to job, as submitit's executors do, and record the submitted calls with them."""

    def __init__(self):
        self.parameters, self.submitted = {}, []

    def update_parameters(self, **parameters):
        self.parameters.update(parameters)

    def submit(self, call):
        self.submitted.append((call, dict(self.parameters)))
        return SimpleNamespace(job_id=str(100 + len(self.submitted)))


def test_jobs_depend_on_those_above(tmp_path):
    teacher = node(tmp_path, "teacher")
    student = node(tmp_path, "student", teacher)
    detector = node(tmp_path, "detector", student)
    scratch = node(tmp_path, "scratch")
    independent = node(tmp_path, "below-one-done", node(tmp_path, "done"))
    executor = FakeExecutor()
    # The order does not matter, and a node that is listed twice is one job.
    nodes = [detector, scratch, teacher, student, scratch, independent]
    jobs = submit(nodes, lambda node: ["train", node.key], "gpu", 240, 2, tmp_path, executor)
    assert {key: job.job_id for key, job in jobs.items()} == {
        "teacher": "101",
        "student": "102",
        "detector": "103",
        "scratch": "104",
        "below-one-done": "105",
    }
    dependencies = [parameters["dependency"] for _, parameters in executor.submitted]
    assert dependencies == [None, "afterok:101", "afterok:102", None, None]
    call, parameters = executor.submitted[2]
    assert (call.command, call.folder) == (["train", "detector"], str(detector.folder))
    settings = dict(job_name="detector", partition="gpu", time=240, gpus_per_node=2, dependency="afterok:102")
    assert parameters == settings


def test_without_gpus_none_are_asked_for(tmp_path):
    executor = FakeExecutor()
    submit([node(tmp_path, "one")], lambda node: ["train"], None, 60, 0, tmp_path, executor)
    assert executor.submitted[0][1]["gpus_per_node"] is None and executor.submitted[0][1]["partition"] is None
