"""Build the tables of gains, each with its interval and verdict, and that of their rank correlations."""

from collections.abc import Iterable, Mapping

from tools.engine.analysis.gains import Gain, correlations, primary
from tools.engine.analysis.rank_correlation import Correlation, rank_correlation
from tools.engine.analysis.results import DASH, PUBLISHED, Column, Results, heading_of, published_gain
from tools.engine.analysis.verdicts import FEWEST_PAIRS
from tools.engine.reporting.answer.wording import digits_of, interval_text, signed
from tools.engine.reporting.document import Table
from tools.engine.reporting.result_tables import like_for_like, marked

RULES = (
    "Gains are in points. The 95 % interval covers the variance between pretrainings and that of the test images, by a paired "
    "bootstrap. If both recipes have the same seeds and {fewest} or more ('{fewest} pairs'), each run is compared with the other "
    "recipe's of the same seed, by a t interval of the differences; with fewer seeds, or seeds that differ ('3 vs 3'), by "
    "Welch's interval. Images only: there is one seed, so the interval does not cover the variance over seeds.",
    "There is one verdict for each pair of recipes in a task, in its first metric ({decisive}); it is the same wherever the pair "
    "appears in this report. p is adjusted by Holm's method for all pairs of a recipe with the reference or a parent in that "
    "task (pairs with scratch: for those among themselves).",
    "Equivalent: the interval lies within the margin ({margins}). Better or worse: p below 0.05. Undecided: all other gains, all "
    "with one seed, and all in which a seed diverged.",
)
RANKS = (
    "Rank correlation: Spearman's rho between the gains in top-1 and those in the transfer, from -1 to 1. By chance: what rho "
    "would be if all recipes were equal, as its mean and the range of 95 %, from 4,000 permutations of the recipes' names over "
    "the pretrainings (within each seed where all recipes have the same seeds). It is not 0, since a lucky pretraining has a "
    "higher top-1 and a better transfer. p: the share of permutations with a higher rho (of those with an equal one half "
    "count); only a p below 0.05 says that what gains in top-1 also gains in the transfer."
)


def gain_table(results: Results, table: list[Gain], title: str, note: str = "") -> Table:
    """Return a table with a row for each gain.

    The bases of the gains get a column if they differ, and published gains get one if any exist.
    """
    published = [published_gain(results, g.recipe, g.base, g.column) for g in table]
    has_bases, has_published = len({g.base for g in table}) > 1, any(points is not None for points in published)
    rows = []
    for g, points in zip(table, published, strict=True):
        row = [marked(results, g.recipe)]
        if has_bases:
            row.append(results.label(g.base))
        row.append(results.heading(g.column))
        if has_published:
            row.append(DASH if points is None else f"{points:+.2f}")
        rows.append([*row, *gain_cells(results, g)])
    header = _gain_header(has_bases, has_published)
    pairs = zip(table, published, strict=True)
    unlike = any(points is not None and not like_for_like(results, g.column) for g, points in pairs)
    grey = (header.index(f"{PUBLISHED} gain"),) if unlike else ()
    texts = ("recipe", "over", "metric", "verdict")
    align = "".join("l" if name in texts else "r" for name in header)
    return Table(title, align, header, rows, note, grey)


def rules(table: list[Gain]) -> tuple[str, ...]:
    """Return how the verdicts of a table are made, with its metrics and margins."""
    decisive = [g for g in table if g.verdict] or table
    margins = dict.fromkeys(f"{heading_of(g.column.metric)} ±{g.margin:g}" for g in decisive)
    names = dict.fromkeys(heading_of(g.column.metric) for g in decisive)
    words = dict(decisive=", ".join(names), margins=", ".join(margins), fewest=FEWEST_PAIRS)
    return tuple(rule.format(**words) for rule in RULES)


def _gain_header(has_bases: bool, has_published: bool) -> list[str]:
    header = ["recipe", "over", "metric"] if has_bases else ["recipe", "metric"]
    if has_published:
        header.append(f"{PUBLISHED} gain")
    return [*header, "gain", "95 % interval", "n", "p (Holm)", "verdict"]


def gain_cells(results: Results, gain: Gain) -> list[str]:
    """Return [points, interval, n, p, verdict], with dashes for missing values."""
    counts = [len(results.cell(r, gain.column).points) for r in (gain.recipe, gain.base)]
    n = "{} vs {}".format(*counts)
    if gain.diff is None:
        return [DASH, DASH, n, DASH, DASH]
    if gain.diff.paired:
        n = f"{gain.diff.n_a} pairs"
    digits = digits_of(results, gain.column)
    interval = interval_text(gain.diff, digits) or DASH
    if gain.diff.kind == "images":
        interval += " images only"
    return [signed(gain.diff.mean, digits), interval, n, p_value(gain.p), gain.words or DASH]


def p_value(p: float | None) -> str:
    """Return a p with three decimals, a dash for None."""
    if p is None:
        return DASH
    return "<0.001" if p < 0.001 else f"{p:.3f}"


def rank_table(results: Results, tables: Mapping[str, list[Gain]]) -> Table:
    """Return Spearman's rho between the gains in top-1 and those in each transfer, and what it would be by chance.

    Args:
        tables: gains by the name of their base.
    """
    rows, published, no_chance = [], [], False
    for name, table in tables.items():
        for column, rank in correlations(results, table).items():
            if rank.rho is not None:
                rows.append([results.heading(column), name, _rho(rank), *_chance(rank)])
                no_chance |= rank.chance is None
        pairs = list(dict.fromkeys((g.recipe, g.base) for g in table))
        if rhos := _published_rhos(results, pairs, primary(results)):
            published.append(f" The published gains over {name} give {rhos}.")
    note = RANKS + (" With one seed, luck and gain cannot be separated, and no chance is given." if no_chance else "")
    header = ["transfer to", "gains over", "rank correlation with top-1", "by chance", "p"]
    return Table("Rank correlation of gains", "llrrr", header, rows, note + "".join(published))


def _rho(correlation: Correlation) -> str:
    return DASH if correlation.rho is None else f"{correlation.rho:+.2f} (of {correlation.n})"


def _chance(correlation: Correlation) -> list[str]:
    """Return what rho would be by chance, and p: ['+0.45 [-0.43, +0.94]', '0.212']."""
    if correlation.chance is None:
        return [DASH, DASH]
    chance = correlation.chance
    return [f"{chance.mean:+.2f} [{chance.low:+.2f}, {chance.high:+.2f}]", p_value(chance.p)]


def _published_rhos(results: Results, pairs: Iterable[tuple[str, str]], columns: list[Column]) -> str:
    """Return the rank correlations of the published gains of the same pairs, such as 'mAP +0.94 (of 6)'."""
    gains = {c: {pair: published_gain(results, *pair, c) for pair in pairs} for c in columns}
    top1 = next((c for c in columns if c.metric == "top1"), None)
    ranks = {c: _rank(gains[top1], gains[c]) for c in columns if top1 and c != top1}
    return ", ".join(f"{heading_of(c.metric)} {_rho(rank)}" for c, rank in ranks.items() if rank.rho is not None)


def _rank(gains: Mapping[tuple, float | None], transfer: Mapping[tuple, float | None]) -> Correlation:
    """Return the rank correlation of two gains of the same pairs; a pair without a number in both is left out."""
    pairs = [(x, y) for pair, x in gains.items() if x is not None and (y := transfer[pair]) is not None]
    return rank_correlation([x for x, _ in pairs], [y for _, y in pairs])
