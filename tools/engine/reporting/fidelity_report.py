"""Write how alike two scales of one study judge its recipes: fidelity.md, .html, .json and .png."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

from backbones.common.files import atomic
from tools.engine.analysis.fidelity import Agreement, Comparison, Fidelity, Pair, Scale, Side, compare_scales, load_scales
from tools.engine.analysis.gains import Gain
from tools.engine.analysis.rank_correlation import DIGITS, Chance
from tools.engine.analysis.results import DASH, heading_of
from tools.engine.analysis.verdicts import ALPHA, VERDICTS
from tools.engine.reporting.answer.wording import listed
from tools.engine.reporting.document import Figure, Notes, Report, Section, Table
from tools.engine.reporting.drawing.plotting import name_of, one_line
from tools.engine.reporting.drawing.scatter import Panel, Point, scatter
from tools.engine.reporting.formats.html import html
from tools.engine.reporting.formats.markdown import markdown
from tools.engine.reporting.gain_tables import p_value

NAME = "fidelity"  # of the files, without suffix
ALIKE, REVERSE, CHANCE, NONE = "alike", "in reverse order", "no more alike than by chance", "not at all (too few or equal gains)"
AGREEMENT = (
    "Rank correlation: Spearman's rho between the gains at both scales, from -1 to 1. Same sign: gains above 0, or below 0, at "
    "both scales. By chance: what either would be if all recipes were equal {at}, as its mean and the range of 95 %, from all "
    "permutations of the recipes' names there (from 4,000 of them for more than eight recipes or unequal seeds). p: the share of "
    "permutations with a higher figure (of those with an equal one half count). It counts one side alone: it may be below 0.05 "
    "within the range, and is not adjusted for the number of rows. Decided: gains that are better or worse {at}, and how many of "
    "them have that sign {other}. {name} with itself: the mean rank correlation between one of its seeds and the mean of the "
    "others."
)
CAVEATS = (
    "A p above 0.05 does not say that the scales disagree. A few recipes agree by chance so often that only a nearly perfect "
    "agreement can be told from it, and a scale whose own seeds do not agree can agree with no other.",
    "All gains over the reference share its luck: if it is the worst of n + 1 recipes, all n gains are positive. By chance that "
    "happens once in n + 1 times, so even n equal signs may have a large p.",
    "Ranks, signs and verdicts are compared, never sizes: the scales differ in data, length of training and protocol.",
)


def write_fidelity(a: str, b: str, margins: Mapping[str, float] | None = None) -> tuple[Report, dict[str, Path]]:
    """Compare two scales of a study, write the files of ``NAME`` into the folder ``a``, and return the report and their paths.

    Args:
        a, b: folders of a study at two scales; ``b`` may be 'published'.
        margins: see ``gains``.

    Raises:
        ValueError: see ``load_scales`` and ``compare_scales``.
    """
    comparison = compare_scales(*load_scales(a, b), margins)
    report = make_fidelity(comparison)
    contents = {
        f"{NAME}.json": (json.dumps(content(comparison), indent=1, allow_nan=False) + "\n").encode(),
        f"{NAME}.md": markdown(report).encode(),
        f"{NAME}.html": html(report).encode(),
    } | {f"{figure.name}.png": figure.png for figure in report.figures}
    for name, data in contents.items():
        with atomic(Path(a) / name, "wb") as file:
            file.write(data)
    return report, {name: Path(a) / name for name in contents}


def print_fidelity(report: Report) -> None:
    """Print the answer, what each metric says, and the table of agreement without the ranges."""
    from rich.box import SIMPLE
    from rich.console import Console
    from rich.table import Table as Grid
    from rich.text import Text

    sentences, agreement = report.first[-1], report.sections[0].blocks[0]
    assert isinstance(sentences, Table) and isinstance(agreement, Table)
    print("\n".join([report.title, *report.verdict, "", *(f"{metric}: {text}" for metric, text in sentences.rows)]))
    grid = Grid(box=SIMPLE, show_edge=False, padding=0, title=Text(agreement.title))
    shown = [i for i, name in enumerate(agreement.header) if name != "by chance"]
    for i in shown:
        grid.add_column(Text(agreement.header[i]), justify="right" if agreement.align[i] == "r" else "left")
    for row in agreement.rows:  # Text, since rich reads brackets in a str as markup
        grid.add_row(*(Text(row[i]) for i in shown))
    Console().print(grid)


def make_fidelity(comparison: Comparison) -> Report:
    """Build the report of two scales."""
    a, b = comparison.a, comparison.b
    sentences = Table("In words", "ll", ["metric", "what it says"], [[heading(f), sentence(f)] for f in comparison.metrics])
    tables = [verdict_table(comparison), gains_table(comparison)]
    basis = [basis_table(comparison), left_out_table(comparison)]
    sections = (
        Section("Agreement", "rank correlation and signs, with what both would be by chance", (agreement_table(comparison),)),
        Section("Gains and verdicts", f"each comparison {a.at} and {b.at}", tuple(t for t in tables if t.rows)),
        Section("What is compared", "networks, protocols, splits and seeds", tuple(t for t in basis if t.rows)),
        Section("How to read this report", "what agreement says and what it does not", (Notes((*CAVEATS, *_changed(a, b))),)),
    )
    title, scales = f"{a.results.study['name']}: {a.name} against {b.name}", f"{a.name} and {b.name}"
    compared = f"Gains of one study at two scales, {scales}, over {a.results.label(a.results.reference)} and over the parents."
    return Report(title, (lead(comparison),), compared, (_figure(comparison), sentences), sections)


# --- in words -----------------------------------------------------------------------------------------------


def lead(comparison: Comparison) -> str:
    """Return one sentence: in which metrics both scales rank the recipes alike."""
    a, groups = comparison.a, dict[str, list[str]]()
    for fidelity in comparison.metrics:
        word, chance = answer(fidelity.whole), fidelity.whole.ranks.chance
        p = f" (p {p_value(chance.p)})" if chance and word in (ALIKE, REVERSE) else ""
        groups.setdefault(word, []).append(f"{heading(fidelity)}{p}")
    parts = [f"{word} in {listed(groups[word])}" for word in (ALIKE, REVERSE, CHANCE, NONE) if word in groups]
    reference = a.results.label(a.results.reference)
    return f"{_both(a, comparison.b)}, gains over {reference} rank the recipes {'; '.join(parts)}."


def answer(whole: Agreement) -> str:
    """Return whether both scales rank the recipes alike, by p: the words of ``lead``."""
    chance = whole.ranks.chance
    if chance is None:
        return NONE
    if chance.p < ALPHA:
        return ALIKE
    return REVERSE if chance.p > 1 - ALPHA else CHANCE


def sentence(fidelity: Fidelity) -> str:
    """Return what a metric says: the answer, and the figures that it rests on."""
    whole, a, b = fidelity.whole, fidelity.a.scale, fidelity.b.scale
    n, rho, chance = len(whole.pairs), whole.ranks.rho, whole.ranks.chance
    recipes = "1 recipe" if n == 1 else f"{n} recipes"
    if rho is None or chance is None:
        why = "a rank correlation takes three" if n < 3 else "all gains of one scale are equal"
        ranks = f"{recipes} can be compared, and {why}"
    else:
        ranks = f"the {recipes} rank {answer(whole)}: rho {rho:+.2f} (by chance {_range(chance, '+.2f')})"
    signs = f"{whole.same} of {n} gains have the same sign (by chance {_range(whole.chance, '.0f')})"
    self_ranks = (
        ""
        if fidelity.own_ranks is None
        else f" One seed {a.at} ranks them as its other seeds do with rho {fidelity.own_ranks:+.2f}."
    )
    text = f"{_both(a, b)}, {ranks}; {signs}.{self_ranks}"
    if not any(fidelity.a.gains[pair].verdict for pair in whole.pairs):
        return text
    if not whole.decided:
        return f"{text} None of these gains is decided {a.at}."
    verb = "has" if whole.confirmed == 1 else "have"
    return f"{text} Of the {whole.decided} decided {a.at}, {whole.confirmed} {verb} the same sign {b.at}."


def _both(a: Scale, b: Scale) -> str:
    """Return 'At toy and at paper', which begins a sentence; the first scale is never the published one."""
    return f"At {a.name} and {b.at}"


def _range(chance: Chance | None, form: str) -> str:
    """Return a range by chance, and p: '-0.83 to +0.83, p 0.357'."""
    assert chance is not None
    return f"{chance.low:{form}} to {chance.high:{form}}, p {p_value(chance.p)}"


def heading(fidelity: Fidelity) -> str:
    """Return the name of a metric, and what sets it apart where a scale has several columns of it."""
    names = [side.scale.results.heading(side.column) for side in (fidelity.a, fidelity.b) if not side.scale.published]
    return " and ".join(dict.fromkeys(names))


def _changed(a: Scale, b: Scale) -> list[str]:
    """Return a caveat that names the recipes whose tricks differ between the scales."""
    first, second = (scale.results.study.get("tricks", {}) for scale in (a, b))
    names = [a.results.label(recipe) for recipe in first if recipe in second and first[recipe] != second[recipe]]
    return [f"Not the same tricks at both scales: {', '.join(names)}."] if names else []


# --- tables -------------------------------------------------------------------------------------------------


def agreement_table(comparison: Comparison) -> Table:
    """Return the rank correlation and the agreement of signs in each metric, over the reference and over the parents."""
    a, b, rows = comparison.a, comparison.b, []
    for fidelity in comparison.metrics:
        self_ranks = DASH if fidelity.own_ranks is None else f"{fidelity.own_ranks:+.2f}"
        rows.append(
            [heading(fidelity), a.results.label(a.results.reference), *_agreement_cells(fidelity, fidelity.whole), self_ranks]
        )
        if fidelity.steps:
            rows.append([heading(fidelity), "the parent", *_agreement_cells(fidelity, fidelity.steps), DASH])
    header = [
        *("metric", "gains over", "n", "rank correlation", "by chance", "p", "same sign", "by chance", "p"),
        *(f"decided {a.at}, same sign {b.at}", f"{a.name} with itself"),
    ]
    note = AGREEMENT.format(at=a.at, other=b.at, name=a.name)
    return Table("Agreement", "ll" + "r" * 9, header, rows, note)


def _agreement_cells(fidelity: Fidelity, part: Agreement) -> list[str]:
    n, rho = len(part.pairs), part.ranks.rho
    has_verdicts = any(fidelity.a.gains[pair].verdict for pair in part.pairs)
    return [
        *(str(n), DASH if rho is None else f"{rho:+.2f}", *_chance_cells(part.ranks.chance, "+.2f")),
        *(f"{part.same} of {n}", *_chance_cells(part.chance, ".1f")),
        f"{part.decided}, {part.confirmed}" if has_verdicts else DASH,
    ]


def _chance_cells(chance: Chance | None, form: str) -> list[str]:
    """Return what a figure would be by chance, mean and range, and p: ['+0.00 [-0.83, +0.83]', '0.357']."""
    if chance is None:
        return [DASH, DASH]
    mean = round(chance.mean, DIGITS) or 0.0  # not -0.0
    return [f"{mean:{form}} [{chance.low:{form}}, {chance.high:{form}}]", p_value(chance.p)]


def verdict_table(comparison: Comparison) -> Table:
    """Return how many gains over the reference have each pair of verdicts; no rows where a scale has none."""
    a, b = comparison.a, comparison.b
    rows = [
        [heading(fidelity), verdict, *(str(fidelity.verdicts.get((verdict, other), 0)) for other in VERDICTS)]
        for fidelity in comparison.metrics
        if fidelity.verdicts
        for verdict in VERDICTS
    ]
    note = f"The number of gains over the reference by their verdict {a.at} (rows) and {b.at} (columns)."
    return Table("Verdicts", "llrrrr", ["metric", a.at, *(f"{verdict} {b.at}" for verdict in VERDICTS)], rows, note)


def gains_table(comparison: Comparison) -> Table:
    """Return every comparison with its gain, interval and verdict at both scales."""
    a, b, rows = comparison.a, comparison.b, []
    for fidelity in comparison.metrics:
        for pair in _all_pairs(fidelity):
            labels = [a.results.label(name) for name in pair]
            cells = [cell for side in (fidelity.a, fidelity.b) for cell in _gain_cells(side.gains[pair])]
            rows.append([heading(fidelity), *labels, *cells])
    header = [text for scale in (a, b) for text in (f"gain {scale.at}", "95 % interval", "verdict")]
    note = " The published numbers are single runs: they have neither intervals nor verdicts." if b.published else ""
    return Table("Gains at both scales", "lllrrlrrl", ["metric", "recipe", "over", *header], rows, f"Points.{note}")


def _all_pairs(fidelity: Fidelity) -> list[Pair]:
    return list(dict.fromkeys([*fidelity.whole.pairs, *(fidelity.steps.pairs if fidelity.steps else ())]))


def _gain_cells(gain: Gain) -> list[str]:
    assert gain.diff is not None
    interval = "[{:+.2f}, {:+.2f}]".format(*gain.diff.interval) if gain.diff.interval else DASH
    return [f"{gain.diff.mean:+.2f}", interval, gain.words or DASH]


def basis_table(comparison: Comparison) -> Table:
    """Return by which network and protocol, on which split and with how many seeds each metric was measured at both scales."""
    rows = [
        [
            heading(fidelity),
            side.scale.name,
            side.column.network,
            side.column.protocol or DASH,
            side.column.split or DASH,
            _seeds(side),
        ]
        for fidelity in comparison.metrics
        for side in (fidelity.a, fidelity.b)
    ]
    note = f"Published: {comparison.a.results.study['published']['source']}." if comparison.b.published else ""
    return Table("Measured by", "lllllr", ["metric", "scale", "network", "protocol", "split", "seeds"], rows, note)


def _seeds(side: Side) -> str:
    """Return the number of seeds of the recipes: '3', or '2 to 3'; a dash for published numbers."""
    counts = sorted({len(runs) for runs in side.scores.values()})
    return DASH if side.scale.published else " to ".join(map(str, dict.fromkeys((counts[0], counts[-1]))))


def left_out_table(comparison: Comparison) -> Table:
    """Return the recipes and metrics that cannot be compared, and why."""
    a, b = comparison.a, comparison.b
    labels = {recipe: results.label(recipe) for results in (b.results, a.results) for recipe in results.study["recipes"]}
    rows = [[heading(fidelity), labels[r], reason] for fidelity in comparison.metrics for r, reason in fidelity.left_out.items()]
    for scale, column in comparison.unmatched:
        reason = f"measured {scale.at} by {column.network}, and has no gain to compare {(b if scale is a else a).at}"
        rows.append([heading_of(column.metric), "all", reason])
    return Table("Not compared", "lll", ["metric", "recipe", "reason"], rows)


# --- figure and JSON ----------------------------------------------------------------------------------------


def _figure(comparison: Comparison) -> Figure:
    """Draw each recipe's gain over the reference at the first scale against that at the second, a panel for each metric."""
    a, b = comparison.a, comparison.b
    first, second, base = one_line(a.at), one_line(b.at), one_line(a.results.label(a.results.reference))
    corners = {(1, 1): "better at both", (0, 0): "worse at both", (0, 1): f"better {first} only", (1, 0): f"better {second} only"}
    panels = []
    for fidelity in comparison.metrics:
        pairs = [(fidelity.b.gains[pair], fidelity.a.gains[pair]) for pair in fidelity.whole.pairs]
        points = [Point(x, y, name_of(a.results, [y], y.recipe, y.base)) for x, y in pairs]
        rho = fidelity.whole.ranks.rho
        title = heading(fidelity) + ("" if rho is None else f", rho {rho:+.2f}")
        panels.append(Panel(title, f"{second}, points over {base}", f"{first}, points over {base}", points, corners))
    caption = (
        f"Gains over {a.results.label(a.results.reference)}. The mark shows the verdict {a.at} (triangle up: better, down: "
        "worse, square: equivalent, circle: undecided, diamond: a metric without verdicts). Lines: 95 % intervals, solid over "
        "seeds, dashed over test images only; an arrowhead means that the interval continues. Shaded: the margins within which a "
        "difference counts as none. Numbers stand for the names above the panels. The axes have different ranges."
    )
    return Figure(NAME, f"Gains {a.at} against those {b.at}", caption, scatter(panels))


