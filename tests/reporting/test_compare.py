"""Test comparisons of recipes against scipy, by hand and by simulation."""

import math
import subprocess
import sys
from pathlib import Path
from statistics import mean, stdev

import numpy as np
import pytest
from scipy import stats

from tools.engine.analysis.differences import Difference, ImageVariance, difference
from tools.engine.analysis.statistics import Components, components, spread
from tools.engine.analysis.verdicts import MARGINS, holm, margin_of, verdict

ROOT = Path(__file__).parents[2]
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
    welch = stats.ttest_ind(a, b, equal_var=False)
    for images, kind in ((None, "seeds"), (0.0, "seeds and images")):
        diff = difference(a, b, images, confidence)
        assert diff.interval == pytest.approx(tuple(welch.confidence_interval(confidence)), rel=1e-9, abs=0)
        assert (diff.dof, diff.p) == (pytest.approx(welch.df, rel=1e-9), pytest.approx(welch.pvalue, rel=1e-9))
        assert diff.mean == pytest.approx(mean(a) - mean(b), rel=1e-9, abs=0) and diff.kind == kind


def test_interval_by_hand():
    # s_a = s_b = 1, so the error is sqrt(1/3 + 1/3) and dof = 4; t(4, 0.975) = 2.7764 in any printed table
    diff = difference([71.0, 72.0, 73.0], [70.0, 71.0, 72.0])
    assert (diff.mean, diff.n_a, diff.n_b, diff.confidence) == (1.0, 3, 3, 0.95)
    assert diff.dof == pytest.approx(4) and diff.error == pytest.approx(math.sqrt(2 / 3)) and not diff.paired
    assert diff.half == pytest.approx(2.7764 * math.sqrt(2 / 3), abs=1e-4)


def test_image_noise_by_hand():
    # S = 2/3, dof_S = 4, c = 2.25: with I = 1/3 the dof is 4 * (1 + 2/9)^2
    diff = difference([71.0, 72.0, 73.0], [70.0, 71.0, 72.0], images=1 / 3)
    assert (diff.error, diff.dof, diff.kind) == (pytest.approx(1), pytest.approx(4 * (11 / 9) ** 2), "seeds and images")
    assert diff.p == pytest.approx(2 * stats.t.sf(1, diff.dof)) and diff.half == pytest.approx(stats.t.ppf(0.975, diff.dof))
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


def test_pairs_are_scipys_paired_test():
    a, b = [71.2, 71.9, 70.6, 70.9], [70.0, 70.9, 69.1, 70.3]
    test = stats.ttest_rel(a, b)
    for images in (None, 0.0, ImageVariance(9.0, 9.0, paired=0.0)):
        diff = difference(a, b, images, paired=True)
        assert diff.interval == pytest.approx(tuple(test.confidence_interval(0.95)))
        assert (diff.p, diff.dof, diff.paired) == (pytest.approx(test.pvalue), 3, True)
    with pytest.raises(ValueError, match="as many values on each side; there are 4 and 3"):
        difference(a, b[:3], paired=True)


def test_pairs_take_the_image_variance_that_pairs_share():
    variance = ImageVariance(total=9.0, common=0.5, paired=0.25)
    plain, pairs = (difference(A, B, variance, paired=paired) for paired in (False, True))
    assert plain.error**2 == pytest.approx(difference(A, B).error ** 2 + 0.5)
    assert pairs.error**2 == pytest.approx(difference(A, B, paired=True).error ** 2 + 0.25)
    assert difference(A, B, ImageVariance(9.0, 0.5), paired=True).error ** 2 == pytest.approx(pairs.error**2 + 0.25)


