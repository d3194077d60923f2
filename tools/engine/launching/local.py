"""Running what a study has to do on this machine: each run in a process of its own, several at once if asked."""

import os
import re
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from pathlib import Path

from tools.engine.config import task_of
from tools.engine.launching import fork_server as warm
from tools.engine.run_folder import PROGRESS, is_locked, keep_log, open_log
from tools.engine.studies.commands import command
from tools.engine.studies.graph import nodes_of
from tools.engine.studies.node import Node
from tools.engine.studies.study import Study

# What torchrun says when a process of a run has failed, after that process's own words, and before a page of its own.
TORCHRUN = re.compile(r"failed \(exitcode: -?\d+\)|Sending process \d+ closing signal")
PAUSE = 0.2  # seconds between looks at a run
SAVING = "80"  # seconds from a signal until torchrun ends processes that have not saved yet; 30 by itself


def slots_of(jobs: int, gpus: int) -> list[dict[str, str]]:
    """The environments of runs that go on at once: each has its own share of the CPU's threads, or its own GPUs.

    Args:
        jobs: how many.
        gpus: of each; 0: none.
    """
    if gpus:
        ids = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if os.environ.get("CUDA_VISIBLE_DEVICES") else None
        ids = ids or list(map(str, range(jobs * gpus)))
        if len(ids) < jobs * gpus:
            raise ValueError(f"--jobs {jobs} of --gpus {gpus} need {jobs * gpus} GPUs; CUDA_VISIBLE_DEVICES has {len(ids)}.")
        return [{"CUDA_VISIBLE_DEVICES": ",".join(ids[i * gpus : (i + 1) * gpus])} for i in range(jobs)]
    return [{}] * jobs  # the launcher's own share of threads is theirs: it is part of their keys


def run_study(
    study: Study,
    watch: Callable[[Node, float], None],
    log: Callable[[str], None],
    jobs: int = 1,
    gpus: int = 0,
    retry: int = 0,
) -> list[Node]:
    """Runs what is not done, each node in a process of its own, after those that it rests on.

    Args:
        study: see ``load_study``.
        watch: called about twice a second with a running node and the part of it that is done.
        log: gets a line for each node.
        jobs: how many run at once.
        gpus: of each run; with more than one they share a batch (torchrun).
        retry: how often a failed run is tried again.

    Returns:
        The nodes that failed; those below them are left out and named in the log.
    """
    failed: list[Node] = []
    slots = slots_of(jobs, gpus)
    for todo in rounds(study):
        failed += _run_nodes(todo, slots, max(gpus, 1), retry, watch, log)
    return failed


def rounds(study: Study) -> Iterator[list[Node]]:
    """The runs of a study as they become known: all, and after them the tuned ones, known once their grids are done."""
    seen: set[str] = set()
    while todo := [node for node in nodes_of(study) if node.key not in seen]:
        yield todo
        seen |= {node.key for node in todo}


def _run_nodes(
    nodes: list[Node],
    slots: list[dict[str, str]],
    processes: int,
    retry: int,
    watch: Callable[[Node, float], None],
    log: Callable[[str], None],
) -> list[Node]:
    """Runs nodes in the given slots; a node starts when those before it that it rests on have ended."""
    waiting, free, failed, running = list(nodes), list(slots), [], {}
    stop = threading.Event()
    with ThreadPoolExecutor(len(slots)) as pool:
        try:
            while waiting or running:
                busy = {node.key for node, _ in running.values()} | {node.key for node in waiting}
                for node in [node for node in waiting if not (node.above and node.above.key in busy)][: len(free)]:
                    waiting.remove(node)
                    slot = free.pop()
                    future = pool.submit(_run_or_leave, node, slot, processes, retry, watch, log, stop)
                    running[future] = node, slot
                done, _ = wait(running, return_when=FIRST_COMPLETED)
                for future in done:
                    node, slot = running.pop(future)
                    free.append(slot)
                    failed += [node] if future.result() is False else []
        except BaseException:
            stop.set()  # the nodes that run save their state
            raise
    return failed


