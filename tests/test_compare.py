"""Comparisons against scipy, by hand and by simulation; resampled metrics against the metrics of really duplicated data."""

import itertools
import math
import subprocess
import sys
from functools import partial
from pathlib import Path
from statistics import mean, stdev

import numpy as np
import pytest
from scipy import stats

import classification.resample
import detection.resample
import segmentation.resample
from classification.metrics import topk
from detection.metrics import IOUS, Boxes, mean_ap
from segmentation.metrics import CLASSES, Counts, figures
from tools.engine.bootstrap import draw, image_variance, resample, resample_of, variance
from tools.engine.compare import (
    MARGINS,
    Components,
    Correlation,
    Difference,
    ImageVariance,
    components,
    difference,
    holm,
    margin_of,
    power_of,
    rank_correlation,
    seeds_needed,
    spread,
    verdict,
)

ROOT = Path(__file__).parents[1]
A, B = [71.2, 71.9, 70.6], [70.0, 70.3, 70.1]

# --- differences --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "a, b",
    [
        (A, B),
        ([1.0, 5.0], [2.0, 2.5, 2.25, 9.0, 4.0]),
        ([3.0, 3.0, 3.0], [1.0, 2.0, 4.0]),
        ([1e-9, 2e-9], [3e-9, 5e-9, 4e-9]),
    ],
)
@pytest.mark.parametrize("confidence", [0.5, 0.95, 0.99])
@pytest.mark.filterwarnings("ignore:Precision loss")  # scipy, of the side without a spread
def test_without_image_noise_it_is_scipys_welch_test(a, b, confidence):
    theirs = stats.ttest_ind(a, b, equal_var=False)
    for images, kind in ((None, "seeds"), (0.0, "seeds and images")):
        diff = difference(a, b, images, confidence)
        assert diff.interval == pytest.approx(tuple(theirs.confidence_interval(confidence)), rel=1e-9, abs=0)
        assert (diff.dof, diff.p) == (pytest.approx(theirs.df, rel=1e-9), pytest.approx(theirs.pvalue, rel=1e-9))
        assert diff.mean == pytest.approx(mean(a) - mean(b), rel=1e-9, abs=0) and diff.kind == kind


def test_interval_by_hand():
    # s_a = s_b = 1, so the error is sqrt(1/3 + 1/3) and dof = 4; t(4, 0.975) = 2.7764 in any printed table
    diff = difference([71.0, 72.0, 73.0], [70.0, 71.0, 72.0])
    assert (diff.mean, diff.n_a, diff.n_b, diff.confidence) == (1.0, 3, 3, 0.95)
    assert diff.dof == pytest.approx(4) and diff.se_a == diff.se_b == pytest.approx(1 / math.sqrt(3))
    assert diff.half == pytest.approx(2.7764 * math.sqrt(2 / 3), abs=1e-4)


def test_image_noise_by_hand():
    # S = 2/3, dof_S = 4, c = 1.5: with I = 1/3 the dof is 4 * (1 + 1/3)^2
    diff = difference([71.0, 72.0, 73.0], [70.0, 71.0, 72.0], images=1 / 3)
    assert (diff.error, diff.dof, diff.kind) == (pytest.approx(1), pytest.approx(64 / 9), "seeds and images")
    assert diff.p == pytest.approx(2 * stats.t.sf(1, 64 / 9)) and diff.half == pytest.approx(stats.t.ppf(0.975, 64 / 9))
    wide = difference(A, B, images=1e6)  # the images alone
    assert wide.half == pytest.approx(1e3 * stats.norm.ppf(0.975)) and wide.dof > 1e9
    halves = [difference(A, B, images).half for images in (0.0, 0.1, 0.3, 1.0, 10.0)]
    assert difference(A, B, ImageVariance(total=9.0, common=0.3)).half == halves[2] and halves[1:] == sorted(halves[1:])


