"""Test top-k against plain loops and numpy."""

import numpy as np
import pytest
import torch

from classification import TopK
from classification.metrics import rank_of_truth, topk


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
def test_nan_scores_are_not_hits(label):
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


def test_the_evaluator_saves_ranks_and_labels_of_each_image(tmp_path):
    rng = np.random.default_rng(1)
    scores, labels = rng.random((7, 1000)).astype(np.float32), rng.integers(1000, size=7)
    metric = TopK(out_file=str(tmp_path / "run" / "ranks.npz"))
    for part in (slice(0, 4), slice(4, 7)):
        pairs = zip(torch.from_numpy(scores[part]), labels[part].tolist(), strict=True)
        metric.process({}, [{"scores": s, "label": y} for s, y in pairs])
    values = metric.evaluate(7)
    saved = np.load(tmp_path / "run" / "ranks.npz")
    assert saved["label"].tolist() == labels.tolist()
    assert saved["rank"].tolist() == [int((s > s[y]).sum()) for s, y in zip(scores, labels, strict=True)]
    assert values == {"top1": topk(saved["rank"], 1), "top5": topk(saved["rank"], 5)}