def content(comparison: Comparison) -> dict:
    """Return the content of fidelity.json: every figure of the report."""
    a, b = comparison.a, comparison.b
    metrics = [
        {"metric": fidelity.a.column.metric, "says": sentence(fidelity)} | _entry(fidelity) for fidelity in comparison.metrics
    ]
    return {
        "study": a.results.study["name"],
        "scales": [a.name, b.name],
        "reference": a.results.reference,
        "says": lead(comparison),
        "metrics": metrics,
    }


def _entry(fidelity: Fidelity) -> dict:
    """Return a metric as fidelity.json has it; lists of two are of the first scale and of the second."""
    sides = (fidelity.a, fidelity.b)
    return {
        "columns": [asdict(side.column) for side in sides],
        "over_reference": asdict(fidelity.whole),
        "over_parents": asdict(fidelity.steps) if fidelity.steps else None,
        "own_rank_correlation": fidelity.own_ranks,
        "verdicts": [{"at": verdicts, "count": count} for verdicts, count in fidelity.verdicts.items()],
        "gains": [
            {"recipe": pair[0], "base": pair[1], "at": [_numbers(side.gains[pair]) for side in sides]}
            for pair in _all_pairs(fidelity)
        ],
        "left_out": fidelity.left_out,
    }


def _numbers(gain: Gain) -> dict:
    assert gain.diff is not None
    low, high = gain.diff.interval or (None, None)
    return {"gain": gain.diff.mean, "low": low, "high": high, "verdict": gain.words}
