"""The figures of a report, each a PNG: levels, gains, gains in a transfer against those in top-1, training curves.

The same results give the same bytes: they hold no date and no version.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from statistics import fmean, median

from tools.engine.analysis.curves import PublishedCurve, measured, published_curve
from tools.engine.analysis.gains import Gain
from tools.engine.analysis.results import SCRATCH, Cell, Results, heading_of
from tools.engine.reporting.document import Figure
from tools.engine.reporting.plotting import (
    LETTER,
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
from tools.engine.reporting.transfer_figure import quadrant, transfer_pairs

LEVELS = (
    "Each seed (orange), the mean of a recipe (blue) and its 95 % t interval; dashed: the reference; "
    "an arrow: a value off the axis."
)
MARKS = (
    "The verdict is the mark (triangle up: better, down: worse, square: equivalent, circle: undecided). Filled, with a whole "
    "line: a 95 % interval over seeds; hollow and dashed: over test images only, one seed; hollow alone: no interval. "
)
FOREST = (
    MARKS
    + "Shaded: the margin within which a difference counts as none. An arrowhead: the interval goes on, or the point lies there."
)
QUADRANT = MARKS + "Shaded: the margins. A gain to the right that survives transfer lies above the shaded band."
CURVES = (
    "Mean over seeds (strong) and each seed (light). The training loss is that of the recipe's own targets (label smoothing, "
    "mixup and distillation change it), so compare it between recipes of equal targets only. "
)


def figures_of(
    results: Results, whole: Sequence[Gain], steps: Sequence[Gain], curves: Mapping[str, list[dict]]
) -> tuple[Figure, ...]:
    """The figures that a study's results give, those with nothing to show left out.

    Args:
        whole: gains over the reference.
        steps: gains over the parents; drawn where some parent is not the reference.
        curves: the thinned training curves of the runs by their keys, see ``tools.engine.analysis.curves.collect_curves``.
    """
    made = [Figure("gains", "Levels", LEVELS, draw(results))]
    reference = results.label(results.reference)
    made += _gain_figures(results, whole, reference, f"Ledger over {reference}")
    if {(g.recipe, g.base) for g in steps} - {(g.recipe, g.base) for g in whole}:
        made += _gain_figures(results, steps, "the parent", "Ledger of steps", "_steps")
    if any(curves.values()):
        caption = CURVES + _published_words(results, curves)
        made.append(Figure("curves", "Training curves", caption, draw_curves(results, curves), "Cost"))
    return tuple(made)


def _gain_figures(results: Results, gains: Sequence[Gain], over: str, ledger: str, suffix: str = "") -> Iterator[Figure]:
    """Both figures of gains over one base: one behind the table of gains, one behind the ledger of all tasks."""
    if any(g.diff for g in gains):
        title = f"Gains over {over}"
        yield Figure(f"forest{suffix}", f"{title}, in points", FOREST, forest(results, gains), title)
    if pairs := transfer_pairs(gains):
        title = f"Gain in transfer against gain in top-1, over {over}"
        yield Figure(f"quadrant{suffix}", title, QUADRANT, quadrant(results, pairs), ledger)


# --- levels -------------------------------------------------------------------------------------------------


def draw(results: Results) -> bytes:
    """PNG: one panel a metric; for each recipe its points, their mean and its 95 % t interval."""
    recipes, columns = results.study["recipes"], results.columns
    names = [results.label(r) for r in recipes]
    figure, panels = make_panels([f"{results.heading(c)}, %" for c in columns], (2.3, row_height(names)), names)
    for axes, column in zip(panels, columns, strict=True):
        for y, recipe in sorted(enumerate(recipes), key=lambda pair: pair[1] == SCRATCH):  # scratch last
            _draw_cell(axes, y, results.cell(recipe, column), recipe == results.reference, recipe == SCRATCH)
    return png(figure)


def _draw_cell(axes, y: int, cell: Cell, is_reference: bool, is_scratch: bool) -> None:
    spread, (low, high) = cell.spread, axes.get_xlim()
    # far from the pretrained recipes, scratch would squeeze their gains into one dot: it is written instead
    far = spread and is_scratch and axes.has_data() and not 2 * low - high < spread.mean < 2 * high - low
    if not spread or far:
        text = f"{'◄' if spread.mean < low else '►'} {' '.join(cell.parts)}" if far else str(cell)
        style = dict(color="#666", size=8, ha="center", va="center", backgroundcolor="white", parse_math=False)
        axes.text(0.5, y, text, transform=axes.get_yaxis_transform(), **style)
        return
    if is_reference:
        axes.axvline(spread.mean, color="#888", linewidth=0.8, linestyle="--", zorder=1)
    axes.errorbar(spread.mean, y, xerr=spread.half, fmt="D", markersize=5, capsize=3, color="#1f4e79", zorder=2)
    heights = [y - 0.22] * len(cell.points)
    axes.plot(cell.points, heights, "o", color="#c55a11", alpha=0.7, markersize=3.5, zorder=3)


# --- gains --------------------------------------------------------------------------------------------------


def forest(results: Results, gains: Sequence[Gain]) -> bytes:
    """PNG: a panel for each metric, a row for each recipe: its gain with interval and verdict, the margin, and 0."""
    columns = list(dict.fromkeys(g.column for g in gains))
    rows = list(dict.fromkeys((g.recipe, g.base) for g in gains))
    names = [name_of(results, gains, *row) for row in rows]
    figure, panels = make_panels([results.heading(c) for c in columns], (2.3, row_height(names)), names)
    for axes, column in zip(panels, columns, strict=True):
        shown = [g for g in gains if g.column == column and g.diff]
        low, high = limits(shown)
        axes.set_xlim(low, high)
        axes.axvline(0, color="#555", linewidth=0.8, zorder=1)
        for g in shown:
            axes.axvspan(-g.margin, g.margin, color="#eeeeea", zorder=0, linewidth=0)
            y = rows.index((g.recipe, g.base))
            if low <= g.diff.mean <= high:
                mark(axes, g.diff.mean, y, g)
                draw_interval(axes, g, g.diff, y, low, high)
            else:
                text = f"◄ {g.diff.mean:+.2f}" if g.diff.mean < low else f"{g.diff.mean:+.2f} ►"
                place = dict(x=0.02, ha="left") if g.diff.mean < low else dict(x=0.98, ha="right")
                style = dict(color=look(g)[0], size=8, va="center", bbox=dict(color="white", pad=1))
                axes.text(**place, y=y, s=text, transform=axes.get_yaxis_transform(), **style)
    verdict_legend(figure, [g for g in gains if g.diff])
    return png(figure)


# --- training curves ----------------------------------------------------------------------------------------


def draw_curves(results: Results, curves: Mapping[str, list[dict]]) -> bytes:
    """PNG: for each task the training loss, and each metric that was evaluated while training, against the epoch."""
    content = _curve_panels(results, curves)
    recipes = [r for r in results.study["recipes"] if any(r in runs for runs in content.values())]
    titles = [f"{task}, {network}, {heading_of(what)}" for task, network, what in content]
    figure, panels = make_panels(titles, (3.1, 2.5))
    for axes, ((_, network, what), runs) in zip(panels, content.items(), strict=True):
        for recipe in (r for r in recipes if r in runs):
            _draw_runs(axes, list(runs[recipe].values()), **line_style(recipes.index(recipe)))
        for found in _published(results, {(recipe, run, network, what) for recipe in runs for run in runs[recipe]}):
            axes.plot(found.epochs, found.values, color="#aaa", linewidth=2.5, zorder=1)
        axes.set_xlabel("epoch", fontsize=9)
    _curve_legend(figure, results, recipes)
    return png(figure)


def _curve_panels(results: Results, curves: Mapping[str, list[dict]]) -> dict[tuple[str, str, str], dict[str, dict]]:
    """{(task, network, 'loss' or metric): {recipe: {run: [(epoch, value), ...]}}}."""
    found: dict[tuple[str, str, str], dict[str, dict]] = {}
    for row in results.runs:
        lines = curves.get(row["run"], [])
        for what in measured(lines):
            if points := [(line["epoch"], line[what]) for line in lines if line.get(what) is not None]:
                panel = found.setdefault((row["task"], row["network"], what), {})
                panel.setdefault(row["recipe"], {})[row["run"]] = points
    return dict(part for name, runs in found.items() for part in _apart(name, runs))


def _apart(name: tuple[str, str, str], runs: dict[str, dict]) -> Iterator[tuple]:
    """A panel and a second one for recipes whose loss is far larger: distillation's is hundreds of times that of the others."""
    sizes = {r: median(value for points in of_recipe.values() for _, value in points) for r, of_recipe in runs.items()}
    large = {r for r in runs if name[2] == "loss" and sizes[r] > 20 * max(min(sizes.values()), 0)}
    for title, recipes in ((name[2], runs.keys() - large), (f"{name[2]}, far larger", large)):
        if recipes:
            yield (*name[:2], title), {r: runs[r] for r in runs if r in recipes}