@pytest.mark.parametrize("paired, dof", [(False, 4), (True, 2)])
def test_seeds_without_a_spread_count_as_one_test_image(paired, dof):
    equal, apart = [60.0] * 3, [50.0] * 3
    diff = difference(equal, apart, paired=paired)  # of 100 images, as nothing is known of them: one moves a run by a point
    assert (diff.error, diff.dof, diff.floored) == (pytest.approx(math.sqrt(2 / 3)), pytest.approx(dof), True)
    assert verdict(diff, 0.3) == "better" and verdict(difference(equal, [59.0] * 3, paired=paired), 0.3) == "undecided"
    many = difference(equal, [59.0] * 3, ImageVariance(0.0, 0.0, count=10_000), paired=paired)
    assert many.error == pytest.approx(0.01 * math.sqrt(2 / 3)) and verdict(many, 0.3) == "better"
    common = [x + shift for x, shift in zip(apart, (0.1, 0.7, 0.3), strict=True)]
    shifted = difference([x + 10 for x in common], common, paired=paired)  # equal differences but for the rounding of sums
    assert shifted.floored == paired


def test_a_spread_below_one_test_image_counts_as_one():
    a, b = [60.0, 60.001, 60.0], [50.0, 50.001, 50.0]
    assert difference(a, b, ImageVariance(0.0, 0.0, count=400)).error == pytest.approx(0.25 * math.sqrt(2 / 3))
    assert not difference(a, b, ImageVariance(0.0, 0.0)).floored


def test_spread_by_hand_and_against_scipy():
    summary = spread([1.0, 2.0, 4.0])
    assert (summary.mean, summary.std, summary.n) == (pytest.approx(7 / 3), pytest.approx(math.sqrt(7 / 3)), 3)
    low, _ = stats.t.interval(0.95, 2, loc=7 / 3, scale=math.sqrt(7 / 3) / math.sqrt(3))
    assert summary.mean - summary.half == pytest.approx(low)
    assert spread([5.0]).std is None and spread([5.0]).half is None


NO_SPREAD = pytest.mark.parametrize("a, b", [([9.0], [1.0, 1.1]), ([9.0, 9.1], [1.0]), ([9.0], [1.0])])


@NO_SPREAD
def test_without_an_interval_everything_is_undecided(a, b):
    diff = difference(a, b)
    assert diff.half is diff.interval is diff.p is diff.kind is None and diff.mean == pytest.approx(8.0, abs=0.1)
    assert verdict(diff, 1.0) == verdict(diff, 100.0) == "undecided"


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
        (0.25, 3.0, 1.0, "better"),  # starts within the margin, but surely a gain
        (-3.0, -1.5, 1.0, "worse"),
        (-3.0, -0.25, 1.0, "worse"),
        (-0.5, 0.5, 1.0, "equivalent"),
        (0.25, 0.5, 1.0, "equivalent"),  # surely a gain but surely too small: equivalent comes first
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
def test_verdict_follows_interval_margin_and_p(low, high, margin, expected):
    error = (high - low) / 2 / stats.t.ppf(0.975, 4)
    for kind in ("seeds", "seeds and images"):
        diff = Difference((low + high) / 2, 3, 3, error, 4.0, kind)
        assert diff.interval == pytest.approx((low, high)) and verdict(diff, margin) == expected
        assert verdict(diff, margin, p=1.0) == ("equivalent" if expected == "equivalent" else "undecided")
        sign = "better" if low + high > 0 else "worse"
        assert verdict(diff, margin, p=0.049) == ("equivalent" if expected == "equivalent" else sign)


def test_empty_sides_and_invalid_numbers_are_refused():
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


def test_a_metric_has_the_margin_of_its_family():
    metrics = {"top5": "top1", "mAP_area": "mAP", "mAP_50_95": "mAP", "mIoU_boundary": "mIoU", "pixAcc_interior": "pixAcc"}
    assert all(margin_of(metric) == MARGINS[base] for metric, base in (metrics | {m: m for m in MARGINS}).items())
    with pytest.raises(ValueError, match="no margin for seconds"):
        margin_of("seconds")


