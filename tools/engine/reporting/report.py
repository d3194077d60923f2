"""Write the report of a study: its results, the gains with their verdicts, and what they rest on.

A report needs results.csv and study.json of the study's folder. It also uses details.json, curves.json and the image sheets of
the runs, where they exist. It imports neither torch nor mmengine, so any machine can write a report.
"""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from backbones.common.files import atomic
from tools.engine.analysis.gains import Gain, comparisons, gains, over, over_parents
from tools.engine.analysis.results import DASH, SCRATCH, Column, Results, load_results, seed_of
from tools.engine.reporting import provenance_tables as basis
from tools.engine.reporting.breakdown_tables import detail_tables
from tools.engine.reporting.document import Report, Sheet, Table, html, latex, markdown
from tools.engine.reporting.figures import figures_of
from tools.engine.reporting.gain_tables import gain_table, ledger_table
from tools.engine.reporting.image_sheets import pair_sheets
from tools.engine.reporting.result_tables import result_table, spread_table, tuning_table
from tools.engine.study_folder.files import DETAILS, GAINS, load_curves, load_json
from tools.engine.study_folder.schema import DetailsSchema

TERMINAL_GAINS = ("mAP", "mIoU")
CAVEATS = (
    "With one seed every verdict is undecided: a single run cannot tell a gain from noise, however large the gain is.",
    "Rows named scratch train the whole backbone from random weights with nothing frozen. This is the only permitted difference "
    "between rows.",
    "n counts pretrainings. Transfers of one pretrained backbone are not independent of each other, so they are averaged first. "
    "From scratch, n counts the runs themselves.",
    "A run that diverged has no number. The mean beside it covers only the runs that finished, which are no fair sample, so its "
    "gains are undecided.",
    "Each interval is a separate 95 % interval. Only p is adjusted for the number of comparisons of its task on this page, so an "
    "interval may exclude 0 although the verdict is undecided.",
    "All seeds of a distilled row share one teacher, so no interval covers the effect of choosing another teacher.",
)
OTHERS = (
    "Published weights come from one pretraining by others, and n counts its fine-tunings. A gain is that of these weights; it "
    "does not prove that their recipe is better."
)


def find_sheets(results: Results, folder: Path) -> tuple[Sheet, ...]:
    """Return the sheets that tools/show.py drew: for each recipe, task and network, that of the first seed that has one."""
    sheets: dict[tuple, Sheet] = {}
    for row in results.runs:
        link = results.study.get("runs", {}).get(row["run"], {}).get("pictures")
        if link and (Path(folder) / link).is_file():
            caption = f"{results.label(row['recipe'])}, {row['task']} by {row['network']}, seed {seed_of(row)}"
            sheets.setdefault((row["recipe"], row["task"], row["network"]), Sheet(Path(folder) / link, link, caption))
    recipes = results.study["recipes"]
    return tuple(sheets[key] for key in sorted(sheets, key=lambda key: recipes.index(key[0])))


def make_report(
    results: Results, margins: Mapping[str, float] | None = None, details: dict | None = None, curves: dict | None = None
) -> Report:
    """Build the whole report, with its tables as text and its figures.

    Args:
        margins: see ``gains``.
        details: content of details.json, see ``detail_tables``.
        curves: content of curves.json, see ``figures_of``.
    """
    whole, steps = (gains(results, pairs, margins) for pairs in (over(results, results.reference), over_parents(results)))
    control = gains(results, over(results, SCRATCH), margins) if SCRATCH != results.reference else []
    findings = [result_table(results), *gain_tables(results, whole, steps, control), spread_table(results), tuning_table(results)]
    findings += detail_tables(details, results) if details else []
    facts = [basis.published_table, basis.recipe_table, basis.difference_table, basis.protocol_table, basis.run_table]
    foundations = [basis.cost_table(results, whole), *(make(results) for make in facts)]
    foundations += [basis.provenance_table(results), basis.command_table(results)]
    return Report(
        title_of(results),
        lead(results),
        [table for table in findings if table.rows],
        [table for table in foundations if table.rows],
        _caveats(results),
        figures=figures_of(results, whole, steps, curves or {}),
    )


def _caveats(results: Results) -> tuple[str, ...]:
    """Return the caveats; a recipe of published weights, whose tricks are a text, adds one, and so do rows of earlier tables."""
    published = any(isinstance(tricks, str) for tricks in results.study.get("tricks", {}).values())
    return (*CAVEATS, *([OTHERS] if published else []), *results.study.get("remarks", ()))


