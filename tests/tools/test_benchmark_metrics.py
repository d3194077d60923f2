"""Test the benchmarks of metrics and of growth: both sides do equal work, and a process is timed and weighed."""

import sys
from functools import partial

import numpy as np
import pytest
import torch

from tools.benchmarks import boxes, growth, metrics
from tools.benchmarks.child import called, ran
from tools.benchmarks.made_study import ROWS_A_SEED, RUNS_A_SEED, write_study
from tools.engine.analysis.results import load_results


@pytest.fixture(scope="module")
def results():
    return boxes.made_results(60, 2000, seed=1)


def test_synthetic_detections_have_the_requested_number_and_no_ties(results):
    scores = np.concatenate([r[2] for r in results])
    assert len(results) == 60 and len(scores) == 2000 == len(set(scores.tolist()))
    truth = np.concatenate([np.concatenate([r[3], r[5]]) for r in results])
    assert len({len(r) for r in results}) == 1 and 2 < len(truth) / 60 < 4
    assert (truth[:, 2:] > truth[:, :2]).all() and truth.min() >= 0 and truth[:, 2].max() <= 500
    assert 0.1 < sum(len(r[6]) for r in results) / len(truth) < 0.3


def test_both_sides_have_the_same_ap_and_a_moved_box_is_noticed(results):
    value, classes = boxes.theirs(*boxes.for_mmdet(results), "11points")
    assert boxes.ours(results, "11-point") == pytest.approx(100 * value, rel=1e-6) and 10 < 100 * value < 90
    assert boxes.curves_differ(results, classes) == 0
    best = max(range(60), key=lambda i: len(results[i][4]))
    moved = [tuple(part + 1000 if k == 3 and i == best else part for k, part in enumerate(r)) for i, r in enumerate(results)]
    assert boxes.curves_differ(moved, classes) > 0


def test_coco_measures_the_same_boxes(results):
    pytest.importorskip("pycocotools")
    assert 100 * boxes.coco_evaluation(results)()[0] == pytest.approx(boxes.ours(results, "area"), abs=3)


@pytest.mark.parametrize("sure", [True, False])
def test_an_image_goes_through_both_tests_with_the_same_mask(sure):
    logits, truth = metrics.made_image(sure, (64, 88))
    (parts, mask), (areas, mmseg_mask) = (metrics.tested(*side, truth) for side in metrics.ours_and_mmseg(logits).values())
    assert torch.equal(mask, mmseg_mask) and mask.shape == truth.shape == (1, 64, 88)
    region, true, predicted, pixels = parts[0]
    matrix = np.zeros((150, 150), np.int64)
    np.add.at(matrix, (true, predicted), pixels)
    assert matrix.sum() == int((truth != 255).sum()) and set(region.tolist()) == {0, 1}
    assert metrics.equal_areas(matrix, areas)
    matrix[:, 0] += 1
    with pytest.raises(ValueError, match="The work is not equal: classes whose pixels differ"):
        metrics.equal_areas(matrix, areas)


def test_a_new_process_is_timed_and_its_own_memory_measured(tmp_path):
    held = np.ones(300_000_000, np.uint8)  # memory of the parent, which must not count for its child
    seconds, memory, printed = ran([sys.executable, "-c", "b = b'1' * 100_000_000; print('here')"], tmp_path)
    assert printed == "here" and 0 < seconds and 100 < memory < 200 < held.nbytes / 1e6
    assert 0 < called("tools.benchmarks.growth", "iou_of", 1, 64)[0] < 30
    with pytest.raises(ValueError, match="failed with status 3"):
        ran([sys.executable, "-c", "raise SystemExit(3)"])


def test_the_exponent_is_that_of_the_last_two_sizes():
    cost = {1: (5.0, 1.0), 10: (2.0, 7.0), 40: (32.0, 9.0)}
    rows = growth.series("work", {size: partial(tuple, figures) for size, figures in cost.items()})
    assert [row[:4] for row in rows] == [["work", size, *figures] for size, figures in cost.items()]
    assert rows[0][4] == rows[1][4] == "" and rows[2][4] == pytest.approx(2)


def test_a_synthetic_study_has_the_stated_number_of_rows_and_runs(tmp_path):
    results = load_results(write_study(tmp_path / "made", 2))
    assert len(results.rows) == 2 * ROWS_A_SEED and len(results.runs) == 2 * RUNS_A_SEED
    assert results.seeds("smooth") == 2 and results.cell("smooth", results.columns[0]).points
