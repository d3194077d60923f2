"""Fork the runs of a study from a process that has already imported everything, so that no run waits for its imports.

That process runs no operation of torch, since a fork would lose torch's threads. On a machine with CUDA every run is a new
process instead: a fork must not use CUDA if its parent has asked for the driver.
"""

import atexit
import multiprocessing
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from multiprocessing import forkserver, resource_tracker
from pathlib import Path

from backbones.common.fact_cache import machine
from backbones.common.project import ROOT
from tools.engine import cli
from tools.engine.stopping import SIGNALS, stop_after
from tools.engine.studies.commands import SCRIPT

CONTEXT = multiprocessing.get_context("forkserver") if "forkserver" in multiprocessing.get_all_start_methods() else None
_started: list[bool] = []


def start() -> None:
    """Start the fork server, which imports in the background; do nothing if this machine cannot fork runs."""
    if CONTEXT is None or machine()["cuda"]:
        return
    before = dict(os.environ)
    # The server imports before it is told a path, and the working folder may have packages of the same names.
    python_path = [str(ROOT), before.get("PYTHONPATH", "")]
    os.environ |= {"PYTHONPATH": os.pathsep.join(filter(None, python_path)), "PYTHONSAFEPATH": "1", "PYTHONIOENCODING": "utf-8"}
    resource_tracker.ensure_running()  # before the signals are blocked, since it unblocks them
    # A signal to the launcher's group must not end the server, which tells the launcher how its runs end.
    unblocked = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        CONTEXT.set_forkserver_preload(["tools.engine.launching.preload"])
        forkserver.ensure_running()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, unblocked)
        os.environ.clear()
        os.environ.update(before)
    _started.append(True)


def serves(words: Sequence[str]) -> bool:
    """Return True if the server runs and ``words`` is a command line of ``tools/train.py`` in a single process."""
    return bool(_started) and list(words[:2]) == [sys.executable, str(SCRIPT)]


class Forked:
    """Wrap a forked run with what the launcher uses of ``subprocess.Popen``: pid, poll, terminate, wait."""

    def __init__(self, process):
        process.start()
        self.process, self.pid, self.terminate, self.wait = process, process.pid, process.terminate, process.join

    def poll(self) -> int | None:
        return self.process.exitcode


def fork(words: Sequence[str], env: Mapping[str, str], log: str) -> Forked:
    """Run the command line ``words`` in a session of its own, with the variables ``env``, and append its output to ``log``."""
    return Forked(CONTEXT.Process(target=_run, args=(list(words[1:]), dict(env), str(Path(log).absolute()))))


def _run(arguments: list[str], env: dict[str, str], log: str) -> None:
    os.setsid()
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
    stop_after(multiprocessing.parent_process().join)  # the launcher is the parent, whoever forked this process
    out = os.open(log, os.O_WRONLY | os.O_APPEND)
    os.dup2(out, 1)
    os.dup2(out, 2)
    os.environ.clear()
    os.environ.update(env)
    sys.argv = arguments
    from tools.train import train

    try:
        cli.main(train)
    finally:  # multiprocessing skips exit functions, and experiment trackers send their last data in one
        atexit._run_exitfuncs()
