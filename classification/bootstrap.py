"""Compute top-k accuracy on resampled test images from a run's ranks; numpy only."""

import hashlib
import re
from pathlib import Path

import numpy as np

from backbones.common.files import read_npz

METRICS = ("top1", "top5")


def facts(record: dict) -> dict:
    """Return the arguments that ``resampled`` takes from a run's record: none."""
    return {}


def image_set(path: str | Path) -> tuple[int, str]:
    """Return the number of test images of a run and a digest of their labels, which is equal for runs on the same images."""
    labels = _load(path)[1]
    return len(labels), hashlib.sha256(labels.astype("<u2").tobytes()).hexdigest()


def resampled(path: str | Path, weights: np.ndarray, metric: str) -> np.ndarray:
    """Return the top-k accuracy in percent, float64 (R,), of sets that contain image i weights[r, i] times.

    100 * sum_i weights[r, i] * (rank_i < k) / sum_i weights[r, i].

    Args:
        path: path of ranks.npz.
        weights: (R, images), integers.
        metric: 'top1', 'top5' or another k.

    Raises:
        ValueError: an unknown metric, a different number of images, or a file that lacks an array.
    """
    if not (match := re.fullmatch(r"top([1-9]\d*)", metric)):
        raise ValueError(f"The metric {metric} cannot be resampled from {path}; allowed: top1, top5.")
    ranks, _ = _load(path)
    if weights.shape[1] != len(ranks):
        raise ValueError(f"{path} has {len(ranks)} images and the weights {weights.shape[1]}; give one weight per image.")
    return 100 * (weights[:, ranks < int(match[1])].sum(1) / weights.sum(1))


def _load(path: str | Path) -> tuple[np.ndarray, np.ndarray]:
    """Read the ranks and labels of a run."""
    saved = read_npz(path)
    if missing := {"rank", "label"} - set(saved):
        raise ValueError(f"{path} has no array {min(missing)}; test the run again to rewrite the file.")
    return saved["rank"], saved["label"]
