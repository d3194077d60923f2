"""Seconds and peak memory of work in a process of its own, which shares no cache and no heap with what ran before."""

import json
import os
import subprocess
import sys
import time
from importlib import import_module
from pathlib import Path

from backbones.common.project import ROOT

ITSELF = [sys.executable, "-m", "tools.benchmarks.child"]


def ran(words: list[str], cwd: Path | None = None) -> tuple[float, float, str]:
    """Seconds of a command from its start to its end, the most memory that it held at once (MB), and what it printed.

    Raises:
        ValueError: it failed.
    """
    # a process between, since Linux counts for a new process what the one that started it held
    own = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run([*ITSELF, "watch", *words], cwd=cwd, env=own, text=True, stdout=subprocess.PIPE)
    if done.returncode:
        raise ValueError(f"{' '.join(words)} failed with status {done.returncode}.")
    *printed, seen = done.stdout.splitlines()
    seconds, memory = json.loads(seen)
    return seconds, memory, "\n".join(printed)


def called(module: str, function: str, *args, cwd: Path | None = None) -> tuple[float, float]:
    """Seconds of ``module.function(*args)()`` in a new process, and the most memory (MB) that the process held, imports included.

    The first call makes ready and is not timed. ``args`` go through JSON.
    """
    _, memory, printed = ran([*ITSELF, "call", module, function, json.dumps(args)], cwd)
    return float(printed.splitlines()[-1]), memory


def watch(*words: str) -> int:
    """Runs a command, prints [seconds, MB], and returns its status."""
    started = time.perf_counter()
    process = subprocess.Popen(words)
    _, status, usage = os.wait4(process.pid, 0)
    memory = usage.ru_maxrss / (1e6 if sys.platform == "darwin" else 1e3)  # macOS counts in bytes, Linux in KB
    print(json.dumps([time.perf_counter() - started, memory]))
    return os.waitstatus_to_exitcode(status)


def call(module: str, function: str, args: str) -> None:
    """Calls a function, and prints the seconds of what that returns."""
    work = getattr(import_module(module), function)(*json.loads(args))
    started = time.perf_counter()
    work()
    print(time.perf_counter() - started)


if __name__ == "__main__":
    sys.exit({"watch": watch, "call": call}[sys.argv[1]](*sys.argv[2:]))
