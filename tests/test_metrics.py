"""Metrics against plain loops and numpy, and against mmdet's and mmseg's where their conventions agree."""

import numpy as np
import pytest
import torch
from mmengine.structures import BaseDataElement, InstanceData, PixelData

import backbones.mmcv_ops  # noqa: F401  (before mmdet and mmseg)
from classification import TopK
from classification.metrics import rank_of_truth, topk
from detection.metrics import Boxes, average_precision, class_aps, mean_ap, pairwise_iou
from segmentation.metrics import class_ious, confusion, mean_accuracy, mean_iou, pixel_accuracy, sparse

# ---- classification


@pytest.mark.parametrize("classes", [2, 5, 12, 1000])
@pytest.mark.parametrize("levels", [2, 4, 10**6])
def test_the_rank_is_the_place_in_a_stable_sort(classes, levels):
    rng = np.random.default_rng(classes)
    for _ in range(50):
        scores = rng.integers(levels, size=classes).astype(np.float32)
        order = np.argsort(-scores, kind="stable").tolist()
        for label in rng.choice(classes, size=min(classes, 20), replace=False).tolist():
            assert rank_of_truth(scores, label) == order.index(label)


@pytest.mark.parametrize("label", [0, 2, 4])
def test_scores_that_are_no_numbers_are_no_hits(label):
    assert rank_of_truth(np.full(5, np.nan, np.float32), label) == 4
    scores = np.array([1, 2, 3, 2, 1], np.float32)
    scores[label] = np.nan
    assert rank_of_truth(scores, label) == 4


def test_topk_counts_the_images_whose_truth_is_among_the_first():
    rng = np.random.default_rng(0)
    scores, labels = rng.random((200, 10)), rng.integers(10, size=200)
    ranks = [rank_of_truth(s, y) for s, y in zip(scores, labels, strict=True)]
    for k in (1, 3, 5, 10):
        first = np.argsort(-scores, axis=1)[:, :k]
        assert topk(ranks, k) == pytest.approx(100 * (first == labels[:, None]).any(1).mean())
    assert topk(np.array([0, 1, 4, 5], np.uint16), 5) == 75.0 and topk(ranks, 10) == 100.0


def test_the_evaluator_keeps_ranks_and_labels_of_each_image(tmp_path):
    rng = np.random.default_rng(1)
    scores, labels = rng.random((7, 1000)).astype(np.float32), rng.integers(1000, size=7)
    metric = TopK(out_file=str(tmp_path / "run" / "ranks.npz"))
    for part in (slice(0, 4), slice(4, 7)):
        pairs = zip(torch.from_numpy(scores[part]), labels[part].tolist(), strict=True)
        metric.process({}, [{"scores": s, "label": y} for s, y in pairs])
    values = metric.evaluate(7)
    kept = np.load(tmp_path / "run" / "ranks.npz")
    assert kept["label"].tolist() == labels.tolist()
    assert kept["rank"].tolist() == [int((s > s[y]).sum()) for s, y in zip(scores, labels, strict=True)]
    assert values == {"top1": topk(kept["rank"], 1), "top5": topk(kept["rank"], 5)}


# ---- detection


def devkit_iou(a: list[float], b: list[float]) -> float:
    width = min(a[2], b[2]) - max(a[0], b[0]) + 1
    height = min(a[3], b[3]) - max(a[1], b[1]) + 1
    if width <= 0 or height <= 0:
        return 0.0
    area = [(x[2] - x[0] + 1) * (x[3] - x[1] + 1) for x in (a, b)]
    return width * height / (area[0] + area[1] - width * height)


def devkit_ap(detections: list, truth: list, label: int, kind: str, threshold: float) -> float:
    """AP of one class in percent by the devkit's loop; None where no box counts.

    detections: (image, box, label, score); truth: (image, box, label, difficult).
    """
    boxes = [t for t in truth if t[2] == label]
    positives = sum(not t[3] for t in boxes)
    if not positives:
        return None
    found = sorted((d for d in detections if d[2] == label), key=lambda d: -d[3])  # stable
    taken, hits, alarms, points = set(), 0, 0, []
    for image, box, _, _ in found:
        best, overlap = None, -1.0
        for i, t in enumerate(boxes):
            if t[0] == image and devkit_iou(box, t[1]) > overlap:
                best, overlap = i, devkit_iou(box, t[1])
        if overlap >= threshold:
            if boxes[best][3]:
                continue
            if best in taken:
                alarms += 1
            else:
                taken.add(best)
                hits += 1
        else:
            alarms += 1
        points.append((hits / positives, hits / (hits + alarms)))
    if kind == "11-point":
        return 100 * sum(max((p for r, p in points if r >= 0.1 * k), default=0.0) for k in range(11)) / 11
    area, last = 0.0, 0.0
    for i, (recall, _) in enumerate(points):
        area += (recall - last) * max(p for _, p in points[i:])
        last = recall
    return 100 * area


