"""Test the kinds of errors of a detector: each by hand, all against a plain loop, and their invariants."""

import json

import numpy as np
import pytest

from detection.error_analysis import KINDS, OUTCOMES, count_errors, outcomes
from tests.helpers.average_precision import as_boxes, devkit_match, random_case
from tests.helpers.errors import AWAY, FOUR_TENTHS, LESS, SQUARE, loop

HALF = [0.0, 0.0, 9.0, 4.0]  # IoU 0.5 with SQUARE
TENTH = [0.0, 0.0, 9.0, 0.0]


def judged(predicted: list, truth: list, **options) -> tuple[list[str | None], list[bool]]:
    """Return outcome names and missed flags of predicted (box, label, score) and truth (box, label, difficult) in one image."""
    detections, boxes = ([(0, *row) for row in rows] for rows in (predicted, truth))
    codes, missed = outcomes(as_boxes(detections, "score"), as_boxes(boxes, "difficult"), **options)
    return [OUTCOMES[code] if code >= 0 else None for code in codes], missed.tolist()


@pytest.mark.parametrize(
    ("box", "label", "kind", "missed"),
    [
        (SQUARE, 0, "hit", False),
        (HALF, 0, "hit", False),
        (FOUR_TENTHS, 0, "localisation", False),
        (TENTH, 0, "localisation", False),
        (LESS, 0, "background", True),
        (AWAY, 0, "background", True),
        (SQUARE, 1, "classification", False),
        (HALF, 1, "classification", False),
        (FOUR_TENTHS, 1, "both", True),
        (TENTH, 1, "both", True),
        (LESS, 1, "background", True),
    ],
)
def test_one_detection_and_one_box(box, label, kind, missed):
    assert judged([(box, label, 0.9)], [(SQUARE, 0, False)]) == ([kind], [missed])


def test_a_second_detection_on_a_box_is_a_duplicate():
    assert judged([(HALF, 0, 0.5), (SQUARE, 0, 0.9)], [(SQUARE, 0, False)]) == (["duplicate", "hit"], [False])
    assert judged([(HALF, 0, 0.5), (SQUARE, 0, 0.5)], [(SQUARE, 0, False)]) == (["hit", "duplicate"], [False])


def test_a_duplicate_does_not_find_the_second_box_that_it_covers_too():
    truth = [(SQUARE, 0, False), ([0.0, 0.0, 9.0, 8.0], 0, False)]
    assert judged([(SQUARE, 0, 0.9), (SQUARE, 0, 0.8)], truth) == (["hit", "duplicate"], [False, True])


def test_of_several_kinds_the_first_counts():
    truth = [(SQUARE, 0, False), ([0.0, 0.0, 9.0, 5.0], 1, False)]
    assert judged([(FOUR_TENTHS, 0, 0.9)], truth) == (["localisation"], [False, True])
    assert judged([(SQUARE, 0, 0.9), (HALF, 0, 0.8)], truth) == (["hit", "classification"], [False, False])


def test_an_error_points_to_the_box_of_its_largest_iou_alone():
    near, far = ([0.0, 0.0, 9.0, 9.0], 0, False), ([0.0, 0.0, 9.0, 14.0], 0, False)
    assert judged([(FOUR_TENTHS, 0, 0.9)], [far, near]) == (["localisation"], [True, False])
    assert judged([(SQUARE, 1, 0.9)], [far, near]) == (["classification"], [True, False])


def test_difficult_boxes_are_ignored():
    hard = [(SQUARE, 0, True)]
    assert judged([(SQUARE, 0, 0.9), (HALF, 0, 0.8)], hard) == (["ignored", "ignored"], [False])
    assert judged([(FOUR_TENTHS, 0, 0.9)], hard) == (["background"], [False])
    assert judged([(SQUARE, 1, 0.9)], hard) == (["background"], [False])