@pytest.mark.slow
@pytest.mark.parametrize("tunings", [1, 2])
@pytest.mark.parametrize("n", [2, 3, 5])
@pytest.mark.parametrize("shared", [0.25, 1.0])
@pytest.mark.parametrize("paired", [False, True])
def test_coverage_with_nested_seeds_and_image_noise(n, tunings, shared, paired):
    """Count how often nominal 95 % intervals hold the truth; ``shared``: variance over images divided by that over seeds."""
    rng, repeats, hits, detected = np.random.default_rng(5), 4000, 0, 0
    pretrained, tuned = 0.4, 0.3
    images = shared * 2 * (pretrained**2 + tuned**2 / tunings) / n
    for _ in range(repeats):
        sides = rng.normal(0, pretrained, (2, n, 1)) + rng.normal(0, tuned, (2, n, tunings))
        sides[0] += 0.5 + rng.normal(0, math.sqrt(images))
        low, high = difference(*sides.tolist(), images, paired=paired).interval
        hits += low < 0.5 < high
        detected += not low < 0 < high
    assert 0.93 < hits / repeats < (0.985 if n == 2 else 0.97) and detected


# --- many comparisons ---------------------------------------------------------------------------------------


def step_down(ps, alpha: float) -> set[int]:
    """Return what Holm's procedure rejects: the smallest p against alpha / m, the next against alpha / (m - 1), ..."""
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


# --- variances --------------------------------------------------------------------------------------------


def test_components_of_a_textbook_example():
    # Snedecor and Cochran, Statistical Methods: calcium in turnip greens, 4 leaves with 4 determinations each;
    # mean squares 0.2961 and 0.0066, so (0.2961 - 0.0066) / 4 = 0.0724 between leaves
    leaves = [[3.28, 3.09, 3.03, 3.03], [3.52, 3.48, 3.38, 3.38], [2.88, 2.80, 2.81, 2.76], [3.34, 3.38, 3.23, 3.26]]
    variances = components(leaves)
    assert (round(variances.finetuning, 4), round(variances.pretraining, 4), variances.note) == (0.0066, 0.0724, "")


def test_components_of_unequal_groups():
    # means 2 and 7, MSW = (2 + 2) / 3, MSB = 6/5 * 25 = 30, F0 = 5 - 13/5 = 2.4
    variances = components([[1.0, 2.0, 3.0], [6.0, 8.0]])
    assert variances.finetuning == pytest.approx(4 / 3) and variances.pretraining == pytest.approx((30 - 4 / 3) / 2.4)
    anova = stats.f_oneway([1.0, 2.0, 3.0], [6.0, 8.0])
    assert (variances.pretraining * 2.4 + variances.finetuning) / variances.finetuning == pytest.approx(anova.statistic)


def test_components_on_average_are_the_true_ones():
    rng, sizes = np.random.default_rng(0), (2, 3, 5, 2)
    estimates = [
        components([rng.normal(m, 1, n).tolist() for m, n in zip(rng.normal(0, 3, 4), sizes, strict=True)]) for _ in range(999)
    ]
    assert np.mean([f.finetuning for f in estimates]) == pytest.approx(1, abs=0.07)
    assert np.mean([f.pretraining for f in estimates]) == pytest.approx(9, rel=0.1)


def test_components_that_cannot_be_told_apart():
    assert components([[1.0, 3.0], [3.0, 1.0]]) == Components(0.0, 2.0, "negative estimate set to 0")
    for groups in ([[1.0, 2.0]], [[1.0, 2.0], [3.0]], [1.0, 2.0, 3.0], []):
        assert components(groups) == Components(None, None, "not separable")


def test_comparing_loads_neither_torch_nor_scipy_stats():
    code = (
        "import sys; import tools.engine.analysis.bootstrap; from tools.engine.analysis.bootstrap import resample_of; "
        "[resample_of(task) for task in ('classification', 'detection', 'segmentation')]; "
        "print(sorted({'torch', 'mmengine', 'cv2', 'scipy.stats'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_spread_of_points_is_the_sample_standard_deviation():
    assert spread(A).std == pytest.approx(stdev(A)) and spread(A).mean == pytest.approx(mean(A))