def random_case(rng: np.random.Generator, images: int, distinct: bool = False) -> tuple[list, list, int]:
    """Detections near the truth and elsewhere, twice on some boxes; scores tie unless ``distinct``."""
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
            jitter = rng.integers(-2, 3, 4)
            moved = [float(v + j) for v, j in zip(near, jitter, strict=True)]
            moved[2:] = [max(moved[0] + 1, moved[2]), max(moved[1] + 1, moved[3])]
            boxes.append((image, moved, label if rng.random() < 0.9 else int(rng.integers(classes))))
    for _ in range(rng.integers(0, 2 * images + 1)):
        boxes.append((int(rng.integers(images)), box(), int(rng.integers(classes))))
    if rng.random() < 0.05:
        boxes = []
    boxes.sort(key=lambda d: d[0])  # as an evaluator gathers them
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


@pytest.mark.parametrize("threshold", [0.5, 0.7])
@pytest.mark.parametrize("kind", ["11-point", "area"])
def test_average_precision_is_that_of_the_devkits_loop(kind, threshold):
    rng = np.random.default_rng(42)
    seen = {"no detections": 0, "no class": 0, "only difficult": 0, "ties": 0, "between": 0}
    for _ in range(400):
        found, truth, classes = random_case(rng, int(rng.integers(1, 5)))
        detections, boxes = as_boxes(found, "score"), as_boxes(truth, "difficult")
        aps = class_aps(detections, boxes, classes, kind, threshold)
        expected = [devkit_ap(found, truth, label, kind, threshold) for label in range(classes)]
        assert aps.shape == (classes,)
        np.testing.assert_allclose(aps, [np.nan if e is None else e for e in expected], rtol=1e-9, atol=1e-9)
        known = [e for e in expected if e is not None]
        if known:
            assert mean_ap(detections, boxes, classes, kind, threshold) == pytest.approx(sum(known) / len(known))
        seen["no detections"] += bool(known) and not found
        seen["no class"] += None in expected
        labels = {t[2] for t in truth}
        seen["only difficult"] += any(all(t[3] for t in truth if t[2] == c) for c in labels)
        seen["ties"] += len({d[3] for d in found}) < len(found)
        seen["between"] += any(0 < e < 100 for e in known)
    assert min(seen.values()) >= 10, seen


@pytest.mark.parametrize("kind", ["11-point", "area"])
def test_mean_ap_is_that_of_mmdet(kind):
    """With distinct scores: mmdet sorts unstably."""
    from mmdet.evaluation import eval_map

    rng = np.random.default_rng(7)
    compared = 0
    for case in range(40):
        images = 1 if case % 4 else int(rng.integers(2, 4))  # several images start a pool of processes
        found, truth, classes = random_case(rng, images, distinct=True)
        positives = [sum(t[2] == c and not t[3] for t in truth) for c in range(classes)]
        if not any(positives):
            continue
        detections, annotations = [], []
        for image in range(images):
            rows = [[(*d[1], d[3]) for d in found if d[0] == image and d[2] == c] for c in range(classes)]
            detections.append([np.array(r, np.float32).reshape(-1, 5) for r in rows])
            parts = {}
            for suffix, hard in (("", False), ("_ignore", True)):
                own = [t for t in truth if t[0] == image and t[3] == hard]
                parts["bboxes" + suffix] = np.array([t[1] for t in own], np.float32).reshape(-1, 4)
                parts["labels" + suffix] = np.array([t[2] for t in own], np.int64)
            annotations.append(parts)
        mode = {"11-point": "11points", "area": "area"}[kind]
        other, _ = eval_map(detections, annotations, nproc=1, use_legacy_coordinate=True, eval_mode=mode, logger="silent")
        ours = mean_ap(as_boxes(found, "score"), as_boxes(truth, "difficult"), classes, kind)
        assert ours == pytest.approx(100 * float(other), abs=1e-4)
        compared += 1
    assert compared >= 30


