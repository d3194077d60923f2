"""Compare the runs of two recipes: their difference, its interval, p and verdict; also variances, rank correlation and power."""

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import inf, isfinite, sqrt
from statistics import fmean, stdev
from typing import TypeVar

import numpy as np
from scipy.special import betaincinv, gammaincinv, ndtr, ndtri, stdtr, stdtrit  # scipy.stats takes four times as long to import

VERDICTS = ("better", "worse", "equivalent", "undecided")
BY_SEEDS = ("seeds and images", "seeds")  # the kinds of interval that a verdict may rest on
ALPHA = 0.05
MARGINS = {"top1": 0.2, "mAP": 0.3, "pixAcc": 0.2, "mIoU": 0.5}  # points; a smaller difference counts as none

# the values of a recipe in one metric: for each pretraining, one value or those of its fine-tunings
Groups = Sequence[float | Sequence[float]]
Trick = TypeVar("Trick", bound=Hashable)


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
class ImageVariance:
    """Hold how much a difference varies with the test images, in the unit of the values squared.

    ``total`` is the whole variance for the runs at hand. ``common`` is the part that all pretrainings share. The rest differs
    between pretrainings, since each gets other images right by chance; the spread between pretrainings includes it already.
    """

    total: float
    common: float


@dataclass(frozen=True)
class Difference:
    """Hold ``mean`` = mean(a) - mean(b), in the unit of the values, and its uncertainty.

    ``se_a`` and ``se_b`` are standard errors s / sqrt(n), None for a side with one value; ``error`` is the standard error of the
    difference and ``dof`` its degrees of freedom (inf: a normal quantile). ``kind`` says what the interval covers: 'seeds and
    images', 'seeds', 'images', or None without an interval; ``error`` and ``dof`` are then None too.
    """

    mean: float
    n_a: int
    n_b: int
    se_a: float | None
    se_b: float | None
    error: float | None
    dof: float | None
    kind: str | None
    confidence: float = 1 - ALPHA

    @property
    def half(self) -> float | None:
        """Return half the width of the interval, t(dof) * error, or None."""
        if self.kind is None:
            return None
        assert self.dof is not None and self.error is not None
        return t_quantile(self.dof, self.confidence) * self.error

    @property
    def interval(self) -> tuple[float, float] | None:
        """Return (mean - half, mean + half), or None."""
        half = self.half
        return None if half is None else (self.mean - half, self.mean + half)

    @property
    def p(self) -> float | None:
        """Return the two-sided p of t = mean / error.

        Return None without a spread between seeds, so that such a comparison does not count in a family of tests.
        """
        if self.kind not in BY_SEEDS:
            return None
        assert self.dof is not None and self.error is not None
        return 2 * float(stdtr(self.dof, -abs(self.mean) / self.error))


@dataclass(frozen=True)
class Components:
    """Hold the variances between pretrainings and between fine-tunings of one pretraining, in the unit squared.

    Both are None where they cannot be separated; ``note`` says why.
    """

    pretraining: float | None
    finetuning: float | None
    note: str = ""


@dataclass(frozen=True)
class Correlation:
    """Hold Spearman's ``rho`` over ``n`` tricks, within -1..1.

    ``rho`` is None for fewer than three tricks, or where all values of one side are equal.
    """

    rho: float | None
    n: int


def spread(values: Sequence[float], confidence: float = 0.95) -> Spread:
    """Return the mean, s = sqrt(sum((x - mean)^2) / (n - 1)), and t(n - 1) * s / sqrt(n).

    >>> spread([1.0, 2.0, 3.0]).std
    1.0
    """
    n, error = len(values), standard_error(values)
    if error is None:
        return Spread(fmean(values), None, None, n)
    return Spread(fmean(values), error * sqrt(n), t_quantile(n - 1, confidence) * error, n)


