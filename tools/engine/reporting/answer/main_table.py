"""Build the one table of gains: for each recipe and metric its level, its gain with interval, the verdict and p."""

from collections.abc import Sequence

from tools.engine.analysis.gains import Gain
from tools.engine.analysis.results import PUBLISHED, Cell, Column, Results
from tools.engine.reporting.answer.wording import digits_of, facts_of, interval_text, listed, signed
from tools.engine.reporting.document import Table
from tools.engine.reporting.result_tables import (
    has_published,
    like_for_like,
    longer_note,
    marked,
    published_cell,
    published_note,
)

ONE_RUN = "1 vs 1"  # the design of a study with one seed


def main_table(results: Results, whole: Sequence[Gain], columns: Sequence[Column]) -> Table:
    """Return the table of recipes and metrics; columns of published numbers are shown on demand.

    Args:
        whole: gains over the reference.
        columns: those of the table.
    """
    whole = [gain for gain in whole if gain.column in columns]
    by_cell = {(gain.recipe, gain.column): gain for gain in whole}
    published = [column for column in columns if has_published(results, column)]
    header = ["recipe", *map(results.heading, columns), *(f"{PUBLISHED} {results.heading(c)}" for c in published)]
    same_n, same_design = _one(_counts(results, columns)), _one(_designs(whole))
    rows = [
        [
            marked(results, recipe),
            *(_cell(results, recipe, c, by_cell.get((recipe, c)), (same_n, same_design)) for c in columns),
            *(published_cell(results, recipe, c) for c in published),
        ]
        for recipe in results.study["recipes"]
    ]
    best = {(row, 1 + k) for k, column in enumerate(columns) for row in _best(results, whole, column)}
    hidden = tuple(range(1 + len(columns), len(header)))
    grey = tuple(i for i, column in zip(hidden, published, strict=True) if not like_for_like(results, column))
    note = _note(results, whole, same_n, same_design, bool(best))
    title = f"Gains over {results.label(results.reference)}"
    align = "l" + "r" * (len(header) - 1)
    return Table(title, align, header, rows, note, grey, frozenset(best), hidden, published_note(results) if hidden else "")


def _cell(results: Results, recipe: str, column: Column, gain: Gain | None, same: tuple[str, str]) -> str:
    """Return the lines of a cell: level; gain and interval; verdict and p; what the verdict rests on.

    Args:
        same: n and design of all cells; '' where they differ, so that each cell says its own.
    """
    digits = digits_of(results, column)
    lines = [_level(results.cell(recipe, column), digits, bool(same[0]))]
    if gain is None or gain.diff is None:
        return lines[0]
    lines.append(f"{signed(gain.diff.mean, digits)} {interval_text(gain.diff, digits)}".rstrip())
    facts = [gain.verdict] if same[1] == ONE_RUN else facts_of(gain)
    facts += [] if same[1] else [_design(gain)]
    return "\n".join(filter(None, [*lines, ", ".join(facts), *gain.remarks]))


def _level(cell: Cell, digits: int, same_n: bool) -> str:
    """Return '46.3 ± 2.3', with n where cells differ in it, and how many runs diverged."""
    if cell.spread is None:
        return str(cell)
    notes = [] if same_n else [f"n={cell.spread.n}"]
    notes += [f"{cell.diverged} diverged"] if cell.diverged else []
    std = "" if cell.spread.std is None else f" ± {cell.spread.std:.{digits}f}"
    return f"{cell.spread.mean:.{digits}f}{std}" + (f" ({', '.join(notes)})" if notes else "")


def _counts(results: Results, columns: Sequence[Column]) -> list[str]:
    """Return the numbers of seeds of all cells with a value in these columns."""
    cells = (results.cell(recipe, column) for recipe in results.study["recipes"] for column in columns)
    return [f"{cell.spread.n} seed" + ("s" if cell.spread.n > 1 else "") for cell in cells if cell.spread]


def _designs(gains: Sequence[Gain]) -> list[str]:
    return [_design(gain) for gain in gains if gain.diff]


def _design(gain: Gain) -> str:
    """Return '4 pairs' or '3 vs 3': which seeds a gain compares."""
    return f"{gain.diff.n_a} pairs" if gain.diff.paired else f"{gain.diff.n_a} vs {gain.diff.n_b}"


def _one(texts: Sequence[str]) -> str:
    """Return the text that all are, '' if they differ or there is none."""
    return texts[0] if len(set(texts)) == 1 else ""


def _best(results: Results, whole: Sequence[Gain], column: Column) -> list[int]:
    """Return the row of a column's highest mean, where it is decided: better than the reference, or all others are worse."""
    recipes = results.study["recipes"]
    means = {r: spread.mean for r in recipes if (spread := results.cell(r, column).spread)}
    if not means:
        return []
    best = max(means, key=means.get)
    verdicts = {gain.recipe: gain.verdict for gain in whole if gain.column == column and gain.diff}
    others = [verdict for recipe, verdict in verdicts.items() if recipe != best]
    decided = verdicts.get(best) == "better" if best != results.reference else others and set(others) == {"worse"}
    return [recipes.index(best)] if decided else []


def _note(results: Results, whole: Sequence[Gain], same_n: str, design: str, has_best: bool) -> str:
    """Return how to read a cell."""
    reference = results.label(results.reference)
    number = f" of {same_n}" if same_n else ""
    text = f"Percent, higher is better: mean ± sample standard deviation{number}"
    if design == ONE_RUN:
        text = "Percent, higher is better, of one run each"
        text += f"; below, the gain over {reference} in points with its 95 % interval over test images, and the verdict"
    elif whole:
        how = f" ({design})" if design else ""
        text += f"; below, the gain over {reference} in points with its 95 % interval, and the verdict with its p{how}"
    text += "."
    if has_best:
        text += f" Bold: the highest of a column, where it is proven better than {reference} (or {reference} than all others)."
    measured = [column for column in results.columns if any(g.column == column and g.diff for g in whole)]
    if silent := [results.heading(c) for c in measured if not any(g.column == c and g.verdict for g in whole)]:
        text += f" No verdict: {listed(silent)} measure{'s' if len(silent) == 1 else ''} the same runs again."
    if results.reference != (declared := results.study.get("reference", results.reference)):
        text += f" The reference {declared} has not run; these gains are over the first recipe instead."
    return text + longer_note(results)
