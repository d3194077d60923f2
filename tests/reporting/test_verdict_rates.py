"""Test by simulation how often intervals hold the truth and verdicts are wrong; docs/verdicts.md quotes more of it."""

import pytest

from tests.helpers.verdict_rates import rates

FEW = 4000  # simulations: a share of 0.05 is known to 0.0035


@pytest.mark.parametrize("n", [2, 3, 5])
@pytest.mark.parametrize("common", [0.0, 0.8])
def test_intervals_of_pairs_cover_95_percent_whatever_a_seed_does_to_both_sides(n, common):
    pairs = rates(n, common, paired=True, simulations=FEW)
    assert 0.938 < pairs.coverage < 0.962 and 0.038 < pairs.detected < 0.062


def test_pairs_regain_the_power_that_a_common_effect_takes():
    pairs, welch = (rates(3, 0.8, paired=paired, gain=3.0, simulations=FEW) for paired in (True, False))
    assert pairs.detected > welch.detected + 0.1
    assert rates(3, 0.8, paired=False, simulations=FEW).coverage > 0.985  # too wide: power is given away


def test_welchs_interval_is_safe_without_a_common_effect():
    welch = rates(3, 0.0, paired=False, simulations=FEW)
    assert 0.95 < welch.coverage < 0.98


def test_the_luck_of_one_teacher_makes_false_verdicts():
    shares = [rates(3, 0.0, paired=True, teacher=luck, simulations=FEW).detected for luck in (0.0, 1.0)]
    assert shares[0] < 0.062 and 0.09 < shares[1] < 0.14  # so such a verdict says that it rests on one teacher
