"""What a report found: the paper's table beside ours, gains with their verdicts, the ledger of all tasks, spreads."""

from collections.abc import Mapping
from statistics import fmean, stdev

from tools.engine.analysis.gains import Gain, correlations, has_margin, primary
from tools.engine.analysis.results import DASH, Column, Results, heading_of
from tools.engine.analysis.statistics import components, rank_correlation
from tools.engine.reporting.document import Table

MORE = "†"  # behind the label of a recipe that trains more epochs than the reference
PUBLISHED = "published"  # heads the columns of such figures


def result_table(results: Results) -> Table:
    """Recipes x metrics: the paper's figure, where it has one, beside mean ± sample standard deviation and n of ours."""
    header, columns, grey = ["recipe"], [], []
    for column in results.columns:
        if _has_published(results, column):
            grey += [len(header)] * (not like_for_like(results, column))
            header.append(f"{PUBLISHED} {results.heading(column)}")
            columns.append((True, column))
        header.append(results.heading(column))
        columns.append((False, column))
    rows = [
        [_marked(results, r), *(_published(results, r, c) if theirs else str(results.cell(r, c)) for theirs, c in columns)]
        for r in results.study["recipes"]
    ]
    return Table("Results", "l" + "r" * len(columns), header, rows, _result_note(results), tuple(grey))


def _result_note(results: Results) -> str:
    """How to read a cell, what is not like for like, and who trains longer."""
    note = "Percent, higher is better: mean ± sample standard deviation, and n, the number of seeds."
    published = results.study.get("published") or {}
    if published.get("values"):
        over = results.label(results.reference)
        note += f" {PUBLISHED}: {published['source']}; in brackets the gain over {over}.{_unlike(results)}"
    longer = {r: part for r in results.study["recipes"] if (part := more_epochs(results, r))}
    if longer:
        note += f" {MORE}: trained more epochs than {results.label(results.reference)}: "
        note += ", ".join(f"{results.label(r)} {part:.3g} times as many" for r, part in longer.items()) + "."
    return note


def _unlike(results: Results) -> str:
    """Names the protocols under which ours are not like the paper's."""
    odd = [c for c in results.columns if _has_published(results, c) and not like_for_like(results, c)]
    if not odd:
        return ""
    named = dict.fromkeys(f"{heading_of(c.metric)} by {c.protocol or 'nothing yet'}" for c in odd)
    own = (results.study["published"].get("protocols") or {}).values()
    return (
        f" Grey: not like for like with ours. Ours are at scale {results.study['scale']} ({', '.join(named)}; the paper's own "
        f"protocols are named {', '.join(dict.fromkeys(own))} here, at scale paper): compare gains, never levels."
    )


def like_for_like(results: Results, column: Column) -> bool:
    """Whether ours in this column are made as the paper's are: at scale paper, by the paper's own protocol."""
    own = (results.study.get("published") or {}).get("protocols", {}).get(results.task_of(column))
    return results.study["scale"] == "paper" and own is not None and column.protocol == own


def published_value(results: Results, recipe: str, column: Column) -> float | None:
    """The paper's figure of a recipe in a column, or None."""
    for item in (results.study.get("published") or {}).get("values", ()):
        if (item["recipe"], item["metric"]) == (recipe, column.metric) and item["network"] in (None, column.network):
            return item["value"]
    return None


def published_gain(results: Results, recipe: str, base: str, column: Column) -> float | None:
    """The paper's difference of two recipes in a column, in points, or None."""
    a, b = (published_value(results, r, column) for r in (recipe, base))
    return None if a is None or b is None else a - b


def _has_published(results: Results, column: Column) -> bool:
    return any(published_value(results, r, column) is not None for r in results.study["recipes"])


def _published(results: Results, recipe: str, column: Column) -> str:
    own = published_value(results, recipe, column)
    if own is None:
        return DASH
    points = published_gain(results, recipe, results.reference, column)
    gains = recipe != results.reference and points is not None and has_margin(column.metric)
    return f"{own:.2f} ({points:+.2f})" if gains else f"{own:.2f}"


def more_epochs(results: Results, recipe: str) -> float | None:
    """How many times the epochs of the reference a recipe was pretrained; None where that is not more."""
    own, base = (_epochs(results, r) for r in (recipe, results.reference))
    return own / base if own and base and own > base else None


def _epochs(results: Results, recipe: str) -> float | None:
    """Of the recipe's pretraining, the mean of its runs."""
    runs = results.study.get("runs", {})
    keys = {row["run"] for row in results.rows_of(recipe) if not row["finetune_seed"]}
    found = [epochs for key in keys if (epochs := runs.get(key, {}).get("epochs"))]
    return fmean(found) if found else None


def _marked(results: Results, recipe: str) -> str:
    return results.label(recipe) + f" {MORE}" * (more_epochs(results, recipe) is not None)


