"""Test the detection metric against the devkit's loop, against mmdet where the conventions agree, and by hand."""

import numpy as np
import pytest
import torch
from mmengine.structures import InstanceData

import backbones.mmcv_ops  # noqa: F401  (before mmdet)
from detection.metrics import (
    IOUS,
    Boxes,
    average_precision,
    class_aps,
    load,
    match,
    mean_ap,
    pairs,
    pairwise_iou,
    per_class,
)

KINDS = ("11-point", "area")


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


@pytest.mark.parametrize("threshold", [0.3, 0.5, 0.7, 0.95])
def test_average_precision_is_that_of_the_devkits_loop(threshold):
    rng = np.random.default_rng(42)
    counts = dict.fromkeys(["no detections", "no class", "only difficult", "ties", "copies", "empty image", "between"], 0)
    for _ in range(1000):
        predicted, truth, classes = random_case(rng, images := int(rng.integers(1, 5)))
        detections, boxes = as_boxes(predicted, "score"), as_boxes(truth, "difficult")
        matches = devkit_match(predicted, truth, threshold)
        assert match(detections, boxes, threshold).tolist() == matches
        for kind in KINDS:
            expected = [devkit_ap(predicted, truth, label, kind, threshold, matches) for label in range(classes)]
            aps = class_aps(detections, boxes, classes, kind, threshold)
            np.testing.assert_allclose(aps, [np.nan if e is None else e for e in expected], rtol=1e-9, atol=1e-9)
            if defined := [e for e in expected if e is not None]:
                value = mean_ap(detections, boxes, classes, kind, threshold)
                assert type(value) is float and value == pytest.approx(sum(defined) / len(defined))
        counts["no detections"] += bool(defined) and not predicted
        counts["no class"] += None in expected
        counts["only difficult"] += any(all(t[3] for t in truth if t[2] == c) for c in {t[2] for t in truth})
        counts["ties"] += len({d[3] for d in predicted}) < len(predicted)
        counts["copies"] += len({(*d[1], *d[::2]) for d in predicted}) < len(predicted)
        counts["empty image"] += len({t[0] for t in truth}) < images
        counts["between"] += any(0 < e < 100 for e in defined)
    assert min(counts.values()) >= 20, counts


def test_several_ious_give_the_mean_of_each():
    assert IOUS == (0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95)
    rng = np.random.default_rng(4)
    for _ in range(100):
        predicted, truth, classes = random_case(rng, 3)
        detections, boxes = as_boxes(predicted, "score"), as_boxes(truth, "difficult")
        aps = [class_aps(detections, boxes, classes, "area", iou) for iou in IOUS]
        np.testing.assert_allclose(class_aps(detections, boxes, classes, "area", IOUS), np.mean(aps, axis=0), rtol=1e-12)


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


@pytest.mark.parametrize("threshold", [0.5, 0.75])
@pytest.mark.parametrize(("kind", "dataset", "mode"), [("11-point", "voc07", "11points"), ("area", "voc12", "area")])
def test_mean_ap_is_that_of_mmdet(kind, dataset, mode, threshold):
    """Use distinct scores, because mmdet's sort is unstable, and a tolerance, because its precision is float32."""
    from mmdet.evaluation import eval_map

    rng = np.random.default_rng(7)
    compared = 0
    for case in range(200):
        images = 1 if case % 20 else int(rng.integers(2, 5))  # several images start a pool of processes
        predicted, truth, classes = random_case(rng, images, distinct=True)
        if all(t[3] for t in truth):
            continue
        options = dict(nproc=1, use_legacy_coordinate=True, dataset=dataset, eval_mode=mode, logger="silent")
        theirs, parts = eval_map(*mmdet_case(predicted, truth, classes, images), iou_thr=threshold, **options)
        detections, boxes = as_boxes(predicted, "score"), as_boxes(truth, "difficult")
        assert mean_ap(detections, boxes, classes, kind, threshold) == pytest.approx(100 * float(theirs), abs=2e-5)
        expected = [100 * float(p["ap"]) if p["num_gts"] else np.nan for p in parts]
        np.testing.assert_allclose(class_aps(detections, boxes, classes, kind, threshold), expected, atol=2e-5)
        compared += 1
    assert compared >= 120


