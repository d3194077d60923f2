"""Compare two scales of one study: do they rank the recipes alike, and give each gain the same sign and the same verdict?

The published numbers of a study count as a scale; they have neither seeds nor verdicts.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import permutations
from pathlib import Path
from statistics import fmean

import numpy as np

from tools.engine.analysis.differences import Difference
from tools.engine.analysis.gains import Gain, gains, has_margin, over, over_parents
from tools.engine.analysis.rank_correlation import (
    DIGITS,
    Chance,
    Correlation,
    chance_of,
    permuted_means,
    rank_correlation,
    spearman,
)
from tools.engine.analysis.results import PUBLISHED, SCRATCH, Column, Results, load_results, published_value
from tools.engine.analysis.verdicts import margin_of

EXACT = 8  # recipes whose 40,320 permutations are all tried; of more recipes a sample is

Pair = tuple[str, str]  # (recipe, the one that it is compared with)
Table = dict[Column, dict[Pair, Gain]]


@dataclass(frozen=True)
class Scale:
    """Hold one scale of a study: its results or, with ``published``, the published numbers that these results name."""

    name: str
    results: Results
    published: bool = False

    @property
    def at(self) -> str:
        """Return 'at toy', or 'as published'."""
        return f"as {self.name}" if self.published else f"at {self.name}"


@dataclass(frozen=True)
class Side:
    """Hold what one scale says in one column.

    ``scores`` has each recipe's percent by seed; published numbers have a single seed ''. ``gains`` has each comparison that has
    a number.
    """

    scale: Scale
    column: Column
    scores: Mapping[str, Mapping[str, float]]
    gains: Mapping[Pair, Gain]

    def points(self, pairs: Sequence[Pair]) -> np.ndarray:
        """Return the gains of ``pairs`` in points."""
        return np.array([diff.mean for pair in pairs if (diff := self.gains[pair].diff)])


@dataclass(frozen=True)
class Agreement:
    """Hold how alike two scales judge the comparisons ``pairs``.

    ``ranks`` is the rank correlation of their gains. ``same`` counts the gains of one sign at both (a gain of exactly 0 has
    none), with what it would be by ``chance``. ``decided`` counts the gains that are better or worse at the first scale, and
    ``confirmed`` those of them that have this sign at the second.
    """

    pairs: tuple[Pair, ...]
    ranks: Correlation
    same: int
    chance: Chance | None
    decided: int
    confirmed: int


@dataclass(frozen=True)
class Fidelity:
    """Hold how alike two scales judge the recipes in one metric.

    ``whole`` is of the gains over the reference, ``steps`` of those over the parents, or None if these are the same.
    ``verdicts`` counts the gains over the reference by (verdict at a, verdict at b) where both have one. ``own_ranks`` says how
    alike the seeds of scale a rank the recipes, see ``agreement_of_seeds``. ``left_out`` says why a recipe is not compared.
    """

    a: Side
    b: Side
    whole: Agreement
    steps: Agreement | None
    verdicts: Mapping[Pair, int]
    own_ranks: float | None
    left_out: Mapping[str, str]


@dataclass(frozen=True)
class Comparison:
    """Hold two scales, what they say in each common metric, and the columns of either that the other has no counterpart of."""

    a: Scale
    b: Scale
    metrics: tuple[Fidelity, ...]
    unmatched: tuple[tuple[Scale, Column], ...]


def load_scales(a: str, b: str) -> tuple[Scale, Scale]:
    """Read two scales of one study, each a study's folder; ``b`` may be 'published', the published numbers beside ``a``.

    Raises:
        ValueError: a folder cannot be read, they are not two scales of one study, they share a run or have different references,
            or there are no published numbers.
    """
    if a == PUBLISHED:
        raise ValueError(f"--fidelity {a} {b}: give the study's folder first, as in --fidelity FOLDER {PUBLISHED}.")
    first = load_results(Path(a))
    name = first.study["scale"]
    if b == PUBLISHED:
        if not (first.study.get("published") or {}).get("values"):
            raise ValueError(
                f"{a}/study.json has no published numbers; give the folder of another scale of {first.study['name']}."
            )
        return Scale(name, first), Scale(PUBLISHED, first, published=True)
    second = load_results(Path(b))
    _check_two((a, first), (b, second))
    if name == second.study["scale"]:  # the same scale again, such as with other seeds
        folders = [Path(folder).resolve().name for folder in (a, b)]
        one, other = folders if folders[0] != folders[1] else (a, b)
        return Scale(one, first), Scale(other, second)
    return Scale(name, first), Scale(second.study["scale"], second)


def _check_two(first: tuple[str, Results], second: tuple[str, Results]) -> None:
    """Raise ValueError unless two folders hold independent results of one study over one reference."""
    (a, one), (b, other) = first, second
    if one.study["name"] != other.study["name"]:
        raise ValueError(
            f"{a} is of the study {one.study['name']} and {b} of {other.study['name']}; give two scales of one study, or "
            f"'{PUBLISHED}' as the second."
        )
    if shared := {row["run"] for row in one.rows} & {row["run"] for row in other.rows}:
        raise ValueError(f"{a} and {b} share {len(shared)} runs, such as {min(shared)}; give two scales that were run apart.")
    if one.reference != other.reference:
        raise ValueError(
            f"Gains of {a} are over {one.reference} and those of {b} over {other.reference}. Run the reference "
            f"{one.study.get('reference') or one.reference} at both scales, and collect again."
        )


def compare_scales(a: Scale, b: Scale, margins: Mapping[str, float] | None = None) -> Comparison:
    """Compare two scales in each metric that both have.

    Columns belong together if metric and network are the same; among several protocols, those of the same name if there are any.
    Scratch is no trick and is left out unless it is the reference, and so is a recipe that lost a seed to divergence.

    Args:
        margins: see ``gains.gains``.

    Raises:
        ValueError: no gain has a number at both scales.
    """
    tables = [_gains_at(scale, margins or {}) for scale in (a, b)]
    columns = _common_columns(*tables)
    fidelities = [_fidelity(_side(a, one, tables[0]), _side(b, other, tables[1])) for one, other in columns]
    metrics = tuple(fidelity for fidelity in fidelities if fidelity.whole.pairs)
    if not metrics:
        names = [", ".join(dict.fromkeys(c.metric for c in table)) or "no metric" for table in tables]
        raise ValueError(
            f"No gain has a number at both scales: {a.at} there are gains in {names[0]}, {b.at} in {names[1]}. Run the same "
            "recipes and tasks at both, and collect again."
        )
    matched = [{fidelity.a.column for fidelity in metrics}, {fidelity.b.column for fidelity in metrics}]
    unmatched = [(scale, c) for scale, table, both in zip((a, b), tables, matched, strict=True) for c in table if c not in both]
    return Comparison(a, b, metrics, tuple(unmatched))


def _pairs(results: Results) -> list[Pair]:
    """Return the comparisons with the reference and with the parents, each once, without the control from scratch."""
    reference = results.reference
    pairs = dict.fromkeys([*over(results, reference), *over_parents(results)])
    return [(recipe, base) for recipe, base in pairs if recipe != SCRATCH and (base != SCRATCH or base == reference)]


def _gains_at(scale: Scale, margins: Mapping[str, float]) -> Table:
    """Return the gains of a scale that have a number, by column."""
    results, table = scale.results, Table()
    made = _published_gains(results, margins) if scale.published else gains(results, _pairs(results), margins)
    for gain in made:
        if gain.diff:
            table.setdefault(gain.column, {})[gain.recipe, gain.base] = gain
    return table


def _published_gains(results: Results, margins: Mapping[str, float]) -> Iterator[Gain]:
    """Yield the published gains, without intervals and verdicts; their protocol is the published one."""
    protocols = results.study["published"].get("protocols") or {}
    columns = dict.fromkeys(
        Column(c.metric, c.network, protocols.get(results.task_of(c), PUBLISHED))
        for c in results.columns
        if c.metric in margins or has_margin(c.metric)
    )
    for column in columns:
        margin = margins[column.metric] if column.metric in margins else margin_of(column.metric)
        for recipe, base in _pairs(results):
            value, other = (published_value(results, name, column) for name in (recipe, base))
            if value is not None and other is not None:
                yield Gain(recipe, base, column, Difference(value - other, 1, 1, None, None, None), None, margin, "")


def _common_columns(first: Table, second: Table) -> list[tuple[Column, Column]]:
    """Return the columns that belong together, see ``compare_scales``."""
    pairs = []
    for one in first:
        others = [c for c in second if (c.metric, c.network) == (one.metric, one.network)]
        pairs += [(one, other) for other in [c for c in others if c.protocol == one.protocol] or others]
    return pairs


def _side(scale: Scale, column: Column, table: Table) -> Side:
    """Return what a scale says in a column."""
    results, scores = scale.results, {}
    for recipe in results.study["recipes"]:
        cell = results.cell(recipe, column)
        value = published_value(results, recipe, column)
        if scale.published and value is not None:
            scores[recipe] = {"": value}
        elif not scale.published and cell.runs:
            scores[recipe] = dict(zip(cell.seeds, cell.points, strict=True))
    return Side(scale, column, scores, table[column])


def _fidelity(a: Side, b: Side) -> Fidelity:
    """Compare two sides in one metric."""
    reference, parents = a.scale.results.reference, set(over_parents(a.scale.results))
    unfair = {recipe for recipe in a.scores if recipe != reference and any(_diverged(recipe, side) for side in (a, b))}
    pairs = [pair for pair in a.gains if pair in b.gains and not unfair & set(pair)]
    whole = tuple((recipe, base) for recipe, base in pairs if base == reference)
    steps = tuple(pair for pair in pairs if pair in parents)
    return Fidelity(
        a,
        b,
        agreement(whole, a, b),
        agreement(steps, a, b) if set(steps) - set(whole) else None,
        Counter(words for pair in whole if all(words := (a.gains[pair].verdict, b.gains[pair].verdict))),
        agreement_of_seeds([a.scores[recipe] for recipe, _ in whole]),
        _left_out(a, b, {reference, *(name for pair in (*whole, *steps) for name in pair)}),
    )


def _diverged(recipe: str, side: Side) -> int:
    """Return the number of seeds that a recipe lost to divergence."""
    return 0 if side.scale.published else len(side.scale.results.lost(recipe, side.column)[0])


def _left_out(a: Side, b: Side, compared: set[str]) -> dict[str, str]:
    """Return why recipes of either scale are not compared: {recipe: reason}."""
    reasons = {}
    for recipe in dict.fromkeys(name for side in (a, b) for name in side.scale.results.study["recipes"]):
        absent = [side.scale.at for side in (a, b) if recipe not in side.scores]
        lost = [f"{n} diverged {side.scale.at}" for side in (a, b) if (n := _diverged(recipe, side))]
        if recipe not in compared:
            absences = lost or [f"no number {place}" for place in absent]
            reasons[recipe] = "trains from random weights, which is no trick" if recipe == SCRATCH else ", ".join(absences)
    return reasons


def agreement(pairs: Sequence[Pair], a: Side, b: Side, seed: int = 0) -> Agreement:
    """Compare the gains of ``pairs`` at two scales, and say how alike they would be if all recipes were equal at the first.

    The two scales share no run, so luck at one says nothing of luck at the other, and the names of the recipes are permuted at
    the first alone. The reference's is one of these names: all gains share it, so that an unlucky one makes every gain positive.
    A base that all gains share does not matter to their ranks.

    Args:
        seed: of the permutations, where not all of them are tried.
    """
    x, y = a.points(pairs), b.points(pairs)
    names = list(dict.fromkeys(name for pair in pairs for name in pair))
    recipes, bases = ([names.index(pair[i]) for pair in pairs] for i in (0, 1))
    means, exact = _renamed([a.scores[name] for name in names], np.random.default_rng(seed))
    by_chance = means[:, recipes] - means[:, bases]
    ranks, same = rank_correlation(x.tolist(), y.tolist()), int(_same_signs(x, y))
    if ranks.rho is not None:
        ranks = Correlation(ranks.rho, ranks.n, chance_of(spearman(by_chance, y), ranks.rho, exact))
    decided = [pair for pair in pairs if a.gains[pair].verdict in ("better", "worse")]
    confirmed = int(_same_signs(a.points(decided), b.points(decided)))
    chance = chance_of(_same_signs(by_chance, y).astype(float), same, exact) if pairs else None
    return Agreement(tuple(pairs), ranks, same, chance, len(decided), confirmed)


def _renamed(pretrainings: Sequence[Mapping[str, float]], rng: np.random.Generator) -> tuple[np.ndarray, bool]:
    """Return the means of recipes after their names were permuted, (R, recipes), and whether these are all permutations.

    Few recipes with the same seeds keep their pretrainings together. To permute the names within each seed would rank the recipes
    in every order equally often too, and has far too many permutations to try them all.
    """
    if len(pretrainings) <= EXACT and all(runs.keys() == pretrainings[0].keys() for runs in pretrainings):
        means = np.array([fmean(runs.values()) for runs in pretrainings])
        return means[np.array([*permutations(range(len(means)))], int)], True
    return permuted_means(pretrainings, rng), False


def _same_signs(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return how many numbers of the last axis have the same sign in both."""
    return (np.sign(np.round(x, DIGITS)) * np.sign(np.round(y, DIGITS)) > 0).sum(-1)


def agreement_of_seeds(recipes: Sequence[Mapping[str, float]]) -> float | None:
    """Return the mean rank correlation between the values of one seed and the means of the other seeds.

    A scale that does not agree with itself can agree with no other. It is None for fewer than three recipes, where recipes have
    different seeds or a single one, and where all values of a seed are equal.
    """
    if not recipes or len(recipes[0]) < 2 or any(runs.keys() != recipes[0].keys() for runs in recipes):
        return None
    values = np.array([[*runs.values()] for runs in recipes])  # recipe, seed
    rests = [np.delete(values, seed, axis=1).mean(axis=1) for seed in range(values.shape[1])]
    rhos = [rank_correlation(values[:, seed].tolist(), rest.tolist()).rho for seed, rest in enumerate(rests)]
    defined = [rho for rho in rhos if rho is not None]
    return fmean(defined) if len(defined) == len(rhos) else None
