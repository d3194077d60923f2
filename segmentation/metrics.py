"""Compute pixAcc and mIoU from one confusion matrix; numpy only, except for ``boundary_band``.

A matrix is int64 (classes, classes): the number of pixels of true class i (row) that are predicted as class j (column). The
matrices of images, regions or processes are summed, and every figure of a set is computed from the sum. Figures are in percent.

Sources: mmseg's IoUMetric for mIoU over classes in ground truth or prediction; GluonCV's gluoncv/utils/metrics/segmentation.py
for mIoU over all classes, with 0 for an absent one.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from backbones.common.files import read_npz

CLASSES = ("gt", "union", "all")
REGIONS = ("interior", "boundary")  # ``Counts.region`` is an index into it


def confusion(prediction: np.ndarray, truth: np.ndarray, classes: int, band: np.ndarray | None = None) -> np.ndarray:
    """Return the confusion matrix, int64 (classes, classes); with ``band``, (2, classes, classes): outside it, and in it.

    Args:
        prediction: integers 0..classes - 1 of any shape.
        truth: uint8 of the same shape; values of ``classes`` and above (255) are ignored.
        band: bool of the same shape.

    Raises:
        ValueError: the shapes differ, or a prediction is not a class.
    """
    if prediction.shape != truth.shape:
        raise ValueError(f"The prediction is {prediction.shape} and the truth {truth.shape}; both must have the same shape.")
    if invalid := [int(v) for v in (prediction.min(initial=0), prediction.max(initial=0)) if not 0 <= v < classes]:
        raise ValueError(f"A prediction is {invalid[0]}; the {classes} classes are 0 to {classes - 1}.")
    rows = np.minimum(np.arange(256), classes) * classes  # an extra row collects ignored pixels
    cells = rows[truth.ravel()]
    cells += prediction.ravel()
    size = (classes + 1) * classes
    if band is not None:
        cells += size * band.ravel()
    counts = np.bincount(cells, minlength=size * (1 + (band is not None)))
    matrices = counts.reshape(-1, classes + 1, classes)[:, :classes]
    return matrices if band is not None else matrices[0]


def boundary_band(truth: np.ndarray, width: int = 3) -> np.ndarray:
    """Mark, bool (H, W), labelled pixels with a pixel of another class within ``width`` pixels; a diagonal step counts as one.

    This is the band around object boundaries, ``width`` pixels wide on either side. An edge towards ignored pixels is not a
    boundary.

    Args:
        truth: uint8 (H, W); 255 is ignored.
        width: whole number of pixels, 1 or more.

    Raises:
        ValueError: a width that is not allowed.
    """
    import cv2

    if not isinstance(width, int) or width < 1:
        raise ValueError(f"The width of the band is {width!r}; give a whole number of pixels, 1 or more.")
    window = np.ones((2 * width + 1, 2 * width + 1), np.uint8)
    ignored = truth == 255
    high = cv2.dilate(np.where(ignored, 0, truth + np.uint8(1)), window)  # 0 is below every class
    low = cv2.erode(np.where(ignored, 255, truth + np.uint8(1)), window)
    return ~ignored & (high != low)


def pixel_accuracy(matrix: np.ndarray) -> float:
    """Return the percentage of labelled pixels that are predicted correctly.

    Raises:
        ValueError: no pixel is labelled.
    """
    _check(matrix)
    return float(100 * np.trace(matrix) / matrix.sum())


def class_ious(matrix: np.ndarray) -> np.ndarray:
    """Return the IoU of each class in percent, intersection / union; NaN if neither ground truth nor prediction has the class."""
    intersection = np.diag(matrix)
    union = matrix.sum(1) + matrix.sum(0) - intersection
    return np.where(union > 0, 100 * intersection / np.maximum(union, 1), np.nan)


def mean_iou(matrix: np.ndarray, classes: str = "gt") -> float:
    """Return mIoU in percent: the mean of ``class_ious`` over a choice of classes.

    Args:
        matrix: confusion matrix of the whole set.
        classes: 'gt' for the classes in the ground truth; 'union' for those in the ground truth or the prediction, as in mmseg;
            'all' for all classes, with 0 for an absent one, as in GluonCV.

    Raises:
        ValueError: an unknown value of ``classes``, or no pixel is labelled.
    """
    _check(matrix)
    return float(np.mean(np.nan_to_num(class_ious(matrix))[_counted(matrix, classes)]))


def mean_accuracy(matrix: np.ndarray, classes: str = "gt") -> float:
    """Return mAcc: the percentage of a class's pixels that are predicted correctly, averaged over classes.

    'gt' and 'union' average over the classes in the ground truth, since others have no pixels. 'all' averages over all classes,
    with 0 for an absent one.
    """
    _check(matrix)
    truth = matrix.sum(1)
    accuracies = 100 * np.diag(matrix) / np.maximum(truth, 1)
    return float(np.mean(accuracies[_counted(matrix, "all" if classes == "all" else "gt")]))


def frequent_and_rare(matrix: np.ndarray) -> tuple[float, float]:
    """Return mIoU over the more frequent and over the rarer half of the classes in the ground truth, by their true pixels.

    Of two classes with equal counts, the first is the more frequent. With an odd number of classes, the middle one is frequent.
    With a single class, the rarer half is empty and its mIoU NaN.
    """
    _check(matrix)
    truth, ious = matrix.sum(1), class_ious(matrix)
    order = np.argsort(-truth, kind="stable")[: np.count_nonzero(truth)]
    half = (len(order) + 1) // 2
    rare = float(np.mean(ious[order[half:]])) if len(order) > half else float("nan")
    return float(np.mean(ious[order[:half]])), rare


def figures(regions: np.ndarray, classes: str = "gt") -> dict[str, float]:
    """Return all figures of a set by name, from its matrices of ``REGIONS``, int64 (2, classes, classes).

    The figures are pixAcc, mIoU and mAcc of the whole, pixAcc and mIoU of each region, and mIoU of frequent and rare classes.
    Figures of a region or half without pixels are left out.

    Raises:
        ValueError: no pixel is labelled.
    """
    whole = regions.sum(0)
    values = {"pixAcc": pixel_accuracy(whole), "mIoU": mean_iou(whole, classes), "mAcc": mean_accuracy(whole, classes)}
    for name, matrix in zip(REGIONS, regions, strict=True):
        if matrix.any():
            values |= {f"pixAcc_{name}": pixel_accuracy(matrix), f"mIoU_{name}": mean_iou(matrix, classes)}
    halves = dict(zip(("mIoU_frequent", "mIoU_rare"), frequent_and_rare(whole), strict=True))
    return values | {name: value for name, value in halves.items() if not np.isnan(value)}


def _counted(matrix: np.ndarray, classes: str) -> np.ndarray:
    """Select the classes of the mean, bool (classes,)."""
    if classes not in CLASSES:
        raise ValueError(f"The classes of mIoU are {classes!r}; allowed: {', '.join(CLASSES)}.")
    true, predicted = matrix.sum(1) > 0, matrix.sum(0) > 0
    return {"gt": true, "union": true | predicted, "all": np.ones_like(true)}[classes]


def _check(matrix: np.ndarray) -> None:
    """Raise ValueError if no pixel is labelled."""
    if not matrix.any():
        raise ValueError("No pixel of the ground truth is labelled, so there is no pixAcc and no mIoU; test on other masks.")


@dataclass
class Counts:
    """Hold the non-zero entries of the confusion matrices of a dataset, (n,) each, by image.

    Args:
        image: index of the image, int32.
        region: index into ``REGIONS``, int8.
        truth, found: true and predicted class, int16.
        pixels: number of pixels, int64.
        images: number of images, int64 (); an image without labelled pixels has no entry.
    """

    image: np.ndarray
    region: np.ndarray
    truth: np.ndarray
    found: np.ndarray
    pixels: np.ndarray
    images: np.ndarray

    def matrix(self, classes: int, which: np.ndarray | slice = slice(None)) -> np.ndarray:
        """Sum the entries ``which``, such as those of certain images: int64 (2, classes, classes)."""
        total = np.zeros((len(REGIONS), classes, classes), np.int64)
        np.add.at(total, (self.region[which], self.truth[which], self.found[which]), self.pixels[which])
        return total


def count(prediction: np.ndarray, truth: np.ndarray, classes: int, width: int) -> np.ndarray:
    """Return region, truth, found and pixels of the non-zero counts of one image with masks (H, W): int64 (4, n)."""
    matrices = confusion(prediction, truth, classes, boundary_band(truth, width))
    return np.stack([*np.nonzero(matrices), matrices[matrices > 0]])


def join(images: Sequence[np.ndarray]) -> Counts:
    """Join the counts of images, as returned by ``count``, to those of a dataset."""
    index = np.repeat(np.arange(len(images), dtype=np.int32), [image.shape[1] for image in images])
    region, truth, predicted, pixels = np.concatenate([np.zeros((4, 0), np.int64), *images], axis=1)
    columns = region.astype(np.int8), truth.astype(np.int16), predicted.astype(np.int16), pixels
    return Counts(index, *columns, np.array(len(images)))


def load(path: str | Path) -> Counts:
    """Load the counts from a run's ``confusion.npz``, as the evaluator wrote them.

    Raises:
        ValueError: the file lacks an array.
    """
    saved = read_npz(path)
    if missing := set(Counts.__dataclass_fields__) - set(saved):
        raise ValueError(f"{path} has no array {min(missing)}; test the run again to rewrite the file.")
    return Counts(**{name: saved[name] for name in Counts.__dataclass_fields__})


def per_class(matrix: np.ndarray, names: Sequence[str]) -> dict[str, float | None]:
    """Return {class name: IoU in percent} for a record; None for a class that the ground truth lacks."""
    rows = zip(names, class_ious(matrix), matrix.sum(1), strict=True)
    return {name: float(iou) if pixels else None for name, iou, pixels in rows}
