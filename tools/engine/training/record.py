"""Describe a run in its record: what ran, on what machine, with which versions, how fast, and what it scored."""

import platform
import resource
import subprocess
import sys
from importlib.metadata import version
from statistics import median

from backbones.common.project import ROOT
from tools.engine.config import task_of

PACKAGES = ("torch", "torchvision", "timm", "onedl-mmengine", "onedl-mmcv", "onedl-mmdetection", "onedl-mmsegmentation")
PACES = {"total": "", "compute": "compute_", "data": "data_"}  # prefixes of the paces of a run


def describe(cfg, key: str, status: str, metrics: dict) -> dict:
    """Return the record of a run without its times; ``metrics`` are in percent, unrounded."""
    import torch
    from mmengine.dist import get_world_size

    from tools.engine.training.acceleration import TF32_DEFAULT

    task = task_of(cfg)
    return {
        "key": key,
        "node": task.STAGE,
        "task": cfg.task,
        "network": cfg.network,
        "scale": cfg.scale,
        "status": status,
        "metrics": metrics,
        "seed": cfg.randomness.seed,
        "split": "held out" if cfg.get("hold_out") else task.SPLIT,
        "tricks": [list(pair) for pair in cfg.get("tricks", [])],
        "backbone": cfg.get("backbone"),
        "transfer": cfg.get("transfer"),
        "protocol": dict(cfg.get("protocol", {"name": cfg.scale})),
        "lr_factor": cfg.get("lr_factor", 1.0),
        "precision": cfg.get("precision", "float32"),
        "tf32": cfg.get("tf32", TF32_DEFAULT) if torch.cuda.is_available() else "none",
        "per_image": task.PER_IMAGE,
        "machine": {
            "cpu": torch.cpu.get_capabilities().get("cpu_name", platform.processor()),
            "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu",
            "threads": torch.get_num_threads(),
            "processes": get_world_size(),
            "python": platform.python_version(),
        },
        "versions": {name: version(name) for name in PACKAGES},
        "commit": commit(),
    }


def peak_memory_gb() -> float:
    """Return the peak memory of this process in GB (1e9 bytes): of the GPU if there is one, else of the process itself."""
    import torch

    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 1e9
    unit = 1 if sys.platform == "darwin" else 1024  # ru_maxrss counts bytes on macOS and KiB on Linux
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e9


def commit() -> str | None:
    """Return the commit of this tree, with a + if tracked files differ from it, or None outside a git repository."""

    def git(*arguments: str) -> str:
        return subprocess.run(["git", "-C", str(ROOT), *arguments], capture_output=True, text=True, check=True).stdout.strip()

    try:
        head = git("rev-parse", "HEAD")
        changed = git("status", "--porcelain", "--untracked-files=no")
    except (OSError, subprocess.CalledProcessError):
        return None
    return f"{head}+" if changed else head


def pace(batch: int, begins: list[float], ends: list[float]) -> dict[str, float]:
    """Return images_per_second, data_images_per_second and compute_images_per_second.

    images_per_second is by the median time from the end of one update to the end of the next. data_images_per_second is the pace
    if a run only waited for data, and compute_images_per_second the pace if it never waited.

    Args:
        batch: images in an update.
        begins: the time at which each update had its data, in seconds.
        ends: the time at which each update ended; two or more.
    """
    step = median(after - before for before, after in zip(ends, ends[1:], strict=False))
    wait = median(begin - end for end, begin in zip(ends, begins[1:], strict=False))
    return {
        "images_per_second": batch / step,
        "data_images_per_second": batch / max(wait, 1e-9),
        "compute_images_per_second": batch / max(step - wait, 1e-9),
    }
