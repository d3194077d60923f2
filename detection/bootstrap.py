"""Compute mAP on resampled test images from the boxes of a run; needs numpy and scipy only."""

import hashlib
from pathlib import Path

import numpy as np
from scipy.sparse import csr_array

from detection.metrics import IOUS, Boxes, load, match, ranking

METRICS = ("mAP", "mAP_area", "mAP_50_95")
RECALLS = np.arange(0, 1.1, 0.1)  # the 11 points of ``average_precision``
CHUNK = 125  # replicates at a time: the arrays of a class then fit in the processor's cache


def facts(record: dict) -> dict:
    """Return what ``resampled`` needs from a run's record besides the file: nothing."""
    return {}


def image_set(path: str | Path) -> tuple[int, str]:
    """Return the number of images up to the last one with a box, and a digest of the true boxes' classes."""
    detections, truth = load(path)
    columns = truth.image.astype("<i8"), truth.label.astype("<i8"), truth.difficult.astype("u1")
    digest = hashlib.sha256(b"".join(column.tobytes() for column in columns)).hexdigest()
    return 1 + int(max(detections.image.max(initial=-1), truth.image.max(initial=-1))), digest


def resampled(path: str | Path, weights: np.ndarray, metric: str, iou: float = 0.5) -> np.ndarray:
    """Return mAP in percent, float64 (R,), of R resampled sets; NaN for a set in which no class has a box that counts.

    Set r contains image i weights[r, i] times. Whether a detection is a hit and where it ranks depend on no other image, so
    both are computed once. The copies of a detection stand right behind it. Precision only rises over w copies of a hit, so
    the envelope and the recall need only the hits before the block, the end of the block and w. Copies of false alarms only
    lengthen the list between hits. A replicate is thus two weighted cumulative sums at the hits of each class.

    Args:
        path: detections.npz.
        weights: (R, images), integers.
        metric: one of ``METRICS``: mAP is 11-point, mAP_area area, mAP_50_95 area over IoU 0.50:0.05:0.95.
        iou: smallest IoU of a hit, for mAP and mAP_area.

    Raises:
        ValueError: unknown metric, fewer images than the file has, or a file that lacks an array.
    """
    if metric not in METRICS:
        raise ValueError(f"The metric {metric} cannot be resampled from {path}; allowed: {', '.join(METRICS)}.")
    detections, truth = load(path)
    images = 1 + int(max(detections.image.max(initial=-1), truth.image.max(initial=-1)))
    if weights.shape[1] < images:
        raise ValueError(f"{path} has {images} images but the weights have {weights.shape[1]}; give a weight for each image.")
    counting = truth.take(~truth.difficult.astype(bool))
    classes = np.unique(counting.label)
    boxes = _counts(counting.image, np.searchsorted(classes, counting.label), (len(classes), weights.shape[1]))
    ranked, order = [], ranking(detections)
    for threshold in IOUS if metric == "mAP_50_95" else (iou,):
        detections.match = match(detections, truth, threshold)
        ranked.append(_classes(detections.take(order), classes, weights.shape[1]))
    kind = "11-point" if metric == "mAP" else "area"
    parts = [weights[i : i + CHUNK].T.astype(np.float64) for i in range(0, len(weights), CHUNK)]
    return np.concatenate([_mean_ap(ranked, boxes @ part, part, kind) for part in parts])


def _counts(image: np.ndarray, row: np.ndarray, shape: tuple[int, int]) -> csr_array:
    return csr_array((np.ones(len(image)), (row, image)), shape=shape)


def _classes(ranked: Boxes, classes: np.ndarray, images: int) -> list[tuple[np.ndarray, csr_array]]:
    """Return for each class the images of its hits, and how many detections of each image end at each hit, (hits, images).

    Detections behind the last hit change nothing and are left out, and so are ignored ones.
    """
    parts = []
    for label in classes:
        ranks = np.flatnonzero((ranked.label == label) & (ranked.match >= 0))
        hit, image = ranked.match[ranks] == 1, ranked.image[ranks]
        step = np.cumsum(hit) - hit  # index of the next hit; a hit is its own next hit
        before_last = step < hit.sum()
        parts.append((image[hit], _counts(image[before_last], step[before_last], (int(hit.sum()), images))))
    return parts


def _mean_ap(ranked: list, boxes: np.ndarray, weights: np.ndarray, kind: str) -> np.ndarray:
    """Return the mean AP, float64 (R,), over thresholds and over the classes that have a box.

    ``boxes`` is (classes, R) and ``weights`` is (images, R).
    """
    aps = np.zeros_like(boxes)
    for threshold in ranked:
        for label, (hits, steps) in enumerate(threshold):
            aps[label] += _average_precision(weights[hits], steps @ weights, boxes[label], kind)
    with np.errstate(invalid="ignore"):
        return 100 * np.where(boxes > 0, aps / len(ranked), 0).sum(0) / (boxes > 0).sum(0)


def _average_precision(hits: np.ndarray, steps: np.ndarray, boxes: np.ndarray, kind: str) -> np.ndarray:
    """Return the AP of one class in 0..1, float64 (R,), as ``metrics.average_precision`` defines it.

    Args:
        hits, steps: (hits, R), by descending score: copies of the hit, and detections since the previous hit including this
            one. A hit with no copy adds a point of lower precision behind the previous hit, which the envelope ignores.
        boxes: (R,), number of true boxes.
    """
    hits, rank = np.cumsum(hits, axis=0), np.cumsum(steps, axis=0)
    recall, envelope = hits / np.maximum(boxes, 1), hits / np.maximum(rank, 1)
    np.maximum.accumulate(envelope[::-1], axis=0, out=envelope[::-1])
    if kind == "area":
        return np.sum(np.diff(recall, axis=0, prepend=0) * envelope, axis=0)
    ends = np.vstack([envelope, np.zeros_like(boxes)])
    places = [np.count_nonzero(recall < r, axis=0) for r in RECALLS]
    return np.mean([ends[place, np.arange(len(boxes))] for place in places], axis=0)
