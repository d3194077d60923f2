"""Compute gains: what one recipe has over another in each metric, with interval, adjusted p and verdict, for all tasks.

Needs only the files of a study's folder, and nothing that trains.
"""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass

from tools.engine.analysis.differences import Difference, ImageVariance, difference
from tools.engine.analysis.rank_correlation import Correlation, correlation_of_gains
from tools.engine.analysis.results import SCRATCH, Column, Results
from tools.engine.analysis.verdicts import FEWEST_PAIRS, MARGINS, holm, margin_of, verdict

Pairs = Iterable[tuple[str, str]]  # (recipe, the one that it is compared with)
Comparison = tuple[frozenset[str], Column]  # two recipes in one column, in either direction
TEACHER = "distillation"  # the trick whose rows rest on one teacher


@dataclass(frozen=True)
class Gain:
    """Hold the difference ``recipe`` minus ``base`` in one column, in points.

    ``diff`` is None where either has no number. ``p`` is adjusted by Holm's method for all comparisons of its task on the page;
    it is None where seeds have no spread. ``verdict`` is '' in a metric that has none, see ``decisive``. ``remarks`` say what
    the verdict rests on.
    """

    recipe: str
    base: str
    column: Column
    diff: Difference | None
    p: float | None
    margin: float
    verdict: str
    remarks: tuple[str, ...] = ()

    @property
    def words(self) -> str:
        """Return the verdict and its remarks: 'better (one teacher)'."""
        return f"{self.verdict} ({', '.join(self.remarks)})" if self.verdict and self.remarks else self.verdict


def gains(results: Results, pairs: Pairs, margins: Mapping[str, float] | None = None) -> list[Gain]:
    """Return the gains of each pair in every column that has a margin and a run of the base, in the order of ``pairs``.

    A comparison has one p and one verdict, whichever pairs are asked for: both follow from all comparisons of its task that the
    page makes, see ``families``.

    Args:
        pairs: of ``over`` or ``over_parents``.
        margins: {metric: points} instead of the defaults of ``verdicts.MARGINS``.

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
    ps, decided = adjusted(results), set(decisive(results))
    return [
        _gain(results, recipe, base, c, margins[c.metric] if c.metric in margins else margin_of(c.metric), c in decided, ps)
        for recipe, base in pairs
        for c in columns
        if results.cell(base, c).ran
    ]


def _gain(
    results: Results,
    recipe: str,
    base: str,
    column: Column,
    margin: float,
    is_decisive: bool,
    ps: Mapping[Comparison, float | None],
) -> Gain:
    """Return one gain; its seven parameters are the fields of one comparison."""
    diff = _difference(results, recipe, base, column)
    if diff is None or not is_decisive:
        return Gain(recipe, base, column, diff, None, margin, "")
    p = ps[frozenset((recipe, base)), column]
    word = "undecided" if _diverged(results, recipe, base, column) else verdict(diff, margin, p)
    return Gain(recipe, base, column, diff, p, margin, word, _remarks(results, recipe, base, column, diff))


def _difference(results: Results, recipe: str, base: str, column: Column) -> Difference | None:
    """Return the difference of two recipes in a column; None without a number.

    It is paired if both have the same seeds and at least ``FEWEST_PAIRS``, whatever their values are.
    """
    a, b = results.cell(recipe, column), results.cell(base, column)
    if not a.groups or not b.groups:
        return None
    paired = a.design == b.design and len(a.design) >= FEWEST_PAIRS
    return difference(a.groups, b.groups, image_variance(results, recipe, base, column), paired=paired)


def decisive(results: Results) -> list[Column]:
    """Return the columns that have verdicts: those of each task's first metric (top-1, mAP, mIoU), or of the first shown one.

    Other metrics measure the same runs again; a verdict of each would be a second one on the same comparison.
    """
    columns = []
    first = results.study.get("decisive", {})
    for task in dict.fromkeys(map(results.task_of, results.columns)):
        of_task = [c for c in results.columns if results.task_of(c) == task and task and has_margin(c.metric)]
        metrics = [c.metric for c in of_task]
        metric = first[task] if first.get(task) in metrics else next(iter(metrics), "")
        columns += [c for c in of_task if c.metric == metric]
    return columns


def families(results: Results) -> list[list[Comparison]]:
    """Return the comparisons whose p are adjusted together, each pair of recipes once.

    For each task, one family holds all pairs of a recipe with the reference and with its parents, in all columns of the task's
    first metric (networks and protocols). The other pairs with scratch, which ask whether pretraining helps at all, are a second.
    """
    steps = list(dict.fromkeys(map(frozenset, [*over(results, results.reference), *over_parents(results)])))
    control = [pair for pair in map(frozenset, over(results, SCRATCH)) if pair not in steps]
    columns = decisive(results)
    return [
        [(pair, c) for pair in pairs for c in columns if results.task_of(c) == task]
        for task in dict.fromkeys(map(results.task_of, columns))
        for pairs in (steps, control)
    ]


def adjusted(results: Results) -> dict[Comparison, float | None]:
    """Return p, adjusted by Holm's method in its family, of each comparison of the page; None for one that is no test."""
    ps: dict[Comparison, float | None] = {}
    for family in families(results):
        ps |= dict(zip(family, holm([_p(results, *comparison) for comparison in family]), strict=True))
    return ps