def _published(results: Results, shown: Iterable[tuple[str, str, str, str]]) -> list[PublishedCurve]:
    """The published curves of what is shown, each (recipe, run, network, metric), at scale paper; each curve once."""
    if results.study["scale"] != "paper":
        return []
    runs = results.study.get("runs", {})
    found = [published_curve(r, runs.get(run, {}).get("config"), network, what) for r, run, network, what in sorted(shown)]
    return list(dict.fromkeys(curve for curve in found if curve))


def _draw_runs(axes, runs: list[list[tuple[float, float]]], **style) -> None:
    """Each run light, and their mean, over the epochs that all have, strong."""
    import numpy as np

    if len(runs) > 1:
        for points in runs:
            axes.plot(*zip(*points, strict=True), **style | dict(linewidth=0.6, alpha=0.3, linestyle="-"))
    epochs = [epoch for epoch, _ in runs[0] if epoch <= min(points[-1][0] for points in runs)]
    values = [np.interp(epochs, *zip(*points, strict=True)) for points in runs]
    axes.plot(epochs, [fmean(at) for at in zip(*values, strict=True)], **style, linewidth=1.4)


def _curve_legend(figure, results: Results, recipes: list[str]) -> None:
    from matplotlib.lines import Line2D

    names = [one_line(results.label(r)) for r in recipes]
    handles = [Line2D([], [], label=name, **line_style(i)) for i, name in enumerate(names)]
    fit = int(figure.get_figwidth() / (0.6 + LETTER * max(map(len, names))))  # columns that the figure is wide enough for
    made = figure.legend(handles=handles, loc="outside lower center", ncols=max(1, min(fit, 4)), fontsize=8, frameon=False)
    for text in made.get_texts():
        text.set_parse_math(False)


def _published_words(results: Results, curves: Mapping[str, list[dict]]) -> str:
    """What the grey curves are; '' where there is none."""
    shown = (
        (row["recipe"], row["run"], row["network"], what) for row in results.runs for what in measured(curves.get(row["run"], []))
    )
    if not (found := _published(results, shown)):
        return ""
    named = dict.fromkeys(f"{curve.name} ({curve.differs})" for curve in found)
    return f"Grey: published, one run each: {'; '.join(named)}. Source: {found[0].source}."
