"""Draw gains against gains: a panel of points with two intervals each, and their names, or numbers where names find no room."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tools.engine.analysis.gains import Gain
from tools.engine.reporting.drawing.labels import Box, Ground, placed
from tools.engine.reporting.drawing.plotting import (
    BAND,
    INTERVAL,
    draw_interval,
    limits,
    list_names,
    look,
    make_panels,
    mark,
    png,
    verdict_legend,
)

SIZE = (4.6, 4.1)  # of a panel, in inches
ARROWS = {(0, 1): "↖", (1, 1): "↗", (0, 0): "↙", (1, 0): "↘"}  # to the corners of a panel


@dataclass(frozen=True)
class Point:
    """Hold two gains of one recipe, both with a number, and the name beside their point; the look is that of ``y``'s verdict."""

    x: Gain
    y: Gain
    name: str

    def place(self, axes) -> tuple[float, float]:
        """Return the point, or the place at the edge of the axes that is nearest to it if it lies beyond them."""
        ends = [(low + 0.03 * (high - low), high - 0.03 * (high - low)) for low, high in (axes.get_xlim(), axes.get_ylim())]
        means = self.x.diff.mean, self.y.diff.mean
        inside = all(low <= mean <= high for mean, (low, high) in zip(means, (axes.get_xlim(), axes.get_ylim()), strict=True))
        return means if inside else tuple(min(max(mean, low), high) for mean, (low, high) in zip(means, ends, strict=True))

    def label(self, axes, numbers: Mapping[str, str]) -> str:
        """Return the name, or its number, with the values in brackets if the point lies beyond the axes."""
        means, name = (self.x.diff.mean, self.y.diff.mean), numbers.get(self.name, self.name)
        return name if self.place(axes) == means else "{} ({:+.1f}, {:+.1f})".format(name, *means)


@dataclass(frozen=True)
class Panel:
    """Hold the content of a panel.

    Attributes:
        x, y: names of the axes.
        corners: names of the quadrants by corner, whose x and y are 0 or 1.
    """

    title: str
    x: str
    y: str
    points: Sequence[Point]
    corners: Mapping[tuple[int, int], str]


def scatter(panels: Sequence[Panel]) -> bytes:
    """Return a PNG of the panels, two in a row: gains with both intervals, the margins, and lines at 0.

    Each point has its name beside it. Where a name finds no room in one of the panels, all points have numbers, which are listed
    above the panels.
    """
    figure, is_clean = _drawn(panels, {})
    if not is_clean:
        names = dict.fromkeys(point.name for panel in panels for point in panel.points)
        figure, _ = _drawn(panels, {name: str(i) for i, name in enumerate(names, 1)})
    return png(figure)


def _drawn(panels: Sequence[Panel], numbers: Mapping[str, str]) -> tuple:
    """Return the figure, and whether all names or numbers found room.

    Args:
        numbers: for the names of all points; empty to show the names themselves.
    """
    figure, places = make_panels([panel.title for panel in panels], SIZE, across=2)
    for axes, panel in zip(places, panels, strict=True):
        _draw_panel(axes, panel)
    verdict_legend(figure, [point.y for panel in panels for point in panel.points])
    if numbers:
        list_names(figure, {number: name for name, number in numbers.items()})
    figure.draw_without_rendering()  # settles where everything is, so that labels can keep out of each other's way
    figure.set_layout_engine("none")
    return figure, all([_label(axes, panel, numbers) for axes, panel in zip(places, panels, strict=True)])


