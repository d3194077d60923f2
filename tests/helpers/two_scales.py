"""Make the two sides of a comparison of scales from values, for tests and simulations."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from tools.engine.analysis.differences import Difference
from tools.engine.analysis.fidelity import Scale, Side
from tools.engine.analysis.gains import Gain
from tools.engine.analysis.results import Column, Results

MAP = Column("mAP")


def side(scores: Mapping[str, Sequence[float]], pairs: Sequence[tuple[str, str]]) -> Side:
    """Return a side with the values of recipes by seed, and the gains of ``pairs`` without intervals."""
    runs = {recipe: {str(seed): value for seed, value in enumerate(values)} for recipe, values in scores.items()}
    gains = {}
    for recipe, base in pairs:
        diff = Difference(float(np.mean(scores[recipe]) - np.mean(scores[base])), 1, 1, None, None, None)
        gains[recipe, base] = Gain(recipe, base, MAP, diff, None, 0.3, "")
    return Side(Scale("toy", Results({}, [])), MAP, runs, gains)


def random_sides(
    studies: int, recipes: int, seeds: int, spread: float = 0.0, steps: bool = False
) -> Iterator[tuple[list[tuple[str, str]], Side, Side]]:
    """Yield the pairs and both sides of studies: ``seeds`` seeds at the first scale, and one run at the second.

    Args:
        spread: deviation of the true gains, the same at both scales, in deviations between seeds; 0 makes all recipes equal.
        steps: compare each recipe with the one before it, not with the first.
    """
    rng = np.random.default_rng(recipes)
    names = [f"r{i}" for i in range(recipes)]
    pairs = [*zip(names[1:], names[:-1], strict=True)] if steps else [(name, "r0") for name in names[1:]]
    for _ in range(studies):
        truth = spread * rng.normal(size=(recipes, 1))
        a, b = (dict(zip(names, (truth + rng.normal(size=(recipes, n))).tolist(), strict=True)) for n in (seeds, 1))
        yield pairs, side(a, pairs), side(b, pairs)
