"""Measure seconds and peak memory of work in a new process, which shares no cache and no heap with earlier work."""

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
    """Return the seconds that a command took, its peak memory (MB) and its output.

    Raises:
        ValueError: the command failed.
    """
    # through a small process in between, since Linux counts the memory of the parent for a new process
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    process = subprocess.run([*ITSELF, "watch", *words], cwd=cwd, env=environment, text=True, stdout=subprocess.PIPE)
    if process.returncode:
        raise ValueError(f"{' '.join(words)} failed with status {process.returncode}; run it alone to see why.")
    *printed, measurement = process.stdout.splitlines()
    seconds, memory = json.loads(measurement)
    return seconds, memory, "\n".join(printed)


def called(module: str, function: str, *args, cwd: Path | None = None) -> tuple[float, float]:
    """Return the seconds of ``module.function(*args)()`` in a new process, and its peak memory (MB), imports included.

    ``function(*args)`` prepares the work and is not timed. ``args`` go through JSON.
    """
    _, memory, printed = ran([*ITSELF, "call", module, function, json.dumps(args)], cwd)
    return float(printed.splitlines()[-1]), memory


def watch(*words: str) -> int:
    """Run a command, print [seconds, MB], and return its status."""
    started = time.perf_counter()
    process = subprocess.Popen(words)
    _, status, usage = os.wait4(process.pid, 0)
    memory = usage.ru_maxrss / (1e6 if sys.platform == "darwin" else 1e3)  # macOS counts in bytes, Linux in KB
    print(json.dumps([time.perf_counter() - started, memory]))
    return os.waitstatus_to_exitcode(status)


def call(module: str, function: str, args: str) -> None:
    """Call a function, then call its result, and print the seconds of the second call."""
    work = getattr(import_module(module), function)(*json.loads(args))
    started = time.perf_counter()
    work()
    print(time.perf_counter() - started)


if __name__ == "__main__":
    sys.exit({"watch": watch, "call": call}[sys.argv[1]](*sys.argv[2:]))