def difference(a: Groups, b: Groups, images: ImageVariance | float | None = None, confidence: float = 0.95) -> Difference:
    """Return mean(a) - mean(b) of the pretraining means, with an interval over seeds and test images.

    Fine-tunings of one pretraining are averaged first, because only pretrainings are independent. Runs from scratch have no
    pretraining, so every run is a value. With S = s_a^2 / n_a + s_b^2 / n_b over pretrainings and the variance I over test images

        half = t(dof) * sqrt(S + I)
        dof = dof_S * (1 + I / (c * S))^2,  dof_S = S^2 / (se_a^4 / (n_a - 1) + se_b^4 / (n_b - 1)),  c = 1 + 2 / dof_S.

    Without images this is Welch's interval. c = 1 would be the rule of Welch and Satterthwaite with I as a term of infinitely
    many degrees of freedom. Such a term adds nothing to the sum below the fraction, which is right: a bootstrap of 1,000
    replicates knows I to 4 %, and two seeds know S only to a factor of several. But where S is small by chance, the interval is
    short already, and the rule then trusts I / S and takes the normal quantile. c = E[S^2] / E[S]^2 of a variance with dof_S
    degrees of freedom avoids this, and equals Welch's rule at I = 0.

    Coverage of nominal 95 % in 40,000 simulated pairs, I / S from 1/16 to 4, one side's deviation up to twice the other's: with
    c 95.1 to 96.4 % at two pretrainings a side, 95.2 to 96.3 % at three, 95.1 to 95.6 % at five; with c = 1 92.6 to 95.2 % at
    two. Where one deviation is four times the other, at least 93.2 %, and 90.3 % with c = 1. At I = 0 and two pretrainings a side
    Welch's interval covers 97.7 %: it is too wide, which is the safe side. Student's pooled interval would cover 95 % there, but
    91 % where the deviations differ fourfold.

    A side of one pretraining has no spread. Then, and where no seed changes anything, the interval is that of the images alone,
    mean +- z * sqrt(I), if they are given.

    Args:
        a, b: at least one pretraining a side.
        images: from ``bootstrap.image_variance``: ``common`` is used where seeds have a spread, else ``total``. A number stands
            for both; None means unknown.
        confidence: of the two-sided interval, within (0, 1).

    Raises:
        ValueError: an empty side or group, a negative variance, or a confidence outside (0, 1).

    Source: Welch, The generalization of 'Student's' problem, Biometrika 34, 1947; Satterthwaite, Biometrics Bulletin 2, 1946.

    >>> round(difference([71.0, 72.0, 73.0], [70.0, 71.0, 72.0]).half, 3)  # t(4) * sqrt(2 / 3)
    2.267
    """
    means_a, means_b = group_means(a), group_means(b)
    if not means_a or not means_b:
        raise ValueError("A difference needs at least one value on each side.")
    if not 0 < confidence < 1:
        raise ValueError(f"The confidence is {confidence}; it must lie between 0 and 1.")
    variance = _checked_variance(images)
    mean, se_a, se_b = fmean(means_a) - fmean(means_b), standard_error(means_a), standard_error(means_b)
    error, dof, kind = _seed_error(len(means_a), len(means_b), se_a, se_b, variance) or _image_error(variance)
    return Difference(mean, len(means_a), len(means_b), se_a, se_b, error, dof, kind, confidence)


def _checked_variance(images: ImageVariance | float | None) -> ImageVariance | None:
    """Return the variance over images; a single number stands for both of its parts.

    Raises:
        ValueError: a part is negative or not finite.
    """
    if images is None:
        return None
    variance = images if isinstance(images, ImageVariance) else ImageVariance(images, images)
    if not (isfinite(variance.total) and isfinite(variance.common) and min(variance.total, variance.common) >= 0):
        raise ValueError(f"The variance over images is {variance}; it must be a number, 0 or more.")
    return variance


