"""Gains: what one recipe has over another in each metric, with interval, adjusted p and verdict, and the ledger of all tasks.

Needs what a study's folder holds, and nothing that trains.
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
    """``recipe`` minus ``base`` in one column, in points.

    ``diff`` is None where either has no number. ``p`` is adjusted by Holm's method for all comparisons of one table and task;
    None where seeds have no spread.
    """

    recipe: str
    base: str
    column: Column
    diff: Difference | None
    p: float | None
    margin: float
    verdict: str


def gains(results: Results, pairs: Pairs, margins: Mapping[str, float] | None = None) -> list[Gain]:
    """The gains of each pair in every column that has a margin and a run of the base, in the order of ``pairs``.

    Args:
        pairs: of one table: with a task, they are the family of Holm's method.
        margins: {metric: points} instead of the defaults of ``compare.MARGINS``.

    Raises:
        ValueError: a margin for a metric that the study has not.
    """
    margins = dict(margins or {})
    if unknown := [m for m in margins if m not in results.study["metrics"]]:
        own = ", ".join(results.study["metrics"])
        raise ValueError(f"There is no metric {unknown[0]!r} in this study to have a margin; its metrics: {own}.")
    columns = [c for c in results.columns if c.metric in margins or has_margin(c.metric)]
    found = [
        _gain(results, recipe, base, c, margins[c.metric] if c.metric in margins else margin_of(c.metric))
        for recipe, base in pairs
        for c in columns
        if results.cell(base, c).ran
    ]
    for task in dict.fromkeys(results.task_of(g.column) for g in found):
        family = [i for i, g in enumerate(found) if results.task_of(g.column) == task]
        adjusted = holm([found[i].diff.p if found[i].diff else None for i in family])
        for i, p in zip(family, adjusted, strict=True):
            gain = found[i]
            word = verdict(gain.diff, gain.margin, p) if gain.diff else ""
            found[i] = replace(gain, p=p, verdict=word)
    return found


def _gain(results: Results, recipe: str, base: str, column: Column, margin: float) -> Gain:
    a, b = results.cell(recipe, column).groups, results.cell(base, column).groups
    diff = difference(a, b, image_variance(results, recipe, base, column)) if a and b else None
    return Gain(recipe, base, column, diff, None, margin, "")


def image_variance(results: Results, recipe: str, base: str, column: Column) -> ImageVariance | None:
    """The variance of a difference over test images, as it was collected; None where it was not."""
    wanted = dict(metric=column.metric, network=column.network, protocol=column.protocol, split=column.split)
    for item in results.study.get("images", ()):
        if {item["recipe"], item["base"]} == {recipe, base} and all(item[key] == value for key, value in wanted.items()):
            return ImageVariance(item["total"], item["common"])
    return None


def has_margin(metric: str) -> bool:
    """Whether a difference in this metric can be a gain: percent, where higher is better."""
    try:
        margin_of(metric)
    except ValueError:
        return False
    return True


def over(results: Results, base: str) -> list[tuple[str, str]]:
    """Every other recipe with ``base``; none where ``base`` has not run."""
    return [(r, base) for r in results.study["recipes"] if r != base and results.seeds(base)]


def over_parents(results: Results) -> list[tuple[str, str]]:
    """Every recipe with those that it is a step from, as far as they have run."""
    parents = results.study.get("parents", {})
    return [(r, base) for r in results.study["recipes"] for base in parents.get(r, ()) if results.seeds(base)]


def pairs_of(recipes: list[str], reference: str, parents: Mapping[str, list[str]]) -> list[tuple[str, str]]:
    """All pairs that a report compares, each once: over the reference, over the parents and over scratch."""
    bases = {r: [reference, *parents.get(r, ()), SCRATCH] for r in recipes}
    return list(dict.fromkeys((r, b) for r in recipes for b in bases[r] if b in recipes and b != r))


def primary(results: Results) -> list[Column]:
    """The columns of the ledger: those of top-1, mAP, pixAcc and mIoU."""
    return [c for c in results.columns if c.metric in MARGINS]


def correlations(results: Results, found: list[Gain]) -> dict[Column, Correlation]:
    """Of each transfer's column the rank correlation of its gains with the gains in top-1, over the pairs that have both.

    Where top-1 has several columns the first counts.
    """
    columns = primary(results)
    first = next((c for c in columns if c.metric == "top1"), None)
    return {c: rank_correlation(_means(found, first), _means(found, c)) for c in columns if c.metric != "top1" and first}


def _means(found: list[Gain], column: Column) -> dict[tuple[str, str], float | None]:
    return {(g.recipe, g.base): g.diff.mean if g.diff else None for g in found if g.column == column}