def test_fine_tunings_of_one_pretraining_are_averaged_first():
    nested = difference([[71.0, 71.4], [71.9], [70.4, 70.6, 70.8]], B)
    flat = difference([71.2, 71.9, 70.6], B)
    assert nested.interval == pytest.approx(flat.interval) and (nested.n_a, nested.n_b) == (3, 3)
    assert difference([np.float32(1), np.float32(2)], [3, np.float64(5)]).mean == -2.5
    with pytest.raises(ValueError, match="no value"):
        difference([[1.0], []], [2.0])


def test_spread_by_hand_and_against_scipy():
    found = spread([1.0, 2.0, 4.0])
    assert (found.mean, found.std, found.n) == (pytest.approx(7 / 3), pytest.approx(math.sqrt(7 / 3)), 3)
    low, _ = stats.t.interval(0.95, 2, loc=7 / 3, scale=math.sqrt(7 / 3) / math.sqrt(3))
    assert found.mean - found.half == pytest.approx(low)
    assert spread([5.0]).std is None and spread([5.0]).half is None


NO_SPREAD = pytest.mark.parametrize("a, b", [([9.0], [1.0, 1.1]), ([9.0, 9.1], [1.0]), ([9.0], [1.0]), ([9.0] * 3, [1.0] * 3)])


@NO_SPREAD
def test_without_an_interval_everything_is_undecided(a, b):
    diff = difference(a, b)
    assert diff.half is diff.interval is diff.p is diff.kind is None and diff.mean == pytest.approx(8.0, abs=0.1)
    assert verdict(diff, 1.0) == verdict(diff, 100.0) == "undecided"
    assert (diff.se_a is None, diff.se_b is None) == (len(a) == 1, len(b) == 1)


@NO_SPREAD
def test_an_interval_of_images_alone_decides_nothing(a, b):
    diff = difference(a, b, ImageVariance(total=0.04, common=0.01))
    assert (diff.kind, diff.p) == ("images", None)
    assert diff.half == pytest.approx(0.2 * stats.norm.ppf(0.975))
    assert {verdict(diff, margin, p) for margin in (0.0, 1.0, 100.0) for p in (None, 0.0)} == {"undecided"}
    assert difference(a, b, 0.0).kind is None


@pytest.mark.parametrize(
    "low, high, margin, expected",
    [
        (1.5, 3.0, 1.0, "better"),
        (0.25, 3.0, 1.0, "better"),  # starts within the margin, and yet is surely a gain
        (-3.0, -1.5, 1.0, "worse"),
        (-3.0, -0.25, 1.0, "worse"),
        (-0.5, 0.5, 1.0, "equivalent"),
        (0.25, 0.5, 1.0, "equivalent"),  # surely there and surely too small: precedence over better
        (-0.5, -0.25, 1.0, "equivalent"),
        (-0.5, 2.0, 1.0, "undecided"),
        (-2.0, 0.5, 1.0, "undecided"),
        (-9.0, 9.0, 1.0, "undecided"),
        (0.5, 1.001, 1.0, "better"),
        (-1.001, 0.5, 1.0, "undecided"),
        (0.001, 2.0, 1.0, "better"),
        (-0.001, 2.0, 1.0, "undecided"),
        (0.25, 0.5, 0.0, "better"),
        (-0.25, 0.25, 0.0, "undecided"),
    ],
)
def test_verdict(low, high, margin, expected):
    error = (high - low) / 2 / stats.t.ppf(0.975, 4)
    for kind in ("seeds", "seeds and images"):
        diff = Difference((low + high) / 2, 3, 3, 0.1, 0.1, error, 4.0, kind)
        assert diff.interval == pytest.approx((low, high)) and verdict(diff, margin) == expected
        assert verdict(diff, margin, p=1.0) == ("equivalent" if expected == "equivalent" else "undecided")
        sign = "better" if low + high > 0 else "worse"
        assert verdict(diff, margin, p=0.049) == ("equivalent" if expected == "equivalent" else sign)


