"""Summarise the values of a recipe: mean and spread over pretrainings, and the variances between and within pretrainings."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import inf, sqrt
from statistics import fmean, stdev

from scipy.special import ndtri, stdtrit  # scipy.stats takes four times as long to import

# the values of a recipe in one metric: for each pretraining, one value or those of its fine-tunings
Groups = Sequence[float | Sequence[float]]


@dataclass(frozen=True)
class Spread:
    """Hold the mean of ``n`` values, their sample standard deviation, and the half width of the mean's t interval.

    All are in the unit of the values; ``std`` and ``half`` are None for a single value.
    """

    mean: float
    std: float | None
    half: float | None
    n: int


@dataclass(frozen=True)
class Components:
    """Hold the variances between pretrainings and between fine-tunings of one pretraining, in the unit squared.

    Both are None where they cannot be separated; ``note`` says why.
    """

    pretraining: float | None
    finetuning: float | None
    note: str = ""


def spread(values: Sequence[float], confidence: float = 0.95) -> Spread:
    """Return the mean, s = sqrt(sum((x - mean)^2) / (n - 1)), and t(n - 1) * s / sqrt(n).

    >>> spread([1.0, 2.0, 3.0]).std
    1.0
    """
    n, error = len(values), standard_error(values)
    if error is None:
        return Spread(fmean(values), None, None, n)
    return Spread(fmean(values), error * sqrt(n), t_quantile(n - 1, confidence) * error, n)


def components(groups: Groups) -> Components:
    """Estimate the variance between pretrainings and that between fine-tunings of one, by the method of moments.

    For k groups of F_i values, N in all, with the mean squares MSB = sum(F_i * (mean_i - mean)^2) / (k - 1) and
    MSW = sum((x - mean_i)^2) / (N - k): finetuning = MSW, pretraining = (MSB - MSW) / F0 with
    F0 = (N - sum(F_i^2) / N) / (k - 1), which is F where all groups have F values. A negative estimate becomes 0, and the note
    says so.

    Both are None, not separable, with fewer than two groups or a group of fewer than two values.

    Source: Searle, Casella and McCulloch, Variance Components, 1992, chapter 3.
    """
    samples = [_values(group) for group in groups]
    if len(samples) < 2 or min(map(len, samples)) < 2:
        return Components(None, None, "not separable")
    sizes, total = [len(sample) for sample in samples], sum(map(len, samples))
    means, mean = [fmean(sample) for sample in samples], fmean(x for sample in samples for x in sample)
    within = sum((x - m) ** 2 for sample, m in zip(samples, means, strict=True) for x in sample) / (total - len(samples))
    between = sum(n * (m - mean) ** 2 for n, m in zip(sizes, means, strict=True)) / (len(samples) - 1)
    size = (total - sum(n * n for n in sizes) / total) / (len(samples) - 1)
    pretraining = (between - within) / size
    return Components(max(pretraining, 0.0), within, "negative estimate set to 0" if pretraining < 0 else "")


def group_means(groups: Groups) -> list[float]:
    """Return the mean of each pretraining's values, (n,)."""
    return [fmean(_values(group)) for group in groups]


def _values(group: float | Sequence[float]) -> list[float]:
    """Return the values of a group as a list; a single number is a group of one."""
    values = list(group) if isinstance(group, Iterable) else [group]
    if not values:
        raise ValueError("A pretraining has no value; leave it out.")
    return values


def standard_error(values: Sequence[float]) -> float | None:
    """Return s / sqrt(n) with n - 1 in s; None for fewer than two values."""
    return stdev(values) / sqrt(len(values)) if len(values) > 1 else None


def t_quantile(dof: float, confidence: float) -> float:
    """Return how many standard errors a two-sided t interval extends to each side: 12.7 at dof 1 and 0.95, 1.96 at dof inf."""
    if not 0 < confidence < 1:
        raise ValueError(f"The confidence is {confidence}; it must lie between 0 and 1.")
    return float(ndtri((1 + confidence) / 2) if dof == inf else stdtrit(dof, (1 + confidence) / 2))
