"""Test the power of a comparison, and the seeds that it takes, against published tables, scipy and simulation."""

import math

import numpy as np
import pytest
from scipy import stats

from tools.engine.analysis.differences import difference
from tools.engine.power import power_of, seeds_needed


def test_seeds_needed_are_the_published_ones():
    # Cohen, Statistical Power Analysis, 2nd ed., table 2.4.1 (two-sided 0.05), of Student's test; d = detect / std. Pairs
    # have half of its degrees of freedom, which takes one or two seeds more
    published = {(0.2, 0.8): 393, (0.5, 0.8): 64, (0.8, 0.8): 26, (1.0, 0.8): 17, (1.2, 0.8): 12, (0.5, 0.9): 85, (0.8, 0.95): 42}
    for (d, power), n in published.items():
        seeds = seeds_needed(d, 1.0, power)
        assert 0 <= seeds - n <= 2 and seeds_needed(0.3 * d, 0.3, power) == seeds
        assert power_of(seeds - 1, d, 1.0) < power <= power_of(seeds, d, 1.0)


@pytest.mark.parametrize("n", [4, 5, 12, 40, 400])
def test_from_four_seeds_on_the_power_is_a_noncentral_t_of_pairs(n):
    away, reach = 2.8, stats.t.ppf(0.975, n - 1)
    expected = stats.nct.sf(reach, n - 1, away) + stats.nct.cdf(-reach, n - 1, away)
    assert power_of(n, away * math.sqrt(2 / n), 1.0) == pytest.approx(expected, abs=0.001)


@pytest.mark.parametrize("n", [2, 3])
@pytest.mark.parametrize("detect", [0.0001, 1.5, 3.0, 6.0])
def test_with_two_or_three_seeds_the_power_is_that_of_welchs_test(n, detect):
    a, b = np.random.default_rng(1).normal(0, 1, (2, 60_000, n))
    ps = stats.ttest_ind(a + detect, b, axis=1, equal_var=False).pvalue
    for alpha in (0.05, 0.05 / 12):
        assert power_of(n, detect, 1.0, alpha) == pytest.approx(np.mean(ps < alpha), abs=0.007)


SETTINGS = [(2, 3.0, 0.0), (3, 2.0, 0.0), (3, 2.0, 0.5), (4, 2.0, 0.5), (8, 1.0, 0.3), (3, 0.0001, 0.3)]


@pytest.mark.parametrize("n, detect, image_std", SETTINGS)
def test_power_is_how_often_a_difference_is_found(n, detect, image_std):
    rng, repeats = np.random.default_rng(1), 4000
    a, b = rng.normal(0, 1, (2, repeats, n))
    a += detect + rng.normal(0, image_std, (repeats, 1))
    sides = zip(a.tolist(), b.tolist(), strict=True)
    detected = np.mean([difference(x, y, image_std**2, paired=n >= 4).p < 0.05 for x, y in sides])
    assert power_of(n, detect, 1.0, image_std=image_std) == pytest.approx(detected, abs=0.025)


def test_image_noise_asks_for_more_seeds_than_there_can_be():
    needed = [seeds_needed(0.5, 0.3, image_std=s) for s in (0.0, 0.05, 0.1, 0.15)]
    assert needed == sorted(needed) and needed[-1] > needed[0]
    assert seeds_needed(0.5, 0.3, image_std=0.2) is None  # 0.5 / 0.2 = 2.5 < 1.96 + 0.84
    assert seeds_needed(9.0, 0.01) == 2 and seeds_needed(0.01, 1.0) > 150_000
    for wrong in ({"detect": 0}, {"std": 0}, {"power": 1}, {"alpha": 0}, {"image_std": -1}):
        with pytest.raises(ValueError, match="must be above"):
            seeds_needed(**{"detect": 1, "std": 1} | wrong)
