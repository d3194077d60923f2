"""Run a study on this machine: each run in a process of its own, several at once if asked."""

import os
import re
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path

from tools.engine.config import task_of
from tools.engine.launching import fork_server
from tools.engine.run_folder import PROGRESS, is_locked, keep_log, open_log
from tools.engine.studies.commands import command
from tools.engine.studies.graph import nodes_of
from tools.engine.studies.node import Node
from tools.engine.studies.study import Study

# torchrun prints this after the error of a failed process and before its own summary page.
TORCHRUN = re.compile(r"failed \(exitcode: -?\d+\)|Sending process \d+ closing signal")
PAUSE = 0.2  # seconds between two polls of a run
SAVING = "80"  # seconds that torchrun waits after a signal before it kills processes that are still saving; its default is 30

Watch = Callable[[Node, float], None]  # gets a running node and the part of it that is done, 0..1
Slot = dict[str, str]  # the environment variables of a run that has its share of the machine


def slots_of(jobs: int, gpus: int) -> list[Slot]:
    """Return the environment of each of the runs that go on at once.

    A run with GPUs has GPUs of its own. A run on the CPU inherits the number of threads, which is part of its key.

    Args:
        jobs: number of runs at once.
        gpus: number of GPUs of each run; 0 for none.

    Raises:
        ValueError: ``CUDA_VISIBLE_DEVICES`` lists fewer GPUs than the runs need.
    """
    if not gpus:
        return [{}] * jobs
    listed = os.environ.get("CUDA_VISIBLE_DEVICES")
    ids = listed.split(",") if listed else [str(number) for number in range(jobs * gpus)]
    if len(ids) < jobs * gpus:
        raise ValueError(
            f"--jobs {jobs} of --gpus {gpus} need {jobs * gpus} GPUs; CUDA_VISIBLE_DEVICES has {len(ids)}. "
            "Lower --jobs or --gpus."
        )
    return [{"CUDA_VISIBLE_DEVICES": ",".join(ids[i * gpus : (i + 1) * gpus])} for i in range(jobs)]


def run_study(
    study: Study,
    watch: Watch,
    log: Callable[[str], None],
    jobs: int = 1,
    gpus: int = 0,
    retry: int = 0,
) -> list[Node]:
    """Run every node of a study that has not finished, each in a process of its own and after its upstream runs.

    The six parameters are the options of ``tools/study.py run`` and its two outputs.

    Args:
        study: see ``load_study``.
        watch: called about five times a second with a running node and the part of it that is done.
        log: gets one line for each node.
        jobs: number of runs at once.
        gpus: number of GPUs of each run; several share a batch (torchrun).
        retry: number of times that a failed run is tried again.

    Returns:
        The nodes that failed. Nodes downstream of them are skipped and named in the log.
    """
    launcher = LocalLauncher(NodeRunner(watch, max(gpus, 1), threading.Event()), log, slots_of(jobs, gpus), retry)
    return [node for nodes in rounds(study) for node in launcher.launch(nodes)]


def run_node(
    node: Node,
    watch: Watch,
    slot: Slot | None = None,
    processes: int = 1,
    stop: threading.Event | None = None,
) -> bool:
    """Run ``tools/train.py`` for one node and return True if it has a record at the end.

    The run resumes from its last checkpoint, and its output is appended to its log.txt. If another process already runs the
    node, wait for that process instead.

    Args:
        node: a node of a study.
        watch: see ``run_study``.
        slot: environment variables of the process.
        processes: number of processes that share a batch.
        stop: when it is set, the process is asked to save and stop.
    """
    return NodeRunner(watch, processes, stop or threading.Event()).run(node, slot or {})


def rounds(study: Study) -> Iterator[list[Node]]:
    """Yield the nodes of a study as they become known: first all of the plan, then the tuned ones when their grids are done."""
    seen: set[str] = set()
    while nodes := [node for node in nodes_of(study) if node.key not in seen]:
        yield nodes
        seen |= {node.key for node in nodes}


