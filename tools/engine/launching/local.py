"""Run a study on this machine: each run in a process of its own, several at once if asked."""

import os
import re
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from backbones.common.files import write_text
from tools.engine.launching import fork_server
from tools.engine.launching.events import DONE, EARLIER, FAILED, IGNORED, SKIPPED, STOPPED_RUN, Events, left_out, was_stopped
from tools.engine.run_folder import expect_key, expected_key, forget_stop, is_locked, keep_log, open_log
from tools.engine.stopping import LAUNCHED, SIGNALS, STOPPED, Stopped, StopSignals
from tools.engine.studies.commands import command
from tools.engine.studies.graph import nodes_of
from tools.engine.studies.node import Node
from tools.engine.studies.study import Study

# torchrun prints this after the error of a failed process and before its own summary page.
TORCHRUN = re.compile(r"failed \(exitcode: -?\d+\)|Sending process \d+ closing signal")
PAUSE = 0.2  # seconds between two polls of a run
SAVING = "80"  # seconds that torchrun waits after a signal before it kills processes that are still saving; its default is 30

# exit statuses of a run that a signal stopped, while it saves and before that; torchrun turns them into 1
STOP_STATUSES = (STOPPED, *(-number for number in SIGNALS))

Slot = dict[str, str]  # the environment variables of a run that has its share of the machine


@dataclass(frozen=True)
class Share:
    """Say how the runs of a study share this machine.

    Args:
        jobs: number of runs at once.
        gpus: number of GPUs of each run; several share a batch (torchrun).
        retry: number of times that a failed run is tried again.
    """

    jobs: int = 1
    gpus: int = 0
    retry: int = 0


def slots_of(jobs: int, gpus: int) -> list[Slot]:
    """Return the environment of each of the runs that go on at once.

    A run with GPUs has GPUs of its own. A run on the CPU inherits the number of threads, which is part of its key.

    Args:
        jobs: number of runs at once.
        gpus: number of GPUs of each run; 0 for none.

    Raises:
        ValueError: this machine, or ``CUDA_VISIBLE_DEVICES``, has fewer GPUs than the runs need.
    """
    if not gpus:
        return [{}] * jobs
    listed, available = os.environ.get("CUDA_VISIBLE_DEVICES"), gpu_count()
    if available < jobs * gpus:
        place = f"CUDA_VISIBLE_DEVICES={listed}" if listed else "this machine"
        advice = "Lower --jobs or --gpus" if available else "Leave --gpus out; --processes divides a batch among CPU processes"
        raise ValueError(f"--gpus {gpus} with --jobs {jobs} needs {jobs * gpus} GPUs, but {place} has {available}. {advice}.")
    ids = listed.split(",") if listed else [str(number) for number in range(jobs * gpus)]
    return [{"CUDA_VISIBLE_DEVICES": ",".join(ids[i * gpus : (i + 1) * gpus])} for i in range(jobs)]


def gpu_count() -> int:
    """Return the number of GPUs that torch sees."""
    import torch

    return torch.cuda.device_count()


def run_study(study: Study, events: Events, share: Share = Share()) -> list[Node]:
    """Run every node of a study that has not finished, each in a process of its own and after its upstream runs.

    On SIGTERM, SIGINT or SIGHUP no other run starts and those that go on save and end; a second signal ends them and this process
    at once.

    Args:
        study: see ``load_study``.
        events: receives what happens to each node.
        share: how the machine is divided.

    Returns:
        The nodes that failed. Nodes downstream of them are skipped and named in the log.

    Raises:
        Stopped: a signal stopped the study; the same call goes on.
    """
    running = Running()
    with StopSignals(running.stop.set, running.kill):
        launcher = LocalLauncher(NodeRunner(events, running), slots_of(share.jobs, share.gpus), share.retry)
        failed = [node for nodes in rounds(study) for node in launcher.launch(nodes)]
        if running.stop.is_set():
            raise Stopped(STOPPED)
    return failed


def run_node(node: Node, events: Events = IGNORED, slot: Slot | None = None) -> bool:
    """Run ``tools/train.py`` for one node and return True if it has a record at the end.

    The run goes on from its last checkpoint, and its output is appended to its log.txt. If another process already runs the
    node, wait for that process instead.

    Args:
        node: a node of a study.
        events: see ``run_study``.
        slot: environment variables of the process.
    """
    return NodeRunner(events, Running()).run(node, slot or {}) == DONE


def rounds(study: Study) -> Iterator[list[Node]]:
    """Yield the nodes of a study as they become known: first all of the plan, then the tuned ones when their grids are done."""
    seen: set[str] = set()
    while nodes := [node for node in nodes_of(study) if node.key not in seen]:
        yield nodes
        seen |= {node.key for node in nodes}


class Running:
    """Hold the processes that a launcher has started and that have not ended, and the event that asks them to stop."""

    def __init__(self) -> None:
        self.stop = threading.Event()
        self.processes: set[subprocess.Popen | fork_server.Forked] = set()

    def kill(self) -> None:
        """End all processes at once with what they have started."""
        for process in tuple(self.processes):
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # each has a session of its own


