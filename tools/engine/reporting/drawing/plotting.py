"""Draw what the figures of a report share: panels, and the look of a gain with its verdict."""

import io
from collections.abc import Iterable, Mapping, Sequence
from statistics import median, median_low

from tools.engine.analysis.differences import BY_SEEDS
from tools.engine.analysis.gains import Gain
from tools.engine.analysis.results import SCRATCH, Results
from tools.engine.reporting.document import DPI

ACROSS = 3  # panels in a row
LETTER, LETTERS = 0.07, 36  # approximate width of a letter of a name in inches, and the most letters that a name may have
# colour-blind safe (Okabe and Ito, 2008, darkened a little for thin lines on white), and a shape for each
LOOKS = {
    "better": ("#005a8c", "^"),
    "worse": ("#c04f00", "v"),
    "equivalent": ("#00805f", "s"),
    "undecided": ("#767670", "o"),
}
UNJUDGED = ("#3d3d3a", "D")  # a metric without verdicts
SEEDS, IMAGES, NONE = "95 % interval", "95 % interval over test images only, from one seed", "no interval"
LINES = {SEEDS: "-", IMAGES: (0, (2.5, 1.5)), NONE: ""}
BAND, INTERVAL = "#ebebe6", 3  # colour of the margin within which a difference counts as none; order of intervals in a drawing
BEYOND = {"<": "beyond the axis, at this value", ">": "beyond the axis, at this value", "X": "beyond the axes, at these values"}
COLOURS = ("#005a8c", "#c04f00", "#00805f", "#c06a9c", "#8c7a00", "#3f9fdc", "#000000")
DASHES = ("-", (0, (4, 1.5)), (0, (1.5, 1.2)), (0, (5, 1.5, 1, 1.5)))  # the next one when all colours are used up


def make_panels(titles: Sequence[str], size: tuple[float, float], names: Sequence[str] = (), across: int = ACROSS):
    """Return a figure and its panels: one for each title, each of ``size`` (inches), ``across`` in a row.

    With ``names`` the panels share their rows: one for each name, written at the left, from the top down.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # takes half a second, which the terminal's table need not wait
    from matplotlib.figure import Figure as Canvas

    across = min(across, len(titles))
    down = -(-len(titles) // across)
    names = ["\n".join(map(one_line, name.splitlines())) for name in names]
    margin = 0.3 + LETTER * max((len(line) for name in names for line in name.splitlines()), default=0)
    figure = Canvas(figsize=(margin + size[0] * across, 0.5 + size[1] * down), layout="constrained", dpi=DPI)
    FigureCanvasAgg(figure)  # without this, each measured text would create its own renderer
    panels = figure.subplots(down, across, sharey=bool(names), squeeze=False).ravel()
    for axes in panels[len(titles) :]:
        axes.set_visible(False)
    for axes, title in zip(panels, titles, strict=False):
        axes.set_title(title, fontsize=9.5, parse_math=False)
        axes.grid(axis="x" if names else "both", color="#e4e4e0", linewidth=0.6)
        axes.set_axisbelow(True)
        axes.spines[["top", "right", "left"] if names else ["top", "right"]].set_visible(False)
        axes.tick_params(left=not names, labelsize=8.5)
    if names:
        # parse_math=False does not reach the ticks of all panels: an escaped dollar begins no formula
        panels[0].set_yticks(range(len(names)), [name.replace("$", r"\$") for name in names])
        panels[0].set_ylim(len(names) - 0.5, -0.5)
    return figure, list(panels[: len(titles)])


def row_height(names: Sequence[str]) -> float:
    """Return the height, in inches, of a panel with a row for each name."""
    return 0.6 + 0.34 * len(names)


def one_line(name: str) -> str:
    """Return the name, shortened if it is too long for a figure."""
    return name if len(name) <= LETTERS else name[: LETTERS - 2] + " …"


def png(figure) -> bytes:
    """Return the figure as PNG of 256 colours: a third of the size in full colour, and every figure is in the page."""
    from PIL import Image

    file = io.BytesIO()
    figure.canvas.draw()
    size = figure.canvas.get_width_height()
    Image.frombuffer("RGBA", size, figure.canvas.buffer_rgba()).convert("RGB").quantize(256).save(file, "PNG", optimize=True)
    return file.getvalue()


def name_of(results: Results, gains: Iterable[Gain], recipe: str, base: str) -> str:
    """Return the label of a recipe. If the gains compare it with several bases, add a line that names this base."""
    bases = {g.base for g in gains if g.recipe == recipe}
    label = results.label(recipe)
    return f"{label}\nover {results.label(base)}" if len(bases) > 1 else label


def limits(gains: Sequence[Gain]) -> tuple[float, float]:
    """Return the ends of an axis of gains.

    The axis includes 0, the margins, and all points but outliers, with their intervals. A point is an outlier if it lies four
    times as far from 0 as the typical one, and scratch is one if it lies twice as far as the farthest of the others. An
    interval is cut at three times the distance of the farthest point or margin from 0, unless the typical one reaches farther.
    """
    if not gains:
        return -1, 1
    others = [g for g in gains if SCRATCH not in (g.recipe, g.base)] or list(gains)
    reach = 4 * median(max(abs(g.diff.mean), g.margin, g.diff.half or 0) for g in others)
    shown = [g for g in others if abs(g.diff.mean) <= reach]
    farthest = max(max(abs(g.diff.mean), g.margin) for g in shown)
    shown += [g for g in gains if g not in shown and abs(g.diff.mean) <= 2 * farthest]
    typical = median_low(abs(g.diff.mean) + (g.diff.half or 0) for g in shown)
    farthest = max(typical, 3 * max(max(abs(g.diff.mean), g.margin) for g in shown))
    ends = [end for g in shown for end in (g.diff.interval or ())] + [g.diff.mean for g in shown]
    margin = max(g.margin for g in shown)
    low, high = max(min(ends), -farthest), min(max(ends), farthest)
    low, high = min(low, -1.2 * margin), max(high, 1.2 * margin)
    return low - 0.06 * (high - low), high + 0.06 * (high - low)


def look(gain: Gain) -> tuple[str, str]:
    """Return the colour and the shape of a gain's verdict."""
    return LOOKS.get(gain.verdict, UNJUDGED)


