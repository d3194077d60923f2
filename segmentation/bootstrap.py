"""pixAcc, mIoU and mAcc on resampled test images, from a run's per-image counts; numpy and scipy only."""

import hashlib
from pathlib import Path

import numpy as np
from scipy.sparse import csr_array

from segmentation.metrics import CLASSES, REGIONS, Counts, load

METRICS = (
    *("pixAcc", "mIoU", "mAcc", "mIoU_frequent", "mIoU_rare"),
    *(f"{name}_{region}" for name in ("pixAcc", "mIoU") for region in REGIONS),
)


def facts(record: dict) -> dict:
    """What ``resampled`` needs to know of a run besides its file: over which classes mIoU is the mean."""
    return {"classes": record["protocol"].get("metric_classes", "gt"), "num_classes": len(record["per_class"])}


def image_set(path: str | Path) -> tuple[int, str]:
    """How many images a run was measured on, and a digest of the labelled pixels of each class in each image."""
    counts = load(path)
    keys = counts.image.astype(np.int64) * (1 << 16) + counts.truth
    found, index = np.unique(keys, return_inverse=True)
    pixels = np.zeros(len(found), np.int64)
    np.add.at(pixels, index, counts.pixels)  # bincount would add them up as floats
    return int(counts.images), hashlib.sha256(found.tobytes() + pixels.tobytes() + bytes(str(counts.images), "ascii")).hexdigest()


def resampled(
    path: str | Path, weights: np.ndarray, metric: str, classes: str = "gt", num_classes: int | None = None
) -> np.ndarray:
    """A figure in percent, float64 (R,), of sets in which image i is weights[r, i] times; NaN where no pixel is labelled.

    Matrices add up, and every figure follows from the right, true and predicted pixels of each class: three numbers a class,
    region and image, whose weighted sums over images are one sparse product.

    Args:
        path: confusion.npz.
        weights: (R, images), integers.
        metric: of ``METRICS``.
        classes: over which mIoU and mAcc are the mean: 'gt', 'union' or 'all', as in the record's protocol ('metric_classes').
        num_classes: how many there are; only 'all' needs it.

    Raises:
        ValueError: another metric or name, 'all' without a number, another number of images, or a file that lacks an array.
    """
    if metric not in METRICS:
        raise ValueError(f"The metric {metric} cannot be resampled from {path}; allowed: {', '.join(METRICS)}.")
    if classes not in CLASSES:
        raise ValueError(f"The classes of mIoU are {classes!r}; allowed: {', '.join(CLASSES)}.")
    counts = load(path)
    if weights.shape[1] != counts.images:
        raise ValueError(f"{path} has {counts.images} images and the weights {weights.shape[1]}; both must have the same.")
    number = 1 + int(max(counts.truth.max(initial=0), counts.found.max(initial=0)))
    if classes == "all":
        if num_classes is None or num_classes < number:
            raise ValueError(f"The mean over all classes needs their number, {number} or more; num_classes is {num_classes}.")
        number = num_classes
    name, _, part = metric.partition("_")
    right, true, found = _sums(counts, weights, number, part)
    empty = true.sum(1) == 0
    with np.errstate(invalid="ignore"):  # 0 / 0 where nothing is labelled
        if name == "pixAcc":
            return 100 * right.sum(1) / true.sum(1)
        if name == "mAcc":
            figures, counted = 100 * right / np.maximum(true, 1), np.ones_like(true, bool) if classes == "all" else true > 0
        else:
            figures, counted = 100 * right / np.maximum(true + found - right, 1), _counted(true, found, classes, part)
        return np.where(empty, np.nan, np.where(counted, figures, 0).sum(1) / counted.sum(1))


def _sums(counts: Counts, weights: np.ndarray, number: int, part: str) -> np.ndarray:
    """int64 (3, R, classes): right, true and predicted pixels in a region, or in all of the image."""
    rows = counts.region == REGIONS.index(part) if part in REGIONS else np.ones(len(counts.region), bool)
    image, truth, found, pixels = (v[rows].astype(np.int64) for v in (counts.image, counts.truth, counts.found, counts.pixels))
    same = truth == found
    column = np.concatenate([truth[same], number + truth, 2 * number + found])
    values, row = (np.concatenate([v[same], v, v]) for v in (pixels, image))
    table = csr_array((values, (column, row)), shape=(3 * number, weights.shape[1]))
    return (table @ weights.T.astype(np.int64)).reshape(3, number, -1).transpose(0, 2, 1)


def _counted(true: np.ndarray, found: np.ndarray, classes: str, part: str) -> np.ndarray:
    """bool (R, classes): those that the mean is over, as ``metrics.mean_iou`` and ``metrics.frequent_and_rare`` have it."""
    if part in ("frequent", "rare"):
        order = np.argsort(-true, axis=1, kind="stable")
        place = np.argsort(order, axis=1)  # of each class in the order
        present = np.count_nonzero(true, axis=1)[:, None]
        frequent = place < (present + 1) // 2
        return frequent if part == "frequent" else ~frequent & (place < present)
    return {"gt": true > 0, "union": (true > 0) | (found > 0), "all": np.ones_like(true, bool)}[classes]