def test_iou_counts_both_end_pixels():
    a = np.array([[0, 0, 9, 9], [5, 5, 5, 5]], np.float32)
    b = np.array([[0, 0, 9, 9], [0, 0, 9, 4], [10, 10, 12, 12], [5, 5, 14, 14]], np.float32)
    expected = [[1, 0.5, 0, 25 / 175], [0.01, 0, 0, 0.01]]
    np.testing.assert_allclose(pairwise_iou(a, b), expected, rtol=1e-12)


def test_ap_by_hand():
    """Three boxes; hit, alarm, hit, and one never found: precision 1, 1/2, 2/3 at recall 1/3, 1/3, 2/3."""
    precision, recall = np.array([1, 1 / 2, 2 / 3]), np.array([1, 1, 2]) / 3
    assert average_precision(precision, recall, "11-point") == pytest.approx((4 * 1 + 3 * 2 / 3) / 11)
    assert average_precision(precision, recall, "area") == pytest.approx(1 / 3 + 2 / 9)
    with pytest.raises(ValueError, match="The kind of AP is '101-point'; allowed: 11-point, area"):
        average_precision(precision, recall, "101-point")


def test_the_order_of_the_truth_does_not_matter():
    rng = np.random.default_rng(3)
    for _ in range(50):
        found, truth, classes = random_case(rng, 4, distinct=True)
        mixed = [truth[i] for i in rng.permutation(len(truth))]
        values = [class_aps(as_boxes(found, "score"), as_boxes(t, "difficult"), classes, "area") for t in (truth, mixed)]
        np.testing.assert_allclose(*values)


def test_the_detection_evaluator_gathers_images_in_order(tmp_path):
    from detection import VOCMeanAP

    rng = np.random.default_rng(9)
    found, truth, classes = random_case(rng, 4)
    metric = VOCMeanAP(out_file=str(tmp_path / "detections.npz"))
    metric.dataset_meta = {"classes": tuple("abc"[:classes])}
    for image in range(4):
        mine = [d for d in found if d[0] == image]
        sample = {"pred_instances": instances(mine, scores=[d[3] for d in mine])}
        for name, hard in (("gt_instances", False), ("ignored_instances", True)):
            sample[name] = instances([t for t in truth if t[0] == image and t[3] == hard])
        metric.process({}, [sample])
    values = metric.evaluate(4)
    for name, kind in (("mAP", "11-point"), ("mAP_area", "area")):
        aps = [devkit_ap(found, truth, label, kind, 0.5) for label in range(classes)]
        assert values[name] == pytest.approx(np.mean([a for a in aps if a is not None]))
    kept = np.load(tmp_path / "detections.npz")
    detections = Boxes(kept["det_image"], kept["det_box"], kept["det_label"], score=kept["det_score"])
    boxes = Boxes(kept["gt_image"], kept["gt_box"], kept["gt_label"], difficult=kept["gt_difficult"])
    assert mean_ap(detections, boxes, classes, "11-point") == values["mAP"]


def instances(rows: list, **more) -> InstanceData:
    box = torch.tensor([r[1] for r in rows], dtype=torch.float32).reshape(-1, 4)
    words = {name: torch.tensor(value, dtype=torch.float32) for name, value in more.items()}
    return InstanceData(bboxes=box, labels=torch.tensor([r[2] for r in rows], dtype=torch.int64), **words)


# ---- segmentation


def random_masks(rng: np.random.Generator, classes: int, occurring: int) -> tuple[np.ndarray, np.ndarray]:
    """Prediction and truth uint8 (h, w); a tenth ignored; truth of the first ``occurring`` classes only."""
    shape = tuple(rng.integers(5, 40, 2))
    truth = rng.integers(occurring, size=shape)
    wrong = rng.random(shape) < 0.5
    prediction = np.where(wrong, rng.integers(classes, size=shape), truth)
    return prediction.astype(np.int64), np.where(rng.random(shape) < 0.1, 255, truth).astype(np.uint8)