def _p(results: Results, pair: frozenset[str], column: Column) -> float | None:
    """Return the p of a comparison alone; None if it is no test, since a number or a seed is lacking or a seed diverged."""
    recipe, base = sorted(pair)
    diff = _difference(results, recipe, base, column)
    return None if diff is None or _diverged(results, recipe, base, column) else diff.p


def _diverged(results: Results, recipe: str, base: str, column: Column) -> bool:
    """Return True if a seed of either recipe diverged: those that survived are no fair sample."""
    return any(results.lost(side, column)[0] for side in (recipe, base))


def _remarks(results: Results, recipe: str, base: str, column: Column, diff: Difference) -> tuple[str, ...]:
    """Return what the verdict of a comparison rests on."""
    remarks = []
    for side in (recipe, base):
        diverged, missing = results.lost(side, column)
        if diverged:
            remarks.append(f"{len(diverged)} of {results.label(side)} diverged")
        elif missing:
            count = len(results.cell(side, column).seeds)
            remarks.append(f"{count} of {count + len(missing)} seeds of {results.label(side)}")
    tricks = [results.study.get("tricks", {}).get(side) for side in (recipe, base)]
    if any(isinstance(names, list) and TEACHER in (name for name, _ in names) for names in tricks):
        remarks.append("one teacher")
    if any(isinstance(names, str) for names in tricks):
        remarks.append("one pretraining")
    if diff.floored:
        remarks.append("spread below 1 image")
    return tuple(remarks)


def image_variance(results: Results, recipe: str, base: str, column: Column) -> ImageVariance | None:
    """Return the variance of a difference over test images as study.json has it; None if it was not collected."""
    fields = dict(metric=column.metric, network=column.network, protocol=column.protocol, split=column.split)
    for item in results.study.get("images", ()):
        if {item["recipe"], item["base"]} == {recipe, base} and all(item[key] == value for key, value in fields.items()):
            return ImageVariance(item["total"], item["common"], item.get("paired"), item.get("count"))
    return None


def comparisons(results: Results, margins: Mapping[str, float] | None = None) -> dict:
    """Return the content of gains.json: every comparison and rank correlation of a report, with interval, p and verdict.

    Args:
        margins: see ``gains``.
    """
    tables = {name: over(results, base) for name, base in (("reference", results.reference), (SCRATCH, SCRATCH))}
    tables["parents"] = over_parents(results)
    pairs = dict.fromkeys(pair for table in tables.values() for pair in table)
    ranks = [
        {"recipe": "all", "base": name} | _place(column) | asdict(correlation)
        for name in ("reference", "parents")
        for column, correlation in correlations(results, gains(results, tables[name], margins)).items()
    ]
    table = [_entry(gain) for gain in gains(results, pairs, margins) if gain.diff]
    return {"margins": dict(margins or {}), "gains": table, "correlations": ranks}


def _entry(gain: Gain) -> dict:
    """Return a gain as gains.json has it."""
    assert gain.diff is not None
    low, high = gain.diff.interval or (None, None)
    figures = {"gain": gain.diff.mean, "low": low, "high": high, "p": gain.p, "verdict": gain.words}
    return {"recipe": gain.recipe, "base": gain.base} | _place(gain.column) | figures


def _place(column: Column) -> dict[str, str]:
    return {"metric": column.metric, "network": column.network, "protocol": column.protocol, "split": column.split}


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


def pairs_of(recipes: Iterable[str], reference: str, parents: Mapping[str, list[str]]) -> list[tuple[str, str]]:
    """Return all pairs that a report compares, each once: over the reference, over the parents and over scratch."""
    bases = {r: [reference, *parents.get(r, ()), SCRATCH] for r in recipes}
    return list(dict.fromkeys((r, b) for r in bases for b in bases[r] if b in bases and b != r))


def primary(results: Results) -> list[Column]:
    """Return the columns of top-1, mAP, pixAcc and mIoU, whose gains are ranked."""
    return [c for c in results.columns if c.metric in MARGINS]


def correlations(results: Results, table: list[Gain]) -> dict[Column, Correlation]:
    """Return for each transfer column the rank correlation of its gains with the gains in top-1, over pairs that have both.

    Only pretrainings with a value in both count. The first column of top-1 counts where there are several; without one the
    result is empty.

    Args:
        table: the gains, from ``gains``.
    """
    columns = primary(results)
    top1 = next((c for c in columns if c.metric == "top1"), None)
    if top1 is None:
        return {}
    steps = list(dict.fromkeys((g.recipe, g.base) for g in table))
    return {c: _correlation(results, steps, top1, c) for c in columns if c.metric != "top1"}


def _correlation(results: Results, steps: list[tuple[str, str]], top1: Column, column: Column) -> Correlation:
    """Return the rank correlation of the gains of ``steps`` in one column with those in top-1."""
    pretrainings = {}
    for recipe in dict.fromkeys(name for step in steps for name in step):
        first, second = (dict(zip((c := results.cell(recipe, k)).seeds, c.points, strict=True)) for k in (top1, column))
        if both := {seed: (first[seed], second[seed]) for seed in first if seed in second}:
            pretrainings[recipe] = both
    return correlation_of_gains(pretrainings, [s for s in steps if pretrainings.keys() >= set(s)])
