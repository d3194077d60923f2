"""Running what a study has to do as jobs of Slurm: submits them, and watches until all have ended."""

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
from tools.engine.launching.local import last_lines, left_out, result, rounds
from tools.engine.launching.slurm_job import WARNING, slurm_executor, submit
from tools.engine.run_folder import RUNS, is_locked
from tools.engine.studies.commands import command
from tools.engine.studies.node import Node
from tools.engine.studies.study import Study

PROGRAMS = ("sbatch", "squeue", "srun", "scontrol")
LOGS = RUNS.parent / "slurm"  # submitit's own files and each job's output beside the run's log.txt
POLL = 10  # seconds from one look at the queue to the next
SETTLE = 15  # seconds that a shared file system may take to show what a job wrote last
REFUSED = 60  # seconds until jobs are submitted again after Slurm took no more, since a user may have so many only
CPUS = 8  # of each process
MINUTES = 240  # of one start
SHORTEST = 5  # minutes: a job is asked to save two minutes before its end, and has to load its data first
NEVER = "DependencyNeverSatisfied"  # what Slurm says of a job that waits for one that failed
# What Slurm says of a job that waits its turn; any other reason is worth a line.
ORDINARY = ("None", "Priority", "Resources", "Dependency", "BeginTime", NEVER)
ENDED = (
    *("BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "NODE_FAIL", "OUT_OF_MEMORY", "PREEMPTED", "REVOKED"),
    "TIMEOUT",
)


@dataclass(frozen=True)
class Settings:
    """What each job asks for: GPUs, CPUs, minutes of one start, and the partition (None: the cluster's own choice)."""

    gpus: int
    cpus: int
    minutes: int
    partition: str | None


@dataclass(frozen=True)
class Job:
    """A job as squeue shows it."""

    id: str
    state: str
    reason: str = "None"


def settings_of(args: argparse.Namespace) -> Settings | None:
    """What ``tools/study.py run`` was asked of Slurm; None without ``--executor slurm``.

    Raises:
        ValueError: options that do not go together or make no sense, no Slurm, or no number of threads.
    """
    if args.executor == "local":
        for name in ("partition", "time", "cpus"):
            if getattr(args, name) is not None:
                raise ValueError(f"--{name} is for --executor slurm; on this machine --jobs and --gpus say what runs at once.")
        return None
    if args.jobs is not None:
        raise ValueError("--jobs is for runs on this machine; with --executor slurm, Slurm decides how many run at once.")
    if args.gpus < 0:
        raise ValueError(f"--gpus is {args.gpus}; give how many GPUs each run gets, or 0.")
    processes = max(args.gpus, 1)
    cpus = CPUS * processes if args.cpus is None else args.cpus
    minutes = MINUTES if args.time is None else args.time
    if cpus < processes:
        raise ValueError(f"--cpus is {cpus}; give {processes} or more, one for each process of a run.")
    if minutes < SHORTEST:
        raise ValueError(
            f"--time is {minutes} minutes; give {SHORTEST} or more, since a run is asked to save {WARNING} s before its end."
        )
    if missing := [name for name in PROGRAMS if not shutil.which(name)]:
        raise ValueError(f"--executor slurm needs Slurm's {', '.join(missing)}; start it where jobs are submitted.")
    if "OMP_NUM_THREADS" not in os.environ:
        raise ValueError(
            f"--executor slurm needs OMP_NUM_THREADS, which is part of a run's key: export OMP_NUM_THREADS={cpus // processes}, "
            "for `status` too; this machine has other CPUs than the jobs."
        )
    return Settings(args.gpus, cpus, minutes, args.partition)


def queue() -> dict[str, Job]:
    """The jobs that were submitted from the working folder, by the key of their run: of several that which has not ended.

    Slurm keeps ended ones for some minutes. A job is known by its name and folder, so that none is lost when a launcher
    is killed.

    Raises:
        ValueError: squeue is not there or does not answer.
    """
    try:
        words = ["squeue", "--me", "--noheader", "--states=all", "--format=%i|%T|%r|%j|%Z"]
        shown = subprocess.run(words, capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ValueError(f"squeue does not answer: {error}") from None
    if shown.returncode:
        raise ValueError(f"squeue does not answer: {(shown.stderr.strip() or 'no message').splitlines()[-1]}")
    lines = [line.split("|", 4) for line in shown.stdout.splitlines()]
    own = [line for line in lines if len(line) == 5 and line[0].isdigit() and line[4] == os.getcwd()]
    own.sort(key=lambda line: (line[1] not in ENDED, int(line[0])))
    return {name: Job(number, state, reason) for number, state, reason, name, _ in own}


def waiting_jobs(say: Callable[[str], None]) -> dict[str, Job]:
    """The jobs in the queue by the key of their run; none where nothing was submitted. ``say`` gets why the queue is unknown."""
    if not LOGS.is_dir():
        return {}
    try:
        return {key: job for key, job in queue().items() if job.state not in ENDED}
    except ValueError as error:
        say(f"{error}; jobs are not shown")
        return {}


def refuse_queued(nodes: Iterable[Node], say: Callable[[str], None]) -> None:
    """Raises ValueError when a run that is to be made on this machine is in the queue."""
    if ids := _ids(waiting_jobs(say), {node.key for node in nodes}):
        raise ValueError(f"Slurm has jobs of this study: --executor slurm goes on with them, and `scancel {ids}` ends them.")


def _ids(jobs: dict[str, Job], keys: Container[str]) -> str:
    """The numbers of the jobs of some runs, as scancel takes them."""
    return " ".join(sorted((job.id for key, job in jobs.items() if key in keys), key=int))


def run_on_slurm(
    study: Study,
    watch: Callable[[Node, float], None],
    log: Callable[[str], None],
    settings: Settings,
    retry: int = 0,
) -> list[Node]:
    """Submits what is neither done nor in the queue, and watches until it has ended; see ``local.run_study``.

    Ctrl-C ends the watching alone.
    """
    if settings.gpus and DEVICE not in os.environ and not machine()["cuda"]:
        log(f"This host has no GPU, so keys say cpu; `export {DEVICE}=cuda`, for status too, where the jobs have GPUs.")
    failed = []
    for todo in rounds(study):
        jobs = Jobs(todo, settings, retry, watch, log)
        try:
            jobs.wait()
        except KeyboardInterrupt:
            if ids := _ids(waiting_jobs(log), jobs.waiting):
                log(f"The jobs go on: `study.py status` shows them, the same command comes back, and `scancel {ids}` ends them.")
            raise
        failed += jobs.failed
    return failed


class Jobs:
    """The jobs of runs: ``waiting`` has the runs of which nothing is decided, ``jobs`` the last job of each, both by key;
    ``failed`` has the runs that were given up.
    """

    def __init__(self, nodes: list[Node], settings: Settings, retry: int, watch, log):
        self.waiting = {node.key: node for node in nodes}
        self.settings, self.retry, self.watch, self.log = settings, retry, watch, log
        self.jobs: dict[str, Job] = {}
        self.failed: list[Node] = []
        self._tries: Counter[str] = Counter()
        self._gone: dict[str, float] = {}  # since when a job is out of the queue without a result
        self._said: set[str] = set()
        self._refused = -float("inf")  # when Slurm last took no more jobs

    def wait(self) -> None:
        """Until every run is done, failed or left out."""
        while True:
            self.look()
            if not self.waiting:
                return
            running = [node for key, node in self.waiting.items() if key in self.jobs and self.jobs[key].state == "RUNNING"]
            if running:
                self.watch(running[0], running[0].progress())
            time.sleep(POLL)

    def look(self) -> None:
        """Compares runs and queue once, and submits what can be. One launcher of a folder does so at a time."""
        LOGS.mkdir(parents=True, exist_ok=True)
        with FileLock(LOGS / "submit.lock"):
            try:
                found = queue()
            except ValueError as error:
                self._say(f"{error}; it is asked again")
                return
            ready: dict[str, Node] = {}
            for node in list(self.waiting.values()):  # each after the one above it
                if self._done(node):
                    del self.waiting[node.key]
                elif self._queued(node, found):
                    continue
                elif not is_locked(node.folder):
                    self._decide(node, ready)
                elif node.key not in self.jobs:
                    self._say(f"{node.name}: run by another process, which is waited for")
            if ready and time.monotonic() - self._refused >= REFUSED:
                self._submit(ready)

    def _done(self, node: Node) -> bool:
        if node.record is None:
            return False
        if self.jobs.pop(node.key, None):
            self.watch(node, 1.0)
            self.log(result(node))
        else:
            self.log(f"{node.name}: done earlier ({node.folder})")
        return True

    def _queued(self, node: Node, found: dict[str, Job]) -> bool:
        """Whether a job of the run is in the queue, or ended so recently that its result may not be seen yet."""
        known, job = self.jobs.get(node.key), found.get(node.key)
        if job and job.state not in ENDED:
            if not known:
                self.log(f"{node.name}: in the queue already, job {job.id}")
            if job.state == "PENDING" and job.reason not in ORDINARY:
                self._say(f"{node.name}: job {job.id} waits, and Slurm says {job.reason}")
            self.jobs[node.key] = job
            self._gone.pop(node.key, None)
            return True
        if not known:
            return False
        if job and job.id == known.id:
            self.jobs[node.key] = job  # with how it ended
        gone = self._gone.setdefault(node.key, time.monotonic())
        sure = self.jobs[node.key].reason == NEVER or node.failure.is_file()
        return not sure and time.monotonic() - gone < SETTLE

    def _decide(self, node: Node, ready: dict[str, Node]) -> None:
        """Puts a run that has no job, or none any more, among those to submit, or gives it up."""
        above, job = node.above, self.jobs.pop(node.key, None)
        self._gone.pop(node.key, None)
        open_above = above is not None and above.key in self.waiting
        if not open_above and (reason := left_out(node)):
            self.log(reason)
            del self.waiting[node.key]
        elif job and job.reason != NEVER and (not open_above or job.state == "CANCELLED") and not self._again(node, job):
            self.log(f"{node.name}: failed, see {node.log}")
            self.failed.append(self.waiting.pop(node.key))
        elif not open_above or above.key in ready or above.key in self.jobs:
            ready[node.key] = node
        # else the one above is run by another process: this one is submitted after it

    def _again(self, node: Node, job: Job) -> bool:
        """Whether a run whose job ended without a result is tried again; if not, ``failed.txt`` says why it ended."""
        self._tries[node.key] += 1
        failure = node.failure
        if not failure.is_file():
            end = f"ended as {job.state}" if job.state in ENDED else "is no longer in the queue"
            said = last_lines(LOGS / f"{job.id}_0_log.err")
            write_text(failure, f"job {job.id} {end}, without a result\n{said}")
        return job.state != "CANCELLED" and self._tries[node.key] <= self.retry

    def _submit(self, nodes: dict[str, Node]) -> None:
        for node in nodes.values():
            node.failure.unlink(missing_ok=True)
        its, known = self.settings, {key: job.id for key, job in self.jobs.items()}
        executor = slurm_executor(LOGS, its.cpus)
        words = (lambda node: command(node, max(its.gpus, 1))), its.partition, its.minutes, its.gpus, LOGS, executor, known
        try:
            made = submit(nodes.values(), *words)
        except ValueError as error:
            if not _ids(waiting_jobs(self.log), self.waiting):  # nothing whose end would make room
                raise
            self._say(f"{error}; tried again each minute")
            self._refused = time.monotonic()
            return
        for key, job in made.items():
            self.jobs[key] = Job(job.job_id, "PENDING")
            self.log(f"{nodes[key].name}: job {job.job_id}")

    def _say(self, line: str) -> None:
        if line not in self._said:
            self._said.add(line)
            self.log(line)
