"""Draw gains against gains: a panel of points with two intervals each, whose names keep out of each other's way."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from tools.engine.analysis.gains import Gain
from tools.engine.reporting.plotting import draw_interval, limits, make_panels, mark, png, verdict_legend

Box = tuple[float, float, float, float]  # left, bottom, right, top


@dataclass(frozen=True)
class Point:
    """Hold two gains of one recipe, both with a number, and the name beside their point; the look is that of ``y``'s verdict."""

    x: Gain
    y: Gain
    name: str


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
    """Return a PNG of the panels, two in a row: gains with both intervals, the margins, and lines at 0."""
    figure, places = make_panels([panel.title for panel in panels], (4.6, 3.9), across=2)
    for axes, panel in zip(places, panels, strict=True):
        _draw_panel(axes, panel)
    verdict_legend(figure, [point.y for panel in panels for point in panel.points])
    figure.draw_without_rendering()  # settles where everything is, so that labels can keep out of each other's way
    figure.set_layout_engine("none")
    for axes, panel in zip(places, panels, strict=True):
        _label(axes, panel)
    return png(figure)


def _draw_panel(axes, panel: Panel) -> None:
    """Draw the axes, the margins, and each point as a mark with both intervals."""
    xs, ys = [point.x for point in panel.points], [point.y for point in panel.points]
    (left, right), (low, high) = limits(xs), limits(ys)
    axes.set(xlim=(left, right), ylim=(low, high))
    axes.set_xlabel(panel.x, fontsize=9, parse_math=False)
    axes.set_ylabel(panel.y, fontsize=9, parse_math=False)
    axes.axvspan(-xs[0].margin, xs[0].margin, color="#f1f1ee", zorder=0, linewidth=0)
    axes.axhspan(-ys[0].margin, ys[0].margin, color="#f1f1ee", zorder=0, linewidth=0)
    axes.axvline(0, color="#555", linewidth=0.8, zorder=1)
    axes.axhline(0, color="#555", linewidth=0.8, zorder=1)
    for x, y in zip(xs, ys, strict=True):
        if left <= x.diff.mean <= right and low <= y.diff.mean <= high:
            mark(axes, x.diff.mean, y.diff.mean, y)
            draw_interval(axes, y, x.diff, y.diff.mean, left, right, alpha=0.5)
            draw_interval(axes, y, y.diff, x.diff.mean, low, high, upright=True, alpha=0.5)


def _label(axes, panel: Panel) -> None:
    """Write the names of the quadrants, and that of each point beside it, where it covers the least.

    Each text has several candidate places, and all texts are placed three times, so that early ones make room for later ones. A
    text far from its point gets a line to it.
    """
    from matplotlib.patheffects import withStroke

    inside, pixel = axes.get_window_extent(), axes.figure.dpi / 72  # a point, the unit of type
    corners = [_sides(_corner_name(axes, corner, text)) for corner, text in panel.corners.items()]
    points = [(p.x.diff.mean, p.y.diff.mean, p.name) for p in panel.points]
    spots = {(x, y, text): axes.transData.transform((x, y)) for x, y, text in points}
    spots = {point: spot for point, spot in spots.items() if inside.contains(*spot)}
    fixed = corners + [_box(x - 4 * pixel, y - 4 * pixel, 8 * pixel, 8 * pixel) for x, y in spots.values()]
    halo = [withStroke(linewidth=2.5, foreground="white")]
    style = dict(size=8, zorder=5, parse_math=False, path_effects=halo, textcoords="offset pixels")
    sizes = {}
    for x, y, text in spots:
        trial = axes.annotate(text, (x, y), (0, 0), **style)
        sizes[x, y, text] = trial.get_window_extent()
        trial.remove()
    placed: dict[tuple, tuple] = {}  # point: its box, and the distance from the point
    places = {point: list(_around(spots[point].tolist(), sizes[point], pixel)) for point in spots}
    for point in [*spots] * 3:
        occupied = fixed + [box for other, (box, _) in placed.items() if other != point]
        placed[point] = min(places[point], key=lambda place: _cost(place, occupied, _sides(inside)))
    for (x, y, text), (box, distance) in placed.items():
        offset = box[0] - spots[x, y, text][0], box[1] - spots[x, y, text][1]
        line = dict(arrowstyle="-", color="#888", linewidth=0.6, shrinkA=0, shrinkB=4) if distance > 8 * pixel else None
        axes.annotate(text, (x, y), offset, arrowprops=line, **style)


def _corner_name(axes, corner: tuple[int, int], text: str):
    """Write the name of a quadrant into its corner and return its box."""
    x, y = (0.02 + 0.96 * part for part in corner)
    style = dict(size=8, style="italic", color="#8a8a84", transform=axes.transAxes, zorder=2, parse_math=False)
    name = axes.text(x, y, text, ha=("left", "right")[corner[0]], va=("bottom", "top")[corner[1]], **style)
    return name.get_window_extent()


def _around(spot, size, pixel: float) -> Iterator[tuple[Box, float]]:
    """Yield boxes of ``size`` around a point, with the distance of each from it, all in pixels."""
    for distance in (6 * pixel, 15 * pixel, 27 * pixel, 42 * pixel):
        for x, y in ((1, 1), (-1, 1), (1, -1), (-1, -1), (1, 0), (-1, 0), (0, 1), (0, -1)):
            left = spot[0] + distance * x + (x - 1) / 2 * size.width
            bottom = spot[1] + 0.7 * distance * y + (y - 1) / 2 * size.height
            yield _box(left, bottom, size.width, size.height), distance


def _cost(place: tuple[Box, float], occupied: list[Box], panel: Box) -> float:
    """Return the pixels that a text would cover, plus three times those outside the panel and twice the distance."""
    box, distance = place
    outside = (box[2] - box[0]) * (box[3] - box[1]) - _overlap(box, panel)
    return sum(_overlap(box, other) for other in occupied) + 3 * outside + 2 * distance


def _box(left: float, bottom: float, width: float, height: float) -> Box:
    return left, bottom, left + width, bottom + height


def _sides(extent) -> Box:
    """Return the sides of a matplotlib box as floats. The box's own properties take ten times as long to read."""
    return *extent.min.tolist(), *extent.max.tolist()


def _overlap(a: Box, b: Box) -> float:
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    return width * height if width > 0 and height > 0 else 0
