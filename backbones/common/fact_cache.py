"""Facts that take torch seconds to find, kept from one process to the next, so that a plan or a status answers at once."""

import hashlib
import json
import os
import socket
import sys
from collections.abc import Callable
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from backbones.common.files import read_json, write_json
from backbones.common.project import ROOT

VARIABLES = ("OMP_", "GOMP_", "KMP_", "MKL_", "CUDA_", "NVIDIA_", "ATEN_", "TORCH_", "PYTORCH_")  # that torch reads as it starts
DEVICE = "TRICKTRANSFER_DEVICE"  # cpu or cuda: what runs are made on, where that is not what this host has
BOOT = Path("/proc/sys/kernel/random/boot_id")


def folder() -> Path:
    """Where facts are kept: ``tricktransfer`` in the user's cache, which may be removed at any time."""
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "tricktransfer"


def cached(kind: str, depends: Any, make: Callable[[], dict]) -> dict:
    """What ``make`` returns, from an earlier process where there was one.

    Args:
        kind: names the file.
        depends: all that the answer follows from, plain values; another ``depends`` is another fact.
        make: returns a dict of plain values.
    """
    digest = hashlib.sha256(json.dumps([kind, depends], sort_keys=True).encode()).hexdigest()[:16]
    path = folder() / f"{kind}-{digest}.json"
    if path not in _read:
        _read[path] = _found(path, make)
    return _read[path]


_read: dict[Path, dict] = {}  # by this process already


def _found(path: Path, make: Callable[[], dict]) -> dict:
    try:
        return read_json(path)
    except (OSError, ValueError):
        found = make()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, found)
    except OSError:  # a home that cannot be written: it is found anew each time
        pass
    return found


def machine() -> dict:
    """What decides results, and is this machine's: ``threads`` of torch, ``cuda``, and ``bf16`` in the hardware of the CPU.

    As torch says where it is loaded; else as it said before, under the same variables, cores and devices since this start of
    the machine. ``TRICKTRANSFER_DEVICE`` speaks for ``cuda``: a host that only submits runs may have no GPU.

    Raises:
        ValueError: that variable is neither cpu nor cuda.
    """
    found, said = _asked() if "torch" in sys.modules else cached("machine", _surroundings(), _asked), os.environ.get(DEVICE)
    if said and said not in ("cpu", "cuda"):
        raise ValueError(f"The variable {DEVICE} is {said!r}; set it to cpu or cuda, or unset it.")
    return found | {"cuda": said == "cuda"} if said else found


def check_device() -> None:
    """Refuses to train on another device than keys name.

    Raises:
        ValueError: ``TRICKTRANSFER_DEVICE`` says so.
    """
    there, said = _asked()["cuda"], machine()["cuda"]
    if said and not there:
        raise ValueError(f"The variable {DEVICE} is cuda, and this process sees no GPU; unset it, or train where there is one.")
    if there and not said:
        raise ValueError(
            f"The variable {DEVICE} is cpu, and this process sees a GPU; unset it, or set CUDA_VISIBLE_DEVICES= too."
        )


def _asked() -> dict:
    import torch

    flags = torch.cpu.get_capabilities()
    return {
        "threads": torch.get_num_threads(),
        "cuda": torch.cuda.is_available(),
        "bf16": any(flags.get(name, False) for name in ("avx512_bf16", "amx_bf16", "bf16")),
    }


def _surroundings() -> list:
    library = _library("torch")
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    variables = {name: value for name, value in os.environ.items() if name.startswith(VARIABLES)}
    started = BOOT.read_text() if BOOT.is_file() else ""
    devices = sorted(map(str, Path("/dev").glob("nvidia*")))
    return [socket.gethostname(), started, cores, devices, variables, *library]


@cache
def _library(name: str) -> tuple[str, int]:
    """Where a package is, and since when."""
    place = find_spec(name).origin
    return place, os.stat(place).st_mtime_ns


@cache
def sources(*packages: str) -> str:
    """sha256 of the Python files of ``packages`` of this tree, and of which torch and timm are there."""
    files = [path for name in packages for path in sorted((ROOT / name).rglob("*.py"))]
    digest = hashlib.sha256(repr([_library(name) for name in ("torch", "timm")]).encode())
    for path in files:
        digest.update(path.read_bytes())
    return digest.hexdigest()
