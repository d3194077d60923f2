"""Compute average precision by the rules of the VOC devkit; needs numpy only.

Detections and ground truth of a whole dataset are flat arrays, each with the index of its image. No step loops over images:
one sort pairs the boxes of the same image and class, and their IoUs serve all IoU thresholds.

Source: Everingham et al., The Pascal Visual Object Classes Challenge, IJCV 2010, and the devkit's VOCevaldet.m.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from backbones.common.files import read_npz

IOUS = tuple(k / 100 for k in range(50, 100, 5))  # 0.50:0.05:0.95; np.arange(0.5, 1, 0.05) has 0.6000000000000001


@dataclass
class Boxes:
    """Hold the boxes of a dataset; ``score`` and ``match`` belong to detections, ``difficult`` to ground truth.

    image (n,) int: index of the image, 0 and up; box (n, 4) float: x1, y1, x2, y2 in pixels, both ends inside; label (n,)
    int: 0..classes - 1; score (n,) float: higher is better; difficult (n,) bool; match (n,) int8: the result of ``match``.
    """

    image: np.ndarray
    box: np.ndarray
    label: np.ndarray
    score: np.ndarray | None = None
    difficult: np.ndarray | None = None
    match: np.ndarray | None = None

    def take(self, which: np.ndarray) -> "Boxes":
        return Boxes(**{name: None if a is None else a[which] for name, a in vars(self).items()})


def gather(results: list[tuple[np.ndarray, ...]]) -> tuple[Boxes, Boxes]:
    """Join one tuple per image, in the order of the dataset, to flat arrays of detections and ground truth.

    Args:
        results: for each image, as arrays: boxes (n, 4), labels and scores of the detections; boxes and labels of the objects
            that count; boxes and labels of the difficult objects.
    """

    def flat(box: int, label: int, **more) -> Boxes:
        image = np.repeat(np.arange(len(results)), [len(r[box]) for r in results])
        columns = {name: np.concatenate([r[i] for r in results]) for name, i in more.items()}
        return Boxes(
            image.astype(np.int32),
            np.concatenate([r[box] for r in results]).astype(np.float32).reshape(-1, 4),
            np.concatenate([r[label] for r in results]).astype(np.int16),
            **columns,
        )

    easy, hard = flat(3, 4), flat(5, 6)
    truth = Boxes(
        np.concatenate([easy.image, hard.image]),
        np.concatenate([easy.box, hard.box]),
        np.concatenate([easy.label, hard.label]),
        difficult=np.repeat([False, True], [len(easy.image), len(hard.image)]),
    )
    detections = flat(0, 1, score=2)
    detections.score = detections.score.astype(np.float32)
    return detections, truth


def load(path: str | Path) -> tuple[Boxes, Boxes]:
    """Read the detections and the ground truth of a run's ``detections.npz``, as the evaluator wrote them.

    Raises:
        ValueError: the file lacks an array.
    """
    saved = read_npz(path)
    parts = [{k.removeprefix(part): saved[k] for k in saved if k.startswith(part)} for part in ("det_", "gt_")]
    for part, names, last in zip(("det_", "gt_"), parts, ("score", "difficult"), strict=True):
        if missing := {"image", "box", "label", last} - set(names):
            raise ValueError(f"{path} has no array {part}{min(missing)}; test the run again to write the file anew.")
    return Boxes(**parts[0]), Boxes(**parts[1])


def check_labels(detections: Boxes, truth: Boxes, classes: int) -> None:
    """Check that every label is in 0..classes - 1, because a box with another label would be left out of every class.

    Raises:
        ValueError: a label is out of range.
    """
    labels = np.concatenate([detections.label, truth.label])
    if len(wrong := labels[(labels < 0) | (labels >= classes)]):
        raise ValueError(
            f"A box has the label {wrong[0]}, but the {classes} classes are 0 to {classes - 1}; give all class names."
        )


def iou_of(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return the IoU of boxes, float64 in 0..1: inter / (area + area - inter), each side one pixel longer than x2 - x1,
    as in the devkit.

    Args:
        a, b: (4, ...), one row each for x1, y1, x2, y2 in pixels; the other dimensions broadcast.
    """
    a, b = a.astype(np.float64), b.astype(np.float64)  # float32's 0.7 is below 0.7
    width = np.minimum(a[2], b[2]) - np.maximum(a[0], b[0]) + 1
    height = np.minimum(a[3], b[3]) - np.maximum(a[1], b[1]) + 1
    inter = np.maximum(width, 0) * np.maximum(height, 0)
    areas = [(box[2] - box[0] + 1) * (box[3] - box[1] + 1) for box in (a, b)]
    return inter / (areas[0] + areas[1] - inter)


