"""pixAcc and mIoU from one confusion matrix; numpy only, but for ``boundary_band``.

A matrix is int64 (classes, classes): pixels of true class i (row) predicted as j (column). Matrices of images, regions or
processes add up, so every figure of a set comes from the sum. Figures are in percent.

Sources: mIoU over classes in ground truth or prediction, mmseg's IoUMetric; over all, an absent one as 0, GluonCV's
gluoncv/utils/metrics/segmentation.py.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from backbones.common.files import read_npz

CLASSES = ("gt", "union", "all")
REGIONS = ("interior", "boundary")  # the numbers of ``Counts.region``


def confusion(prediction: np.ndarray, truth: np.ndarray, classes: int, band: np.ndarray | None = None) -> np.ndarray:
    """int64 (classes, classes); with ``band``, (2, classes, classes): pixels outside it, and in it.

    Args:
        prediction: integers 0..classes - 1, of any shape.
        truth: uint8, the same shape; values of ``classes`` and above (255) are ignored.
        band: bool, the same shape.

    Raises:
        ValueError: the shapes differ, or a prediction is no class.
    """
    if prediction.shape != truth.shape:
        raise ValueError(f"The prediction is {prediction.shape} and the truth {truth.shape}; both must have the same shape.")
    if wrong := [int(v) for v in (prediction.min(initial=0), prediction.max(initial=0)) if not 0 <= v < classes]:
        raise ValueError(f"A prediction is {wrong[0]}; the {classes} classes are 0 to {classes - 1}.")
    rows = np.minimum(np.arange(256), classes) * classes  # one row more, for ignored pixels
    cells = rows[truth.ravel()]
    cells += prediction.ravel()
    size = (classes + 1) * classes
    if band is not None:
        cells += size * band.ravel()
    counts = np.bincount(cells, minlength=size * (1 + (band is not None)))
    matrices = counts.reshape(-1, classes + 1, classes)[:, :classes]
    return matrices if band is not None else matrices[0]


def boundary_band(truth: np.ndarray, width: int = 3) -> np.ndarray:
    """bool (H, W): labelled pixels with a pixel of another class within ``width`` pixels, diagonals counted as one.

    That is the band around object boundaries, ``width`` wide on either side. An edge towards ignored pixels is none.

    Args:
        truth: uint8 (H, W); 255 is ignored.
        width: 1 or more.

    Raises:
        ValueError: another width.
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
    """Percent of labelled pixels that are predicted right.

    Raises:
        ValueError: no pixel is labelled.
    """
    _check(matrix)
    return float(100 * np.trace(matrix) / matrix.sum())


def class_ious(matrix: np.ndarray) -> np.ndarray:
    """IoU in percent per class, intersection / union; NaN for a class that neither the ground truth nor the prediction has."""
    intersection = np.diag(matrix)
    union = matrix.sum(1) + matrix.sum(0) - intersection
    return np.where(union > 0, 100 * intersection / np.maximum(union, 1), np.nan)


def mean_iou(matrix: np.ndarray, classes: str = "gt") -> float:
    """mIoU in percent: the mean of ``class_ious`` over some classes.

    Args:
        matrix: of the whole set.
        classes: 'gt' those in the ground truth; 'union' those in it or in the prediction, as mmseg; 'all', an absent one as 0,
            as GluonCV.

    Raises:
        ValueError: another name, or no pixel is labelled.
    """
    _check(matrix)
    return float(np.mean(np.nan_to_num(class_ious(matrix))[_counted(matrix, classes)]))


def mean_accuracy(matrix: np.ndarray, classes: str = "gt") -> float:
    """mAcc: percent of a class's pixels that are predicted right, the mean over classes.

    Over those in the ground truth ('gt' and 'union', since no other has any), or over all, an absent one as 0 ('all').
    """
    _check(matrix)
    truth = matrix.sum(1)
    right = 100 * np.diag(matrix) / np.maximum(truth, 1)
    return float(np.mean(right[_counted(matrix, "all" if classes == "all" else "gt")]))


def frequent_and_rare(matrix: np.ndarray) -> tuple[float, float]:
    """mIoU over the more frequent and over the rarer half of the classes in the ground truth, by their pixels in it.

    Of equal counts the first class is the more frequent; of an odd number of classes the middle one is among the frequent. One
    class alone has no rarer half: NaN.
    """
    _check(matrix)
    truth, ious = matrix.sum(1), class_ious(matrix)
    order = np.argsort(-truth, kind="stable")[: np.count_nonzero(truth)]
    half = (len(order) + 1) // 2
    return float(np.mean(ious[order[:half]])), float(np.mean(ious[order[half:]])) if len(order) > half else float("nan")


