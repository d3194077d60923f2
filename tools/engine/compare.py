"""Comparing two small sets of runs: a mean difference, its t interval, and a verdict."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite, sqrt
from statistics import fmean, stdev

from scipy.special import stdtrit  # the t quantile alone: scipy.stats takes four times as long to import

VERDICTS = ("better", "worse", "equivalent", "undecided")


@dataclass(frozen=True)
class Spread:
    """A mean of ``n`` values, their sample standard deviation, and the half width of the mean's t interval.

    All in the unit of the values; ``std`` and ``half`` are None for a single value.
    """

    mean: float
    std: float | None
    half: float | None
    n: int


@dataclass(frozen=True)
class Difference:
    """``mean`` = mean(a) - mean(b), in the unit of the values, and how well it is known.

    ``se_a`` and ``se_b`` are standard errors s / sqrt(n), None for a side of one value. ``dof`` and
    ``half``, the half width of the interval, are None where there is none: a side of one value, or no spread
    on either side.
    """

    mean: float
    n_a: int
    n_b: int
    se_a: float | None
    se_b: float | None
    dof: float | None
    half: float | None
    confidence: float

    @property
    def interval(self) -> tuple[float, float] | None:
        """(mean - half, mean + half), or None."""
        return None if self.half is None else (self.mean - self.half, self.mean + self.half)


def spread(values: Sequence[float], confidence: float = 0.95) -> Spread:
    """Mean, s = sqrt(sum((x - mean)^2) / (n - 1)), and t(n - 1) * s / sqrt(n).

    >>> spread([1.0, 2.0, 3.0]).std
    1.0
    """
    n, error = len(values), standard_error(values)
    if error is None:
        return Spread(fmean(values), None, None, n)
    return Spread(fmean(values), error * sqrt(n), t_quantile(n - 1, confidence) * error, n)


def difference(a: Sequence[float], b: Sequence[float], confidence: float = 0.95) -> Difference:
    """Welch's interval of mean(a) - mean(b): independent sides whose variances need not be equal.

    half = t(dof) * sqrt(se_a^2 + se_b^2), with the degrees of freedom of Welch and Satterthwaite
    dof = (se_a^2 + se_b^2)^2 / (se_a^4 / (n_a - 1) + se_b^4 / (n_b - 1)).
    With no spread on either side dof is 0 / 0: seeds that changed nothing say nothing about noise, and
    there is no interval.

    Args:
        a, b: one value for each independent run, at least one a side.
        confidence: of the two-sided interval, within (0, 1).

    >>> round(difference([71.0, 72.0, 73.0], [70.0, 71.0, 72.0]).half, 3)  # t(4) * sqrt(2 / 3)
    2.267
    """
    if not a or not b:
        raise ValueError("A difference needs at least one value on each side.")
    mean, se_a, se_b = fmean(a) - fmean(b), standard_error(a), standard_error(b)
    if se_a is None or se_b is None or se_a == se_b == 0:
        return Difference(mean, len(a), len(b), se_a, se_b, None, None, confidence)
    both = se_a**2 + se_b**2
    # the same formula in shares of the variance: fourth powers of a tiny spread would vanish
    dof = 1 / ((se_a**2 / both) ** 2 / (len(a) - 1) + (se_b**2 / both) ** 2 / (len(b) - 1))
    return Difference(mean, len(a), len(b), se_a, se_b, dof, t_quantile(dof, confidence) * sqrt(both), confidence)


def verdict(diff: Difference, margin: float) -> str:
    """'better', 'worse', 'equivalent' or 'undecided', from where the interval of ``diff`` lies.

    1. No interval: undecided. One run a side cannot tell a gain from noise, however large it looks.
    2. Wholly within (-margin, margin): equivalent. This comes before the sign, since a difference that
       is surely there and surely smaller than what matters is no gain: at margin 1, [0.1, 0.4] is equivalent.
    3. Wholly above 0: better; wholly below: worse. It may start within the margin: [0.3, 2] is better.
    4. Otherwise undecided: it holds 0 and reaches the margin, so that both a gain and none are possible.

    "Wholly" is strict: an interval that ends on 0 or on the margin is not within it.

    Args:
        diff: of values where higher is better.
        margin: smaller differences count as none, in the unit of the values; at 0 none is equivalent.
    """
    if not (isfinite(margin) and margin >= 0):
        raise ValueError(f"The margin is {margin}; it must be a number of points, 0 or more.")
    if diff.interval is None:
        return "undecided"
    low, high = diff.interval
    if -margin < low and high < margin:
        return "equivalent"
    return "better" if low > 0 else "worse" if high < 0 else "undecided"


def standard_error(values: Sequence[float]) -> float | None:
    """s / sqrt(n) with n - 1 in s; None for fewer than two values."""
    return stdev(values) / sqrt(len(values)) if len(values) > 1 else None


def t_quantile(dof: float, confidence: float) -> float:
    """How many standard errors a two-sided t interval reaches to each side; 12.7 at dof 1 and 0.95."""
    if not 0 < confidence < 1:
        raise ValueError(f"The confidence is {confidence}; it must lie between 0 and 1.")
    return float(stdtrit(dof, (1 + confidence) / 2))