def pairs(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the indices (i, j), int64 (k,) each, of all pairs with a[i] == b[j]; i ascends, and j ascends for each i."""
    order = np.argsort(b, kind="stable")
    low, high = (np.searchsorted(b[order], a, side) for side in ("left", "right"))
    counts = high - low
    i = np.repeat(np.arange(len(a)), counts)
    before = np.cumsum(counts) - counts
    return i, order[np.arange(len(i)) + np.repeat(low - before, counts)]


def best_pairs(i: np.ndarray, j: np.ndarray, iou: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Return for each i of 0..size - 1 the j of its largest IoU, and that IoU.

    Of equal IoUs the first j wins. An i without a pair gets -1 and -1.0.

    Args:
        i, j, iou: (k,) each, a pair and its IoU; i ascends.
        size: number of i.
    """
    best, overlap = np.full(size, -1), np.full(size, -1.0)
    if len(i):
        start = np.flatnonzero(np.diff(i, prepend=-1))
        overlap[i[start]] = np.maximum.reduceat(iou, start)
        largest = np.flatnonzero(iou == overlap[i])
        largest = largest[np.diff(i[largest], prepend=-1) > 0]
        best[i[largest]] = j[largest]
    return best, overlap


def best_boxes(detections: Boxes, truth: Boxes) -> tuple[np.ndarray, np.ndarray]:
    """Return for each detection the index of the true box of its image and class that it overlaps most, and their IoU.

    Returns:
        int64 (n,), float64 (n,): of equal IoUs the first box in the order of ``truth`` wins; -1 and -1.0 without such a box.
    """
    classes = 1 + int(max(detections.label.max(initial=0), truth.label.max(initial=0)))
    i, j = pairs(*(boxes.image.astype(np.int64) * classes + boxes.label for boxes in (detections, truth)))
    return best_pairs(i, j, iou_of(detections.box.T[:, i], truth.box.T[:, j]), len(detections.image))


def match(detections: Boxes, truth: Boxes, iou: float = 0.5) -> np.ndarray:
    """Match detections to true boxes, int8 (n,): 1 is a hit, 0 a false alarm, -1 ignored.

    Each detection, by descending score, goes to the box of its image and class that it overlaps most. Below ``iou`` it is
    a false alarm; on a difficult box it is ignored; the first one on a box is a hit, and later ones are false alarms. Of
    equal scores the earlier detection ranks first. A detection never changes the result of one of a higher score.

    Args:
        detections: detections of all classes, in any order.
        truth: true boxes of all classes.
        iou: smallest IoU of a hit.
    """
    order = ranking(detections)
    result = np.empty(len(order), np.int8)
    best, overlap = best_boxes(detections, truth)
    result[order] = _judge(best[order], overlap[order], truth.difficult, iou)
    return result


def ranking(detections: Boxes) -> np.ndarray:
    """Return the indices int64 (n,) that sort by class, then by descending score; of equal scores the earlier ranks first."""
    return np.lexsort((-detections.score, detections.label))


def _judge(best: np.ndarray, overlap: np.ndarray, difficult: np.ndarray, iou: float) -> np.ndarray:
    """Return ``match`` for detections in the order of ``ranking``, from the result of ``best_boxes``."""
    result = np.zeros(len(best), np.int8)
    near = np.flatnonzero(overlap >= iou)
    hard = difficult[best[near]].astype(bool)
    result[near[hard]] = -1
    near = near[~hard]
    first = np.full(len(difficult), len(best))
    np.minimum.at(first, best[near], near)
    result[first[first < len(best)]] = 1
    return result


def precision_recall(matches: np.ndarray, positives: int) -> tuple[np.ndarray, np.ndarray]:
    """Return precision and recall, each float64 (hits,) in 0..1, after each hit of one class.

    Between hits precision only falls, so these points suffice.

    Args:
        matches: result of ``match`` by descending score; ignored detections are skipped.
        positives: number of boxes that count.
    """
    ranks = np.flatnonzero(matches[matches >= 0])
    hits = np.arange(1, len(ranks) + 1)
    return hits / (ranks + 1), hits / positives


def average_precision(precision: np.ndarray, recall: np.ndarray, kind: str) -> float:
    """Return the AP in 0..1.

    kind '11-point': the mean over r = 0, 0.1, ..., 1 of the largest precision at recall >= r (VOC2007). kind 'area': the area
    under the monotone envelope of the precision (VOC2010 and later). The eleven r are ``np.arange(0, 1.1, 0.1)``, as in
    py-faster-rcnn, GluonCV and mmdet: 0.3, 0.6 and 0.7 are a rounding step above the decimal.

    Args:
        precision, recall: (n,), by ascending recall.
        kind: '11-point' or 'area'.

    Raises:
        ValueError: unknown kind.
    """
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    if kind == "11-point":
        return float(np.mean(np.append(envelope, 0)[np.searchsorted(recall, np.arange(0, 1.1, 0.1))]))
    if kind == "area":
        return float(np.sum(np.diff(recall, prepend=0) * envelope))
    raise ValueError(f"The kind of AP is {kind!r}; allowed: 11-point, area.")


def class_aps(detections: Boxes, truth: Boxes, classes: int, kind: str, iou: float | Sequence[float] = 0.5) -> np.ndarray:
    """Return the AP of each class in percent, float64 (classes,).

    A class without a box that counts (no box, or only difficult ones) gets NaN.

    Args:
        detections: boxes with ``score``; of equal scores the earlier ranks first, so order them by image.
        truth: boxes with ``difficult``; difficult boxes count neither as hit nor as missed.
        classes: number of classes.
        kind: kind of ``average_precision``.
        iou: smallest IoU of a hit; several (``IOUS``) give the mean of their APs.

    Raises:
        ValueError: unknown kind, or a label outside 0..classes - 1.
    """
    check_labels(detections, truth, classes)
    order = ranking(detections)
    best, overlap = (column[order] for column in best_boxes(detections, truth))
    positives = np.bincount(truth.label[~truth.difficult.astype(bool)], minlength=classes)
    bounds = np.searchsorted(detections.label[order], np.arange(classes + 1))
    thresholds = np.atleast_1d(iou)
    aps = np.full((len(thresholds), classes), np.nan)
    for row, threshold in zip(aps, thresholds, strict=True):
        matches = _judge(best, overlap, truth.difficult, threshold)
        for label in np.flatnonzero(positives):
            curve = precision_recall(matches[bounds[label] : bounds[label + 1]], positives[label])
            row[label] = 100 * average_precision(*curve, kind)
    return aps.mean(axis=0)


def mean_ap(detections: Boxes, truth: Boxes, classes: int, kind: str, iou: float | Sequence[float] = 0.5) -> float:
    """Return the mAP in percent: the mean of ``class_aps`` over the classes that have an AP.

    Raises:
        ValueError: no class has an AP. mAP is then undefined, and 0 would look like a result.
    """
    aps = class_aps(detections, truth, classes, kind, iou)
    if np.isnan(aps).all():
        raise ValueError(
            f"There is no mAP: none of the {len(truth.image)} true boxes counts (all difficult, or none at all); test on "
            "images with annotated objects."
        )
    return float(np.nanmean(aps))


def per_class(detections: Boxes, truth: Boxes, names: Sequence[str], iou: float = 0.5) -> dict[str, dict[str, float | None]]:
    """Return {class name: {"AP": 11-point, "AP_area": area}} in percent, ready for a record.

    A class without a box that counts gets None. Example: ``per_class(*load(folder / "detections.npz"), names)``.
    """
    kinds = {"AP": "11-point", "AP_area": "area"}
    table = {key: class_aps(detections, truth, len(names), kind, iou).tolist() for key, kind in kinds.items()}
    return {name: {key: None if aps[i] != aps[i] else aps[i] for key, aps in table.items()} for i, name in enumerate(names)}
