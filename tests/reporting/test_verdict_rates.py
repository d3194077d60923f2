"""Test by simulation how often intervals hold the truth and verdicts are wrong; docs/verdicts.md quotes more of it."""

import pytest

from tests.helpers.verdict_rates import Truth, found_on_pages, rates

FEW = 4000  # simulations: a share of 0.05 is known to 0.0035
FEW_PAGES = 1000  # a share of 0.05 is known to 0.007

common = pytest.mark.parametrize("common", [0.0, 0.8])


@common
@pytest.mark.parametrize("n", [4, 5])
def test_intervals_of_pairs_cover_95_percent_whatever_a_seed_does_to_both_sides(n, common):
    pairs = rates(n, Truth(common=common), paired=True, simulations=FEW)
    assert 0.938 < pairs.coverage < 0.962 and 0.038 < pairs.detected < 0.062


@common
@pytest.mark.parametrize("n", [2, 3])
def test_welchs_interval_is_safe_whatever_a_seed_does_to_both_sides(n, common):
    welch = rates(n, Truth(common=common), paired=False, simulations=FEW)
    assert welch.coverage > 0.955 and welch.detected < 0.045


@common
@pytest.mark.parametrize("n, images", [(2, 0.25), (3, 1 / 16), (3, 1.0), (4, 0.25), (5, 1.0)])
def test_intervals_with_a_variance_over_images_cover_95_percent_or_more(n, images, common):
    assert rates(n, Truth(common=common, images=images), paired=n >= 4, simulations=FEW).coverage > 0.94


@common
@pytest.mark.parametrize("n", [2, 3])
def test_a_page_of_a_dozen_equal_recipes_seldom_has_a_false_verdict(n, common):
    assert found_on_pages(n, Truth(common=common), paired=False, pages=FEW_PAGES)[1] < 0.04


def test_at_three_seeds_welchs_interval_finds_on_a_page_what_pairs_find_only_with_a_large_common_effect():
    pairs, welch = ([found_on_pages(3, Truth(6.0, c), paired, FEW_PAGES)[0] for c in (0.0, 0.8)] for paired in (True, False))
    assert welch[0] > pairs[0] + 0.25 and welch[1] > pairs[1] - 0.07


@common
def test_at_four_seeds_pairs_find_more_than_welchs_interval_at_three(common):
    four, three = (rates(n, Truth(3.0, common), paired=n == 4, simulations=FEW).detected for n in (4, 3))
    assert four > three + 0.05


def test_the_luck_of_one_teacher_makes_false_verdicts():
    shares = [rates(5, Truth(teacher=luck), paired=True, simulations=FEW).detected for luck in (0.0, 1.0)]
    assert shares[0] < 0.062 and 0.17 < shares[1] < 0.25  # so such a verdict says that it rests on one teacher
