"""Average precision by the rules of the VOC devkit; numpy only.

Detections and ground truth of a whole data set are flat arrays, each with the index of its image.
"""

from dataclasses import dataclass

import numpy as np


@dataclass
class Boxes:
    """Boxes of a data set. ``score`` (n,) belongs to detections, ``difficult`` (n,) to ground truth.

    image (n,) int: index of the image; box (n, 4) float: x1, y1, x2, y2 in pixels, both ends inside; label (n,) int.
    """

    image: np.ndarray
    box: np.ndarray
    label: np.ndarray
    score: np.ndarray | None = None
    difficult: np.ndarray | None = None

    def of_class(self, label: int) -> "Boxes":
        return self.take(self.label == label)

    def take(self, which: np.ndarray) -> "Boxes":
        return Boxes(**{name: None if a is None else a[which] for name, a in vars(self).items()})


def pairwise_iou(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """IoU (n, m) of boxes (n, 4) and (m, 4) whose width is x2 - x1 + 1 pixels, as the devkit counts."""
    a, b = a.astype(np.float64), b.astype(np.float64)  # float32's 0.7 is below 0.7
    low = np.maximum(a[:, None, :2], b[None, :, :2])
    high = np.minimum(a[:, None, 2:], b[None, :, 2:])
    inter = np.prod(np.clip(high - low + 1, 0, None), axis=2)
    area_a, area_b = (np.prod(box[:, 2:] - box[:, :2] + 1, axis=1) for box in (a, b))
    return inter / (area_a[:, None] + area_b[None, :] - inter)


def match(detections: Boxes, truth: Boxes, iou: float = 0.5) -> np.ndarray:
    """What each detection of one class is: 1 a hit, 0 a false alarm, -1 ignored.

    Each detection, by descending score, goes to the box of its image that it overlaps most. Below ``iou`` it is a false
    alarm; a difficult box makes it ignored; the first on a box is a hit, later ones are false alarms.

    Args:
        detections: of one class, sorted by descending score.
        truth: of that class.
        iou: smallest IoU of a hit.
    """
    result = np.zeros(len(detections.image), dtype=np.int8)
    best, overlap = _best_boxes(detections, truth)
    hit = overlap >= iou
    result[hit] = np.where(truth.difficult[best[hit]], -1, 0)
    candidates = np.flatnonzero(hit & (result == 0))
    _, first = np.unique(best[candidates], return_index=True)
    result[candidates[first]] = 1
    return result


def _best_boxes(detections: Boxes, truth: Boxes) -> tuple[np.ndarray, np.ndarray]:
    """For each detection the index of the true box of its image that it overlaps most, and that IoU (-1: no box)."""
    best = np.zeros(len(detections.image), dtype=np.int64)
    overlap = np.full(len(detections.image), -1.0)
    order = np.argsort(truth.image, kind="stable")
    for image in np.unique(detections.image):
        low, high = np.searchsorted(truth.image[order], [image, image + 1])
        if low == high:
            continue
        own, boxes = np.flatnonzero(detections.image == image), order[low:high]
        ious = pairwise_iou(detections.box[own], truth.box[boxes])
        best[own], overlap[own] = boxes[ious.argmax(1)], ious.max(1)
    return best, overlap


def precision_recall(matches: np.ndarray, positives: int) -> tuple[np.ndarray, np.ndarray]:
    """Precision and recall (n,) after each detection that is not ignored, by descending score."""
    counted = matches[matches >= 0]
    hits = np.cumsum(counted)
    return hits / np.arange(1, len(counted) + 1), hits / positives


def average_precision(precision: np.ndarray, recall: np.ndarray, kind: str) -> float:
    """AP in 0..1.

    kind '11-point': mean over r = 0, 0.1, ..., 1 of the largest precision at recall >= r (VOC2007). kind 'area': the area
    under the precision made monotone (VOC2010 and after). The eleven r are those of ``np.arange(0, 1.1, 0.1)``, as in
    py-faster-rcnn, GluonCV and mmdet: 0.3, 0.6 and 0.7 are a rounding step above the decimal.

    Raises:
        ValueError: another kind.
    """
    if kind == "11-point":
        return float(np.mean([precision[recall >= r].max(initial=0) for r in np.arange(0, 1.1, 0.1)]))
    if kind == "area":
        envelope = np.maximum.accumulate(precision[::-1])[::-1]
        return float(np.sum(np.diff(recall, prepend=0) * envelope))
    raise ValueError(f"The kind of AP is {kind!r}; allowed: 11-point, area.")


def class_aps(detections: Boxes, truth: Boxes, classes: int, kind: str, iou: float = 0.5) -> np.ndarray:
    """AP in percent per class (classes,); NaN for a class without a box that counts (none, or only difficult ones)."""
    aps = np.full(classes, np.nan)
    order = np.argsort(-detections.score, kind="stable")  # of equal scores the earlier image stands first
    detections = detections.take(order)
    for label in range(classes):
        true = truth.of_class(label)
        positives = int((~true.difficult.astype(bool)).sum())
        if positives:
            matches = match(detections.of_class(label), true, iou)
            aps[label] = 100 * average_precision(*precision_recall(matches, positives), kind)
    return aps


def mean_ap(detections: Boxes, truth: Boxes, classes: int, kind: str, iou: float = 0.5) -> float:
    """mAP in percent: the mean of ``class_aps`` over the classes that have one."""
    return float(np.nanmean(class_aps(detections, truth, classes, kind, iou)))
