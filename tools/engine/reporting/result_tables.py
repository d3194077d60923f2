"""Build the tables of what a report found: published numbers beside ours, gains with verdicts, ledgers, and spreads."""

from collections.abc import Mapping
from statistics import fmean, stdev

from tools.engine.analysis.gains import Gain, correlations, has_margin, primary
from tools.engine.analysis.results import DASH, Column, Results, heading_of
from tools.engine.analysis.statistics import components, rank_correlation
from tools.engine.reporting.document import Table

MORE = "†"  # follows the label of a recipe that trains more epochs than the reference
PUBLISHED = "published"  # heads the columns of published numbers


def result_table(results: Results) -> Table:
    """Return the table of recipes x metrics: mean ± sample standard deviation and n of our runs.

    A metric with published numbers has these in a column before ours.
    """
    header, columns, grey = ["recipe"], [], []
    for column in results.columns:
        if _has_published(results, column):
            if not like_for_like(results, column):
                grey.append(len(header))
            header.append(f"{PUBLISHED} {results.heading(column)}")
            columns.append((True, column))
        header.append(results.heading(column))
        columns.append((False, column))
    rows = [
        [_marked(results, r), *(_published(results, r, c) if published else str(results.cell(r, c)) for published, c in columns)]
        for r in results.study["recipes"]
    ]
    return Table("Results", "l" + "r" * len(columns), header, rows, _result_note(results), tuple(grey))


def _result_note(results: Results) -> str:
    """Return the note on how to read a cell, which columns are not like for like, and which recipes train longer."""
    note = "Percent, higher is better: mean ± sample standard deviation, and n, the number of seeds."
    published = results.study.get("published") or {}
    if published.get("values"):
        over = results.label(results.reference)
        note += f" {PUBLISHED}: {published['source']}; in brackets the gain over {over}.{_unlike(results)}"
    longer = {r: ratio for r in results.study["recipes"] if (ratio := more_epochs(results, r))}
    if longer:
        note += f" {MORE}: trained more epochs than {results.label(results.reference)}: "
        note += ", ".join(f"{results.label(r)} {ratio:.3g} times as many" for r, ratio in longer.items()) + "."
    return note


def _unlike(results: Results) -> str:
    """Return a sentence that names the protocols under which our runs differ from the published ones, or ''."""
    columns = [c for c in results.columns if _has_published(results, c) and not like_for_like(results, c)]
    if not columns:
        return ""
    ours = dict.fromkeys(f"{heading_of(c.metric)} by {c.protocol or 'no protocol yet'}" for c in columns)
    published = (results.study["published"].get("protocols") or {}).values()
    return (
        f" Grey: not like for like with ours. Ours are at scale {results.study['scale']} ({', '.join(ours)}). The published "
        f"numbers correspond to the protocols named {', '.join(dict.fromkeys(published))} here, at scale paper: compare gains, "
        "never levels."
    )


def like_for_like(results: Results, column: Column) -> bool:
    """Return True if our runs in this column match the published ones: scale paper and the published protocol."""
    protocol = (results.study.get("published") or {}).get("protocols", {}).get(results.task_of(column))
    return results.study["scale"] == "paper" and protocol is not None and column.protocol == protocol


def published_value(results: Results, recipe: str, column: Column) -> float | None:
    """Return the published number of a recipe in a column, or None."""
    for item in (results.study.get("published") or {}).get("values", ()):
        if (item["recipe"], item["metric"]) == (recipe, column.metric) and item["network"] in (None, column.network):
            return item["value"]
    return None


def published_gain(results: Results, recipe: str, base: str, column: Column) -> float | None:
    """Return the published difference of two recipes in a column, in points, or None."""
    a, b = (published_value(results, r, column) for r in (recipe, base))
    return None if a is None or b is None else a - b


def _has_published(results: Results, column: Column) -> bool:
    return any(published_value(results, r, column) is not None for r in results.study["recipes"])


def _published(results: Results, recipe: str, column: Column) -> str:
    value = published_value(results, recipe, column)
    if value is None:
        return DASH
    points = published_gain(results, recipe, results.reference, column)
    has_gain = recipe != results.reference and points is not None and has_margin(column.metric)
    return f"{value:.2f} ({points:+.2f})" if has_gain else f"{value:.2f}"