@dataclass(frozen=True)
class NodeRunner:
    """Run one node at a time in a process of its own.

    Args:
        watch: see ``run_study``.
        processes: number of processes that share a batch.
        stop: when it is set, running processes are asked to save and stop.
    """

    watch: Watch
    processes: int
    stop: threading.Event

    def run(self, node: Node, slot: Slot) -> bool:
        """Run a node with the environment variables ``slot``; see ``run_node``."""
        while not node.record and not self.stop.is_set():
            if not is_locked(node.folder):
                (node.folder / PROGRESS).unlink(missing_ok=True)
                self._run_process(node, slot)
                if not is_locked(node.folder):  # a lock means that another launcher was faster
                    break
            self.watch(node, node.progress())
            time.sleep(PAUSE)
        if not node.record and not self.stop.is_set():
            node.failure.write_text(last_lines(node.log))
        return node.record is not None

    def _run_process(self, node: Node, slot: Slot) -> None:
        with open_log(node.folder) as out:
            process = self._start(node, slot, out)
            try:
                while process.poll() is None:
                    keep_log(node.folder)
                    self.watch(node, node.progress())
                    if self.stop.is_set():
                        break
                    time.sleep(PAUSE)
            finally:
                if process.poll() is None:
                    process.terminate()  # the run saves a checkpoint
                    process.wait()
                keep_log(node.folder)

    def _start(self, node: Node, slot: Slot, out) -> subprocess.Popen | fork_server.Forked:
        line = command(node, self.processes)
        env = os.environ | {"TORCH_ELASTIC_SHUTDOWN_TIMEOUT": SAVING} | slot
        if "threads" in node.plan:
            env["OMP_NUM_THREADS"] = str(node.plan.threads)
        if fork_server.serves(line):
            return fork_server.fork(line, env, out.name)
        # In a session of its own, so that Ctrl-C at a terminal reaches the launcher alone, which asks each run to stop once.
        return subprocess.Popen(line, env=env, stdout=out, stderr=subprocess.STDOUT, start_new_session=True)


@dataclass(frozen=True)
class LocalLauncher:
    """Run the nodes of a study on this machine, one in each slot.

    Args:
        runner: runs a single node.
        log: gets one line for each node.
        slots: see ``slots_of``.
        retry: number of times that a failed run is tried again.
    """

    runner: NodeRunner
    log: Callable[[str], None]
    slots: list[Slot]
    retry: int

    def launch(self, nodes: list[Node]) -> list[Node]:
        """Run nodes, each when its upstream run among them has ended, and return those that failed.

        On an exception, such as Ctrl-C, running nodes save their state before it is raised.
        """
        waiting, free, failed = list(nodes), list(self.slots), []
        running: dict[Future, tuple[Node, Slot]] = {}
        with ThreadPoolExecutor(len(self.slots)) as pool:
            try:
                while waiting or running:
                    unfinished = {node.key for node, _ in running.values()} | {node.key for node in waiting}
                    ready = [node for node in waiting if not (node.above and node.above.key in unfinished)]
                    for node in ready[: len(free)]:
                        waiting.remove(node)
                        slot = free.pop()
                        running[pool.submit(self._ends_well, node, slot)] = node, slot
                    ended, _ = wait(running, return_when=FIRST_COMPLETED)
                    for future in ended:
                        node, slot = running.pop(future)
                        free.append(slot)
                        if not future.result():
                            failed.append(node)
            except BaseException:
                self.runner.stop.set()
                raise
        return failed

    def _ends_well(self, node: Node, slot: Slot) -> bool:
        """Run a node if it has to be run, log the outcome, and return False if it failed."""
        if node.record:
            self.log(f"{node.name}: done earlier ({node.folder})")
        elif reason := left_out(node):
            self.log(reason)
        elif any(self.runner.run(node, slot) for _ in range(1 + self.retry)):
            self.log(result(node))
        else:
            self.log(f"{node.name}: failed, see {node.log}")
            return False
        return True


def left_out(node: Node) -> str:
    """Return the line that says why a node is skipped once its upstream run has ended; empty if it can run."""
    status = (node.above.record or {}).get("status", "not finished") if node.above else "done"
    return "" if status == "done" else f"{node.name}: skipped because upstream run {node.above.name} has {status}"


def result(node: Node) -> str:
    """Return the log line of a run that has finished: its seconds, and its metrics or its status."""
    metrics, record = task_of(node.plan).METRICS, node.record
    figures = ", ".join(f"{name} {value:.2f}" for name, value in record["metrics"].items() if name in metrics)
    return f"{node.name}: {record['seconds']['total']:.0f} s, {figures or record['status']}"


def last_lines(log: Path, count: int = 5) -> str:
    """Return the last lines that a run itself wrote to its log, without torchrun's summary; empty if there is no log."""
    lines = log.read_text(errors="replace").splitlines() if log.is_file() else []
    end = None
    if lines and lines[-1].startswith("===="):  # the last line of torchrun's summary page
        end = max((i for i, line in enumerate(lines) if TORCHRUN.search(line)), default=None)
        while end and TORCHRUN.search(lines[end - 1]):
            end -= 1
    return "".join(f"{line}\n" for line in lines[:end][-count:])