def test_what_cannot_be_compared_is_refused():
    with pytest.raises(ValueError, match="at least one value on each side"):
        difference([], [1.0])
    for values in ([1.0, 2.0], [1.0]):
        with pytest.raises(ValueError, match="between 0 and 1"):
            difference(values, [1.0, 3.0], confidence=95)
    for images in (-1.0, math.nan, ImageVariance(1.0, math.inf)):
        with pytest.raises(ValueError, match="variance over images"):
            difference([1.0, 2.0], [1.0, 3.0], images)
    for margin in (-1.0, math.nan):
        with pytest.raises(ValueError, match="margin"):
            verdict(difference([1.0, 2.0], [1.0, 3.0]), margin)


def test_margins():
    metrics = {"top5": "top1", "mAP_area": "mAP", "mAP_50_95": "mAP", "mIoU_boundary": "mIoU", "pixAcc_interior": "pixAcc"}
    assert all(margin_of(metric) == MARGINS[known] for metric, known in (metrics | {m: m for m in MARGINS}).items())
    with pytest.raises(ValueError, match="no margin for seconds"):
        margin_of("seconds")


@pytest.mark.slow
@pytest.mark.parametrize("tunings", [1, 2])
@pytest.mark.parametrize("n", [2, 3, 5])
@pytest.mark.parametrize("shared", [0.25, 1.0])
def test_coverage_with_nested_seeds_and_image_noise(n, tunings, shared):
    """Of intervals at nominal 95 %; ``shared`` is the variance over images by that over seeds."""
    rng, repeats, hits, found = np.random.default_rng(5), 4000, 0, 0
    pretrained, tuned = 0.4, 0.3
    images = shared * 2 * (pretrained**2 + tuned**2 / tunings) / n
    for _ in range(repeats):
        sides = rng.normal(0, pretrained, (2, n, 1)) + rng.normal(0, tuned, (2, n, tunings))
        sides[0] += 0.5 + rng.normal(0, math.sqrt(images))
        low, high = difference(*sides.tolist(), images).interval
        hits += low < 0.5 < high
        found += not low < 0 < high
    assert 0.93 < hits / repeats < 0.97 and found


# --- many comparisons ---------------------------------------------------------------------------------------


def step_down(ps, alpha: float) -> set[int]:
    """Those that Holm's procedure rejects: the smallest p against alpha / m, the next against alpha / (m - 1), ..."""
    order, rejected = np.argsort(ps, kind="stable"), set()
    for k, i in enumerate(order):
        if ps[i] > alpha / (len(ps) - k):
            break
        rejected.add(int(i))
    return rejected


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.04, None, 0.02, 0.7]) == pytest.approx([0.08, None, 0.06, 0.7])
    assert holm([]) == [] and holm([None]) == [None] and holm([0.3]) == [0.3] and holm([0.6, 0.9]) == [1.0, 1.0]
    with pytest.raises(ValueError, match="A p is 1.5"):
        holm([0.1, 1.5])


def test_holm_rejects_what_the_procedure_rejects():
    rng = np.random.default_rng(0)
    for _ in range(100):
        ps = np.round(rng.uniform(0, 0.2, rng.integers(1, 9)), 2).tolist()
        adjusted = holm(ps)
        for alpha in (0.0101, 0.0501, 0.1003, 0.3007):  # none is a multiple of a p
            assert {i for i, p in enumerate(adjusted) if p <= alpha} == step_down(ps, alpha)


def test_a_family_can_take_a_verdict_away():
    diff = difference(A, B)
    assert 0.05 < diff.p * 2 and verdict(diff, 0.2) == "undecided"
    sure = difference([71.2, 71.3, 71.1], B)
    assert verdict(sure, 0.2, holm([sure.p])[0]) == "better"
    assert verdict(sure, 0.2, holm([sure.p] + [0.5] * 100)[0]) == "undecided"


# --- variances, ranks, power --------------------------------------------------------------------------------