@pytest.mark.parametrize(("classes", "occurring"), [(2, 2), (3, 2), (12, 5), (150, 22), (150, 150)])
def test_pixel_accuracy_and_iou_are_those_of_three_lines(classes, occurring):
    rng = np.random.default_rng(classes + occurring)
    pairs = [random_masks(rng, classes, occurring) for _ in range(5)]
    matrices = [confusion(p, t, classes) for p, t in pairs]
    total = sum(matrices)
    p, t = (np.concatenate([pair[i].ravel() for pair in pairs]) for i in (0, 1))
    p, t = p[t != 255], t[t != 255]
    assert total.sum() == len(t) and all(
        total[i, j] == ((t == i) & (p == j)).sum() for i in range(3) for j in range(classes) if i < classes
    )
    ious = [100 * ((p == c) & (t == c)).sum() / ((p == c) | (t == c)).sum() for c in np.unique(t)]
    assert pixel_accuracy(total) == pytest.approx(100 * (p == t).mean())
    assert mean_iou(total) == pytest.approx(np.mean(ious))
    assert mean_accuracy(total) == pytest.approx(np.mean([100 * (p[t == c] == c).mean() for c in np.unique(t)]))
    assert np.isnan(class_ious(total)).sum() == classes - len(np.unique(t))


def test_a_class_that_only_the_prediction_has_counts_as_error_and_not_as_a_class():
    prediction, truth = np.array([[0, 0, 2, 1]]), np.array([[0, 0, 0, 1]], np.uint8)
    matrix = confusion(prediction, truth, 4)
    assert class_ious(matrix)[:2].tolist() == pytest.approx([100 * 2 / 3, 100.0]) and np.isnan(class_ious(matrix)[2:]).all()
    assert mean_iou(matrix) == pytest.approx((200 / 3 + 100) / 2)


@pytest.mark.parametrize("classes", [2, 7, 21])
def test_iou_is_that_of_mmseg_where_all_classes_occur(classes):
    from mmseg.evaluation import IoUMetric

    rng = np.random.default_rng(classes)
    pairs = [random_masks(rng, classes, classes) for _ in range(8)]
    areas = [IoUMetric.intersect_and_union(torch.from_numpy(p), torch.from_numpy(t), classes, 255) for p, t in pairs]
    sums = [sum(a) for a in zip(*areas, strict=True)]
    other = IoUMetric.total_area_to_metrics(*sums, metrics=["mIoU"])
    total = sum(confusion(p, t, classes) for p, t in pairs)
    assert (total.sum(1) > 0).all()
    assert pixel_accuracy(total) == pytest.approx(100 * float(other["aAcc"]), rel=1e-6)
    np.testing.assert_allclose(class_ious(total), 100 * other["IoU"], rtol=1e-6)
    assert mean_accuracy(total) == pytest.approx(100 * float(np.mean(other["Acc"])), rel=1e-6)


def test_the_sparse_form_gives_the_matrices_back():
    rng = np.random.default_rng(5)
    matrices = [confusion(*random_masks(rng, 150, 9), 150) for _ in range(4)]
    matrices.insert(2, np.zeros((150, 150), np.int64))  # an image that is ignored as a whole
    kept = sparse(matrices)
    again = np.zeros((5, 150, 150), np.int64)
    again[kept["image"], kept["truth"], kept["found"]] = kept["pixels"]
    assert (again == np.stack(matrices)).all() and len(kept["pixels"]) == sum((m > 0).sum() for m in matrices)


def test_the_segmentation_evaluator_adds_the_images_up(tmp_path):
    from segmentation import PixelAccuracyAndIoU

    rng = np.random.default_rng(11)
    pairs = [random_masks(rng, 6, 4) for _ in range(3)]
    metric = PixelAccuracyAndIoU(out_file=str(tmp_path / "confusion.npz"))
    metric.dataset_meta = {"classes": tuple("abcdef")}
    for p, t in pairs:
        parts = {"pred_sem_seg": torch.from_numpy(p)[None], "gt_sem_seg": torch.from_numpy(t)[None]}
        sample = BaseDataElement(**{name: PixelData(data=data) for name, data in parts.items()})
        metric.process({}, [sample.to_dict()])
    total = sum(confusion(p, t, 6) for p, t in pairs)
    assert metric.evaluate(3) == {
        "pixAcc": pixel_accuracy(total),
        "mIoU": mean_iou(total),
        "mAcc": mean_accuracy(total),
    }
    assert np.load(tmp_path / "confusion.npz")["pixels"].sum() == total.sum()