def gain_tables(results: Results, whole: list[Gain], steps: list[Gain], control: list[Gain]) -> list[Table]:
    """Return the tables of gains over the reference, over the parents and over scratch, with ledgers of the first two.

    If every parent is the reference, the gains over the parents are skipped.
    """
    reference, note = results.label(results.reference), ""
    if results.reference != (declared := results.study.get("reference")):
        note = f"The reference {declared} has not run; these gains are over the first recipe instead. "
    tables = [gain_table(results, whole, f"Gains over {reference}", note)]
    tables.append(ledger_table(results, whole, f"Ledger over {reference}"))
    if {(g.recipe, g.base) for g in steps} - {(g.recipe, g.base) for g in whole}:
        tables += [gain_table(results, steps, "Gains over the parent"), ledger_table(results, steps, "Ledger of steps")]
    return [*tables, gain_table(results, control, f"Gains over {results.label(SCRATCH)}")]


def title_of(results: Results) -> str:
    """Return the title of a report, such as 'demo at scale toy, 3 seeds'."""
    seeds = max(map(results.seeds, results.study["recipes"]), default=0)
    return f"{results.study['name']} at scale {results.study['scale']}, {seeds} {'seed' if seeds == 1 else 'seeds'}"


def lead(results: Results) -> str:
    """Return a sentence that says what was evaluated and on how many runs the report rests."""
    evaluated = [f"{task} ({', '.join(metrics)})" for task, metrics in results.tasks.items() if metrics]
    tasks = ", ".join(evaluated) or "no task yet"
    runs = {row["run"] for row in results.rows}
    diverged = len({row["run"] for row in results.rows if row["status"] == "diverged"})
    recipes = len(results.study["recipes"])
    return f"{recipes} recipes, evaluated on {tasks}: {len(runs)} runs, of which {diverged or 'none'} diverged."


def write_report(folder: Path, margins: Mapping[str, float] | None = None) -> dict[str, Path]:
    """Write gains.json, report.md, report.html, report.tex and the figures (PNG) into a study's folder; return paths by name.

    Raises:
        ValueError: results.csv or study.json is missing, or one of the study's files or image sheets cannot be read.
    """
    folder = Path(folder)
    results = load_results(folder)
    report = make_report(results, margins, load_details(folder / DETAILS), load_curves(folder))
    report = replace(report, sheets=(*pair_sheets(folder), *find_sheets(results, folder)))
    contents = {
        GAINS: (json.dumps(comparisons(results, margins), indent=1, allow_nan=False) + "\n").encode(),
        "report.md": markdown(report).encode(),
        "report.html": html(report).encode(),
        "report.tex": latex(report).encode(),
    } | {f"{figure.name}.png": figure.png for figure in report.figures}
    for name, content in contents.items():
        with atomic(folder / name, "wb") as file:
            file.write(content)
    return {name: folder / name for name in contents}


def load_details(path: Path) -> dict | None:
    """Return the content of details.json, which ``collect_details`` computed, or None if the file does not exist.

    Raises:
        ValueError: the file is not JSON, or is not what ``study_folder.schema`` declares.
    """
    return load_json(path, DetailsSchema) if path.is_file() else None


def terminal_table(folder: Path, console=None, margins: Mapping[str, float] | None = None) -> None:
    """Print a study's closing table: its metrics, its gains over the reference, and the seconds of a seed.

    Args:
        folder: the study's folder, as for ``write_report``.
        console: a ``rich.console.Console`` (default: one on standard output).
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
    over_reference = gains(results, over(results, results.reference), margins)
    for recipe in results.study["recipes"]:  # Text, since rich reads brackets in a str as markup
        grid.add_row(*map(Text, _terminal_row(results, recipe, gained, over_reference)))
    (console or Console()).print(grid)


def _terminal_row(results: Results, recipe: str, gained: list[Column], over_reference: list[Gain]) -> list[str]:
    cells = ["\n".join(results.cell(recipe, column).parts).strip() for column in results.columns]
    of_recipe = {g.column: g for g in over_reference if g.recipe == recipe and g.diff}
    points = [f"{g.diff.mean:+.2f}\n{g.words}" if (g := of_recipe.get(column)) else DASH for column in gained]
    seconds = results.seconds_per_seed(recipe)
    return [results.label(recipe), *cells, *points, DASH if seconds is None else f"{seconds:.0f}"]
