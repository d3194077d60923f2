"""Rank the gains in two tasks against each other, and say what the correlation would be by chance alone."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

PERMUTATIONS = 4000
DIGITS = 9  # decimals that count: smaller differences between means come from the order of sums

# for each recipe, what each of its pretrainings scored: {recipe: {seed: (top-1, transfer)}}
Pretrainings = Mapping[str, Mapping[str, tuple[float, float]]]
Steps = Sequence[tuple[str, str]]  # (recipe, the one that it is compared with)


@dataclass(frozen=True)
class Chance:
    """Hold what a figure, such as a rank correlation, would be if all recipes were equal.

    ``mean`` of the figure, ``low`` and ``high`` between which 95 % of its values lie, and ``p``, the share that is higher than
    the observed one, where of those equal to it half count.
    """

    mean: float
    low: float
    high: float
    p: float


@dataclass(frozen=True)
class Correlation:
    """Hold Spearman's ``rho`` over ``n`` gains, within -1..1, and what it would be by ``chance``.

    ``rho`` is None for fewer than three gains, or where all values of one side are equal. ``chance`` is None without rho, and
    where every recipe has a single pretraining: luck and gain cannot then be separated.
    """

    rho: float | None
    n: int
    chance: Chance | None = None


def rank_correlation(gains: Sequence[float], transfer: Sequence[float]) -> Correlation:
    """Return Spearman's rho of two lists of gains: Pearson's correlation of their ranks, ties at their mean rank.

    >>> rank_correlation([0.1, 0.4, 0.9], [2.0, 1.0, 3.0]).rho
    0.5
    """
    rho = float(spearman(np.array(gains, float), np.array(transfer, float))) if len(gains) > 2 else np.nan
    return Correlation(None if np.isnan(rho) else rho, len(gains))


def correlation_of_gains(pretrainings: Pretrainings, steps: Steps, seed: int = 0) -> Correlation:
    """Return the rank correlation between the gains of ``steps`` in top-1 and in a transfer, and what it would be by chance.

    The same pretrainings stand on both axes. A lucky pretraining lifts both its top-1 and its transfer, so the correlation is
    positive even if all recipes are equal. To see by how much, the recipes' names are permuted over the pretrainings, each of
    which keeps its top-1 and its transfer: 4,000 permutations, within each seed if all recipes have the same seeds. A base that
    all steps share keeps its name, since it shifts all gains alike.

    Args:
        pretrainings: only those that have both figures.
        steps: those whose recipe and base have a pretraining.
        seed: of the permutations.
    """
    if len(steps) < 3:
        return Correlation(None, len(steps))
    names = list(dict.fromkeys(name for step in steps for name in step))
    means = np.array([np.mean(list(pretrainings[name].values()), axis=0) for name in names])
    correlation = rank_correlation(*_gains(means[None], names, steps)[:, 0])
    bases = {base for _, base in steps}
    fixed = next(iter(bases)) if len(bases) == 1 else None
    movable = [name for name in names if name != fixed]
    if correlation.rho is None or max(len(pretrainings[name]) for name in movable) < 2:
        return correlation
    permuted = np.repeat(means[None], PERMUTATIONS, axis=0)
    places = [names.index(name) for name in movable]
    permuted[:, places] = permuted_means([pretrainings[name] for name in movable], np.random.default_rng(seed))
    rhos = spearman(*_gains(permuted, names, steps))
    return Correlation(correlation.rho, correlation.n, chance_of(rhos, correlation.rho))


def _gains(means: np.ndarray, names: list[str], steps: Steps) -> np.ndarray:
    """Return the gains of each step, (2, R, steps), from means (R, recipes, 2)."""
    recipes, bases = ([names.index(step[i]) for step in steps] for i in (0, 1))
    return np.moveaxis(means[:, recipes] - means[:, bases], -1, 0)


def permuted_means(
    pretrainings: Sequence[Mapping[str, tuple[float, float]]] | Sequence[Mapping[str, float]], rng: np.random.Generator
) -> np.ndarray:
    """Permute the recipes' names over the pretrainings and return their means, (PERMUTATIONS, recipes[, 2]).

    The names are permuted within each seed if all recipes have the same seeds, else over all pretrainings.
    """
    if all(runs.keys() == pretrainings[0].keys() for runs in pretrainings):
        seeds = [np.array([runs[seed] for runs in pretrainings]) for seed in pretrainings[0]]
        return np.mean([scores[_orders(rng, len(scores))] for scores in seeds], axis=0)
    scores = np.array([score for runs in pretrainings for score in runs.values()])
    ends = np.cumsum([len(runs) for runs in pretrainings])[:-1]
    parts = np.split(scores[_orders(rng, len(scores))], ends, axis=1)
    return np.stack([part.mean(axis=1) for part in parts], axis=1)


def _orders(rng: np.random.Generator, n: int) -> np.ndarray:
    """Return random orders of n things, (PERMUTATIONS, n)."""
    return np.argsort(rng.random((PERMUTATIONS, n)), axis=1)


def chance_of(values: np.ndarray, observed: float, exact: bool = False) -> Chance | None:
    """Return the mean and the middle 95 % of the values of a figure by chance, and the share of them above ``observed``.

    Of those equal to it half count (mid-p: Lancaster, J. Am. Stat. Assoc. 56, 1961), since few gains have few possible rhos: if
    all counted, 2 % of false alarms instead of 5 % would come out of six gains.

    Args:
        values: those of all permutations if ``exact``, else those of a sample, to which the observed one is added.
    """
    values = values[~np.isnan(values)]
    if not len(values):
        return None
    low, high = np.quantile(values, (0.025, 0.975))
    above, equal = values > observed + 10**-DIGITS, np.abs(values - observed) <= 10**-DIGITS
    one = 0 if exact else 1
    share = (one / 2 + np.count_nonzero(above) + np.count_nonzero(equal) / 2) / (one + len(values))
    return Chance(float(values.mean()), float(low), float(high), float(share))


def spearman(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return Spearman's rho over the last axis, NaN where one side is constant."""
    x, y = (ranks - ranks.mean(-1, keepdims=True) for ranks in (_ranks(x), _ranks(y)))
    with np.errstate(invalid="ignore"):
        return (x * y).sum(-1) / np.sqrt((x * x).sum(-1) * (y * y).sum(-1))


def _ranks(values: np.ndarray) -> np.ndarray:
    """Return the ranks over the last axis: 1 for the smallest; equal values share the mean of their ranks."""
    values = np.round(values, DIGITS)
    one, other = values[..., :, None], values[..., None, :]
    return (other < one).sum(-1) + ((other == one).sum(-1) + 1) / 2
