"""Runs of a study as Slurm jobs: each waits for the run above it, and goes on where a time limit or a preemption stopped it."""

import os
import shlex
import signal
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import submitit
from submitit.core.utils import FailedJobError
from submitit.helpers import DelayedSubmission

from backbones.common.project import ROOT
from tools.engine.launching.local import SAVING, last_lines
from tools.engine.run_folder import failure_of, keep_log, log_of, open_log, read_record

RESUME = "--resume"
STOPPED = os.EX_TEMPFAIL  # 75, what a run that saved its state after SIGTERM exits with
GRACE = 90  # seconds that a run has for its save
WARNING = 120  # seconds before its end that Slurm signals a job: the save, and some for putting it back into the queue
RESTARTS = 100  # time limits that a job may meet before it is given up


class TrainNode:
    """The command line of a run, as what a job calls. When Slurm sends USR2 to the job, submitit calls ``checkpoint``, keeps what
    that returns for the job's next start, and puts the job back into the queue.

    Slurm sends its signals to all processes of a job's step, so USR2 is blocked in the run, which would die of it.

    Args:
        command: ``RESUME`` is added to it for every start but the first.
        folder: of the run, which the run makes itself. The output goes to ``log_of`` it, and the end of it, where the run fails
            without a record, to ``failure_of``.
        grace: seconds from SIGTERM to SIGKILL for a run that is to save its state.
    """

    def __init__(self, command: list[str], folder: str, grace: float = GRACE):
        self.command, self.folder, self.grace = list(command), str(folder), grace
        self._process: subprocess.Popen | None = None
        self._signals = -1  # a pipe that tells in which order signals came

    def __call__(self) -> int:
        """Runs it and returns 0.

        Raises:
            RuntimeError: any other exit status, so that the job fails and those that depend on it do not start.
        """
        folder = Path(self.folder)
        again = int(os.environ.get("SLURM_RESTART_COUNT", 0)) > 0  # put back by Slurm itself, after a node's failure for one
        with open_log(folder) as out, self._listening():
            status = self._run(_resumed(self.command) if again else self.command, out)
            if status in (STOPPED, -signal.SIGTERM) or (status and self._told()):  # torchrun turns the first two into 1
                time.sleep(self.grace)  # USR2 or Slurm's SIGKILL follows a SIGTERM of Slurm; both put the job back
        keep_log(folder)
        if status:
            if read_record(folder) is None:  # one that diverged has its record
                failure_of(folder).write_text(last_lines(log_of(folder)))
            raise RuntimeError(f"{shlex.join(self.command)} ended with status {status}; see {log_of(folder)}")
        return status

    def checkpoint(self, *args) -> DelayedSubmission:
        """Lets the run save its state, and returns what goes on from there."""
        self._stop()
        keep_log(Path(self.folder))
        return DelayedSubmission(TrainNode(_resumed(self.command), self.folder, self.grace), *args)

    def _run(self, command: list[str], out) -> int:
        # A blocked signal stays blocked in the child, and here it waits until there is a process to stop.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR2})
        try:
            self._process = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        try:
            return self._process.wait()
        except BaseException:
            self._stop()
            raise

    @contextmanager
    def _listening(self) -> Iterator[None]:
        # Of two signals at once Python handles the one with the lower number, USR2, first, and knows of no other meanwhile.
        self._signals, end = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        before = signal.set_wakeup_fd(end, warn_on_full_buffer=False)
        try:
            yield
        finally:
            signal.set_wakeup_fd(before)
            os.close(self._signals)
            os.close(end)

    def _told(self) -> bool:
        """Whether Slurm sent SIGTERM, which the run got too."""
        try:
            return signal.SIGTERM in os.read(self._signals, 4096)
        except BlockingIOError:
            return False

    def _stop(self) -> None:
        """Ends the run: SIGTERM, unless it got that already and is saving (a second one ends it at once), later SIGKILL."""
        if self._process is None or self._ended():
            return
        if not self._told():
            os.kill(self._process.pid, signal.SIGTERM)
        end = time.monotonic() + self.grace
        while not self._ended():
            if time.monotonic() > end:
                os.kill(self._process.pid, signal.SIGKILL)
            time.sleep(0.1)

    def _ended(self) -> bool:
        # Popen's own methods wait for a lock that the call holds which this signal handler interrupts.
        try:
            return os.waitid(os.P_PID, self._process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
        except ChildProcessError:  # its status was already taken
            return True


def _resumed(command: list[str]) -> list[str]:
    return command if RESUME in command else [*command, RESUME]


def slurm_executor(log_folder: str | Path, cpus: int = 8) -> submitit.SlurmExecutor:
    """What submits jobs of ``cpus`` CPUs that are warned in time, and cancelled when one they depend on fails.

    ``log_folder`` gets submitit's own files and must be one that all nodes see.
    """
    executor = submitit.SlurmExecutor(log_folder, max_num_timeout=RESTARTS)
    executor.update_parameters(
        cpus_per_task=cpus,
        signal_delay_s=WARNING,
        setup=[
            f"export PYTHONPATH={shlex.quote(str(ROOT))}${{PYTHONPATH:+:$PYTHONPATH}}",
            "export SRUN_CPUS_PER_TASK=$SLURM_CPUS_PER_TASK",  # since 22.05 srun does not take it from the job
            f"export TORCH_ELASTIC_SHUTDOWN_TIMEOUT={SAVING}",
        ],
        additional_parameters={"kill-on-invalid-dep": "yes", "requeue": True},  # some clusters put no job back unasked
    )
    return executor


@contextmanager
def undisturbed() -> Iterator[None]:
    """Holds Ctrl-C back, from programs started inside too: a job needs its files, which submitit moves after sbatch."""
    asked = []
    before = signal.signal(signal.SIGINT, lambda *_: asked.append(True))  # a signal may reach any thread
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
        signal.signal(signal.SIGINT, before)
    if asked:
        raise KeyboardInterrupt


def submit(
    nodes: Iterable,
    command: Callable[..., list[str]],
    partition: str | None,
    time_minutes: int,
    gpus: int,
    log_folder: str | Path,
    executor: submitit.SlurmExecutor | None = None,
    queued: Mapping[str, str] | None = None,
) -> dict[str, submitit.Job]:
    """Submits a job for each node, which starts once that of the node above it has succeeded; returns the jobs by key.

    Args:
        nodes: each with key, above (a node or None) and folder. One above that is neither among them nor queued counts as done.
        command: gives the command line of a node.
        partition: None: the cluster's own choice.
        time_minutes: of one start. submitit takes any stop in the last ten for a time-out.
        gpus: of each job.
        log_folder: see ``slurm_executor``.
        executor: instead of one with ``slurm_executor``'s settings.
        queued: the ids of jobs that are in the queue already, by the keys of their nodes.

    Raises:
        ValueError: what sbatch refuses; the jobs before that one stay in the queue.
    """
    executor = executor or slurm_executor(log_folder)
    wanted = {node.key: node for node in nodes}
    jobs: dict[str, submitit.Job] = {}
    ids = dict(queued or {})

    def add(node) -> None:
        if node.key in jobs:
            return
        above = node.above and wanted.get(node.above.key)
        if above:
            add(above)
        executor.update_parameters(
            job_name=node.key,
            partition=partition,
            time=time_minutes,
            gpus_per_node=gpus or None,
            # each time: parameters stay
            dependency=f"afterok:{ids[node.above.key]}" if node.above and node.above.key in ids else None,
        )
        try:
            with undisturbed():
                job = executor.submit(TrainNode(command(node), str(node.folder)))
        except FailedJobError as error:
            said = [line for line in str(error).splitlines() if line.strip()] or ["no reason"]
            raise ValueError(f"Slurm takes no job for {node.key}: {said[0].removeprefix('sbatch: ')}") from None
        jobs[node.key], ids[node.key] = job, job.job_id

    for node in wanted.values():
        add(node)
    return jobs
