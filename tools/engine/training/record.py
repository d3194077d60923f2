"""What lies in the folder of a run: the names of its files, the lock of whoever is at it, and its record."""

import platform
import resource
import subprocess
import sys
from importlib.metadata import version

from backbones.common.project import ROOT
from tools.engine.config import task_of

PACKAGES = ("torch", "torchvision", "timm", "onedl-mmengine", "onedl-mmcv", "onedl-mmdetection", "onedl-mmsegmentation")


def describe(cfg, key: str, status: str, metrics: dict) -> dict:
    """The record of a run without its times: what ran, on what, and what it scored (percent, unrounded)."""
    import torch
    from mmengine.dist import get_world_size

    from tools.engine.training.acceleration import TORCHS

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
        "tf32": cfg.get("tf32", TORCHS) if torch.cuda.is_available() else "none",
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
    """The most that this process has held, in GB (1e9 bytes): of the GPU's memory where there is one, else of its own."""
    import torch

    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 1e9
    unit = 1 if sys.platform == "darwin" else 1024  # of ru_maxrss
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e9


def commit() -> str | None:
    """The commit of this tree, with a + where files that git knows differ from it; None outside a git repository."""

    def git(*words: str) -> str:
        return subprocess.run(["git", "-C", str(ROOT), *words], capture_output=True, text=True, check=True).stdout.strip()

    try:
        return git("rev-parse", "HEAD") + "+" * bool(git("status", "--porcelain", "--untracked-files=no"))
    except (OSError, subprocess.CalledProcessError):
        return None
