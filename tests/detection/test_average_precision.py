"""Test the detection metric against the devkit's loop, against mmdet where the conventions agree, and by hand."""

import numpy as np
import pytest
import torch
from mmengine.structures import InstanceData

import backbones.mmcv_ops  # noqa: F401  (before mmdet)
from detection.metrics import (
    IOUS,
    average_precision,
    class_aps,
    iou_of,
    load,
    match,
    mean_ap,
    pairs,
    per_class,
)
from tests.helpers.average_precision import as_boxes, devkit_ap, devkit_match, mmdet_case, random_case

KINDS = ("11-point", "area")


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
    np.testing.assert_allclose(iou_of(a.T[..., None], b.T[:, None]), expected, rtol=1e-12)


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
