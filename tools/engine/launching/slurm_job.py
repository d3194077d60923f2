"""Run a node as a Slurm job, which waits for its upstream job and resumes after a time limit or a preemption."""

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

from backbones.common.files import write_text
from backbones.common.project import ROOT
from tools.engine.launching.local import SAVING, last_lines
from tools.engine.run_folder import failure_of, keep_log, log_of, open_log, read_record
from tools.engine.stopping import STOPPED

GRACE = 90  # seconds that a run has to save
WARNING = 120  # seconds before its time limit that Slurm signals a job: time to save and to requeue it
RESTARTS = 100  # time limits that a job may reach before it is given up


class TrainNode:
    """Call the command line of a run inside a Slurm job.

    When Slurm sends USR2 to the job, submitit calls ``checkpoint``, stores its return value for the job's next start, and
    requeues the job. Slurm signals all processes of a job step, so USR2 is blocked in the run, which it would kill.

    Args:
        command: a run that it starts again goes on from its last checkpoint.
        folder: folder of the run, which the run creates itself. The output goes to its ``log_of``. If the run fails without a
            record, the end of the output goes to its ``failure_of``.
        grace: seconds between SIGTERM and SIGKILL in which the run can save.
    """

    def __init__(self, command: list[str], folder: str, grace: float = GRACE):
        self.command, self.folder, self.grace = list(command), str(folder), grace
        self._process: subprocess.Popen | None = None
        self._signals = -1  # the end of a pipe from which the signals can be read in order

    def __call__(self) -> int:
        """Run the command and return 0.

        Raises:
            RuntimeError: the exit status is not 0, so that the job fails and the jobs that depend on it do not start.
        """
        folder = Path(self.folder)
        with open_log(folder) as out, self._listening():
            status = self._run(self.command, out)
            if status in (STOPPED, -signal.SIGTERM) or (status and self._got_sigterm()):  # torchrun turns the first two into 1
                time.sleep(self.grace)  # after SIGTERM Slurm sends USR2 or SIGKILL; both requeue the job
        keep_log(folder)
        if status:
            if read_record(folder) is None:  # a run that diverged has a record
                write_text(failure_of(folder), last_lines(log_of(folder)))
            raise RuntimeError(f"{shlex.join(self.command)} ended with status {status}; see {log_of(folder)}")
        return status

    def checkpoint(self, *args) -> DelayedSubmission:
        """Let the run save a checkpoint, and return the call that goes on from it."""
        self._stop()
        keep_log(Path(self.folder))
        return DelayedSubmission(TrainNode(self.command, self.folder, self.grace), *args)

    def _run(self, command: list[str], out) -> int:
        # The child inherits the blocked signal. Here it is delivered once there is a process to stop.
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
        # Of two simultaneous signals Python handles the lower number, USR2, first, and its handler cannot see the other one.
        self._signals, end = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        before = signal.set_wakeup_fd(end, warn_on_full_buffer=False)
        try:
            yield
        finally:
            signal.set_wakeup_fd(before)
            os.close(self._signals)
            os.close(end)

    def _got_sigterm(self) -> bool:
        """Return True if Slurm sent SIGTERM, which the run received too."""
        try:
            return signal.SIGTERM in os.read(self._signals, 4096)
        except BlockingIOError:
            return False

    def _stop(self) -> None:
        """End the run with SIGTERM, later SIGKILL; skip SIGTERM if the run received one, since a second one kills it at once."""
        if self._process is None or self._ended():
            return
        if not self._got_sigterm():
            os.kill(self._process.pid, signal.SIGTERM)
        end = time.monotonic() + self.grace
        while not self._ended():
            if time.monotonic() > end:
                os.kill(self._process.pid, signal.SIGKILL)
            time.sleep(0.1)

    def _ended(self) -> bool:
        # Popen's own methods would wait for a lock held by the call that this signal handler interrupts.
        try:
            return os.waitid(os.P_PID, self._process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
        except ChildProcessError:  # its exit status was already collected
            return True


def slurm_executor(log_folder: str | Path, cpus: int = 8) -> submitit.SlurmExecutor:
    """Return an executor for jobs of ``cpus`` CPUs.

    Jobs are signalled ``WARNING`` seconds before their time limit, and cancelled if their upstream job fails.
    ``log_folder`` receives submitit's files and must be visible to all hosts of the cluster.
    """
    executor = submitit.SlurmExecutor(log_folder, max_num_timeout=RESTARTS)
    executor.update_parameters(
        cpus_per_task=cpus,
        signal_delay_s=WARNING,
        setup=[
            f"export PYTHONPATH={shlex.quote(str(ROOT))}${{PYTHONPATH:+:$PYTHONPATH}}",
            "export SRUN_CPUS_PER_TASK=$SLURM_CPUS_PER_TASK",  # since Slurm 22.05 srun does not inherit it from the job
            f"export TORCH_ELASTIC_SHUTDOWN_TIMEOUT={SAVING}",
        ],
        additional_parameters={"kill-on-invalid-dep": "yes", "requeue": True},  # not every cluster requeues by default
    )
    return executor


@contextmanager
def undisturbed() -> Iterator[None]:
    """Defer Ctrl-C, for child processes too: a job needs the files that submitit moves after sbatch."""
    interrupts = []
    before = signal.signal(signal.SIGINT, lambda *_: interrupts.append(True))  # a signal may reach any thread
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
        signal.signal(signal.SIGINT, before)
    if interrupts:
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
    """Submit a job for each node, which starts once the job of its upstream node has succeeded, and return the jobs by key.

    The parameters are independent settings of Slurm and submitit, so there are eight.

    Args:
        nodes: each with key, above (its upstream node or None) and folder. An upstream node that is neither among them nor
            queued counts as done.
        command: returns the command line of a node.
        partition: partition of the jobs; None for the cluster's default.
        time_minutes: time limit of one start. submitit counts any stop in the last ten minutes as a time-out.
        gpus: number of GPUs of each job.
        log_folder: see ``slurm_executor``.
        executor: used instead of ``slurm_executor(log_folder)``.
        queued: ids of the jobs that are already in the queue, by the keys of their nodes.

    Raises:
        ValueError: sbatch refuses a job; the jobs before it stay in the queue.
    """
    executor = executor or slurm_executor(log_folder)
    by_key = {node.key: node for node in nodes}
    jobs: dict[str, submitit.Job] = {}
    ids = dict(queued or {})

    def add(node) -> None:
        if node.key in jobs:
            return
        if node.above and node.above.key in by_key:
            add(by_key[node.above.key])
        executor.update_parameters(
            job_name=node.key,
            partition=partition,
            time=time_minutes,
            gpus_per_node=gpus or None,
            # set for every job, since parameters persist
            dependency=f"afterok:{ids[node.above.key]}" if node.above and node.above.key in ids else None,
        )
        try:
            with undisturbed():
                job = executor.submit(TrainNode(command(node), str(node.folder)))
        except FailedJobError as error:
            reasons = [line for line in str(error).splitlines() if line.strip()] or ["no reason"]
            raise ValueError(f"Slurm takes no job for {node.key}: {reasons[0].removeprefix('sbatch: ')}") from None
        jobs[node.key], ids[node.key] = job, job.job_id

    for node in by_key.values():
        add(node)
    return jobs
