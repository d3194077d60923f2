"""Arrange all that a report says below its first screen into sections, each of one subject with a summary of one line."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from tools.engine.analysis.gains import Gain
from tools.engine.analysis.results import SCRATCH, Results
from tools.engine.reporting import provenance_tables as basis
from tools.engine.reporting.answer.gain_plot import gain_plot
from tools.engine.reporting.answer.wording import duration, listed
from tools.engine.reporting.breakdown_tables import detail_tables
from tools.engine.reporting.document import Block, Figure, Links, Notes, Section, Sheet, Table
from tools.engine.reporting.drawing.figures import plotted
from tools.engine.reporting.gain_tables import gain_table, rank_table, rules
from tools.engine.reporting.result_tables import spread_table, tuning_table

FEW = 4  # recipes whose times are listed one by one
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
    "All seeds of a distilled row share one teacher ('one teacher'), so no interval covers the effect of choosing another "
    "teacher.",
    "The spread between seeds counts as that of one test image where it is smaller ('spread below 1 image').",
    "The number of seeds that would tell assumes that the gain is as large as it looks and that its interval shows the spread.",
)
OTHERS = (
    "Published weights come from one pretraining by others ('one pretraining'), and n counts its fine-tunings. A gain is that of "
    "these weights; it does not prove that their recipe is better."
)


def sections_of(
    results: Results,
    gained: tuple[list[Gain], list[Gain], list[Gain]],
    figures: Mapping[str, Figure],
    details: dict | None = None,
    sheets: Sequence[Sheet] = (),
) -> tuple[Section, ...]:
    """Return the sections of a report, without those that are empty.

    Args:
        gained: gains over the reference, over the parents (empty where each parent is the reference) and over scratch.
        figures: of ``figures_of``.
        details: content of details.json, see ``detail_tables``.
        sheets: image sheets.
    """
    whole, steps, control = gained
    seen = {frozenset((g.recipe, g.base)) for g in whole}
    control = [gain for gain in control if frozenset((gain.recipe, gain.base)) not in seen]
    sections = [
        _gain_section(results, steps, "the parent", figures.get("forest_steps")),
        _gain_section(results, control, results.label(SCRATCH), None),
        _transfer_section(results, whole, steps, figures),
        _section(
            "Levels and seeds",
            "each seed, the mean of each recipe, and the spread",
            [figures.get("gains"), spread_table(results)],
        ),
        *_detail_sections(results, details),
        _picture_section(sheets),
        _section("Training curves", "loss and metrics against the epoch", [figures.get("curves")]),
        _section("Cost", _cost_summary(results), [basis.cost_table(results, whole)]),
        _settings_section(results),
        _runs_section(results),
        Section("How to read this report", "intervals, p, verdicts and their limits", (_notes(results, [*whole, *steps]),)),
    ]
    return tuple(section for section in sections if section.blocks)


def _section(title: str, summary: str, blocks: Iterable[Block | None]) -> Section:
    """Return a section without the blocks that are missing or have no row."""
    return Section(title, summary, tuple(b for b in blocks if b and (not isinstance(b, Table) or b.rows)))


def _gain_section(results: Results, table: list[Gain], base: str, figure: Figure | None) -> Section:
    """Return the section of the gains over one base, with their plot."""
    title = f"Gains over {base}"
    counts = Counter(gain.verdict for gain in table if gain.verdict)
    summary = ", ".join(f"{count} {verdict}" for verdict, count in counts.items()) or "no verdict"
    figure = figure and replace(figure, html=gain_plot(results, plotted(table)))
    return _section(title, summary, [figure, gain_table(results, table, title)])


def _transfer_section(results: Results, whole: list[Gain], steps: list[Gain], figures: Mapping[str, Figure]) -> Section:
    """Return the section that sets the gains in transfers against those in top-1."""
    tables = {results.label(results.reference): whole} | ({"the parent": steps} if steps else {})
    table = rank_table(results, tables)
    cells = [f"{row[0]} rho {row[2].split(' (')[0]}" for row in table.rows if row[1] != "the parent"]
    summary = f"rank correlation with top-1: {', '.join(cells)}" if cells else "gains in transfers against those in top-1"
    blocks = [figures.get("quadrant"), table, figures.get("quadrant_steps")]
    return _section("Does a gain in top-1 transfer?", summary, blocks)


def _detail_sections(results: Results, details: dict | None) -> list[Section]:
    """Return a section for each task with tables of classes, errors or parts of images."""
    if not details:
        return []
    sections = []
    for task in dict.fromkeys(entry["task"] for entry in details["tables"]):
        entries = [entry for entry in details["tables"] if entry["task"] == task]
        tables = [table for table in detail_tables({"tables": entries}, results) if table.rows]
        titles = [_within_sentence(table.title) for table in tables]
        sections.append(Section(f"{task.capitalize()} in detail", "; ".join(titles), tuple(tables)))
    return sections


def _within_sentence(title: str) -> str:
    """Return a title as it stands within a sentence: names such as AP and IoU keep their letters."""
    return title[:1].lower() + title[1:] if title.split(" ")[0][1:].islower() else title


def _picture_section(sheets: Sequence[Sheet]) -> Section:
    """Return the section of the first sheet of each task, which compares two runs if any does, and links to the others."""
    first: dict[str, Sheet] = {}
    for sheet in sheets:
        first.setdefault(sheet.task, sheet)
    others = tuple((sheet.caption, sheet.link) for sheet in sheets if sheet not in first.values())
    links = [Links("More pictures, in files beside this report", others)] if others else []
    return Section("Pictures", f"predictions on test images of {listed(list(first))}", (*first.values(), *links))


def _cost_summary(results: Results) -> str:
    """Return how long a seed of each recipe takes."""
    times = [(s, results.label(r)) for r in results.study["recipes"] if (s := results.seconds_per_seed(r))]
    if len(times) > FEW:
        times = [min(times), max(times)]
        return "time of one seed: {} to {}".format(*(f"{duration(seconds)} ({label})" for seconds, label in times))
    return f"time of one seed: {', '.join(f'{label} {duration(seconds)}' for seconds, label in times)}" if times else "no run yet"


def _settings_section(results: Results) -> Section:
    """Return the section of recipes, protocols and learning rates."""
    tables = [basis.recipe_table, basis.difference_table, basis.protocol_table, tuning_table, basis.published_table]
    recipes, protocols = len(results.study["recipes"]), results.study.get("protocols", {})
    summary = _counted(recipes, "recipe") + (f"; protocols of {listed(list(protocols))}" if protocols else "")
    return _section("Recipes and protocols", summary, [make(results) for make in tables])


def _runs_section(results: Results) -> Section:
    """Return the section of runs, machines, versions, data and commands."""
    tables = [basis.run_table, basis.provenance_table, basis.command_table]
    count = len({row["run"] for row in results.rows})
    summary = f"{_counted(count, 'run')}: certificates, machine, versions, data, and the command of each"
    return _section("Runs and commands", summary, [make(results) for make in tables])


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"


def _notes(results: Results, gains: list[Gain]) -> Notes:
    """Return the rules of the verdicts and the caveats; published weights add one, and so do rows of earlier tables."""
    published = any(isinstance(tricks, str) for tricks in results.study.get("tricks", {}).values())
    rest = (*CAVEATS, *([OTHERS] if published else []), *results.study.get("remarks", ()))
    return Notes((*(rules(gains) if gains else ()), *rest))
