"""Compute AP as the VOC devkit does, by a plain loop, and draw random cases."""

import numpy as np

import backbones.mmcv_ops  # noqa: F401  (before mmdet)
from detection.metrics import (
    Boxes,
)


def devkit_iou(a: list[float], b: list[float]) -> float:
    width = min(a[2], b[2]) - max(a[0], b[0]) + 1
    height = min(a[3], b[3]) - max(a[1], b[1]) + 1
    if width <= 0 or height <= 0:
        return 0.0
    area = [(x[2] - x[0] + 1) * (x[3] - x[1] + 1) for x in (a, b)]
    return width * height / (area[0] + area[1] - width * height)


def devkit_match(detections: list, truth: list, threshold: float) -> list[int]:
    """Match detections one after another: 1 is a hit, 0 a false alarm, -1 ignored.

    detections: (image, box, label, score); truth: (image, box, label, difficult).
    """
    result, hit = [0] * len(detections), set()
    for k in sorted(range(len(detections)), key=lambda k: -detections[k][3]):  # stable
        image, box, label, _ = detections[k]
        best, overlap = None, -1.0
        for i, t in enumerate(truth):
            if t[0] == image and t[2] == label and (iou := devkit_iou(box, t[1])) > overlap:
                best, overlap = i, iou
        if overlap >= threshold:
            if truth[best][3]:
                result[k] = -1
            elif best not in hit:
                hit.add(best)
                result[k] = 1
    return result


def devkit_ap(detections: list, truth: list, label: int, kind: str, threshold: float, matches: list | None = None) -> float:
    """Return the AP of one class in percent by the devkit's loop; None if no box counts.

    The sixth parameter spares callers that have the matches a second run of the loop.
    """
    positives = sum(t[2] == label and not t[3] for t in truth)
    if not positives:
        return None
    matches = devkit_match(detections, truth, threshold) if matches is None else matches
    ranked = [(d[3], m) for d, m in zip(detections, matches, strict=True) if d[2] == label and m >= 0]
    hits, points = 0, []
    for n, (_, m) in enumerate(sorted(ranked, key=lambda pair: -pair[0]), start=1):
        hits += m
        points.append((hits / positives, hits / n))
    if kind == "11-point":
        return 100 * sum(max((p for r, p in points if r >= 0.1 * k), default=0.0) for k in range(11)) / 11
    area, last = 0.0, 0.0
    for i, (recall, _) in enumerate(points):
        area += (recall - last) * max(p for _, p in points[i:])
        last = recall
    return 100 * area


def random_case(rng: np.random.Generator, images: int, distinct: bool = False) -> tuple[list, list, int]:
    """Draw detections near the truth and elsewhere, two on some boxes; scores tie unless ``distinct``."""
    classes = int(rng.integers(1, 4))

    def box() -> list[float]:
        x, y, w, h = (*rng.integers(0, 25, 2), *rng.integers(3, 20, 2))
        return [float(v) for v in (x, y, x + w, y + h)]

    truth = []
    hard = rng.choice([0.0, 0.3, 1.0], p=[0.3, 0.6, 0.1])
    for image in range(images):
        for _ in range(rng.integers(0, 6)):
            truth.append((image, box(), int(rng.integers(classes)), bool(rng.random() < hard)))
    boxes = []
    for image, near, label, _ in truth:
        for _ in range(rng.choice([0, 1, 2], p=[0.2, 0.5, 0.3])):
            jitter = rng.integers(-2, 3, 4) * (rng.random() < 0.8)
            moved = [float(v + j) for v, j in zip(near, jitter, strict=True)]
            moved[2:] = [max(moved[0] + 1, moved[2]), max(moved[1] + 1, moved[3])]
            boxes.append((image, moved, label if rng.random() < 0.9 else int(rng.integers(classes))))
    for _ in range(rng.integers(0, 2 * images + 1)):
        boxes.append((int(rng.integers(images)), box(), int(rng.integers(classes))))
    if rng.random() < 0.05:
        boxes = []
    boxes.sort(key=lambda d: d[0])  # in the order in which an evaluator gathers them
    scores = rng.permutation(len(boxes)) / 1000 + 0.1 if distinct else rng.integers(1, 6, len(boxes)) / 8
    return [(*b, float(s)) for b, s in zip(boxes, scores, strict=True)], truth, classes


def as_boxes(rows: list, last: str) -> Boxes:
    image, box, label, value = zip(*rows, strict=True) if rows else ([], [], [], [])
    return Boxes(
        np.array(image, np.int32),
        np.array(box, np.float32).reshape(-1, 4),
        np.array(label, np.int16),
        **{last: np.array(value, {"score": np.float32, "difficult": bool}[last])},
    )


def mmdet_case(predicted: list, truth: list, classes: int, images: int) -> tuple[list, list]:
    """Convert detections and truth to the arguments of mmdet's ``eval_map``."""
    detections, annotations = [], []
    for image in range(images):
        rows = [[(*d[1], d[3]) for d in predicted if d[0] == image and d[2] == c] for c in range(classes)]
        detections.append([np.array(r, np.float32).reshape(-1, 5) for r in rows])
        parts = {}
        for suffix, hard in (("", False), ("_ignore", True)):
            objects = [t for t in truth if t[0] == image and t[3] == hard]
            parts["bboxes" + suffix] = np.array([t[1] for t in objects], np.float32).reshape(-1, 4)
            parts["labels" + suffix] = np.array([t[2] for t in objects], np.int64)
        annotations.append(parts)
    return detections, annotations