def test_components_of_a_textbook_example():
    # Snedecor and Cochran, Statistical Methods: calcium in turnip greens, 4 leaves with 4 determinations each;
    # mean squares 0.2961 and 0.0066, so (0.2961 - 0.0066) / 4 = 0.0724 between leaves
    leaves = [[3.28, 3.09, 3.03, 3.03], [3.52, 3.48, 3.38, 3.38], [2.88, 2.80, 2.81, 2.76], [3.34, 3.38, 3.23, 3.26]]
    found = components(leaves)
    assert (round(found.finetuning, 4), round(found.pretraining, 4), found.note) == (0.0066, 0.0724, "")


def test_components_of_unequal_groups():
    # means 2 and 7, MSW = (2 + 2) / 3, MSB = 6/5 * 25 = 30, F0 = 5 - 13/5 = 2.4
    found = components([[1.0, 2.0, 3.0], [6.0, 8.0]])
    assert found.finetuning == pytest.approx(4 / 3) and found.pretraining == pytest.approx((30 - 4 / 3) / 2.4)
    theirs = stats.f_oneway([1.0, 2.0, 3.0], [6.0, 8.0])
    assert (found.pretraining * 2.4 + found.finetuning) / found.finetuning == pytest.approx(theirs.statistic)


def test_components_on_average_are_the_true_ones():
    rng, sizes = np.random.default_rng(0), (2, 3, 5, 2)
    found = [
        components([rng.normal(m, 1, n).tolist() for m, n in zip(rng.normal(0, 3, 4), sizes, strict=True)]) for _ in range(999)
    ]
    assert np.mean([f.finetuning for f in found]) == pytest.approx(1, abs=0.07)
    assert np.mean([f.pretraining for f in found]) == pytest.approx(9, rel=0.1)


def test_components_that_cannot_be_told_apart():
    assert components([[1.0, 3.0], [3.0, 1.0]]) == Components(0.0, 2.0, "negative estimate set to 0")
    for groups in ([[1.0, 2.0]], [[1.0, 2.0], [3.0]], [1.0, 2.0, 3.0], []):
        assert components(groups) == Components(None, None, "not separable")


def test_rank_correlation_is_scipys():
    rng = np.random.default_rng(0)
    for n in (3, 5, 12):
        for _ in range(20):
            x, y = rng.integers(0, 4, n) / 3, rng.integers(0, 9, n) / 7  # many ties
            if np.ptp(x) and np.ptp(y):
                found = rank_correlation(dict(enumerate(x)), dict(enumerate(y)))
                assert found == Correlation(pytest.approx(stats.spearmanr(x, y).statistic, abs=1e-12), n)


def test_rank_correlation_needs_three_tricks_in_both():
    gains = {"warmup": 0.1, "cosine": 0.4, "mixup": 0.9, "smooth": 0.2}
    assert rank_correlation(gains, gains).rho == pytest.approx(1)
    assert rank_correlation(gains, {"warmup": 3.0, "cosine": 2.0, "mixup": None, "other": 1.0}) == Correlation(None, 2)
    assert rank_correlation(gains, dict.fromkeys(gains, 1.0)) == Correlation(None, 4)


def test_seeds_needed_are_the_published_ones():
    # Cohen, Statistical Power Analysis, 2nd ed., table 2.4.1 (two-sided 0.05), of Student's test; d = detect / std
    published = {(0.2, 0.8): 393, (0.5, 0.8): 64, (0.8, 0.8): 26, (1.0, 0.8): 17, (1.2, 0.8): 12, (0.5, 0.9): 85, (0.8, 0.95): 42}
    for (d, power), n in published.items():
        found = seeds_needed(d, 1.0, power)
        assert abs(found - n) <= 1 and seeds_needed(0.3 * d, 0.3, power) == found
        assert power_of(found - 1, d, 1.0) < power <= power_of(found, d, 1.0)
    for n in (12, 40, 400):  # where Welch's and Student's test are one, the power is a noncentral t
        away, reach = 2.8, stats.t.ppf(0.975, 2 * n - 2)
        expected = stats.nct.sf(reach, 2 * n - 2, away) + stats.nct.cdf(-reach, 2 * n - 2, away)
        assert power_of(n, away * math.sqrt(2 / n), 1.0) == pytest.approx(expected, abs=0.005)


