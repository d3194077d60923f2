"""Test the rank correlation of gains against scipy, and its chance against permutations by hand and by simulation."""

from itertools import permutations

import numpy as np
import pytest
from scipy import stats

from tests.helpers.verdict_rates import false_alarms, lucky_recipes
from tools.engine.analysis.rank_correlation import Correlation, correlation_of_gains, rank_correlation


def test_rank_correlation_is_scipys():
    rng = np.random.default_rng(0)
    for n in (3, 5, 12):
        for _ in range(20):
            x, y = rng.integers(0, 4, n) / 3, rng.integers(0, 9, n) / 7  # many ties
            if np.ptp(x) and np.ptp(y):
                assert rank_correlation(x, y) == Correlation(pytest.approx(stats.spearmanr(x, y).statistic, abs=1e-12), n)


def test_rank_correlation_needs_three_gains_and_a_spread():
    assert rank_correlation([0.1, 0.4, 0.9], [1.0, 2.0, 3.0]).rho == pytest.approx(1)
    assert rank_correlation([0.1, 0.4], [1.0, 2.0]) == Correlation(None, 2)
    assert rank_correlation([0.1, 0.4, 0.9], [1.0, 1.0, 1.0]) == Correlation(None, 3)
    assert correlation_of_gains({}, []) == Correlation(None, 0)


def bundles(*recipes: list[tuple[float, float]]) -> dict[str, dict[str, tuple[float, float]]]:
    """Return the pretrainings of recipes a, b, c, ...: for each seed (top-1, transfer)."""
    return {name: dict(zip("0123", runs, strict=False)) for name, runs in zip("abcdefgh", recipes, strict=False)}


def test_chance_is_that_of_all_permutations_within_seeds():
    rng = np.random.default_rng(1)
    scores = rng.normal(size=(4, 2, 2))  # recipe, seed, (top-1, transfer)
    steps = [(name, "base") for name in "abcd"]
    pretrainings = bundles(*scores.tolist()) | {"base": {"0": (9.0, 9.0), "1": (9.0, 9.0)}}
    orders = [list(order) for order in permutations(range(4))]
    means = [(scores[first, 0] + scores[second, 1]) / 2 for first in orders for second in orders]
    rhos = np.array([stats.spearmanr(mean[:, 0], mean[:, 1]).statistic for mean in means])
    correlation = correlation_of_gains(pretrainings, steps)
    observed = stats.spearmanr(*scores.mean(1).T).statistic
    assert correlation.rho == pytest.approx(observed) and correlation.chance.mean == pytest.approx(rhos.mean(), abs=0.03)
    share = np.mean(rhos > observed + 1e-9) + np.mean(np.abs(rhos - observed) < 1e-9) / 2
    assert correlation.chance.p == pytest.approx(share, abs=0.03)
    low, high = np.quantile(rhos, (0.025, 0.975))
    assert (correlation.chance.low, correlation.chance.high) == (pytest.approx(low, abs=0.11), pytest.approx(high, abs=0.11))


def test_recipes_with_other_seeds_are_permuted_over_all_pretrainings():
    luck = {"a": {"0": (1.0, 1.0)}, "b": {"1": (2.0, 2.0), "2": (3.0, 3.0)}, "c": {"3": (4.0, 4.0)}, "base": {"0": (0.0, 0.0)}}
    correlation = correlation_of_gains(luck, [(name, "base") for name in "abc"])
    assert correlation.rho == pytest.approx(1) and correlation.chance.mean == pytest.approx(1)  # each point lies on the diagonal
    assert correlation.chance.p == pytest.approx(0.5)


def test_one_seed_has_no_chance():
    single = bundles([(1.0, 2.0)], [(2.0, 1.0)], [(3.0, 3.0)], [(0.0, 0.0)])
    assert correlation_of_gains(single, [(name, "d") for name in "abc"]) == Correlation(pytest.approx(0.5), 3, None)


def test_gains_over_parents_move_with_their_parents():
    rng = np.random.default_rng(2)
    pretrainings = bundles(*rng.normal(size=(4, 3, 2)).tolist())
    steps = [("b", "a"), ("c", "b"), ("d", "c")]
    means = {name: np.mean(list(runs.values()), axis=0) for name, runs in pretrainings.items()}
    gains = np.array([means[recipe] - means[base] for recipe, base in steps])
    assert correlation_of_gains(pretrainings, steps).rho == pytest.approx(stats.spearmanr(*gains.T).statistic)


@pytest.mark.slow
@pytest.mark.parametrize("steps", ["reference", "parent"])
def test_equal_recipes_whose_luck_is_shared_raise_few_alarms(steps):
    """Seven equal recipes, three seeds, half of the luck reaches mAP: the mean of rho is far above 0, false alarms are 5 %."""
    alarms, rho, chance = false_alarms(lucky_recipes(600, recipes=7, seeds=3, shared=0.5), steps)
    assert rho > 0.3 and chance == pytest.approx(rho, abs=0.06) and 0.03 < alarms < 0.07
