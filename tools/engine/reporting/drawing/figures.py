"""Draw the figures of a report as PNG: levels, gains, gains in a transfer against those in top-1, training curves.

The files hold neither date nor version, so the same results give the same bytes.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from statistics import fmean, median

from tools.engine.analysis.curves import PublishedCurve, measured, published_curve
from tools.engine.analysis.gains import Gain
from tools.engine.analysis.results import SCRATCH, Cell, Column, Results, heading_of
from tools.engine.reporting.document import Figure
from tools.engine.reporting.drawing.plotting import (
    BAND,
    add_legend,
    columns_for,
    draw_interval,
    limits,
    line_style,
    look,
    make_panels,
    mark,
    name_of,
    one_line,
    png,
    row_height,
    verdict_legend,
)
from tools.engine.reporting.drawing.transfer_figure import quadrant, transfer_pairs

ARROWS = {"◄": "<", "►": ">"}  # beside a level beyond the axis, and their shape in a legend
SEED, MEAN = "#c55a11", "#1f4e79"  # colours of levels
LEVELS = (
    "Each seed (orange), and the mean of a recipe (blue) with its 95 % t interval. Dashed line: the reference. Arrow: a value "
    "beyond the axis."
)
MARKS = (
    "The mark shows the verdict (triangle up: better, down: worse, square: equivalent, circle: undecided, diamond: a metric "
    "without verdicts); the tables say what it rests on. Filled, with a solid line: a 95 % interval over seeds. Hollow, with a "
    "dashed line: an interval over test images only, from one seed. Hollow, without a line: no interval. "
)
FOREST = (
    MARKS
    + "Shaded: the margin within which a difference counts as none. Arrowhead: the interval continues, or the point lies beyond "
    "the axis."
)
QUADRANT = (
    MARKS
    + "Shaded: the margins. A gain on the right that survives the transfer lies above the shaded band. Cross at an edge: the "
    "point lies beyond the axes, at the values in brackets. Numbers stand for the names above the panels."
)
CURVES = (
    "Mean over seeds (strong) and each seed (light). The training loss uses the recipe's own targets, which label smoothing, "
    "mixup and distillation change, so compare it only between recipes with the same targets. "
)


def figures_of(
    results: Results, whole: Sequence[Gain], steps: Sequence[Gain], curves: Mapping[str, list[dict]]
) -> dict[str, Figure]:
    """Return the figures of a study's results by their names, skipping those with nothing to show.

    Args:
        whole: gains over the reference.
        steps: gains over the parents, empty where each parent is the reference.
        curves: thinned training curves by the key of their run, see ``tools.engine.analysis.curves.collect_curves``.
    """
    figures = [Figure("gains", "Levels", LEVELS, draw(results))] if results.rows else []
    figures += _gain_figures(results, whole, results.label(results.reference))
    figures += _gain_figures(results, steps, "the parent", "_steps")
    if any(curves.values()):
        caption = CURVES + _published_caption(results, curves)
        figures.append(Figure("curves", "Training curves", caption, draw_curves(results, curves)))
    return {figure.name: figure for figure in figures}


def _gain_figures(results: Results, gains: Sequence[Gain], over: str, suffix: str = "") -> Iterator[Figure]:
    """Yield both figures of gains over one base: the gains in each task, and those in a transfer against those in top-1."""
    if judged := plotted(gains):
        yield Figure(f"forest{suffix}", f"Gains over {over}, in points", FOREST, forest(results, judged, over))
    if pairs := transfer_pairs(gains):
        title = f"Gain in transfer against gain in top-1, over {over}"
        yield Figure(f"quadrant{suffix}", title, QUADRANT, quadrant(results, pairs, over))


def plotted(gains: Sequence[Gain]) -> list[Gain]:
    """Return the gains that the plot of gains shows: those with a verdict; without any, those with a number."""
    return [gain for gain in gains if gain.verdict] or [gain for gain in gains if gain.diff]


# --- levels -------------------------------------------------------------------------------------------------


def draw(results: Results) -> bytes:
    """Return a PNG with a panel for each metric: the points of each recipe, their mean and its 95 % t interval."""
    recipes, columns = results.study["recipes"], results.columns
    names = [results.label(r) for r in recipes]
    figure, panels = make_panels([f"{results.heading(c)}, %" for c in columns], (2.3, row_height(names)), names)
    for axes, column in zip(panels, columns, strict=True):
        outliers = _outliers(results, column)
        for y, recipe in enumerate(recipes):
            _draw_cell(axes, y, results.cell(recipe, column), recipe == results.reference, outliers.get(recipe))
    _level_legend(figure, results.label(results.reference))
    return png(figure)


def _level_legend(figure, reference: str) -> None:
    """Add a legend of what is drawn: seeds, means, the reference, and levels beyond the axis."""
    from matplotlib.lines import Line2D

    handles = [
        Line2D([], [], linestyle="", marker="o", markersize=3.5, color=SEED, label="one seed"),
        Line2D([], [], marker="D", markersize=5, color=MEAN, label="mean, 95 % interval"),
        Line2D([], [], linestyle="--", linewidth=0.8, color="#888", label=one_line(f"the reference, {reference}")),
    ]
    starts = {text.get_text()[:1] for axes in figure.axes for text in axes.texts}
    if shape := next((shape for arrow, shape in ARROWS.items() if arrow in starts), ""):
        handles.append(Line2D([], [], linestyle="", marker=shape, color="#666", label="beyond the axis, at this level"))
    add_legend(figure, handles, "outside lower center")


def _outliers(results: Results, column: Column) -> dict[str, bool]:
    """Return the recipes whose level would squeeze all others, and whether it lies below them.

    A recipe is one if it lies four times as far from the median as the typical one (and four points), and scratch if it lies
    twice as far as the others reach.
    """
    spreads = {r: spread for r in results.study["recipes"] if (spread := results.cell(r, column).spread)}
    others = [spread for r, spread in spreads.items() if r != SCRATCH]
    if not others:
        return {}
    centre = median(spread.mean for spread in others)
    far = 4 * max(1.0, median(max(abs(spread.mean - centre), spread.half or 0) for spread in others))
    reach = max(abs(spread.mean - centre) + (spread.half or 0) for spread in others if abs(spread.mean - centre) <= far)
    limit = {r: 2 * max(reach, 1.0) if r == SCRATCH else far for r in spreads}
    return {r: spread.mean < centre for r, spread in spreads.items() if abs(spread.mean - centre) > limit[r]}


def _draw_cell(axes, y: int, cell: Cell, is_reference: bool, below: bool | None) -> None:
    """Draw the seeds, the mean and its interval; for a level ``below`` (or above) the axis, an arrow with its value."""
    spread = cell.spread
    if not spread or below is not None:
        text = str(cell)
        if below is not None:
            arrow = "◄" if below else "►"
            text = f"{arrow} {' '.join(cell.parts)}"
        style = dict(color="#666", size=8, ha="center", va="center", backgroundcolor="white", parse_math=False)
        axes.text(0.5, y, text, transform=axes.get_yaxis_transform(), **style)
        return
    if is_reference:
        axes.axvline(spread.mean, color="#888", linewidth=0.8, linestyle="--", zorder=1)
    axes.errorbar(spread.mean, y, xerr=spread.half, fmt="D", markersize=5, capsize=3, color=MEAN, zorder=2)
    heights = [y - 0.22] * len(cell.points)
    axes.plot(cell.points, heights, "o", color=SEED, alpha=0.7, markersize=3.5, zorder=3)


# --- gains --------------------------------------------------------------------------------------------------


def forest(results: Results, gains: Sequence[Gain], over: str) -> bytes:
    """Return a PNG with a panel for each metric and a row for each recipe: its gain, interval and verdict, the margin, and 0.

    Args:
        over: what the gains are over, in words.
    """
    order = {column: i for i, column in enumerate(results.columns)}
    columns = sorted(dict.fromkeys(g.column for g in gains if g.diff), key=lambda column: order.get(column, len(order)))
    rows = list(dict.fromkeys((g.recipe, g.base) for g in gains))
    names = [name_of(results, gains, *row) for row in rows]
    figure, panels = make_panels([results.heading(c) for c in columns], (2.3, row_height(names)), names)
    for axes, column in zip(panels, columns, strict=True):
        shown = [g for g in gains if g.column == column and g.diff]
        low, high = limits(shown)
        axes.set_xlim(low, high)
        axes.set_xlabel(one_line(f"points over {over}"), fontsize=8.5, parse_math=False)
        axes.axvline(0, color="#555", linewidth=0.8, zorder=1)
        for g in shown:
            axes.axvspan(-g.margin, g.margin, color=BAND, zorder=0, linewidth=0)
            y = rows.index((g.recipe, g.base))
            if low <= g.diff.mean <= high:
                mark(axes, g.diff.mean, y, g)
                draw_interval(axes, g, g.diff, y, low, high)
            else:
                _draw_beyond(axes, g, y, -low / (high - low))
    verdict_legend(figure, [g for g in gains if g.diff])
    return png(figure)


def _draw_beyond(axes, gain: Gain, y: int, zero: float) -> None:
    """Draw an arrow at the edge beyond which a gain lies, and its values where they do not cover the line at 0.

    Args:
        zero: place of that line, in parts of the axis.
    """
    is_below = gain.diff.mean < 0
    edge, arrow = (0.02, "<") if is_below else (0.98, ">")
    axes.plot(edge, y, arrow, color=look(gain)[0], transform=axes.get_yaxis_transform())
    values = [f"{gain.diff.mean:+.2f}", "[{:+.2f}, {:+.2f}]".format(*gain.diff.interval) if gain.diff.interval else ""]
    if is_below:
        place = dict(x=0.06 if zero > 0.5 else zero + 0.02, ha="left")
    else:
        place = dict(x=0.94 if zero < 0.5 else zero - 0.02, ha="right")
    style = dict(color=look(gain)[0], size=7.5, va="center", linespacing=1.1)
    axes.text(**place, y=y, s="\n".join(values).strip(), transform=axes.get_yaxis_transform(), **style)


# --- training curves ----------------------------------------------------------------------------------------


def draw_curves(results: Results, curves: Mapping[str, list[dict]]) -> bytes:
    """Return a PNG with panels for each task: the training loss and each metric evaluated during training, against the epoch."""
    content = _curve_panels(results, curves)
    recipes = [r for r in results.study["recipes"] if any(r in runs for runs in content.values())]
    titles = [f"{task}, {network}, {heading_of(quantity)}" for task, network, quantity in content]
    figure, panels = make_panels(titles, (3.1, 2.5))
    for axes, ((_, network, quantity), runs) in zip(panels, content.items(), strict=True):
        for recipe in (r for r in recipes if r in runs):
            _draw_runs(axes, list(runs[recipe].values()), **line_style(recipes.index(recipe)))
        for curve in _published(results, {(recipe, run, network, quantity) for recipe in runs for run in runs[recipe]}):
            axes.plot(curve.epochs, curve.values, color="#aaa", linewidth=2.5, zorder=1)
        axes.set_xlabel("epoch", fontsize=9)
    _curve_legend(figure, results, recipes)
    return png(figure)


def _curve_panels(results: Results, curves: Mapping[str, list[dict]]) -> dict[tuple[str, str, str], dict[str, dict]]:
    """Return {(task, network, 'loss' or metric): {recipe: {run: [(epoch, value), ...]}}}."""
    panels: dict[tuple[str, str, str], dict[str, dict]] = {}
    for row in results.runs:
        lines = curves.get(row["run"], [])
        for quantity in measured(lines):
            if points := [(line["epoch"], line[quantity]) for line in lines if line.get(quantity) is not None]:
                panel = panels.setdefault((row["task"], row["network"], quantity), {})
                panel.setdefault(row["recipe"], {})[row["run"]] = points
    return dict(panel for name, runs in panels.items() for panel in _apart(results, name, runs))


def _apart(results: Results, name: tuple[str, str, str], runs: dict[str, dict]) -> Iterator[tuple]:
    """Yield a panel, and a second one for recipes whose loss is far larger, such as that of distillation, with its factor T^2."""
    sizes = {r: median(value for points in of_recipe.values() for _, value in points) for r, of_recipe in runs.items()}
    large = {r for r in runs if name[2] == "loss" and sizes[r] > 20 * max(min(sizes.values()), 0)}
    reason = "\n(times T² by distillation)" if all(_distils(results, r) for r in large) else ", far larger"
    for title, recipes in ((name[2], runs.keys() - large), (f"{name[2]}{reason}", large)):
        if recipes:
            yield (*name[:2], title), {r: runs[r] for r in runs if r in recipes}


def _distils(results: Results, recipe: str) -> bool:
    """Return whether a recipe trains with the trick distillation."""
    tricks = results.study.get("tricks", {}).get(recipe)
    return isinstance(tricks, list) and any(name == "distillation" for name, _ in tricks)


def _published(results: Results, shown: Iterable[tuple[str, str, str, str]]) -> list[PublishedCurve]:
    """Return each published curve of the shown (recipe, run, network, metric) once. Scales other than paper have none."""
    if results.study["scale"] != "paper":
        return []
    runs = results.study.get("runs", {})
    curves = [published_curve(r, runs.get(run, {}).get("config"), network, metric) for r, run, network, metric in sorted(shown)]
    return list(dict.fromkeys(curve for curve in curves if curve))


def _draw_runs(axes, runs: list[list[tuple[float, float]]], **style) -> None:
    """Draw each run light, and strong the mean over the epochs that all runs have."""
    import numpy as np

    if len(runs) > 1:
        for points in runs:
            axes.plot(*zip(*points, strict=True), **style | dict(linewidth=0.6, alpha=0.3, linestyle="-"))
    epochs = [epoch for epoch, _ in runs[0] if epoch <= min(points[-1][0] for points in runs)]
    values = [np.interp(epochs, *zip(*points, strict=True)) for points in runs]
    axes.plot(epochs, [fmean(column) for column in zip(*values, strict=True)], **style, linewidth=1.4)


def _curve_legend(figure, results: Results, recipes: list[str]) -> None:
    from matplotlib.lines import Line2D

    names = [one_line(results.label(r)) for r in recipes]
    handles = [Line2D([], [], label=name, **line_style(i)) for i, name in enumerate(names)]
    columns = columns_for(figure, names)
    legend = figure.legend(handles=handles, loc="outside lower center", ncols=columns, fontsize=8, frameon=False)
    for text in legend.get_texts():
        text.set_parse_math(False)


def _published_caption(results: Results, curves: Mapping[str, list[dict]]) -> str:
    """Return a sentence about the grey curves, or '' if there are none."""
    shown = (
        (row["recipe"], row["run"], row["network"], metric)
        for row in results.runs
        for metric in measured(curves.get(row["run"], []))
    )
    published = _published(results, shown)
    if not published:
        return ""
    names = dict.fromkeys(f"{curve.name} ({curve.differs})" for curve in published)
    return f"Grey: published, one run each: {'; '.join(names)}. Source: {published[0].source}."