def _seed_error(
    n_a: int, n_b: int, se_a: float | None, se_b: float | None, images: ImageVariance | None
) -> tuple[float, float, str] | None:
    """Return (error, dof, kind) of an interval that covers seeds; None without a spread between seeds."""
    if se_a is None or se_b is None or se_a == se_b == 0:  # seeds that changed nothing say nothing about noise
        return None
    seeds = se_a**2 + se_b**2
    # Welch's formula in shares of the variance: fourth powers of a tiny spread would vanish
    dof = 1 / ((se_a**2 / seeds) ** 2 / (n_a - 1) + (se_b**2 / seeds) ** 2 / (n_b - 1))
    if images is None:
        return sqrt(seeds), dof, "seeds"
    return sqrt(seeds + images.common), _with_images(dof, images.common / seeds), "seeds and images"


def _with_images(dof, ratio):
    """Return the dof of S + I from the dof of S and the ratio I / S, numbers or arrays; see ``difference``."""
    part = 1 + ratio / (1 + 2 / dof)
    return dof * part * part  # a power would raise an OverflowError where this is inf


def _image_error(images: ImageVariance | None) -> tuple[float, float, str] | tuple[None, None, None]:
    """Return (error, dof, kind) of an interval that covers the images alone; three None without their variance."""
    return (sqrt(images.total), inf, "images") if images and images.total else (None, None, None)


def margin_of(metric: str) -> float:
    """Return the margin of ``MARGINS``, in points: top5 has that of top1, mAP_area that of mAP, mIoU_boundary that of mIoU.

    Raises:
        ValueError: the name of the metric starts with none of them.
    """
    for name, margin in MARGINS.items():
        if metric.startswith(name.rstrip("0123456789")):
            return margin
    raise ValueError(f"There is no margin for {metric}; metrics that have one start with {', '.join(MARGINS)}.")


def holm(ps: Sequence[float | None]) -> list[float | None]:
    """Adjust p values for the number of comparisons in one family (one table and one task), in the order of ``ps``.

    The k-th of m values in ascending order becomes the largest of (m - j + 1) * p_j over j <= k, at most 1. Calling those below
    alpha real is wrong anywhere in the family with a probability of at most alpha, however the comparisons depend on each
    other; they do depend, as all share one reference. None is no comparison: it stays None and does not count.

    Raises:
        ValueError: a p outside 0..1.

    Source: Holm, A simple sequentially rejective multiple test procedure, Scand. J. Statist. 6, 1979.

    >>> holm([0.5, 0.25, None, 0.0])
    [0.5, 0.5, None, 0.0]
    """
    if invalid := [p for p in ps if p is not None and not 0 <= p <= 1]:
        raise ValueError(f"A p is {invalid[0]}; it must lie within 0 and 1.")
    ascending = sorted((p, i) for i, p in enumerate(ps) if p is not None)
    adjusted: list[float | None] = [None] * len(ps)
    largest = 0.0
    for k, (p, i) in enumerate(ascending):
        largest = max(largest, min(1.0, (len(ascending) - k) * p))
        adjusted[i] = largest
    return adjusted


def verdict(diff: Difference, margin: float, p: float | None = None) -> str:
    """Return 'better', 'worse', 'equivalent' or 'undecided'.

    1. No interval that covers seeds: undecided. One run a side cannot tell a gain from noise, however large it looks.
    2. The interval lies wholly within (-margin, margin): equivalent. This comes before p, since a difference that surely exists
       and is surely too small to matter is no gain: at margin 1, [0.1, 0.4] is equivalent. An interval that ends on the margin
       is not within it.
    3. p below 0.05: better or worse, by the sign. The interval may start within the margin: [0.3, 2] is better.
    4. Otherwise undecided: both a gain and no gain are possible.

    The interval is not adjusted for the family. With an adjusted p the verdict may therefore be undecided although the interval
    lies on one side of 0; equivalence is not adjusted.

    Args:
        diff: of values where higher is better.
        margin: smaller differences count as none, in the unit of the values; at 0 no difference is equivalent.
        p: adjusted for its family by ``holm``; None takes ``diff.p``, which is right for a single comparison.
    """
    if not (isfinite(margin) and margin >= 0):
        raise ValueError(f"The margin is {margin}; it must be a number of points, 0 or more.")
    if diff.kind not in BY_SEEDS:
        return "undecided"
    interval, p = diff.interval, diff.p if p is None else p
    assert interval is not None and p is not None
    low, high = interval
    if -margin < low and high < margin:
        return "equivalent"
    if p < ALPHA:
        return "better" if diff.mean > 0 else "worse"
    return "undecided"


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