def kind_of(gain: Gain) -> str:
    """Return the source of the variance of a gain's interval, a key of ``LINES``."""
    if gain.diff.kind in BY_SEEDS:
        return SEEDS
    return IMAGES if gain.diff.kind else NONE


def mark(axes, x: float, y: float, gain: Gain) -> None:
    """Draw the mark of a gain's verdict, filled if its interval is over seeds."""
    colour, shape = look(gain)
    axes.plot(x, y, shape, color=colour, markerfacecolor=colour if kind_of(gain) == SEEDS else "white", markersize=6, zorder=4)


def draw_interval(axes, gain: Gain, diff, at: float, low: float, high: float, upright: bool = False, alpha=1.0) -> None:
    """Draw the part of the interval of ``diff`` within low..high.

    The line is horizontal at y = ``at`` or, if ``upright``, vertical at x = ``at``. An arrowhead means that the interval
    continues. The verdict of ``gain`` sets the colour. The eight parameters are the geometry of one line; bundling them would
    only add a class.
    """
    from matplotlib.markers import CARETDOWN, CARETLEFT, CARETRIGHT, CARETUP

    if not diff.interval:
        return
    colour, inside = look(gain)[0], (low + 0.02 * (high - low), high - 0.02 * (high - low))
    ends = [min(max(end, inside[0]), inside[1]) for end in diff.interval]
    style = dict(
        color=colour, linewidth=1.3, linestyle=LINES[IMAGES if diff.kind == "images" else SEEDS], alpha=alpha, zorder=INTERVAL
    )
    axes.plot(*([at, at], ends) if upright else (ends, [at, at]), **style)
    carets = (CARETDOWN, CARETUP) if upright else (CARETLEFT, CARETRIGHT)
    for end, exact, caret in zip(ends, diff.interval, carets, strict=True):
        if end != exact:
            axes.plot(
                *(at, end) if upright else (end, at), marker=caret, color=colour, alpha=alpha, markersize=5, zorder=INTERVAL
            )


def verdict_legend(figure, gains: Sequence[Gain]) -> None:
    """Add a legend of all that is drawn: the marks of verdicts, intervals, the margin, and what lies beyond the axes."""
    from matplotlib.lines import Line2D
    from matplotlib.markers import CARETDOWN, CARETLEFT, CARETRIGHT, CARETUP
    from matplotlib.patches import Patch

    handles: list = [
        Line2D([], [], linestyle="", color=colour, marker=shape, label=verdict)
        for verdict, (colour, shape) in (LOOKS | {"no verdict": UNJUDGED}).items()
        if any(look(g) == (colour, shape) for g in gains)
    ]
    for kind in dict.fromkeys(kind_of(g) for g in gains):
        face = "#555" if kind == SEEDS else "white"
        handles.append(Line2D([], [], color="#555", linestyle=LINES[kind], marker="o", markerfacecolor=face, label=kind))
    drawn = {line.get_marker() for axes in figure.axes for line in axes.get_lines()}
    if drawn & {CARETDOWN, CARETLEFT, CARETRIGHT, CARETUP}:
        handles.append(Line2D([], [], color="#555", marker=CARETRIGHT, markevery=[1], label="the interval continues"))
    if any(axes.patches for axes in figure.axes):
        handles.append(Patch(color=BAND, label="counts as no difference"))
    shapes = {text: shape for shape, text in BEYOND.items() if shape in drawn}  # one for each text
    handles += [Line2D([], [], linestyle="", color="#555", marker=shape, label=text) for text, shape in shapes.items()]
    add_legend(figure, handles, "outside lower center")


def list_names(figure, names: Mapping[str, str]) -> None:
    """Add a list of names by their numbers above the panels, in as many columns as the width allows."""
    from matplotlib.lines import Line2D

    texts = [f"{number}  {' '.join(map(one_line, name.splitlines()))}" for number, name in names.items()]
    handles = [Line2D([], [], linestyle="", label=text) for text in texts]
    legend = add_legend(figure, handles, "outside upper center")
    for handle in legend.legend_handles:
        handle.set_visible(False)


def columns_for(figure, names: Sequence[str]) -> int:
    """Return the number of columns of a legend that fit the figure: 1 to 4."""
    return max(1, min(int(figure.get_figwidth() / (0.6 + LETTER * max(map(len, names)))), 4))


def add_legend(figure, handles: Sequence, place: str):
    """Add a legend outside of the panels, make the figure higher by it, and return it."""
    columns = columns_for(figure, [handle.get_label() for handle in handles])
    legend = figure.legend(handles=handles, loc=place, ncols=columns, fontsize=8, frameon=False)
    figure.set_figheight(figure.get_figheight() + 0.18 * -(-len(handles) // columns))
    for text in legend.get_texts():
        text.set_parse_math(False)
    return legend


def line_style(i: int) -> dict:
    """Return the colour and the dashes of the i-th line of a panel."""
    return dict(color=COLOURS[i % len(COLOURS)], linestyle=DASHES[i // len(COLOURS) % len(DASHES)])
