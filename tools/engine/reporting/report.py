"""The report of a study: its table, the gains with their verdicts, and what they rest on.

Reads results.csv and study.json of a study's folder, the pictures of its runs where they lie as study.json says, and nothing
else; needs neither torch nor mmengine, so that any machine can write it.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from backbones.common.files import atomic, read_json
from tools.engine.analysis.breakdowns import DETAILS
from tools.engine.analysis.curves import load_curves
from tools.engine.analysis.gains import Gain, gains, over, over_parents
from tools.engine.analysis.results import DASH, SCRATCH, Column, Results, load_results, seed_of
from tools.engine.reporting import provenance_tables as basis
from tools.engine.reporting.breakdown_tables import detail_tables
from tools.engine.reporting.document import Report, Sheet, Table, html, latex, markdown
from tools.engine.reporting.figures import figures_of
from tools.engine.reporting.image_sheets import pair_sheets
from tools.engine.reporting.result_tables import gain_table, ledger_table, result_table, spread_table, tuning_table

TERMINAL_GAINS = ("mAP", "mIoU")
CAVEATS = (
    "With one seed every verdict is undecided: one run cannot tell a gain from noise, however large.",
    "Rows named scratch train the whole backbone from random weights with nothing frozen; that is the one "
    "permitted difference between rows.",
    "n counts pretrainings: transfers of one pretrained backbone are averaged first, since they are not "
    "independent of each other (from scratch, n counts the runs themselves).",
    "A run that diverged has no number, and the mean beside it speaks only for the runs that finished.",
    "An interval stands for itself, at 95 %; only p is adjusted for the number of comparisons in its table and task, so that an "
    "interval may lie on one side of 0 where the verdict is undecided.",
    "A teacher is one network for all seeds: what another teacher would change is in no interval.",
)
OTHERS = (
    "Published weights are one pretraining by others, and n counts its fine-tunings: a gain is that of these weights, not proved "
    "to be that of their recipe."
)


def find_sheets(results: Results, folder: Path) -> tuple[Sheet, ...]:
    """The pictures that were drawn by tools/show.py: of each recipe, task and network those of the first seed that has any."""
    found: dict[tuple, Sheet] = {}
    for row in results.runs:
        link = results.study.get("runs", {}).get(row["run"], {}).get("pictures")
        if link and (Path(folder) / link).is_file():
            whose = f"{results.label(row['recipe'])}, {row['task']} by {row['network']}, seed {seed_of(row)}"
            found.setdefault((row["recipe"], row["task"], row["network"]), Sheet(Path(folder) / link, link, whose))
    recipes = results.study["recipes"]
    return tuple(found[key] for key in sorted(found, key=lambda key: recipes.index(key[0])))


def make_report(
    results: Results, margins: Mapping[str, float] | None = None, details: dict | None = None, curves: dict | None = None
) -> Report:
    """Everything the report says: tables as text, and figures.

    Args:
        margins: see ``gains``.
        details: of details.json, see ``detail_tables``.
        curves: of curves.json, see ``figures_of``.
    """
    whole, steps = (gains(results, pairs, margins) for pairs in (over(results, results.reference), over_parents(results)))
    control = gains(results, over(results, SCRATCH), margins) if SCRATCH != results.reference else []
    found = [result_table(results), *gain_tables(results, whole, steps, control), spread_table(results), tuning_table(results)]
    found += detail_tables(details, results) if details else []
    facts = [basis.published_table, basis.recipe_table, basis.difference_table, basis.protocol_table, basis.run_table]
    tables = [basis.cost_table(results, whole), *(make(results) for make in facts)]
    tables += [basis.provenance_table(results), basis.command_table(results)]
    return Report(
        title_of(results),
        lead(results),
        [table for table in found if table.rows],
        [table for table in tables if table.rows],
        (*CAVEATS, *[OTHERS] * any(isinstance(tricks, str) for tricks in results.study.get("tricks", {}).values())),
        figures=figures_of(results, whole, steps, curves or {}),
    )


def gain_tables(results: Results, whole: list[Gain], steps: list[Gain], control: list[Gain]) -> list[Table]:
    """Gains over the reference, over the parents and over scratch, and the ledgers of the first two.

    Parents that are all the reference itself have no table of their own.
    """
    reference, note = results.label(results.reference), ""
    if results.reference != (named := results.study.get("reference")):
        note = f"The reference {named} has not run; these gains are over the first recipe instead. "
    tables = [gain_table(results, whole, f"Gains over {reference}", note)]
    tables.append(ledger_table(results, whole, f"Ledger over {reference}"))
    if {(g.recipe, g.base) for g in steps} - {(g.recipe, g.base) for g in whole}:
        tables += [gain_table(results, steps, "Gains over the parent"), ledger_table(results, steps, "Ledger of steps")]
    return [*tables, gain_table(results, control, f"Gains over {results.label(SCRATCH)}")]


def title_of(results: Results) -> str:
    """'demo at scale toy, 3 seeds'."""
    seeds = max(map(results.seeds, results.study["recipes"]), default=0)
    return f"{results.study['name']} at scale {results.study['scale']}, {seeds} seed{'s' * (seeds != 1)}"


def lead(results: Results) -> str:
    """One sentence on what was measured, and how many runs it rests on."""
    named = [f"{task} ({', '.join(metrics)})" for task, metrics in results.tasks.items() if metrics]
    tasks = ", ".join(named) or "nothing yet"
    runs = {row["run"] for row in results.rows}
    diverged = len({row["run"] for row in results.rows if row["status"] == "diverged"})
    return (
        f"{len(results.study['recipes'])} recipes, measured by {tasks}: {len(runs)} runs, {diverged or 'none'} of which diverged."
    )


def write_report(folder: Path, margins: Mapping[str, float] | None = None) -> dict[str, Path]:
    """Writes report.md, report.html, report.tex and the figures (PNG) into a study's folder; returns paths by name.

    Raises:
        ValueError: the folder lacks results.csv or study.json, or they or the pictures of a run cannot be read as such.
    """
    folder = Path(folder)
    results = load_results(folder)
    report = make_report(results, margins, load_details(folder / DETAILS), load_curves(folder))
    report = replace(report, sheets=(*pair_sheets(folder), *find_sheets(results, folder)))
    contents = {
        "report.md": markdown(report).encode(),
        "report.html": html(report).encode(),
        "report.tex": latex(report).encode(),
    } | {f"{figure.name}.png": figure.png for figure in report.figures}
    for name, content in contents.items():
        with atomic(folder / name, "wb") as file:
            file.write(content)
    return {name: folder / name for name in contents}


def load_details(path: Path) -> dict | None:
    """What ``collect_details`` found, or None where it was not collected.

    Raises:
        ValueError: the file is no JSON.
    """
    return read_json(path) if path.is_file() else None


def terminal_table(folder: Path, console=None, margins: Mapping[str, float] | None = None) -> None:
    """Prints a study's closing table: its metrics, its gains over the reference, and the seconds of a seed.

    Args:
        folder: of the study, as for ``write_report``.
        console: a ``rich.console.Console``; by default one on standard output.
        margins: see ``gains``.
    """
    from rich.box import SIMPLE
    from rich.console import Console
    from rich.table import Table as Grid
    from rich.text import Text

    results = load_results(folder)
    gained = [column for column in results.columns if column.metric in TERMINAL_GAINS]
    title, caption = title_of(results), f"Gains are over {results.label(results.reference)}."
    grid = Grid(box=SIMPLE, title=Text(title), caption=Text(caption), padding=0, show_edge=False)
    names = [
        *map(results.heading, results.columns),
        *(f"{results.heading(c)} gain" for c in gained),
        "seconds",
    ]
    grid.add_column("recipe", no_wrap=True)
    for name in names:
        width = None if name == "seconds" else len("undecided")  # a verdict is never cut short
        grid.add_column(Text(name), justify="right", min_width=width)
    found = gains(results, over(results, results.reference), margins)
    for recipe in results.study["recipes"]:  # Text, since rich reads brackets in a str as markup
        grid.add_row(*map(Text, _terminal_row(results, recipe, gained, found)))
    (console or Console()).print(grid)


def _terminal_row(results: Results, recipe: str, gained: list[Column], found: list[Gain]) -> list[str]:
    cells = ["\n".join(results.cell(recipe, column).parts).strip() for column in results.columns]
    of_recipe = {g.column: g for g in found if g.recipe == recipe and g.diff}
    points = [f"{g.diff.mean:+.2f}\n{g.verdict}" if (g := of_recipe.get(column)) else DASH for column in gained]
    seconds = results.seconds_per_seed(recipe)
    return [results.label(recipe), *cells, *points, DASH if seconds is None else f"{seconds:.0f}"]
