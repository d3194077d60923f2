"""Compute pixAcc, mIoU and mAcc on resampled test images from a run's per-image counts; numpy and scipy only."""

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
    """Return the arguments that ``resampled`` takes from a run's record: the classes over which mIoU is the mean."""
    return {"classes": record["protocol"].get("metric_classes", "gt"), "num_classes": len(record["per_class"])}


def image_set(path: str | Path) -> tuple[int, str]:
    """Return the number of test images of a run, and a digest of the labelled pixels of each class in each image."""
    counts = load(path)
    keys = counts.image.astype(np.int64) * (1 << 16) + counts.truth
    unique_keys, index = np.unique(keys, return_inverse=True)
    pixels = np.zeros(len(unique_keys), np.int64)
    np.add.at(pixels, index, counts.pixels)  # bincount would add them up as floats
    content = unique_keys.tobytes() + pixels.tobytes() + bytes(str(counts.images), "ascii")
    return int(counts.images), hashlib.sha256(content).hexdigest()


def resampled(
    path: str | Path, weights: np.ndarray, metric: str, classes: str = "gt", num_classes: int | None = None
) -> np.ndarray:
    """Return a figure in percent, float64 (R,), of sets that contain image i weights[r, i] times; NaN if no pixel is labelled.

    Every figure follows from the correct, true and predicted pixels of each class. These are three numbers per class, region and
    image, and one sparse product gives their weighted sums over images.

    Args:
        path: path of confusion.npz.
        weights: (R, images), integers.
        metric: one of ``METRICS``.
        classes: classes over which mIoU and mAcc are the mean: 'gt', 'union' or 'all', as ``metric_classes`` of the protocol.
        num_classes: number of classes; only 'all' needs it.

    Raises:
        ValueError: an unknown metric or value of ``classes``, 'all' without a number of classes, a different number of images, or
            a file that lacks an array.
    """
    if metric not in METRICS:
        raise ValueError(f"The metric {metric} cannot be resampled from {path}; allowed: {', '.join(METRICS)}.")
    if classes not in CLASSES:
        raise ValueError(f"The classes of mIoU are {classes!r}; allowed: {', '.join(CLASSES)}.")
    counts = load(path)
    if weights.shape[1] != counts.images:
        raise ValueError(f"{path} has {counts.images} images and the weights {weights.shape[1]}; give one weight per image.")
    number = 1 + int(max(counts.truth.max(initial=0), counts.found.max(initial=0)))
    if classes == "all":
        if num_classes is None or num_classes < number:
            raise ValueError(
                f"num_classes is {num_classes}, but {path} has {number} classes or more; give the number of all classes."
            )
        number = num_classes
    name, _, part = metric.partition("_")
    correct, true, predicted = _sums(counts, weights, number, part)
    with np.errstate(invalid="ignore"):  # 0 / 0 if no pixel is labelled
        if name == "pixAcc":
            return 100 * correct.sum(1) / true.sum(1)
        if name == "mAcc":
            figures = 100 * correct / np.maximum(true, 1)
            counted = np.ones_like(true, bool) if classes == "all" else true > 0
        else:
            figures = 100 * correct / np.maximum(true + predicted - correct, 1)
            counted = _counted(true, predicted, classes, part)
        means = np.where(counted, figures, 0).sum(1) / counted.sum(1)
    return np.where(true.sum(1) == 0, np.nan, means)


def _sums(counts: Counts, weights: np.ndarray, number: int, part: str) -> np.ndarray:
    """Sum the correct, true and predicted pixels in a region, or in the whole image: int64 (3, R, classes)."""
    rows = counts.region == REGIONS.index(part) if part in REGIONS else np.ones(len(counts.region), bool)
    arrays = (counts.image, counts.truth, counts.found, counts.pixels)
    image, truth, predicted, pixels = (array[rows].astype(np.int64) for array in arrays)
    same = truth == predicted
    column = np.concatenate([truth[same], number + truth, 2 * number + predicted])
    values, row = (np.concatenate([v[same], v, v]) for v in (pixels, image))
    table = csr_array((values, (column, row)), shape=(3 * number, weights.shape[1]))
    return (table @ weights.T.astype(np.int64)).reshape(3, number, -1).transpose(0, 2, 1)


def _counted(true: np.ndarray, predicted: np.ndarray, classes: str, part: str) -> np.ndarray:
    """Select the classes of the mean, bool (R, classes), as ``metrics.mean_iou`` and ``metrics.frequent_and_rare`` do."""
    if part in ("frequent", "rare"):
        order = np.argsort(-true, axis=1, kind="stable")
        place = np.argsort(order, axis=1)  # position of each class in the order
        present = np.count_nonzero(true, axis=1)[:, None]
        frequent = place < (present + 1) // 2
        return frequent if part == "frequent" else ~frequent & (place < present)
    return {"gt": true > 0, "union": (true > 0) | (predicted > 0), "all": np.ones_like(true, bool)}[classes]