def _run_or_leave(node: Node, slot, processes: int, retry: int, watch, log, stop: threading.Event) -> bool | None:
    """True: done, now or earlier; False: failed; None: left out."""
    if node.record:
        log(f"{node.name}: done earlier ({node.folder})")
    elif above := left_out(node):
        log(above)
        return None
    elif any(run_node(node, watch, slot, processes, stop) for _ in range(1 + retry)):
        log(result(node))
    else:
        log(f"{node.name}: failed, see {node.log}")
        return False
    return True


def left_out(node: Node) -> str:
    """Why a run cannot be made after those above it have ended; empty where it can: that above it has its card."""
    status = (node.above.record or {}).get("status", "not finished") if node.above else "done"
    return "" if status == "done" else f"{node.name}: left out, since {node.above.name} has {status}"


def result(node: Node) -> str:
    """The line of a run that has finished."""
    shown, record = task_of(node.plan).METRICS, node.record
    figures = ", ".join(f"{k} {v:.2f}" for k, v in record["metrics"].items() if k in shown) or record["status"]
    return f"{node.name}: {record['seconds']['total']:.0f} s, {figures}"


def last_lines(log: Path, count: int = 5) -> str:
    """The end of a log, of what its run said itself; empty where there is none."""
    lines = log.read_text(errors="replace").splitlines() if log.is_file() else []
    started = None
    if lines and lines[-1].startswith("===="):  # torchrun's page ends so
        started = max((i for i, line in enumerate(lines) if TORCHRUN.search(line)), default=None)
        while started and TORCHRUN.search(lines[started - 1]):
            started -= 1
    return "".join(f"{line}\n" for line in lines[:started][-count:])


def run_node(
    node: Node,
    watch: Callable[[Node, float], None],
    slot: dict[str, str] | None = None,
    processes: int = 1,
    stop: threading.Event | None = None,
) -> bool:
    """Runs ``tools/train.py`` for one node, with its output added to the run's log.txt; True when its record is there.

    It goes on from the node's last checkpoint. Where another process is at it, that one is waited for.

    Args:
        node: of a study.
        watch: see ``run_study``.
        slot: environment variables of the process.
        processes: that share a batch.
        stop: when it is set, the process is asked to save and stop.
    """
    while not node.record and not (stop and stop.is_set()):
        if not is_locked(node.folder):
            (node.folder / PROGRESS).unlink(missing_ok=True)
            _call(node, watch, slot or {}, processes, stop)
            if not is_locked(node.folder):  # else another launcher was faster
                break
        watch(node, node.progress())
        time.sleep(PAUSE)
    if not node.record and not (stop and stop.is_set()):
        node.failure.write_text(last_lines(node.log))
    return node.record is not None


def _call(node: Node, watch, slot: dict[str, str], processes: int, stop: threading.Event | None) -> None:
    words, env = command(node, processes), os.environ | {"TORCH_ELASTIC_SHUTDOWN_TIMEOUT": SAVING} | slot
    if "threads" in node.plan:
        env["OMP_NUM_THREADS"] = str(node.plan.threads)
    with open_log(node.folder) as out:
        # A session of its own: Ctrl-C at a terminal is for the launcher, which asks each run once.
        own = dict(stdout=out, stderr=subprocess.STDOUT, start_new_session=True)
        process = warm.fork(words, env, out.name) if warm.serves(words) else subprocess.Popen(words, env=env, **own)
        try:
            while process.poll() is None:
                keep_log(node.folder)
                watch(node, node.progress())
                if stop and stop.is_set():
                    break
                time.sleep(PAUSE)
        finally:
            if process.poll() is None:
                process.terminate()  # it saves its state
                process.wait()
            keep_log(node.folder)