def rank_correlation(gains: Mapping[Trick, float | None], transfer: Mapping[Trick, float | None]) -> Correlation:
    """Return Spearman's rho between two gains of the same tricks: Pearson's correlation of their ranks, ties at their mean rank.

    Args:
        gains, transfer: {trick: points gained}, such as top-1 and mAP; a trick without a number in both is left out.
    """
    pairs = [(x, y) for trick, x in gains.items() if x is not None and (y := transfer.get(trick)) is not None]
    ranks_x, ranks_y = _ranks([x for x, _ in pairs]), _ranks([y for _, y in pairs])
    if len(pairs) < 3 or np.ptp(ranks_x) == 0 or np.ptp(ranks_y) == 0:
        return Correlation(None, len(pairs))
    return Correlation(float(np.corrcoef(ranks_x, ranks_y)[0, 1]), len(pairs))


def _ranks(values: Sequence[float]) -> np.ndarray:
    """Return float64 (n,): 1 for the smallest; equal values share the mean of their ranks."""
    _, index, counts = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts - 1) / 2)[index]


def power_of(n: int, detect: float, std: float, alpha: float = ALPHA, image_std: float = 0.0) -> float:
    """Return the probability that ``difference`` of ``n`` pretrainings a side has a p below ``alpha``.

    The two sides truly differ by ``detect`` points. The power is the mean over S of P(|d| > t(dof) * sqrt(S + I)) for d normal
    around ``detect`` with the variance 2 * std^2 / n + I. S varies as chi^2(2 * (n - 1)), and the share of one side in it, from
    which the dof follows, as beta((n - 1) / 2, (n - 1) / 2), both on a grid of their quantiles. For Student's test the same is a
    noncentral t; Welch's test has less power with few seeds: half of it at n = 2, the same from n = 10.

    Args:
        detect, std: the true difference, and the deviation between pretrainings of either side, in points, above 0.
        image_std: the deviation of the difference over test images, which more seeds do not reduce.
    """
    grid, images = (np.arange(100) + 0.5) / 100, image_std**2
    share = betaincinv((n - 1) / 2, (n - 1) / 2, grid)[:, None]
    true = 2 * std**2 / n
    seeds = true * gammaincinv(n - 1, grid) / (n - 1)
    dof = _with_images((n - 1) / (share**2 + (1 - share) ** 2), images / seeds)
    reach, deviation = stdtrit(dof, 1 - alpha / 2) * np.sqrt(seeds + images), sqrt(true + images)
    return float(np.mean(ndtr((detect - reach) / deviation) + ndtr((-detect - reach) / deviation)))


def seeds_needed(detect: float, std: float, power: float = 0.8, alpha: float = ALPHA, image_std: float = 0.0) -> int | None:
    """Return the fewest pretrainings a side, 2 or more, with which ``power_of`` reaches ``power``.

    Return None where no number does: with more seeds the power rises only to that of a normal test of detect / image_std.

    Raises:
        ValueError: ``detect`` or ``std`` not above 0, ``image_std`` below 0, ``power`` or ``alpha`` outside (0, 1).

    >>> seeds_needed(0.5, 1.0), seeds_needed(1.0, 1.0)
    (64, 17)
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