@pytest.mark.parametrize("n, detect, image_std", [(2, 3.0, 0.0), (3, 2.0, 0.0), (3, 2.0, 0.5), (8, 1.0, 0.3), (3, 0.0001, 0.3)])
def test_power_is_how_often_a_difference_is_found(n, detect, image_std):
    rng, repeats = np.random.default_rng(1), 4000
    a, b = rng.normal(0, 1, (2, repeats, n))
    a += detect + rng.normal(0, image_std, (repeats, 1))
    found = np.mean([difference(x, y, image_std**2).p < 0.05 for x, y in zip(a.tolist(), b.tolist(), strict=True)])
    assert power_of(n, detect, 1.0, image_std=image_std) == pytest.approx(found, abs=0.025)


def test_image_noise_asks_for_more_seeds_than_there_can_be():
    needed = [seeds_needed(0.5, 0.3, image_std=s) for s in (0.0, 0.05, 0.1, 0.15)]
    assert needed == sorted(needed) and needed[-1] > needed[0]
    assert seeds_needed(0.5, 0.3, image_std=0.2) is None  # 0.5 / 0.2 = 2.5 < 1.96 + 0.84
    assert seeds_needed(9.0, 0.01) == 2 and seeds_needed(0.01, 1.0) > 150_000
    for wrong in ({"detect": 0}, {"std": 0}, {"power": 1}, {"alpha": 0}, {"image_std": -1}):
        with pytest.raises(ValueError, match="must be above"):
            seeds_needed(**{"detect": 1, "std": 1} | wrong)


# --- resampled test images ----------------------------------------------------------------------------------


def made_boxes(rng, images: int, classes: int = 4) -> tuple[Boxes, Boxes]:
    """Detections near true boxes and elsewhere, by image; scores with many ties, difficult boxes, one image without a box."""

    def some(low, high):
        return np.sort(np.repeat(np.arange(images), rng.integers(low, high, images))).astype(np.int32)

    image = some(0, 4)
    corner = rng.integers(0, 30, (len(image), 2))
    box = np.concatenate([corner, corner + rng.integers(8, 20, (len(image), 2))], 1).astype(np.float32)
    truth = Boxes(image, box, rng.integers(0, classes, len(image)).astype(np.int16), difficult=rng.random(len(image)) < 0.25)
    near = rng.integers(0, len(image), 3 * len(image))
    found = Boxes(
        np.concatenate([image[near], far := some(0, 5)]),
        np.concatenate([box[near] + rng.integers(-3, 4, (len(near), 4)), rng.integers(0, 50, (len(far), 4))]).astype(np.float32),
        np.concatenate([truth.label[near], rng.integers(0, classes, len(far))]).astype(np.int16),
        score=np.round(rng.random(len(near) + len(far)), 1).astype(np.float32),
    )
    return found.take(np.argsort(found.image, kind="stable")), truth


def duplicated(boxes: Boxes, weights: np.ndarray) -> Boxes:
    """Image i weights[i] times, as new images; a copy stands right behind its original."""
    rows = np.repeat(np.arange(len(boxes.image)), weights[boxes.image])
    first = np.flatnonzero(np.diff(rows, prepend=-1))
    copy = np.arange(len(rows)) - np.repeat(first, np.diff(first, append=len(rows)))
    more = boxes.take(rows)
    more.image = (np.cumsum(weights) - weights)[more.image] + copy
    return more


