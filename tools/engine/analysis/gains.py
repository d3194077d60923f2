"""Compute gains: what one recipe has over another in each metric, with interval, adjusted p and verdict, for all tasks.

Needs only the files of a study's folder, and nothing that trains.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from tools.engine.analysis.results import SCRATCH, Column, Results
from tools.engine.analysis.statistics import (
    MARGINS,
    Correlation,
    Difference,
    ImageVariance,
    difference,
    holm,
    margin_of,
    rank_correlation,
    verdict,
)

Pairs = Iterable[tuple[str, str]]  # (recipe, the one that it is compared with)


@dataclass(frozen=True)
class Gain:
    """Hold the difference ``recipe`` minus ``base`` in one column, in points.

    ``diff`` is None where either has no number. ``p`` is adjusted by Holm's method for all comparisons of one table and task;
    it is None where seeds have no spread.
    """

    recipe: str
    base: str
    column: Column
    diff: Difference | None
    p: float | None
    margin: float
    verdict: str


def gains(results: Results, pairs: Pairs, margins: Mapping[str, float] | None = None) -> list[Gain]:
    """Return the gains of each pair in every column that has a margin and a run of the base, in the order of ``pairs``.

    Args:
        pairs: of one table: those of one task are a family of Holm's method.
        margins: {metric: points} instead of the defaults of ``statistics.MARGINS``.

    Raises:
        ValueError: a margin for a metric that the study does not have.
    """
    margins = dict(margins or {})
    if unknown := [m for m in margins if m not in results.study["metrics"]]:
        raise ValueError(
            f"There is no metric {unknown[0]!r} in this study; give margins only for its metrics: "
            f"{', '.join(results.study['metrics'])}."
        )
    columns = [c for c in results.columns if c.metric in margins or has_margin(c.metric)]
    table = [
        _gain(results, recipe, base, c, margins[c.metric] if c.metric in margins else margin_of(c.metric))
        for recipe, base in pairs
        for c in columns
        if results.cell(base, c).ran
    ]
    for task in dict.fromkeys(results.task_of(gain.column) for gain in table):
        family = [i for i, gain in enumerate(table) if results.task_of(gain.column) == task]
        for i, gain in zip(family, _adjusted([table[i] for i in family]), strict=True):
            table[i] = gain
    return table


def _gain(results: Results, recipe: str, base: str, column: Column, margin: float) -> Gain:
    """Return a gain whose p and verdict still lack the adjustment for its family."""
    a, b = results.cell(recipe, column).groups, results.cell(base, column).groups
    diff = difference(a, b, image_variance(results, recipe, base, column)) if a and b else None
    return Gain(recipe, base, column, diff, None, margin, "")


def _adjusted(family: list[Gain]) -> list[Gain]:
    """Return the gains of one family with p adjusted by Holm's method, and the verdicts that follow."""
    adjusted = holm([gain.diff.p if gain.diff else None for gain in family])
    return [
        replace(gain, p=p, verdict=verdict(gain.diff, gain.margin, p) if gain.diff else "")
        for gain, p in zip(family, adjusted, strict=True)
    ]


def image_variance(results: Results, recipe: str, base: str, column: Column) -> ImageVariance | None:
    """Return the variance of a difference over test images as study.json has it; None if it was not collected."""
    fields = dict(metric=column.metric, network=column.network, protocol=column.protocol, split=column.split)
    for item in results.study.get("images", ()):
        if {item["recipe"], item["base"]} == {recipe, base} and all(item[key] == value for key, value in fields.items()):
            return ImageVariance(item["total"], item["common"])
    return None


def has_margin(metric: str) -> bool:
    """Return True if a difference in this metric can be a gain: percent, where higher is better."""
    try:
        margin_of(metric)
    except ValueError:
        return False
    return True


def over(results: Results, base: str) -> list[tuple[str, str]]:
    """Pair every other recipe with ``base``; return no pair if ``base`` has not run."""
    return [(r, base) for r in results.study["recipes"] if r != base and results.seeds(base)]


def over_parents(results: Results) -> list[tuple[str, str]]:
    """Pair every recipe with each of its parents that has run."""
    parents = results.study.get("parents", {})
    return [(r, base) for r in results.study["recipes"] for base in parents.get(r, ()) if results.seeds(base)]


def pairs_of(recipes: list[str], reference: str, parents: Mapping[str, list[str]]) -> list[tuple[str, str]]:
    """Return all pairs that a report compares, each once: over the reference, over the parents and over scratch."""
    bases = {r: [reference, *parents.get(r, ()), SCRATCH] for r in recipes}
    return list(dict.fromkeys((r, b) for r in recipes for b in bases[r] if b in recipes and b != r))


def primary(results: Results) -> list[Column]:
    """Return the columns of the ledger: those of top-1, mAP, pixAcc and mIoU."""
    return [c for c in results.columns if c.metric in MARGINS]


def correlations(results: Results, found: list[Gain]) -> dict[Column, Correlation]:
    """Return for each transfer column the rank correlation of its gains with the gains in top-1, over pairs that have both.

    The first column of top-1 counts where there are several; without one the result is empty.

    Args:
        found: the gains, from ``gains``.
    """
    columns = primary(results)
    top1 = next((c for c in columns if c.metric == "top1"), None)
    if top1 is None:
        return {}
    return {c: rank_correlation(_means(found, top1), _means(found, c)) for c in columns if c.metric != "top1"}


def _means(table: list[Gain], column: Column) -> dict[tuple[str, str], float | None]:
    """Return {(recipe, base): points} of a column; None for a gain without a number."""
    return {(gain.recipe, gain.base): gain.diff.mean if gain.diff else None for gain in table if gain.column == column}