def test_detections_below_the_score_are_skipped():
    predicted, truth = [(SQUARE, 0, 0.04), (SQUARE, 0, 0.05 + 1e-6), (AWAY, 0, 0.3)], [(SQUARE, 0, False)]
    assert judged(predicted, truth) == ([None, "hit", "background"], [False])
    assert judged(predicted, truth, score=0) == (["duplicate", "hit", "background"], [False])
    assert judged(predicted, truth, score=0.9) == ([None] * 3, [True])


def test_boxes_of_other_images_do_not_count():
    predicted, truth = as_boxes([(0, SQUARE, 0, 0.9)], "score"), as_boxes([(1, SQUARE, 0, False)], "difficult")
    codes, missed = outcomes(predicted, truth)
    assert OUTCOMES[codes[0]] == "background" and missed.tolist() == [True]


@pytest.mark.parametrize(("background", "foreground"), [(0, 0.5), (0.5, 0.5), (0.6, 0.5)])
def test_ious_in_the_wrong_order_are_refused(background, foreground):
    with pytest.raises(ValueError, match="give 0 < background < foreground"):
        judged([], [], background=background, foreground=foreground)


def test_random_cases_equal_a_plain_loop_and_nothing_is_counted_twice():
    rng = np.random.default_rng(6)
    totals = dict.fromkeys([*OUTCOMES, "missed", "covered"], 0)
    for _ in range(1000):
        predicted, truth, classes = random_case(rng, int(rng.integers(1, 4)))
        options = dict(score=float(rng.choice([0, 0.25])), foreground=float(rng.choice([0.5, 0.7])), background=0.1)
        detections, boxes = as_boxes(predicted, "score"), as_boxes(truth, "difficult")
        codes, missed = outcomes(detections, boxes, **options)
        kinds = [OUTCOMES[code] if code >= 0 else None for code in codes]
        assert (kinds, missed.tolist()) == loop(predicted, truth, **options)

        names = "abc"[:classes]
        counts = count_errors(detections, boxes, names, **options)
        assert json.loads(json.dumps(counts, allow_nan=False)) == counts
        for name, part in [(None, counts["total"]), *counts["per_class"].items()]:
            part_kinds = [k for k, d in zip(kinds, predicted, strict=True) if k and name in (None, names[d[2]])]
            matches = devkit_match(predicted, truth, options["foreground"])
            scored = [(m, d) for m, d in zip(matches, predicted, strict=True) if d[3] >= options["score"]]
            alarms = [m for m, d in scored if name in (None, names[d[2]])]
            assert part["detections"] == len(part_kinds) == sum(part[kind] for kind in OUTCOMES)
            assert sum(part[kind] for kind in KINDS) == alarms.count(0) and part["hit"] == alarms.count(1)
            assert part["hit"] + part["missed"] <= part["objects"]
            assert part["objects"] == sum(not t[3] and name in (None, names[t[2]]) for t in truth)
        total = counts["total"]
        assert all(total[kind] == sum(part[kind] for part in counts["per_class"].values()) for kind in total)
        for kind in (*OUTCOMES, "missed"):
            totals[kind] += total[kind]
        totals["covered"] += total["objects"] - total["hit"] - total["missed"]
    assert min(totals.values()) >= 40, totals


def test_the_order_of_the_detections_does_not_matter_but_for_equal_scores():
    rng = np.random.default_rng(8)
    for _ in range(50):
        predicted, truth, _ = random_case(rng, 3, distinct=True)
        order = rng.permutation(len(predicted))
        codes, missed = outcomes(as_boxes(predicted, "score"), as_boxes(truth, "difficult"))
        again = outcomes(as_boxes([predicted[i] for i in order], "score"), as_boxes(truth, "difficult"))
        assert again[0].tolist() == codes[order].tolist() and again[1].tolist() == missed.tolist()


def test_a_label_without_a_name_is_refused():
    truth = as_boxes([(0, SQUARE, 2, False)], "difficult")
    with pytest.raises(ValueError, match="A box has the label 2, but the 2 classes are 0 to 1"):
        count_errors(as_boxes([], "score"), truth, ("cat", "dog"))