def _draw_panel(axes, panel: Panel) -> None:
    """Draw the axes, the margins, the names of the quadrants outside them, and each point as a mark with both intervals."""
    xs, ys = [point.x for point in panel.points], [point.y for point in panel.points]
    (left, right), (low, high) = limits(xs), limits(ys)
    axes.set(xlim=(left, right), ylim=(low, high))
    axes.set_title(panel.title, fontsize=9.5, parse_math=False, pad=17)
    axes.set_xlabel(panel.x, fontsize=9, parse_math=False)
    axes.set_ylabel(panel.y, fontsize=9, parse_math=False)
    for corner, text in panel.corners.items():
        _name_corner(axes, corner, text)
    axes.axvspan(-xs[0].margin, xs[0].margin, color=BAND, zorder=0, linewidth=0)
    axes.axhspan(-ys[0].margin, ys[0].margin, color=BAND, zorder=0, linewidth=0)
    axes.axvline(0, color="#555", linewidth=0.8, zorder=1)
    axes.axhline(0, color="#555", linewidth=0.8, zorder=1)
    for point in panel.points:
        x, y = point.x, point.y
        if point.place(axes) != (x.diff.mean, y.diff.mean):
            axes.plot(*point.place(axes), "X", color=look(y)[0], markersize=6, zorder=4)
            continue
        mark(axes, x.diff.mean, y.diff.mean, y)
        draw_interval(axes, y, x.diff, y.diff.mean, left, right, alpha=0.35)
        draw_interval(axes, y, y.diff, x.diff.mean, low, high, upright=True, alpha=0.35)


def _name_corner(axes, corner: tuple[int, int], text: str) -> None:
    """Write the name of a quadrant beside its corner of the axes, where it crosses nothing that is drawn."""
    x, y = corner
    text = f"{text} {ARROWS[corner]}" if x else f"{ARROWS[corner]} {text}"
    style = dict(size=8, style="italic", color="#6a6a64", ha=("left", "right")[x], va=("top", "bottom")[y], parse_math=False)
    axes.annotate(text, corner, (0, 3 if y else -32), xycoords="axes fraction", textcoords="offset points", **style)


def _label(axes, panel: Panel, numbers: Mapping[str, str]) -> bool:
    """Write the name of each point, or its number, beside it; return whether all of them found room.

    A text that is far from its point, or nearer to another one, gets a line to it.
    """
    from matplotlib.patheffects import withStroke

    texts = [point.label(axes, numbers) for point in panel.points]
    halo = [withStroke(linewidth=2, foreground="white")]  # a line below a name does not strike it through
    style = dict(size=8, zorder=5, parse_math=False, path_effects=halo, textcoords="offset pixels")
    ground, sizes = _ground(axes, panel), []
    for point, text in zip(panel.points, texts, strict=True):
        trial = axes.annotate(text, point.place(axes), (0, 0), **style)
        extent = trial.get_window_extent()
        sizes.append((extent.width, extent.height))
        trial.remove()
    places, is_clean = placed(sizes, ground)
    for point, text, spot, place in zip(panel.points, texts, ground.spots, places, strict=True):
        offset, line = (place.box[0] - spot[0], place.box[1] - spot[1]), None
        if place.line:
            start = [(place.line[0][i] - place.box[i]) / (place.box[i + 2] - place.box[i]) for i in (0, 1)]
            line = dict(arrowstyle="-", color="#111", linewidth=0.7, shrinkA=0, shrinkB=0, relpos=start)
        axes.annotate(text, point.place(axes), offset, arrowprops=line, **style)
    return is_clean


def _ground(axes, panel: Panel) -> Ground:
    """Return what the names of a panel keep out of, in pixels."""
    spots = [tuple(axes.transData.transform(point.place(axes)).tolist()) for point in panel.points]
    extent = axes.get_window_extent()
    inside: Box = (*extent.min.tolist(), *extent.max.tolist())
    x, y = axes.transData.transform((0, 0)).tolist()
    zeros = [(x - 1, inside[1], x + 1, inside[3]), (inside[0], y - 1, inside[2], y + 1)]
    lines = [axes.transData.transform(line.get_xydata()).tolist() for line in axes.get_lines() if line.get_zorder() == INTERVAL]
    intervals = [
        (start[0] - 1, start[1] - 1, end[0] + 1, end[1] + 1) for start, end in filter(lambda line: len(line) == 2, lines)
    ]
    return Ground(inside, spots, zeros, intervals, axes.figure.dpi / 72)