def figures(regions: np.ndarray, classes: str = "gt") -> dict[str, float]:
    """All figures of a set, by name, from its matrices of ``REGIONS``, int64 (2, classes, classes).

    pixAcc, mIoU and mAcc of the whole, pixAcc and mIoU of each region on its own, and mIoU of frequent and rare classes. What
    has no pixel is left out.

    Raises:
        ValueError: no pixel is labelled.
    """
    whole = regions.sum(0)
    found = {"pixAcc": pixel_accuracy(whole), "mIoU": mean_iou(whole, classes), "mAcc": mean_accuracy(whole, classes)}
    for name, matrix in zip(REGIONS, regions, strict=True):
        if matrix.any():
            found |= {f"pixAcc_{name}": pixel_accuracy(matrix), f"mIoU_{name}": mean_iou(matrix, classes)}
    halves = dict(zip(("mIoU_frequent", "mIoU_rare"), frequent_and_rare(whole), strict=True))
    return found | {name: value for name, value in halves.items() if not np.isnan(value)}


def _counted(matrix: np.ndarray, classes: str) -> np.ndarray:
    if classes not in CLASSES:
        raise ValueError(f"The classes of mIoU are {classes!r}; allowed: {', '.join(CLASSES)}.")
    truth, found = matrix.sum(1) > 0, matrix.sum(0) > 0
    return {"gt": truth, "union": truth | found, "all": np.ones_like(truth)}[classes]


def _check(matrix: np.ndarray) -> None:
    if not matrix.any():
        raise ValueError("No pixel of the ground truth is labelled, so there is no pixAcc and no mIoU; test on other masks.")


@dataclass
class Counts:
    """The non-zero counts of the matrices of a data set, (n,) each, by image.

    image int32: index of the image; region int8: of ``REGIONS``; truth, found int16: classes; pixels int64. ``images``, int64 (),
    says how many images there are, of which some may have no labelled pixel and so no row.
    """

    image: np.ndarray
    region: np.ndarray
    truth: np.ndarray
    found: np.ndarray
    pixels: np.ndarray
    images: np.ndarray

    def matrix(self, classes: int, which: np.ndarray | slice = slice(None)) -> np.ndarray:
        """int64 (2, classes, classes): the sum over the rows ``which``, such as those of some images."""
        total = np.zeros((len(REGIONS), classes, classes), np.int64)
        np.add.at(total, (self.region[which], self.truth[which], self.found[which]), self.pixels[which])
        return total


def count(prediction: np.ndarray, truth: np.ndarray, classes: int, width: int) -> np.ndarray:
    """int64 (4, n): region, truth, found and pixels of the non-zero counts of one image, whose masks are (H, W)."""
    matrices = confusion(prediction, truth, classes, boundary_band(truth, width))
    return np.stack([*np.nonzero(matrices), matrices[matrices > 0]])


def join(images: Sequence[np.ndarray]) -> Counts:
    """The counts of a data set from those of its images, as ``count`` gives them."""
    index = np.repeat(np.arange(len(images), dtype=np.int32), [image.shape[1] for image in images])
    region, truth, found, pixels = np.concatenate([np.zeros((4, 0), np.int64), *images], axis=1)
    columns = region.astype(np.int8), truth.astype(np.int16), found.astype(np.int16), pixels
    return Counts(index, *columns, np.array(len(images)))


def load(path: str | Path) -> Counts:
    """The counts of a run's ``confusion.npz``, as the evaluator wrote them.

    Raises:
        ValueError: the file lacks an array.
    """
    saved = read_npz(path)
    if missing := set(Counts.__dataclass_fields__) - set(saved):
        raise ValueError(f"{path} has no array {min(missing)}; test the run again to write the file anew.")
    return Counts(**{name: saved[name] for name in Counts.__dataclass_fields__})


def per_class(matrix: np.ndarray, names: Sequence[str]) -> dict[str, float | None]:
    """For a record: {class name: IoU in percent}, None for a class that the ground truth lacks."""
    shown = zip(names, class_ious(matrix), matrix.sum(1), strict=True)
    return {name: float(iou) if pixels else None for name, iou, pixels in shown}
