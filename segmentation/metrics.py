"""pixAcc and mIoU from one confusion matrix; numpy only."""

import numpy as np


def confusion(prediction: np.ndarray, truth: np.ndarray, classes: int) -> np.ndarray:
    """int64 (classes, classes): pixels of true class i (row) predicted as j (column).

    Args:
        prediction: integers 0..classes - 1, of any shape.
        truth: the same shape; values of ``classes`` and above (255) are ignored.
    """
    rows = np.minimum(truth.ravel().astype(np.int64), classes)  # one row more, for ignored pixels
    counts = np.bincount(rows * classes + prediction.ravel(), minlength=(classes + 1) * classes)
    return counts.reshape(classes + 1, classes)[:classes]


def pixel_accuracy(matrix: np.ndarray) -> float:
    """Percent of labelled pixels that are predicted right."""
    return float(100 * np.trace(matrix) / matrix.sum())


def class_ious(matrix: np.ndarray) -> np.ndarray:
    """IoU in percent per class: intersection / union over the whole set; NaN for a class that the ground truth lacks."""
    intersection, truth, found = np.diag(matrix), matrix.sum(1), matrix.sum(0)
    union = np.where(truth > 0, truth + found - intersection, 1)
    return np.where(truth > 0, 100 * intersection / union, np.nan)


def mean_iou(matrix: np.ndarray) -> float:
    """mIoU in percent: the mean of ``class_ious`` over the classes that occur in the ground truth."""
    return float(np.nanmean(class_ious(matrix)))


def mean_accuracy(matrix: np.ndarray) -> float:
    """Percent of a class's pixels that are predicted right, averaged over the classes in the ground truth."""
    truth = matrix.sum(1)
    return float(100 * np.mean(np.diag(matrix)[truth > 0] / truth[truth > 0]))


def sparse(matrices: list[np.ndarray]) -> dict[str, np.ndarray]:
    """The non-zero counts of one matrix per image: image int32, truth int16, found int16, pixels int64, each (n,)."""
    parts = [(np.full(np.count_nonzero(m), i), *np.nonzero(m), m[np.nonzero(m)]) for i, m in enumerate(matrices)]
    columns = [np.concatenate(column) for column in zip(*parts, strict=True)]
    kinds = {"image": np.int32, "truth": np.int16, "found": np.int16, "pixels": np.int64}
    return {name: column.astype(kind) for (name, kind), column in zip(kinds.items(), columns, strict=True)}