@dataclass(frozen=True)
class NodeRunner:
    """Run one node at a time in a process of its own.

    Args:
        events: see ``run_study``.
        running: the processes of all nodes; once its event is set, they are asked to save and stop.
    """

    events: Events
    running: Running

    def run(self, node: Node, slot: Slot) -> str:
        """Run a node with the environment variables ``slot``, see ``run_node``, and return DONE, STOPPED_RUN or FAILED."""
        stop, status = self.running.stop, None
        while not node.record and not stop.is_set():
            if not is_locked(node.folder):
                status = self._run_process(node, slot)
                if not is_locked(node.folder):  # a lock means that another launcher was faster
                    break
            self.events.watch(node)
            time.sleep(PAUSE)
        if node.record:
            return DONE
        if stop.is_set() or status in STOP_STATUSES or was_stopped(node):
            return STOPPED_RUN
        write_text(node.failure, last_lines(node.log))
        return FAILED

    def _run_process(self, node: Node, slot: Slot) -> int | None:
        """Run a process of the node to its end and return its exit status."""
        forget_stop(node.folder)
        with open_log(node.folder) as out:
            process = self._start(node, slot, out)
            self.running.processes.add(process)
            try:
                self.events.started(node)
                while process.poll() is None and not self.running.stop.is_set():
                    keep_log(node.folder)
                    self.events.watch(node)
                    time.sleep(PAUSE)
            finally:
                if process.poll() is None:
                    process.terminate()  # the run saves a checkpoint
                    process.wait()
                self.running.processes.discard(process)
                expected_key(node.folder).unlink(missing_ok=True)
                keep_log(node.folder)
            return process.poll()

    def _start(self, node: Node, slot: Slot, out) -> subprocess.Popen | fork_server.Forked:
        line = command(node)
        env = os.environ | {"TORCH_ELASTIC_SHUTDOWN_TIMEOUT": SAVING, "PYTHONIOENCODING": "utf-8"} | slot
        if threads := node.run_key.content["threads"]:  # on CPUs; torchrun would set 1
            env["OMP_NUM_THREADS"] = str(threads)
        expect_key(node.folder, node.run_key.content)
        if fork_server.serves(line):
            return fork_server.fork(line, env, out.name)
        # In a session of its own, so that Ctrl-C at a terminal reaches the launcher alone, which asks each run to stop once. Its
        # standard input ends with this process.
        return subprocess.Popen(
            line, env=env | {LAUNCHED: "1"}, stdin=subprocess.PIPE, stdout=out, stderr=subprocess.STDOUT, start_new_session=True
        )


@dataclass(frozen=True)
class LocalLauncher:
    """Run the nodes of a study on this machine, one in each slot.

    Args:
        runner: runs a single node.
        slots: see ``slots_of``.
        retry: number of times that a failed run is tried again.
    """

    runner: NodeRunner
    slots: list[Slot]
    retry: int

    def launch(self, nodes: list[Node]) -> list[Node]:
        """Run nodes, each when its upstream run among them has ended, and return those that failed.

        Once the runner's event is set, or on an exception, start no other node and let the running ones save their state.
        """
        waiting, free, failed, stop = list(nodes), list(self.slots), [], self.runner.running.stop
        running: dict[Future, tuple[Node, Slot]] = {}
        with ThreadPoolExecutor(len(self.slots)) as pool:
            try:
                while running or (waiting and not stop.is_set()):
                    unfinished = {node.key for node, _ in running.values()} | {node.key for node in waiting}
                    ready = [node for node in waiting if not (node.above and node.above.key in unfinished)]
                    for node in ready[: len(free)] if not stop.is_set() else ():
                        waiting.remove(node)
                        slot = free.pop()
                        running[pool.submit(self._ends_well, node, slot)] = node, slot
                    self._wait(running)
                    for future in [future for future in running if future.done()]:
                        node, slot = running.pop(future)
                        free.append(slot)
                        if not future.result():
                            failed.append(node)
            except BaseException:
                stop.set()
                raise
        return failed

    def _wait(self, running: dict[Future, tuple[Node, Slot]]) -> None:
        """Wait until a run has ended or all are asked to stop, and say so then."""
        stop = self.runner.running.stop
        was_asked = stop.is_set()
        while not (any(future.done() for future in running) or (stop.is_set() and not was_asked)):
            wait(running, timeout=PAUSE, return_when=FIRST_COMPLETED)
        if stop.is_set() and not was_asked:
            self.runner.events.log("Stopping: each run finishes its update and saves it. A second signal ends them at once.")

    def _ends_well(self, node: Node, slot: Slot) -> bool:
        """Run a node if it has to be run, report the outcome, and return False if it failed."""
        if node.record:
            outcome = EARLIER
        elif left_out(node):
            outcome = SKIPPED
        else:
            for _ in range(1 + self.retry):
                outcome = self.runner.run(node, slot)
                if outcome != FAILED:
                    break
        self.runner.events.ended(node, outcome)
        return outcome != FAILED


def last_lines(log: Path, count: int = 5) -> str:
    """Return the last lines that a run itself wrote to its log, without torchrun's summary; empty if there is no log."""
    lines = log.read_text(errors="replace").splitlines() if log.is_file() else []
    end = None
    if lines and lines[-1].startswith("===="):  # the last line of torchrun's summary page
        end = max((i for i, line in enumerate(lines) if TORCHRUN.search(line)), default=None)
        while end and TORCHRUN.search(lines[end - 1]):
            end -= 1
    return "".join(f"{line}\n" for line in lines[:end][-count:])
