"""Write the report of a study: the answer first, then what it rests on.

A report needs results.csv and study.json of the study's folder. It also uses details.json, curves.json and the image sheets of
the runs, where they exist. It imports neither torch nor mmengine, so any machine can write a report.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from backbones.common.files import atomic
from tools.engine.analysis.gains import Gain, comparisons, gains, over, over_parents
from tools.engine.analysis.results import SCRATCH, Results, load_results, seed_of
from tools.engine.reporting.answer.gain_plot import gain_plot
from tools.engine.reporting.answer.main_table import main_table
from tools.engine.reporting.answer.sentences import verdict
from tools.engine.reporting.answer.tiles import tiles
from tools.engine.reporting.document import Block, Report, Sheet, Table
from tools.engine.reporting.drawing.figures import figures_of, plotted
from tools.engine.reporting.formats.html import html
from tools.engine.reporting.formats.latex import latex
from tools.engine.reporting.formats.markdown import markdown
from tools.engine.reporting.gain_tables import gain_table, rules
from tools.engine.reporting.image_sheets import pair_sheets
from tools.engine.reporting.result_tables import result_table
from tools.engine.reporting.sections import sections_of
from tools.engine.study_folder.files import DETAILS, GAINS, load_curves, load_json
from tools.engine.study_folder.schema import DetailsSchema
from tools.engine.wording import counted


def find_sheets(results: Results, folder: Path) -> tuple[Sheet, ...]:
    """Return the sheets that tools/show.py drew: for each recipe, task and network, that of the first seed that has one."""
    sheets: dict[tuple, Sheet] = {}
    for row in results.runs:
        link = results.study.get("runs", {}).get(row["run"], {}).get("pictures")
        if link and (path := Path(folder) / link).is_file():
            caption = f"{results.label(row['recipe'])}, {row['task']} by {row['network']}, seed {seed_of(row)}"
            sheets.setdefault((row["recipe"], row["task"], row["network"]), Sheet(path, link, caption, row["task"]))
    recipes = results.study["recipes"]
    return tuple(sheets[key] for key in sorted(sheets, key=lambda key: recipes.index(key[0])))


def make_report(
    results: Results,
    margins: Mapping[str, float] | None = None,
    details: dict | None = None,
    curves: dict | None = None,
    sheets: Sequence[Sheet] = (),
) -> Report:
    """Build the whole report: the answer, and sections of tables and figures.

    The five parameters are the files that a report is made of.

    Args:
        margins: see ``gains``.
        details: content of details.json, see ``detail_tables``.
        curves: content of curves.json, see ``figures_of``.
        sheets: image sheets.
    """
    whole, steps = (gains(results, pairs, margins) for pairs in (over(results, results.reference), over_parents(results)))
    control = gains(results, over(results, SCRATCH), margins) if SCRATCH != results.reference else []
    if {(g.recipe, g.base) for g in steps} <= {(g.recipe, g.base) for g in whole}:
        steps = []
    figures = figures_of(results, whole, steps, curves or {})
    first: list[Block] = [main_table(results, whole, results.columns)]
    if forest := figures.get("forest"):
        first.insert(0, replace(forest, html=gain_plot(results, plotted(whole))))
    return Report(
        title_of(results),
        verdict(results, whole),
        lead(results),
        tuple(first),
        sections_of(results, (whole, steps, control), figures, details, sheets),
        tiles(results, whole),
        paper_tables(results, whole, steps, control),
    )


def paper_tables(results: Results, whole: list[Gain], steps: list[Gain], control: list[Gain]) -> tuple[Table, ...]:
    """Return the tables for a paper: results, and the gains over the reference, over the parents and over scratch."""
    tables = [
        result_table(results),
        gain_table(results, whole, f"Gains over {results.label(results.reference)}", " ".join(rules(whole)) if whole else ""),
        gain_table(results, steps, "Gains over the parent"),
        gain_table(results, control, f"Gains over {results.label(SCRATCH)}"),
    ]
    return tuple(table for table in tables if table.rows)


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
    recipes, number = counted(len(results.study["recipes"]), "recipe"), counted(len(runs), "run")
    return f"{recipes}, evaluated on {tasks}: {number}, of which {diverged or 'none'} diverged."


def write_report(folder: Path, margins: Mapping[str, float] | None = None) -> dict[str, Path]:
    """Write gains.json, report.md, report.html, report.tex and the figures (PNG) into a study's folder; return paths by name.

    Raises:
        ValueError: results.csv or study.json is missing, or one of the study's files or image sheets cannot be read.
    """
    folder = Path(folder)
    results = load_results(folder)
    sheets = (*pair_sheets(folder), *find_sheets(results, folder))
    report = make_report(results, margins, load_details(folder / DETAILS), load_curves(folder), sheets)
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
