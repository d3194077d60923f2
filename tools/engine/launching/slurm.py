"""Run a study as Slurm jobs: submit them and watch until all have ended."""

import argparse
import os
import shutil
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Container, Iterable
from dataclasses import dataclass

from filelock import FileLock

from backbones.common.fact_cache import DEVICE, machine
from backbones.common.files import write_text
from tools.engine.launching.events import DONE, EARLIER, FAILED, SKIPPED, Events, left_out
from tools.engine.launching.local import last_lines, rounds
from tools.engine.launching.slurm_job import WARNING, slurm_executor, submit
from tools.engine.run_folder import RUNS, expect_key, is_locked
from tools.engine.studies.commands import command
from tools.engine.studies.node import Node
from tools.engine.studies.study import Study

PROGRAMS = ("sbatch", "squeue", "srun", "scontrol")
LOGS = RUNS.parent / "slurm"  # files of submitit and the output of each job that is not in the run's log.txt
POLL = 10  # seconds between two queries of the queue
SETTLE = 15  # seconds that a shared file system may take to show a job's last writes
REFUSED = 60  # seconds until jobs are submitted again after Slurm refused one, as it does above a user's job limit
CPUS = 8  # for each process
MINUTES = 240  # time limit of one start of a job
SHORTEST = 5  # minutes: a job loads its data first and is asked to save two minutes before its end
NEVER = "DependencyNeverSatisfied"  # Slurm's reason for a job whose upstream job failed
# Slurm's reasons for a job that waits its turn; any other reason is logged.
ORDINARY = ("None", "Priority", "Resources", "Dependency", "BeginTime", NEVER)
ENDED = (
    *("BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "NODE_FAIL", "OUT_OF_MEMORY", "PREEMPTED", "REVOKED"),
    "TIMEOUT",
)


@dataclass(frozen=True)
class Settings:
    """Hold what each job requests: GPUs, CPUs, minutes of one start, and the partition (None: the cluster's default)."""

    gpus: int
    cpus: int
    minutes: int
    partition: str | None


@dataclass(frozen=True)
class Job:
    """Hold a job as squeue shows it."""

    id: str
    state: str
    reason: str = "None"


def settings_of(args: argparse.Namespace) -> Settings | None:
    """Return the job settings from the options of ``tools/study.py run``; None without ``--executor slurm``.

    Raises:
        ValueError: options exclude each other or are out of range, Slurm is not installed, or OMP_NUM_THREADS is not set.
    """
    if args.executor == "local":
        for name in ("partition", "time", "cpus"):
            if getattr(args, name) is not None:
                raise ValueError(f"--{name} is for --executor slurm; on this machine use --jobs and --gpus.")
        return None
    if args.jobs is not None:
        raise ValueError(
            "--jobs is for runs on this machine; with --executor slurm, Slurm decides how many run at once. Leave --jobs out."
        )
    processes = args.gpus or args.processes
    cpus = CPUS * processes if args.cpus is None else args.cpus
    minutes = MINUTES if args.time is None else args.time
    if cpus < processes:
        raise ValueError(f"--cpus is {cpus}; give {processes} or more, at least one for each process of a run.")
    if minutes < SHORTEST:
        raise ValueError(
            f"--time is {minutes} minutes; give {SHORTEST} or more, since a run is asked to save {WARNING} s before the limit."
        )
    if missing := [name for name in PROGRAMS if not shutil.which(name)]:
        raise ValueError(f"--executor slurm needs Slurm's {', '.join(missing)}; run this where jobs are submitted.")
    if "OMP_NUM_THREADS" not in os.environ:
        raise ValueError(
            f"--executor slurm needs OMP_NUM_THREADS, which is part of a run's key: export OMP_NUM_THREADS={cpus // processes}, "
            "for `status` too. This machine may have other CPUs than the jobs."
        )
    return Settings(args.gpus, cpus, minutes, args.partition)


def queue() -> dict[str, Job]:
    """Return the jobs submitted from the working folder by run key; of several jobs of a run, the one that has not ended.

    Slurm lists ended jobs for some minutes. A job is identified by its name and folder, so that none is lost when a
    launcher is killed.

    Raises:
        ValueError: squeue is missing or does not answer.
    """
    try:
        query = ["squeue", "--me", "--noheader", "--states=all", "--format=%i|%T|%r|%j|%Z"]
        answer = subprocess.run(query, capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ValueError(f"squeue does not answer: {error}") from None
    if answer.returncode:
        raise ValueError(f"squeue does not answer: {(answer.stderr.strip() or 'no message').splitlines()[-1]}")
    lines = [line.split("|", 4) for line in answer.stdout.splitlines()]
    jobs = [line for line in lines if len(line) == 5 and line[0].isdigit() and line[4] == os.getcwd()]
    # The last entry of a key wins: a job that has not ended, else the newest.
    jobs.sort(key=lambda line: (line[1] not in ENDED, int(line[0])))
    return {name: Job(number, state, reason) for number, state, reason, name, _ in jobs}


def waiting_jobs(say: Callable[[str], None]) -> dict[str, Job]:
    """Return the queued and running jobs by run key; empty if none was submitted, or if squeue fails, which ``say`` reports."""
    if not LOGS.is_dir():
        return {}
    try:
        return {key: job for key, job in queue().items() if job.state not in ENDED}
    except ValueError as error:
        say(f"{error}; jobs are not shown")
        return {}


def refuse_queued(nodes: Iterable[Node], say: Callable[[str], None]) -> None:
    """Raise ValueError if Slurm's queue has a run that is about to start on this machine."""
    if ids := _ids(waiting_jobs(say), {node.key for node in nodes}):
        raise ValueError(
            f"Slurm has jobs of this study; use --executor slurm to continue with them, or `scancel {ids}` to end them."
        )


def _ids(jobs: dict[str, Job], keys: Container[str]) -> str:
    """Return the ids of the jobs of the runs ``keys``, as scancel takes them."""
    return " ".join(sorted((job.id for key, job in jobs.items() if key in keys), key=int))


def run_on_slurm(study: Study, events: Events, settings: Settings, retry: int = 0) -> list[Node]:
    """Submit every run that is neither done nor queued, and watch until all have ended; see ``local.run_study``.

    Ctrl-C ends the watching, not the jobs.
    """
    if settings.gpus and DEVICE not in os.environ and not machine()["cuda"]:
        events.log(f"This host has no GPU, so run keys say cpu. If the jobs have GPUs, `export {DEVICE}=cuda`, for `status` too.")
    failed = []
    for nodes in rounds(study):
        jobs = Jobs(nodes, settings, retry, events)
        try:
            jobs.wait()
        except KeyboardInterrupt:
            if ids := _ids(waiting_jobs(events.log), jobs.waiting):
                events.log(
                    f"The jobs continue: `study.py status` shows them, the same command watches them again, "
                    f"and `scancel {ids}` ends them."
                )
            raise
        failed += jobs.failed
    return failed


class Jobs:
    """Submit and follow the Slurm jobs of nodes.

    Args:
        nodes: each after its upstream node.
        settings: what each job requests.
        retry: number of times that a failed run is tried again.
        events: see ``local.run_study``.

    Attributes:
        waiting: the nodes without an outcome, by key.
        jobs: the last job of each of them, by key.
        failed: the nodes that were given up.
    """

    def __init__(self, nodes: list[Node], settings: Settings, retry: int, events: Events):
        self.waiting = {node.key: node for node in nodes}
        self.settings, self.retry, self.events = settings, retry, events
        self.jobs: dict[str, Job] = {}
        self.failed: list[Node] = []
        self._tries: Counter[str] = Counter()
        self._gone: dict[str, float] = {}  # when a job without a result left the queue
        self._logged: set[str] = set()  # lines that are logged once
        self._refused = -float("inf")  # when Slurm last refused a job

    def wait(self) -> None:
        """Wait until every run is done, failed or skipped."""
        while True:
            self.look()
            if not self.waiting:
                return
            for key, node in self.waiting.items():
                if key in self.jobs and self.jobs[key].state == "RUNNING":
                    self.events.watch(node)
            time.sleep(POLL)

    def look(self) -> None:
        """Compare the runs with the queue once and submit those that are ready.

        A lock allows one launcher of a folder to do so at a time.
        """
        LOGS.mkdir(parents=True, exist_ok=True)
        with FileLock(LOGS / "submit.lock"):
            try:
                queued = queue()
            except ValueError as error:
                self._say(f"{error}; asking again")
                return
            ready: dict[str, Node] = {}
            for node in list(self.waiting.values()):  # each after its upstream node
                if self._done(node):
                    del self.waiting[node.key]
                elif self._queued(node, queued):
                    continue
                elif not is_locked(node.folder):
                    self._decide(node, ready)
                elif node.key not in self.jobs:
                    self._say(f"{node.name}: waiting for another process that runs it")
            if ready and time.monotonic() - self._refused >= REFUSED:
                self._submit(ready)

    def _done(self, node: Node) -> bool:
        """Return True, and report the result, if the run has finished."""
        if node.record is None:
            return False
        self.events.ended(node, DONE if self.jobs.pop(node.key, None) else EARLIER)
        return True

    def _queued(self, node: Node, queued: dict[str, Job]) -> bool:
        """Return True if a job of the run is queued, or ended so recently that its result may not be visible yet."""
        last, job = self.jobs.get(node.key), queued.get(node.key)
        if job and job.state not in ENDED:
            if not last:
                self.events.log(f"{node.name}: already in the queue, job {job.id}")
            if job.state == "PENDING" and job.reason not in ORDINARY:
                self._say(f"{node.name}: job {job.id} waits; Slurm's reason: {job.reason}")
            if job.state == "RUNNING" and not (last and last.state == "RUNNING"):
                self.events.started(node)
            self.jobs[node.key] = job
            self._gone.pop(node.key, None)
            return True
        if not last:
            return False
        if job and job.id == last.id:
            self.jobs[node.key] = job  # now with its final state
        gone_since = self._gone.setdefault(node.key, time.monotonic())
        certain = self.jobs[node.key].reason == NEVER or node.failure.is_file()
        return not certain and time.monotonic() - gone_since < SETTLE

    def _decide(self, node: Node, ready: dict[str, Node]) -> None:
        """Add a run without a job to those that are ``ready``, or skip it, or give it up."""
        above, job = node.above, self.jobs.pop(node.key, None)
        self._gone.pop(node.key, None)
        upstream_open = above is not None and above.key in self.waiting
        if not upstream_open and left_out(node):
            self.events.ended(node, SKIPPED)
            del self.waiting[node.key]
        elif job and job.reason != NEVER and (not upstream_open or job.state == "CANCELLED") and not self._again(node, job):
            self.events.ended(node, FAILED)
            self.failed.append(self.waiting.pop(node.key))
        elif not upstream_open or above.key in ready or above.key in self.jobs:
            ready[node.key] = node
        # otherwise another process runs the upstream node; this one is submitted after that

    def _again(self, node: Node, job: Job) -> bool:
        """Return True if a run whose job ended without a result is tried again; write why it ended to ``failed.txt``."""
        self._tries[node.key] += 1
        failure = node.failure
        if not failure.is_file():
            end = f"ended as {job.state}" if job.state in ENDED else "is no longer in the queue"
            errors = last_lines(LOGS / f"{job.id}_0_log.err")
            write_text(failure, f"job {job.id} {end}, without a result\n{errors}")
        return job.state != "CANCELLED" and self._tries[node.key] <= self.retry

    def _submit(self, nodes: dict[str, Node]) -> None:
        for node in nodes.values():
            node.failure.unlink(missing_ok=True)
            expect_key(node.folder, node.run_key.content)
        settings = self.settings
        queued = {key: job.id for key, job in self.jobs.items()}
        executor = slurm_executor(LOGS, settings.cpus)

        try:
            submitted = submit(
                nodes.values(), command, settings.partition, settings.minutes, settings.gpus, LOGS, executor, queued
            )
        except ValueError as error:
            if not _ids(waiting_jobs(self.events.log), self.waiting):  # no job whose end would make room
                raise
            self._say(f"{error}; trying again every minute")
            self._refused = time.monotonic()
            return
        for key, job in submitted.items():
            self.jobs[key] = Job(job.job_id, "PENDING")
            self.events.log(f"{nodes[key].name}: job {job.job_id}")

    def _say(self, line: str) -> None:
        """Log a line unless it was logged before."""
        if line not in self._logged:
            self._logged.add(line)
            self.events.log(line)