def more_epochs(results: Results, recipe: str) -> float | None:
    """Return the recipe's pretraining epochs as a multiple of the reference's, or None if it does not train longer."""
    epochs, base = (_epochs(results, r) for r in (recipe, results.reference))
    return epochs / base if epochs and base and epochs > base else None


def _epochs(results: Results, recipe: str) -> float | None:
    """Return the epochs of the recipe's pretraining, as the mean of its runs."""
    runs = results.study.get("runs", {})
    keys = {row["run"] for row in results.rows_of(recipe) if not row["finetune_seed"]}
    lengths = [epochs for key in keys if (epochs := runs.get(key, {}).get("epochs"))]
    return fmean(lengths) if lengths else None


def _marked(results: Results, recipe: str) -> str:
    label = results.label(recipe)
    return label if more_epochs(results, recipe) is None else f"{label} {MORE}"


def gain_table(results: Results, found: list[Gain], title: str, note: str = "") -> Table:
    """Return a table with a row for each gain.

    The bases of the gains get a column if they differ, and published gains get one if any exist.
    """
    published = [published_gain(results, g.recipe, g.base, g.column) for g in found]
    has_bases, has_published = len({g.base for g in found}) > 1, any(points is not None for points in published)
    rows = []
    for g, points in zip(found, published, strict=True):
        row = [_marked(results, g.recipe)]
        if has_bases:
            row.append(results.label(g.base))
        row.append(results.heading(g.column))
        if has_published:
            row.append(DASH if points is None else f"{points:+.2f}")
        rows.append([*row, *gain_cells(results, g)])
    margins = dict.fromkeys(f"{heading_of(g.column.metric)} ±{g.margin:g}" for g in found)
    note += (
        "Points. Interval: Welch and Satterthwaite's t over pretrainings, with the variance over test images from a paired "
        "bootstrap. Images only: there is one seed, so the interval does not cover the variance over seeds. p: adjusted by "
        "Holm's method for this table's comparisons of the same task. "
        f"Equivalent: the interval lies within the margin ({', '.join(margins)}). Better or worse: p below 0.05. Undecided: all "
        "other gains, and all with n = 1."
    )
    header = _gain_header(has_bases, has_published)
    pairs = zip(found, published, strict=True)
    unlike = any(points is not None and not like_for_like(results, g.column) for g, points in pairs)
    grey = (header.index(f"{PUBLISHED} gain"),) if unlike else ()
    align = ("lll" if has_bases else "ll") + ("rrrrrl" if has_published else "rrrrl")
    return Table(title, align, header, rows, note, grey)


def _gain_header(has_bases: bool, has_published: bool) -> list[str]:
    header = ["recipe", "over", "metric"] if has_bases else ["recipe", "metric"]
    if has_published:
        header.append(f"{PUBLISHED} gain")
    return [*header, "gain", "95 % interval", "n", "p (Holm)", "verdict"]


def gain_cells(results: Results, gain: Gain) -> list[str]:
    """Return [points, interval, n, p, verdict], with dashes for missing values."""
    n = " vs ".join(str(len(results.cell(r, gain.column).points)) for r in (gain.recipe, gain.base))
    if gain.diff is None:
        return [DASH, DASH, n, DASH, DASH]
    interval = "[{:+.2f}, {:+.2f}]".format(*gain.diff.interval) if gain.diff.interval else DASH
    if gain.diff.kind == "images":
        interval += " images only"
    return [f"{gain.diff.mean:+.2f}", interval, n, _p_value(gain.p), gain.verdict]


def _p_value(p: float | None) -> str:
    if p is None:
        return DASH
    return "<0.001" if p < 0.001 else f"{p:.3f}"