def save_boxes(path: Path, detections: Boxes, truth: Boxes) -> Path:
    parts = {f"{part}_{k}": v for part, boxes in (("det", detections), ("gt", truth)) for k, v in vars(boxes).items()}
    np.savez(path, **{k: v for k, v in parts.items() if v is not None})
    return path


AVERAGE_PRECISIONS = {"mAP": ("11-point", 0.5), "mAP_area": ("area", 0.5), "mAP_50_95": ("area", IOUS)}


@pytest.mark.parametrize("seed", range(6))
def test_resampled_map_is_that_of_duplicated_images(tmp_path, seed):
    rng = np.random.default_rng(seed)
    images = (3, 8, 40)[seed % 3]
    while True:
        detections, truth = made_boxes(rng, images)
        if len(truth.image) > truth.difficult.sum():
            break
    path = save_boxes(tmp_path / "detections.npz", detections, truth)
    weights = np.concatenate([np.ones((1, images), int), rng.integers(0, 3, (5, images)), draw(images, 150, seed)])
    weights[1] = 0  # nothing at all
    absent = 0
    for metric, (kind, iou) in AVERAGE_PRECISIONS.items():
        found = detection.resample.resampled(path, weights, metric)
        assert found.dtype == np.float64 and found.shape == (len(weights),)
        assert found[0] == pytest.approx(mean_ap(detections, truth, 4, kind, iou), abs=1e-10) and np.isnan(found[1])
        for row, value in zip(weights[:40], found, strict=False):
            more, true = (duplicated(boxes, row) for boxes in (detections, truth))
            counting = np.unique(true.label[~true.difficult])
            absent += len(counting) < 4
            if len(counting):
                assert value == pytest.approx(mean_ap(more, true, 4, kind, iou), abs=1e-9)
            else:
                assert np.isnan(value)
    assert absent  # classes are absent from a replicate


def test_resampled_map_at_another_iou_and_without_detections(tmp_path):
    detections, truth = made_boxes(np.random.default_rng(9), 12)
    weights = np.ones((1, 12), int)
    path = save_boxes(tmp_path / "detections.npz", detections, truth)
    found = detection.resample.resampled(path, weights, "mAP_area", iou=0.75)
    assert found == pytest.approx(mean_ap(detections, truth, 4, "area", 0.75), abs=1e-10)
    save_boxes(path, detections.take(np.zeros(0, int)), truth)
    assert detection.resample.resampled(path, weights, "mAP") == 0


def made_counts(rng, images: int, classes: int, missing: int | None = None) -> Counts:
    matrices = rng.poisson(rng.choice([0.05, 2.0], (images, 2, classes, classes))) * rng.integers(1, 300)
    matrices[0] = 0  # an image without a labelled pixel
    if missing is not None:
        matrices[:, :, missing] = 0  # not in the ground truth, and yet predicted
    image, region, truth, found = np.nonzero(matrices)
    columns = image.astype(np.int32), region.astype(np.int8), truth.astype(np.int16), found.astype(np.int16)
    return Counts(*columns, matrices[matrices > 0].astype(np.int64), np.array(images))


@pytest.mark.parametrize("classes", CLASSES)
@pytest.mark.parametrize("seed", range(3))
def test_resampled_miou_is_that_of_duplicated_images(tmp_path, classes, seed):
    rng = np.random.default_rng(seed)
    images = (3, 6, 20)[seed]
    counts = made_counts(rng, images, 5, missing=2)
    np.savez(path := tmp_path / "confusion.npz", **vars(counts))
    weights = np.concatenate([np.ones((1, images), np.uint16), draw(images, 40, seed), np.zeros((1, images), np.uint16)])
    weights[1:, -1] = 0
    weights[-1, 0] = 5  # an image without a labelled pixel, five times
    for metric in segmentation.resample.METRICS:
        found = segmentation.resample.resampled(path, weights, metric, classes, num_classes=5)
        assert found.dtype == np.float64 and np.isnan(found[-1])
        for row, value in zip(weights[:-1], found, strict=False):
            total = sum(w * counts.matrix(5, counts.image == i) for i, w in enumerate(row.tolist()))
            expected = figures(total, classes).get(metric, np.nan) if total.any() else np.nan
            assert value == pytest.approx(expected, abs=1e-9, nan_ok=True)


