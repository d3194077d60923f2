"""Build the tables of values: published numbers beside ours, spreads between seeds, and tuned learning rates."""

from statistics import fmean, stdev

from tools.engine.analysis.gains import has_margin
from tools.engine.analysis.results import DASH, PUBLISHED, Column, Results, heading_of, published_gain, published_value
from tools.engine.analysis.statistics import components
from tools.engine.reporting.document import Table

MORE = "†"  # follows the label of a recipe that trains more epochs than the reference


def result_table(results: Results) -> Table:
    """Return the table of recipes x metrics: mean ± sample standard deviation and n of our runs.

    A metric with published numbers has these in a column before ours.
    """
    header, columns, grey = ["recipe"], [], []
    for column in results.columns:
        if has_published(results, column):
            if not like_for_like(results, column):
                grey.append(len(header))
            header.append(f"{PUBLISHED} {results.heading(column)}")
            columns.append((True, column))
        header.append(results.heading(column))
        columns.append((False, column))
    rows = [
        [
            marked(results, r),
            *(published_cell(results, r, c) if published else str(results.cell(r, c)) for published, c in columns),
        ]
        for r in results.study["recipes"]
    ]
    return Table("Results", "l" + "r" * len(columns), header, rows, _result_note(results), tuple(grey))


def _result_note(results: Results) -> str:
    """Return the note on how to read a cell, which columns are not like for like, and which recipes train longer."""
    note = "Percent, higher is better: mean ± sample standard deviation, and n, the number of seeds."
    return f"{note} {published_note(results)}".rstrip() + longer_note(results)


def published_note(results: Results) -> str:
    """Return where the published numbers come from, and which are not like for like; '' without such numbers."""
    published = results.study.get("published") or {}
    if not published.get("values"):
        return ""
    over = results.label(results.reference)
    return f"{PUBLISHED}: {published['source']}; in brackets the gain over {over}.{_unlike(results)}"


def longer_note(results: Results) -> str:
    """Return a sentence that names the recipes that train longer than the reference, with a space before it; '' if none does."""
    longer = {r: ratio for r in results.study["recipes"] if (ratio := more_epochs(results, r))}
    if not longer:
        return ""
    texts = (f"{results.label(r)} {ratio:.3g} times as many" for r, ratio in longer.items())
    return f" {MORE}: trained more epochs than {results.label(results.reference)}: {', '.join(texts)}."


def _unlike(results: Results) -> str:
    """Return a sentence that names the protocols under which our runs differ from the published ones, or ''."""
    columns = [c for c in results.columns if has_published(results, c) and not like_for_like(results, c)]
    if not columns:
        return ""
    ours = dict.fromkeys(f"{heading_of(c.metric)} by {c.protocol or 'no protocol yet'}" for c in columns)
    protocols = results.study["published"].get("protocols") or {}
    names = dict.fromkeys(name for c in columns if (name := protocols.get(results.task_of(c))))
    published = f"correspond to the protocols named {', '.join(names)} here, at scale paper" if names else "have another protocol"
    return (
        f" Grey: not like for like with ours. Ours are at scale {results.study['scale']} ({', '.join(ours)}). The published "
        f"numbers {published}: compare gains, never levels."
    )


def like_for_like(results: Results, column: Column) -> bool:
    """Return True if our runs in this column match the published ones: scale paper and the published protocol."""
    protocol = (results.study.get("published") or {}).get("protocols", {}).get(results.task_of(column))
    return results.study["scale"] == "paper" and protocol is not None and column.protocol == protocol


def has_published(results: Results, column: Column) -> bool:
    """Return True if a recipe has a published number in this column."""
    return any(published_value(results, r, column) is not None for r in results.study["recipes"])


def published_cell(results: Results, recipe: str, column: Column) -> str:
    """Return the published number of a recipe, in brackets its gain over the reference."""
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


def marked(results: Results, recipe: str) -> str:
    """Return the label of a recipe, with a mark if it trains longer than the reference."""
    label = results.label(recipe)
    return label if more_epochs(results, recipe) is None else f"{label} {MORE}"


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