def ledger_table(results: Results, found: list[Gain], title: str) -> Table:
    """Return the gains of each step in all tasks side by side.

    A last row has Spearman's rho between the gains in top-1 and those in each transfer.
    """
    columns = [c for c in primary(results) if any(g.column == c for g in found)]
    by_pair: dict[tuple[str, str], dict[Column, Gain]] = {}
    for g in found:
        by_pair.setdefault((g.recipe, g.base), {})[g.column] = g
    has_bases = len({base for _, base in by_pair}) > 1
    rows = []
    for (recipe, base), of_pair in by_pair.items():
        names = [_marked(results, recipe), results.label(base)] if has_bases else [_marked(results, recipe)]
        rows.append([*names, *(_ledger_cell(of_pair.get(c)) for c in columns)])
    ranks = correlations(results, found)
    if len(columns) > 1 and ranks:
        names = ["rank correlation with top-1", ""] if has_bases else ["rank correlation with top-1"]
        rows.append([*names, *(_rho(ranks.get(c)) for c in columns)])
    note = (
        "Points gained in each task, with the verdict. Rank correlation: Spearman's rho between the gains above and those in "
        "top-1, from -1 to 1. It says little if there are few steps or the gains are undecided."
    )
    if rhos := _published_rhos(results, by_pair, columns):
        note += f" The published numbers give {rhos}."
    header = ["recipe", "over"] if has_bases else ["recipe"]
    header += [f"{results.heading(c)} gain" for c in columns]
    align = ("ll" if has_bases else "l") + "r" * len(columns)
    return Table(title, align, header, rows, note)


def _ledger_cell(gain: Gain | None) -> str:
    return DASH if gain is None or gain.diff is None else f"{gain.diff.mean:+.2f} {gain.verdict}"


def _rho(correlation) -> str:
    return DASH if correlation is None or correlation.rho is None else f"{correlation.rho:+.2f} (of {correlation.n})"


def _published_rhos(results: Results, pairs: Mapping, columns: list[Column]) -> str:
    """Return the rank correlations of the published gains of the same pairs, such as 'mAP +0.94 (of 6)'."""
    gains = {c: {pair: published_gain(results, *pair, c) for pair in pairs} for c in columns}
    top1 = next((c for c in columns if c.metric == "top1"), None)
    ranks = {c: rank_correlation(gains[top1], gains[c]) for c in columns if top1 and c != top1}
    return ", ".join(f"{heading_of(c.metric)} {_rho(rank)}" for c, rank in ranks.items() if rank.rho is not None)


def spread_table(results: Results) -> Table:
    """Return the spread between seeds: in all, between pretrainings, and between fine-tunings of one pretraining."""
    rows, separable = [], False
    for recipe in results.study["recipes"]:
        for column in results.columns:
            cell = results.cell(recipe, column)
            if len(cell.points) < 2 or not has_margin(column.metric):
                continue
            parts = components(cell.groups)
            separable |= parts.pretraining is not None
            rows.append(
                [
                    *(results.label(recipe), results.heading(column), f"{stdev(cell.points):.2f}"),
                    *(DASH if part is None else f"{part**0.5:.2f}" for part in (parts.pretraining, parts.finetuning)),
                    parts.note,
                ]
            )
    note = (
        "Points: the sample standard deviation of the pretraining means. If each pretraining has two fine-tunings or more, the "
        "method of moments separates the spread between pretrainings from that between fine-tunings."
    )
    header = ["recipe", "metric", "of means", "between pretrainings", "between fine-tunings", "note"]
    return Table("Spread between seeds", "llrrrl", header, rows if separable else [], note)


def tuning_table(results: Results) -> Table:
    """Return the held-out score of each learning rate tried, if rates were tuned."""
    tried = results.study.get("tuning", [])
    factors = sorted({factor for item in tried for factor in item["values"]}, key=float)
    rows = [
        [
            *(results.label(item["recipe"]), item["task"], str(item["seed"]), heading_of(item["metric"])),
            *(DASH if (value := item["values"].get(factor)) is None else f"{value:.2f}" for factor in factors),
            f"x{item['best']:g}" + (" (edge)" if item["edge"] else ""),
        ]
        for item in tried
    ]
    note = (
        "Scores on held-out images of the training data, never on those of the results. Rows named 'tuned lr' use the best rate. "
        "All backbones share the same grid."
    )
    if edges := sum(item["edge"] for item in tried):
        note += (
            f" Warning: for {edges} of {len(tried)} the best is at the edge of the grid (marked). A better rate may lie outside "
            "it, so the results of these tuned rows are lower bounds."
        )
    header = ["recipe", "task", "seed", "metric", *(f"lr x{factor}" for factor in factors), "best"]
    return Table("Learning rates", "llrl" + "r" * (len(factors) + 1), header, rows, note)