def test_iou_counts_both_end_pixels():
    a = np.array([[0, 0, 9, 9], [5, 5, 5, 5]], np.float32)
    b = np.array([[0, 0, 9, 9], [0, 0, 9, 4], [10, 10, 12, 12], [5, 5, 14, 14]], np.float32)
    expected = [[1, 0.5, 0, 25 / 175], [0.01, 0, 0, 0.01]]
    np.testing.assert_allclose(pairwise_iou(a, b), expected, rtol=1e-12)


def test_an_iou_of_exactly_the_threshold_is_a_hit():
    """Use boxes of 5 k of 100 rows: IoUs 0.50, 0.55, ..., 0.95, only some of which are exact in floating point."""
    truth = as_boxes([(0, [0, 0, 9, 99], 0, False)], "difficult")
    for k, iou in enumerate(IOUS, start=10):
        rows = [(0, [0, 0, 9, 5 * k - 1], 0, 0.9), (0, [0, 0, 9, 5 * k - 2], 0, 0.8)]
        assert [match(as_boxes([row], "score"), truth, iou).tolist() for row in rows] == [[1], [0]]


def test_pairs_returns_all_pairs_of_equal_value():
    rng = np.random.default_rng(2)
    for sizes in ((0, 0), (0, 5), (5, 0), (7, 9), (30, 20)):
        a, b = (rng.integers(0, 6, n) for n in sizes)
        i, j = pairs(a, b)
        assert list(zip(i, j, strict=True)) == [(x, y) for x in range(len(a)) for y in range(len(b)) if a[x] == b[y]]


def test_ap_equals_a_value_computed_by_hand():
    """Take three boxes, one of them missed, and hit, alarm, hit: precision 1, 1/2, 2/3 at recall 1/3, 1/3, 2/3."""
    precision, recall = np.array([1, 1 / 2, 2 / 3]), np.array([1, 1, 2]) / 3
    assert average_precision(precision, recall, "11-point") == pytest.approx((4 * 1 + 3 * 2 / 3) / 11)
    assert average_precision(precision, recall, "area") == pytest.approx(1 / 3 + 2 / 9)
    with pytest.raises(ValueError, match="The kind of AP is '101-point'; allowed: 11-point, area"):
        average_precision(precision, recall, "101-point")


def test_a_detection_whose_best_box_is_difficult_is_ignored_though_another_box_would_do():
    truth = as_boxes([(0, [0, 0, 9, 9], 0, True), (0, [0, 0, 9, 7], 0, False)], "difficult")
    detections = as_boxes([(0, [0, 0, 9, 9], 0, 0.9), (0, [0, 0, 9, 9], 0, 0.8)], "score")
    assert match(detections, truth).tolist() == [-1, -1]
    assert mean_ap(detections, truth, 1, "area") == 0.0


def test_equal_scores_rank_in_the_order_of_the_images():
    truth = as_boxes([(0, [0, 0, 9, 9], 0, False), (1, [0, 0, 9, 9], 0, False)], "difficult")
    hit, alarm = [0, 0, 9, 9], [50, 50, 59, 59]
    first, last = ([(k, box, 0, 0.5) for k, box in enumerate(boxes)] for boxes in ((hit, alarm), (alarm, hit)))
    values = [mean_ap(as_boxes(rows, "score"), truth, 1, "area") for rows in (first, last)]
    assert values == [50.0, 25.0]


def test_the_order_of_the_truth_does_not_matter():
    rng = np.random.default_rng(3)
    for _ in range(50):
        predicted, truth, classes = random_case(rng, 4, distinct=True)
        mixed = [truth[i] for i in rng.permutation(len(truth))]
        values = [class_aps(as_boxes(predicted, "score"), as_boxes(t, "difficult"), classes, "area") for t in (truth, mixed)]
        np.testing.assert_allclose(*values)


@pytest.mark.parametrize("truth", [[], [(0, [0, 0, 9, 9], 1, True)]])
def test_without_a_box_that_counts_there_is_no_map(truth):
    detections, boxes = as_boxes([(0, [0, 0, 9, 9], 1, 0.5)], "score"), as_boxes(truth, "difficult")
    assert np.isnan(class_aps(detections, boxes, 2, "area")).all()
    assert per_class(detections, boxes, ("cat", "dog")) == {name: {"AP": None, "AP_area": None} for name in ("cat", "dog")}
    with pytest.raises(ValueError, match=f"There is no mAP: none of the {len(truth)} true boxes counts"):
        mean_ap(detections, boxes, 2, "area")


