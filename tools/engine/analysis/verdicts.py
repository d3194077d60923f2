"""Give each comparison of two recipes its verdict: the margin that counts as none, p adjusted for its family, and the rule."""

from collections.abc import Sequence
from math import isfinite

from tools.engine.analysis.differences import BY_SEEDS, Difference

VERDICTS = ("better", "worse", "equivalent", "undecided")
ALPHA = 0.05
FEWEST_PAIRS = 4  # seeds from which runs of equal seeds are compared as pairs; two or three take Welch's interval
MARGINS = {"top1": 0.2, "mAP": 0.3, "pixAcc": 0.2, "mIoU": 0.5}  # points; a smaller difference counts as none


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