def test_resampled_accuracy_is_that_of_duplicated_images(tmp_path):
    rng = np.random.default_rng(0)
    ranks = rng.integers(0, 12, 50).astype(np.uint16)
    np.savez(path := tmp_path / "ranks.npz", rank=ranks, label=ranks)
    weights = np.concatenate([np.ones((1, 50), int), rng.integers(0, 4, (20, 50))])
    for k in (1, 5):
        found = classification.resample.resampled(path, weights, f"top{k}")
        assert found.tolist() == [topk(np.repeat(ranks, row), k) for row in weights]


def save_ranks(folder: Path, *hits: np.ndarray) -> list[Path]:
    folder.mkdir()
    for i, right in enumerate(hits):
        np.savez(folder / f"{i}.npz", rank=np.where(right, 0, 7).astype(np.uint16), label=np.zeros(len(right), np.uint16))
    return [folder / f"{i}.npz" for i in range(len(hits))]


def test_image_variance_of_top1_is_that_of_paired_proportions(tmp_path):
    rng, images, replicates = np.random.default_rng(0), 500, 3000
    a = rng.random(images) < 0.7
    b = np.where(rng.random(images) < 0.8, a, ~a)
    (one,), (two,) = save_ranks(tmp_path / "a", a), save_ranks(tmp_path / "b", b)
    found = image_variance([one], [two], "classification", "top1", replicates)
    only_a, only_b = np.mean(a & ~b), np.mean(b & ~a)
    assert found.total == pytest.approx(
        1e4 * (only_a + only_b - (only_a - only_b) ** 2) / images, rel=4 * math.sqrt(2 / replicates)
    )
    assert found.common == found.total  # one pretraining a side cannot tell
    assert image_variance([one], [one], "classification", "top1", 50) == ImageVariance(0.0, 0.0)
    assert found == image_variance([one], [two], "classification", "top1", replicates)
    assert found != image_variance([one], [two], "classification", "top1", replicates, seed=1)


def test_luck_of_single_pretrainings_is_told_from_what_they_share(tmp_path):
    # image i is right with probability p_i(side), independently for each run: common = var_i(p_a - p_b) / images,
    # and the rest of total is the mean over images of sum(p * (1 - p)) / (n * images)
    rng, images, n = np.random.default_rng(3), 4000, 3
    p = rng.uniform(0.2, 1.0, (2, images))
    sides = [save_ranks(tmp_path / name, *(rng.random((n, images)) < row)) for name, row in zip("ab", p, strict=True)]
    found = image_variance(*sides, "classification", "top1", replicates=2000)
    common = 1e4 * np.var(p[0] - p[1]) / images
    own = 1e4 * (p * (1 - p)).mean(1).sum() / (n * images)
    assert found.common == pytest.approx(common, rel=0.15) and found.total == pytest.approx(common + own, rel=0.15)


def test_runs_of_a_pretraining_are_averaged_first(tmp_path):
    rng = np.random.default_rng(0)
    paths = save_ranks(tmp_path / "runs", *(rng.random((4, 60)) < 0.5))
    found = resample({"flat": paths, "nested": [paths[:3], paths[3]]}, "classification", "top5", replicates=20)
    assert found["flat"].shape == (4, 20) and found["nested"].shape == (2, 20)
    assert found["nested"][0] == pytest.approx(found["flat"][:3].mean(0)) and (found["nested"][1] == found["flat"][3]).all()
    assert variance(found["nested"], found["flat"]) == image_variance(
        [paths[:3], paths[3]], paths, "classification", "top5", replicates=20
    )


