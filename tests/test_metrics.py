"""Top-k, pixAcc and mIoU against plain loops and numpy, and against mmseg's where its conventions agree."""

import numpy as np
import pytest
import torch
from mmengine.structures import BaseDataElement, PixelData

import backbones.mmcv_ops  # noqa: F401  (before mmseg)
from classification import TopK
from classification.metrics import rank_of_truth, topk
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
