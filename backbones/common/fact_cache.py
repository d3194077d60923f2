"""Cache on disk the facts for which torch would need seconds, so that a plan or a status appears at once."""

import hashlib
import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from backbones.common.files import read_json, write_json
from backbones.common.project import ROOT

# prefixes of the environment variables that torch reads when it starts
VARIABLES = ("OMP_", "GOMP_", "KMP_", "MKL_", "CUDA_", "NVIDIA_", "ATEN_", "TORCH_", "PYTORCH_")
THREADS = "OMP_NUM_THREADS"
DEVICE = "TRICKTRANSFER_DEVICE"  # environment variable: cpu or cuda, the device of runs if it differs from this host's
BOOT = Path("/proc/sys/kernel/random/boot_id")
PATIENCE = 1.5  # seconds without a word

_quick = ContextVar("quick", default=False)


class TakesLong(Exception):
    """Say that a fact is not in the cache, where there is no time to compute it."""


@contextmanager
def quickly() -> Iterator[None]:
    """Load no torch and read no data inside, as for an answer at once.

    A fact that is not in the cache raises ``TakesLong``, ``machine`` guesses, and data counts as missing.
    """
    token = _quick.set(True)
    try:
        yield
    finally:
        _quick.reset(token)


def is_quick() -> bool:
    """Return whether this is called inside ``quickly``."""
    return _quick.get()


def folder() -> Path:
    """Return the folder of the cache: ``tricktransfer`` in the user's cache, which may be deleted at any time."""
    try:
        home = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
    except RuntimeError:  # a user without a home, as in a container
        home = Path(tempfile.gettempdir()) / f"cache-{os.getuid()}"
    return home / "tricktransfer"


def cached(kind: str, depends: Any, make: Callable[[], dict]) -> dict:
    """Return the result of ``make``, from the cache if an earlier process computed it.

    Args:
        kind: of fact; the beginning of the file name.
        depends: all plain values that decide the result; they are part of the cache key.
        make: returns a dict of plain values.

    Raises:
        TakesLong: inside ``quickly``, the cache does not have it.
    """
    digest = hashlib.sha256(json.dumps([kind, depends], sort_keys=True).encode()).hexdigest()[:16]
    path = folder() / f"{kind}-{digest}.json"
    if path not in _read:
        _read[path] = _read_or_make(path, make)
    return _read[path]


_read: dict[Path, dict] = {}  # facts that this process has already


def _read_or_make(path: Path, make: Callable[[], dict]) -> dict:
    try:
        return read_json(path)
    except (OSError, ValueError):
        if is_quick():
            raise TakesLong(path.stem) from None
        facts = _made(make)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, facts)
    except OSError:  # the folder is not writable: each process computes the facts anew
        pass
    return facts


def _made(make: Callable[[], dict]) -> dict:
    """Return the result of ``make``; say once that this takes a while, after ``PATIENCE`` seconds of all such calls."""
    began = time.monotonic()
    timer = threading.Timer(max(0.0, PATIENCE - _waited[0]), _say_once)
    timer.daemon = True
    timer.start()
    try:
        return make()
    finally:
        timer.cancel()
        _waited[0] += time.monotonic() - began


_waited = [0.0]  # seconds that this process has computed facts


@cache
def _say_once() -> None:
    print(f"Measuring networks and this machine, once: {folder()} keeps the results.", file=sys.stderr, flush=True)


def machine() -> dict:
    """Return the facts of this machine that affect results: ``threads`` of torch, ``cuda``, and ``bf16`` in the CPU's hardware.

    They come from torch if it is loaded, else from the cache, whose key has the variables, the cores, the devices and the boot of
    the machine. ``TRICKTRANSFER_DEVICE`` overrides ``cuda``, since a host that only submits runs may have no GPU. The number of
    threads is the one without torchrun, so that a run has one key however its processes are started.

    Raises:
        ValueError: that variable is neither cpu nor cuda.
    """
    try:
        facts = _torch_facts() if "torch" in sys.modules else cached("machine", _surroundings(), _torch_facts)
        if not facts["cuda"] and threads_of_torchrun():
            facts = facts | cached("threads", _surroundings(without=THREADS), _default_threads)
    except TakesLong:
        facts = {"threads": os.cpu_count() or 1, "cuda": False, "bf16": False}
    device = os.environ.get(DEVICE)
    if not device:
        return facts
    if device not in ("cpu", "cuda"):
        raise ValueError(f"The variable {DEVICE} is {device!r}; set it to cpu or cuda, or unset it.")
    return facts | {"cuda": device == "cuda"}


def check_device() -> None:
    """Refuse to train on a device other than the one in run keys.

    Raises:
        ValueError: ``TRICKTRANSFER_DEVICE`` contradicts the devices that torch sees.
    """
    available, requested = _torch_facts()["cuda"], machine()["cuda"]
    if requested and not available:
        raise ValueError(
            f"The variable {DEVICE} is cuda, but this process sees no GPU; unset it, or train on a machine with a GPU."
        )
    if available and not requested:
        raise ValueError(
            f"The variable {DEVICE} is cpu, but this process sees a GPU; unset it, or set CUDA_VISIBLE_DEVICES= too."
        )


def threads_of_torchrun() -> bool:
    """Return whether OMP_NUM_THREADS is torchrun's: it sets 1 for several processes of a host where a user set nothing."""
    if "TORCHELASTIC_RUN_ID" not in os.environ or os.environ.get(THREADS) != "1":
        return False
    try:
        variables = Path(f"/proc/{os.getppid()}/environ").read_bytes().split(b"\0")  # those that torchrun was started with
    except OSError:
        return True
    return not any(variable.startswith(f"{THREADS}=".encode()) for variable in variables)


def _default_threads() -> dict:
    """Return the number of threads that torch takes where OMP_NUM_THREADS is not set."""
    env = {name: value for name, value in os.environ.items() if name != THREADS}
    code = "import torch; print(torch.get_num_threads())"
    return {"threads": int(subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, check=True).stdout)}


def _torch_facts() -> dict:
    import torch

    flags = torch.cpu.get_capabilities()
    return {
        "threads": torch.get_num_threads(),
        "cuda": torch.cuda.is_available(),
        "bf16": any(flags.get(name, False) for name in ("avx512_bf16", "amx_bf16", "bf16")),
    }


def _surroundings(without: str = "") -> list:
    library = _library("torch")
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    variables = {name: value for name, value in os.environ.items() if name.startswith(VARIABLES) and name != without}
    boot = BOOT.read_text() if BOOT.is_file() else ""
    devices = sorted(map(str, Path("/dev").glob("nvidia*")))
    return [socket.gethostname(), boot, cores, devices, variables, *library]


@cache
def _library(name: str) -> tuple[str, int]:
    """Return the path of a package and its time of modification."""
    path = find_spec(name).origin
    return path, os.stat(path).st_mtime_ns


@cache
def sources(*packages: str) -> str:
    """Return the sha256 of the Python files of ``packages`` of this project, and of the installed torch and timm."""
    files = [path for name in packages for path in sorted((ROOT / name).rglob("*.py"))]
    digest = hashlib.sha256(repr([_library(name) for name in ("torch", "timm")]).encode())
    for path in files:
        digest.update(path.read_bytes())
    return digest.hexdigest()
