"""Compute how likely a difference is to be found with so many pretrainings, and how many it takes."""

from math import sqrt

import numpy as np
from scipy.special import gammaincinv, ndtr, ndtri, stdtrit  # scipy.stats takes four times as long to import

from tools.engine.analysis.differences import with_images
from tools.engine.analysis.verdicts import ALPHA, FEWEST_PAIRS


def power_of(n: int, detect: float, std: float, alpha: float = ALPHA, image_std: float = 0.0) -> float:
    """Return the probability that a verdict on ``n`` pretrainings a side, of equal seeds, has a p below ``alpha``.

    The two sides truly differ by ``detect`` points. With S from ``_spreads`` and I = image_std^2 the power is the mean over S of
    P(|d| > t(dof) * sqrt(S + I)) for d normal around ``detect`` with the variance 2 * std^2 / n + I. From ``FEWEST_PAIRS`` on,
    and without images, this is a noncentral t. Nothing is assumed of what a seed does to both sides alike: from pairs it
    cancels, and leaves a smaller ``std``.

    Args:
        detect, std: the true difference, and the deviation between pretrainings of either side, in points, above 0.
        image_std: the deviation of the difference over test images, which more seeds do not reduce.
    """
    true, images = 2 * std**2 / n, image_std**2
    shares, seeds_dof = _spreads(n)
    seeds = true * shares
    dof = with_images(seeds_dof, images / seeds)
    reach, deviation = stdtrit(dof, 1 - alpha / 2) * np.sqrt(seeds + images), sqrt(true + images)
    return float(np.mean(ndtr((detect - reach) / deviation) + ndtr((-detect - reach) / deviation)))


def _spreads(n: int) -> tuple[np.ndarray, np.ndarray | float]:
    """Return the variance S over seeds that a verdict may find, in shares of the true one, and its degrees of freedom.

    Pairs: S varies as chi^2(n - 1) / (n - 1). Welch's interval: S is the mean of two such, s and t, one of each side, with
    (n - 1) * (s + t)^2 / (s^2 + t^2) degrees of freedom. Both are given on grids of their quantiles.
    """

    def quantiles(count: int) -> np.ndarray:
        return gammaincinv((n - 1) / 2, (np.arange(count) + 0.5) / count) / ((n - 1) / 2)

    if n >= FEWEST_PAIRS:
        return quantiles(1000), n - 1
    s, t = quantiles(100)[:, None], quantiles(100)
    return (s + t) / 2, (n - 1) * (s + t) ** 2 / (s * s + t * t)


def seeds_needed(detect: float, std: float, power: float = 0.8, alpha: float = ALPHA, image_std: float = 0.0) -> int | None:
    """Return the fewest pretrainings a side, 2 or more, with which ``power_of`` reaches ``power``.

    Return None where no number does: with more seeds the power rises only to that of a normal test of detect / image_std.

    Raises:
        ValueError: ``detect`` or ``std`` not above 0, ``image_std`` below 0, ``power`` or ``alpha`` outside (0, 1).

    >>> seeds_needed(0.5, 1.0), seeds_needed(1.0, 1.0)
    (65, 18)
    """
    if not (detect > 0 and std > 0 and image_std >= 0 and 0 < power < 1 and 0 < alpha < 1):
        raise ValueError(
            f"detect is {detect}, std {std}, image_std {image_std}, power {power} and alpha {alpha}; the first two must be above "
            "0, image_std 0 or more, and power and alpha between 0 and 1."
        )
    reach = float(ndtri(1 - alpha / 2))
    if image_std and ndtr(detect / image_std - reach) + ndtr(-detect / image_std - reach) <= power:
        return None
    low, high = 1, 2  # low is always too few
    while power_of(high, detect, std, alpha, image_std) < power:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if power_of(middle, detect, std, alpha, image_std) >= power else (middle, high)
    return high