def gain_table(results: Results, found: list[Gain], title: str, note: str = "") -> Table:
    """A line for each gain; with the recipe that each is over, where they differ, and the paper's own gain, where it has one."""
    several = len({g.base for g in found}) > 1
    paper = [published_gain(results, g.recipe, g.base, g.column) for g in found]
    theirs = any(points is not None for points in paper)
    header = ["recipe", *["over"] * several, "metric", *[f"{PUBLISHED} gain"] * theirs]
    header += ["gain", "95 % interval", "n", "p (Holm)", "verdict"]
    rows = [
        [
            _marked(results, g.recipe),
            *[results.label(g.base)] * several,
            results.heading(g.column),
            *[DASH if points is None else f"{points:+.2f}"] * theirs,
            *gain_cells(results, g),
        ]
        for g, points in zip(found, paper, strict=True)
    ]
    margins = dict.fromkeys(f"{heading_of(g.column.metric)} ±{g.margin:g}" for g in found)
    note += (
        "Points. Interval: t of Welch and Satterthwaite over pretrainings, with the variance over test images from a paired "
        "bootstrap (images only: one seed, so nothing is known of the seeds). p: Holm's, over this table's comparisons of the "
        "same task. "
        f"Equivalent: the interval lies within the margin ({', '.join(margins)}). Better or worse: p below 0.05. Undecided: all "
        "else, and n = 1."
    )
    unlike = [g for g, points in zip(found, paper, strict=True) if points is not None and not like_for_like(results, g.column)]
    grey = (header.index(f"{PUBLISHED} gain"),) if unlike else ()
    return Table(title, "l" * (2 + several) + "r" * theirs + "rrrrl", header, rows, note, grey)


def gain_cells(results: Results, gain: Gain) -> list[str]:
    """[points, interval, n, p, verdict], dashes where there is none."""
    n = " vs ".join(str(len(results.cell(r, gain.column).points)) for r in (gain.recipe, gain.base))
    if gain.diff is None:
        return [DASH, DASH, n, DASH, DASH]
    interval = "[{:+.2f}, {:+.2f}]".format(*gain.diff.interval) if gain.diff.interval else DASH
    interval += " images only" * (gain.diff.kind == "images")
    p = DASH if gain.p is None else "<0.001" if gain.p < 0.001 else f"{gain.p:.3f}"
    return [f"{gain.diff.mean:+.2f}", interval, n, p, gain.verdict]


def ledger_table(results: Results, found: list[Gain], title: str) -> Table:
    """The gains of each step side by side in all tasks, and how alike top-1 and each transfer rank them (Spearman's rho)."""
    columns = [c for c in primary(results) if any(g.column == c for g in found)]
    by_pair: dict[tuple[str, str], dict[Column, Gain]] = {}
    for g in found:
        by_pair.setdefault((g.recipe, g.base), {})[g.column] = g
    several = len({base for _, base in by_pair}) > 1
    rows = [
        [_marked(results, recipe), *[results.label(base)] * several, *(_ledger_cell(of_pair.get(c)) for c in columns)]
        for (recipe, base), of_pair in by_pair.items()
    ]
    ranks = correlations(results, found)
    if len(columns) > 1 and ranks:
        rows.append(["rank correlation with top-1", *[""] * several, *(_rho(ranks.get(c)) for c in columns)])
    note = (
        "Points gained in each task, with the verdict. Rank correlation: Spearman's rho of the gains above with those in top-1, "
        "between -1 and 1; with few steps, or gains that are not decided, it says little."
    )
    if paper := _paper_rho(results, by_pair, columns):
        note += f" The paper's own numbers give {paper}."
    return Table(title, "l" * (1 + several) + "r" * len(columns), _ledger_header(results, columns, several), rows, note)


def _ledger_header(results: Results, columns: list[Column], several: bool) -> list[str]:
    return ["recipe", *["over"] * several, *(f"{results.heading(c)} gain" for c in columns)]


def _ledger_cell(gain: Gain | None) -> str:
    return DASH if gain is None or gain.diff is None else f"{gain.diff.mean:+.2f} {gain.verdict}"


def _rho(found) -> str:
    return DASH if found is None or found.rho is None else f"{found.rho:+.2f} (of {found.n})"


def _paper_rho(results: Results, pairs: Mapping, columns: list[Column]) -> str:
    """Of the paper's gains of the same pairs: 'mAP +0.94 (of 6)'."""
    theirs = {c: {pair: published_gain(results, *pair, c) for pair in pairs} for c in columns}
    first = next((c for c in columns if c.metric == "top1"), None)
    found = {c: rank_correlation(theirs[first], theirs[c]) for c in columns if first and c != first}
    return ", ".join(f"{heading_of(c.metric)} {_rho(rank)}" for c, rank in found.items() if rank.rho is not None)


def spread_table(results: Results) -> Table:
    """How far seeds lie apart: in all, between pretrainings, and between fine-tunings of one."""
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
        "Points: the sample standard deviation of the pretraining means, and the parts that two fine-tunings or more of each "
        "pretraining tell apart (method of moments)."
    )
    header = ["recipe", "metric", "of means", "between pretrainings", "between fine-tunings", "note"]
    return Table("Spread between seeds", "llrrrl", header, rows if separable else [], note)


def tuning_table(results: Results) -> Table:
    """The held-out score of each learning rate tried, where rates were tuned."""
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
        "Held-out images of the training data, never those of the results; the rows named 'tuned lr' are at the best. The same "
        "grid for every backbone."
    )
    if edges := sum(item["edge"] for item in tried):
        note += (
            f" Warning: for {edges} of {len(tried)} the best is at the edge of the grid (marked), so that a better rate may lie "
            "outside it: what the tuned rows say of them is a lower bound."
        )
    header = ["recipe", "task", "seed", "metric", *(f"lr x{factor}" for factor in factors), "best"]
    return Table("Learning rates", "llrl" + "r" * (len(factors) + 1), header, rows, note)