def test_draws_are_with_replacement_and_repeatable():
    weights = draw(50, 400, seed=3)
    assert (weights.sum(1) == 50).all() and (weights == draw(50, 400, seed=3)).all() and (weights[0] != weights[1]).any()
    assert weights.var() == pytest.approx(1 - 1 / 50, rel=0.05) and weights.mean(0).std() < 0.1


def test_every_task_can_be_resampled(tmp_path):
    rng = np.random.default_rng(0)
    boxes = save_boxes(tmp_path / "detections.npz", *made_boxes(rng, 30))
    np.savez(pixels := tmp_path / "confusion.npz", **vars(made_counts(rng, 10, 3)))
    for task, path, metric, facts in (
        ("detection", boxes, "mAP", {"iou": 0.5}),
        ("segmentation", pixels, "mIoU", {"classes": "all", "num_classes": 3}),
    ):
        found = resample({"x": [path, path]}, task, metric, 20, **facts)["x"]
        assert np.ptp(found, axis=0).max() == 0 < found[0].std()


def test_a_replicate_without_objects_is_left_out():
    a, b = np.array([[1.0, np.nan, 3.0, 5.0]]), np.array([[0.0, 0.0, 0.0, np.nan]])
    assert variance(a, b).total == 2
    with pytest.raises(ValueError, match="Fewer than 2 replicates"):
        variance(a[:, :2], b[:, :2])


def test_what_cannot_be_resampled_is_refused(tmp_path):
    rng = np.random.default_rng(0)
    (ranks,), (fewer,) = save_ranks(tmp_path / "a", rng.random(9) < 0.5), save_ranks(tmp_path / "b", rng.random(8) < 0.5)
    boxes, other = (save_boxes(tmp_path / f"{name}.npz", *made_boxes(rng, 9)) for name in "ab")
    np.savez(pixels := tmp_path / "c.npz", **vars(made_counts(rng, 9, 3)))
    for paths, task in (([ranks, fewer], "classification"), ([boxes, other], "detection")):
        with pytest.raises(ValueError, match=f"{paths[1]} were measured on different images"):
            image_variance(paths[:1], paths[1:], task, "mAP", 10)
    with pytest.raises(ValueError, match="backbones cannot be resampled .* classification, detection, segmentation"):
        resample_of("backbones")
    with pytest.raises(ValueError, match="replicates is 1"):
        image_variance([ranks], [ranks], "classification", "top1", replicates=1)
    modules = (classification.resample, ranks), (detection.resample, boxes), (segmentation.resample, pixels)
    for (module, path), weights in itertools.product(modules, (np.ones((2, 9), int), np.ones((2, 4), int))):
        sound = {"classification": "top1", "detection": "mAP", "segmentation": "mIoU"}[module.__name__.split(".")[0]]
        with pytest.raises(ValueError, match="The metric seconds cannot be resampled"):
            module.resampled(path, weights, "seconds")
        if weights.shape[1] < 9:
            with pytest.raises(ValueError, match="images and the weights 4"):
                module.resampled(path, weights, sound)
    segment = partial(segmentation.resample.resampled, pixels, np.ones((1, 9), int), "mIoU")
    with pytest.raises(ValueError, match="'some'"):
        segment("some")
    for number in (None, 2):
        with pytest.raises(ValueError, match=f"num_classes is {number}"):
            segment("all", num_classes=number)
    np.savez(ranks, rank=np.zeros(9))
    with pytest.raises(ValueError, match="has no array label"):
        classification.resample.image_set(ranks)


def test_comparing_loads_neither_torch_nor_scipy_stats():
    code = (
        "import sys; import tools.engine.bootstrap; from tools.engine.bootstrap import resample_of; "
        "[resample_of(task) for task in ('classification', 'detection', 'segmentation')]; "
        "print(sorted({'torch', 'mmengine', 'cv2', 'scipy.stats'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_spread_of_points_is_the_sample_standard_deviation():
    assert spread(A).std == pytest.approx(stdev(A)) and spread(A).mean == pytest.approx(mean(A))
