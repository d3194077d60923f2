"""A process that has imported all that runs need, and forks them: a run of a study does not wait for its imports.

It runs no operation of torch, whose threads a fork would lose. On a machine with CUDA runs are processes of their own: a fork
may not use what has asked for the driver before.
"""

import atexit
import multiprocessing
import os
import sys
from collections.abc import Mapping, Sequence
from multiprocessing import forkserver
from pathlib import Path

from backbones.common.fact_cache import machine
from backbones.common.project import ROOT
from tools.engine import cli
from tools.engine.studies.commands import SCRIPT

CONTEXT = multiprocessing.get_context("forkserver") if "forkserver" in multiprocessing.get_all_start_methods() else None
_started: list[bool] = []


def start() -> None:
    """Starts the process, which imports while this one goes on; nothing where forks cannot serve."""
    if CONTEXT is None or machine()["cuda"]:
        return
    before = dict(os.environ)
    # It imports before it is told a path, and the working folder may have packages of the same names.
    os.environ |= {"PYTHONPATH": os.pathsep.join([str(ROOT), *filter(None, [before.get("PYTHONPATH")])]), "PYTHONSAFEPATH": "1"}
    try:
        CONTEXT.set_forkserver_preload(["tools.engine.launching.preload"])
        forkserver.ensure_running()
    finally:
        os.environ.clear()
        os.environ.update(before)
    _started.append(True)


def serves(words: Sequence[str]) -> bool:
    """Whether the process runs and ``words`` is a command line of ``tools/train.py`` alone."""
    return bool(_started) and list(words[:2]) == [sys.executable, str(SCRIPT)]


class Forked:
    """A run that was forked, as ``subprocess.Popen`` has it."""

    def __init__(self, process):
        self.process, self.terminate, self.wait = process, process.terminate, process.join
        process.start()

    def poll(self) -> int | None:
        return self.process.exitcode


def fork(words: Sequence[str], env: Mapping[str, str], log: str) -> Forked:
    """Runs the command line ``words`` in a session of its own, with the variables ``env``, its output added to ``log``."""
    return Forked(CONTEXT.Process(target=_run, args=(list(words[1:]), dict(env), str(Path(log).absolute()))))


def _run(words: list[str], env: dict[str, str], log: str) -> None:
    os.setsid()
    out = os.open(log, os.O_WRONLY | os.O_APPEND)
    os.dup2(out, 1)
    os.dup2(out, 2)
    os.environ.clear()
    os.environ.update(env)
    sys.argv = words
    from tools.train import train

    try:
        cli.main(train)
    finally:  # multiprocessing leaves them out, and a tracker of experiments sends its last words so
        atexit._run_exitfuncs()
