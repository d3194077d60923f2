"""Estimate the difference of two recipes, with an interval over pretrainings and test images, and its p."""

from dataclasses import dataclass
from math import inf, isfinite, sqrt
from statistics import fmean

from scipy.special import stdtr  # scipy.stats takes four times as long to import

from tools.engine.analysis.statistics import Groups, group_means, standard_error, t_quantile

BY_SEEDS = ("seeds and images", "seeds")  # the kinds of interval that a verdict may rest on
IMAGES = 100  # test images assumed of runs whose number of images is unknown; it matters only where seeds have no spread
ROUNDING = 1e-12  # relative: smaller differences between values come from the order of sums


@dataclass(frozen=True)
class ImageVariance:
    """Hold how much a difference varies with the test images, in the unit of the values squared.

    ``total`` is the whole variance for the runs at hand. ``common`` is the part that all pretrainings share. The rest differs
    between pretrainings, since each gets other images right by chance; the spread between pretrainings includes it already.
    ``paired`` is the part shared by all pairs of pretrainings with equal seeds, None where no pairs were formed. ``count`` is
    the number of test images, None if unknown.
    """

    total: float
    common: float
    paired: float | None = None
    count: int | None = None


@dataclass(frozen=True)
class Difference:
    """Hold ``mean`` = mean(a) - mean(b), in the unit of the values, and its uncertainty.

    ``error`` is the standard error of the difference and ``dof`` its degrees of freedom (inf: a normal quantile). ``kind`` says
    what the interval covers: 'seeds and images', 'seeds', 'images', or None without an interval; ``error`` and ``dof`` are then
    None too. ``paired`` is True if values with equal seeds were subtracted first. ``floored`` is True if the spread between
    seeds was smaller than one test image can be seen, which then counted instead.
    """

    mean: float
    n_a: int
    n_b: int
    error: float | None
    dof: float | None
    kind: str | None
    confidence: float = 0.95
    paired: bool = False
    floored: bool = False

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

        Return None without an interval over seeds, so that such a comparison does not count in a family of tests.
        """
        if self.kind not in BY_SEEDS:
            return None
        assert self.dof is not None and self.error is not None
        return 2 * float(stdtr(self.dof, -abs(self.mean) / self.error))


@dataclass(frozen=True)
class _SeedPart:
    """Hold the variance of a difference over seeds, its degrees of freedom, and whether one test image stands in for it."""

    variance: float
    dof: float
    floored: bool


def difference(
    a: Groups, b: Groups, images: ImageVariance | float | None = None, confidence: float = 0.95, paired: bool = False
) -> Difference:
    """Return mean(a) - mean(b) of the pretraining means, with an interval over seeds and test images.

    Fine-tunings of one pretraining are averaged first, because only pretrainings are independent. Runs from scratch have no
    pretraining, so every run is a value. S is the variance of the difference over seeds, I that over test images:

        unpaired (Welch): S = s_a^2 / n_a + s_b^2 / n_b,  dof_S = S^2 / (se_a^4 / (n_a - 1) + se_b^4 / (n_b - 1))
        paired:           S = s_d^2 / n of the differences d_k = a_k - b_k,  dof_S = n - 1
        half = t(dof) * sqrt(S + I),  dof = dof_S * (1 + I / (c * S))^2,  c = (1 + 2 / dof_S)^2

    Pairs are possible where value k of both sides has the same seed, and so the same data order: what a seed does to both sides
    cancels. ``verdicts.FEWEST_PAIRS`` says from how many seeds on verdicts use them. ``tests/helpers/verdict_rates.py`` measures
    the coverage of both.

    c = 1 would be the rule of Welch and Satterthwaite with I as a term of infinitely many degrees of freedom. Such a term adds
    nothing to the sum below the fraction, which is right: a bootstrap of 1,000 replicates knows I to 4 %, and two seeds know S
    only to a factor of several. But where S is small by chance, the interval is short already, and the rule then trusts I / S
    and takes the normal quantile: with pairs it covers 87 %, not 95 %, at two seeds and I = S / 16. With this c intervals of
    pairs cover 94.0 to 97.2 % at two seeds, 95.0 to 96.6 % at three and 95.0 to 95.7 % at five, for any I / S (by numerical
    integration over S). At I = 0 they are the t intervals above.

    Seeds cannot show a spread below the resolution of the test set: one image of N moves an accuracy by r = 100 / N points.
    S is therefore at least r^2 / n_a + r^2 / n_b. Where N is unknown this holds only for values without any spread, and N is
    taken as 100.

    A side of one pretraining has no spread: the interval is that of the images alone, mean +- z * sqrt(I), if they are given.

    Args:
        a, b: at least one pretraining a side.
        images: from ``bootstrap``: ``common`` or ``paired`` is used where seeds have a spread, else ``total``. A number stands
            for all three; None means unknown.
        confidence: of the two-sided interval, within (0, 1).
        paired: True if value k of both sides has the same seed.

    Raises:
        ValueError: an empty side or group, sides of unequal length if paired, a negative variance, or a confidence outside
            (0, 1).

    Source: Welch, The generalization of 'Student's' problem, Biometrika 34, 1947; Satterthwaite, Biometrics Bulletin 2, 1946.

    >>> round(difference([71.0, 72.0, 73.0], [70.0, 71.0, 72.0]).half, 3)  # t(4) * sqrt(2 / 3)
    2.267
    """
    means_a, means_b = group_means(a), group_means(b)
    if not means_a or not means_b:
        raise ValueError("A difference needs at least one value on each side.")
    if paired and len(means_a) != len(means_b):
        raise ValueError(f"Pairs need as many values on each side; there are {len(means_a)} and {len(means_b)}.")
    if not 0 < confidence < 1:
        raise ValueError(f"The confidence is {confidence}; it must lie between 0 and 1.")
    variance = _checked_variance(images)
    seeds = _seed_part(means_a, means_b, variance.count if variance else None, paired)
    error, dof, kind = _error_of(seeds, variance, paired)
    mean, floored = fmean(means_a) - fmean(means_b), seeds is not None and seeds.floored
    return Difference(mean, len(means_a), len(means_b), error, dof, kind, confidence, paired and seeds is not None, floored)


def _checked_variance(images: ImageVariance | float | None) -> ImageVariance | None:
    """Return the variance over images; a single number stands for all of its parts.

    Raises:
        ValueError: a part is negative or not finite.
    """
    if images is None:
        return None
    variance = images if isinstance(images, ImageVariance) else ImageVariance(images, images)
    parts = [part for part in (variance.total, variance.common, variance.paired) if part is not None]
    if not all(isfinite(part) and part >= 0 for part in parts):
        raise ValueError(f"The variance over images is {variance}; it must be a number, 0 or more.")
    return variance


def _seed_part(a: list[float], b: list[float], count: int | None, paired: bool) -> _SeedPart | None:
    """Return the variance over seeds of the difference of two sides; None if a side has one value."""
    n_a, n_b = len(a), len(b)
    if min(n_a, n_b) < 2:
        return None
    least = (100 / (count or IMAGES)) ** 2
    if paired:
        variance, dof = _variance_of_mean([x - y for x, y in zip(a, b, strict=True)]), n_a - 1.0
    else:
        variance = _variance_of_mean(a) + _variance_of_mean(b)
        dof = _welch(_variance_of_mean(a), _variance_of_mean(b), n_a, n_b)
    rounding = (ROUNDING * max(map(abs, (*a, *b)))) ** 2
    floor = least * (1 / n_a + 1 / n_b)
    if variance <= rounding or (count and variance < floor):
        return _SeedPart(floor, n_a - 1.0 if paired else _welch(least / n_a, least / n_b, n_a, n_b), True)
    return _SeedPart(variance, dof, False)


def _variance_of_mean(values: list[float]) -> float:
    """Return the squared standard error of the mean of two values or more."""
    error = standard_error(values)
    assert error is not None
    return error**2


def _welch(a: float, b: float, n_a: int, n_b: int) -> float:
    """Return the degrees of freedom of a sum of two variances of means; those of equal variances if both are 0."""
    if a + b == 0:
        a, b = 1 / n_a, 1 / n_b
    # in shares of the variance: fourth powers of a tiny spread would vanish
    return 1 / ((a / (a + b)) ** 2 / (n_a - 1) + (b / (a + b)) ** 2 / (n_b - 1))


def _error_of(
    seeds: _SeedPart | None, images: ImageVariance | None, paired: bool
) -> tuple[float, float, str] | tuple[None, None, None]:
    """Return (error, dof, kind) of the interval; three None if neither seeds nor images have a variance."""
    if seeds is None:
        return (sqrt(images.total), inf, "images") if images and images.total else (None, None, None)
    if images is None:
        return sqrt(seeds.variance), seeds.dof, "seeds"
    common = images.paired if paired and images.paired is not None else images.common
    dof = with_images(seeds.dof, common / seeds.variance)
    return sqrt(seeds.variance + common), dof, "seeds and images"


def with_images(dof, ratio):
    """Return the dof of S + I from the dof of S and the ratio I / S, numbers or arrays; see ``difference``."""
    part = 1 + ratio / (1 + 2 / dof) ** 2
    return dof * part * part  # a power would raise an OverflowError where this is inf