def test_a_label_beyond_the_classes_is_refused():
    detections, truth = as_boxes([(0, [0, 0, 9, 9], 2, 0.5)], "score"), as_boxes([(0, [0, 0, 9, 9], 1, False)], "difficult")
    with pytest.raises(ValueError, match="A box has the label 2, but the 2 classes are 0 to 1"):
        mean_ap(detections, truth, 2, "area")


# ---- the evaluator and its file


def instances(rows: list, **columns: list) -> InstanceData:
    box = torch.tensor([r[1] for r in rows], dtype=torch.float32).reshape(-1, 4)
    tensors = {name: torch.tensor(values, dtype=torch.float32) for name, values in columns.items()}
    return InstanceData(bboxes=box, labels=torch.tensor([r[2] for r in rows], dtype=torch.int64), **tensors)


def evaluate(predicted: list, truth: list, names: tuple, images: int, **options) -> dict[str, float]:
    from detection import VOCMeanAP

    metric = VOCMeanAP(**options)
    metric.dataset_meta = {"classes": names}
    for image in range(images):
        detections = [d for d in predicted if d[0] == image]
        sample = {"pred_instances": instances(detections, scores=[d[3] for d in detections])}
        for name, hard in (("gt_instances", False), ("ignored_instances", True)):
            sample[name] = instances([t for t in truth if t[0] == image and t[3] == hard])
        metric.process({}, [sample])
    return metric.evaluate(images)


def test_the_evaluator_gathers_images_in_order_and_its_file_reproduces_its_figures(tmp_path):
    rng = np.random.default_rng(9)
    predicted, truth, classes = random_case(rng, 4)
    boxes = [np.array([v + float(f) for v, f in zip(row[1], rng.random(4), strict=True)], np.float32) for row in predicted]
    # float32, as a network returns them
    predicted = [(row[0], box.tolist(), *row[2:]) for row, box in zip(predicted, boxes, strict=True)]
    names, path = tuple("abc"[:classes]), tmp_path / "run" / "detections.npz"
    values = evaluate(predicted, truth, names, 4, out_file=str(path))
    kinds = {"mAP": ("11-point", 0.5), "mAP_area": ("area", 0.5), "mAP_50_95": ("area", IOUS)}
    for name, (kind, ious) in kinds.items():
        table = [[devkit_ap(predicted, truth, label, kind, iou) for label in range(classes)] for iou in np.atleast_1d(ious)]
        assert values[name] == pytest.approx(np.mean([[a for a in row if a is not None] for row in table]))
    detections, boxes = load(path)
    assert {name: mean_ap(detections, boxes, classes, *options) for name, options in kinds.items()} == values
    assert detections.match.tolist() == devkit_match(predicted, truth, 0.5)
    assert {detections.match.dtype, detections.box.dtype, detections.score.dtype} == {np.dtype("int8"), np.dtype("float32")}
    assert list(path.parent.iterdir()) == [path]
    table = per_class(detections, boxes, names)
    for label, name in enumerate(names):
        for key, kind in (("AP", "11-point"), ("AP_area", "area")):
            assert table[name][key] == pytest.approx(devkit_ap(predicted, truth, label, kind, 0.5))


def test_the_evaluator_saves_the_boxes_of_a_dataset_without_map(tmp_path):
    predicted, truth = [(1, [0.0, 0.0, 9.0, 9.0], 0, 0.5)], [(0, [0.0, 0.0, 9.0, 9.0], 0, True)]
    with pytest.raises(ValueError, match="There is no mAP"):
        evaluate(predicted, truth, ("a",), 2, out_file=str(tmp_path / "detections.npz"))
    assert load(tmp_path / "detections.npz")[0].match.tolist() == [0]


def test_a_file_that_lacks_an_array_is_refused(tmp_path):
    np.savez(tmp_path / "old.npz", det_image=[0], det_box=[[0, 0, 1, 1]], det_label=[0], gt_image=[0])
    with pytest.raises(ValueError, match="old.npz has no array det_score"):
        load(tmp_path / "old.npz")
