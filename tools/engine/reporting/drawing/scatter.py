"""Draw gains against gains: a panel of points with two intervals each, whose names keep out of each other's way."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from tools.engine.analysis.gains import Gain
from tools.engine.reporting.drawing.plotting import draw_interval, limits, look, make_panels, mark, png, verdict_legend

Box = tuple[float, float, float, float]  # left, bottom, right, top
DIRECTIONS = [(x / 2, y / 2) for x in range(-2, 3) for y in range(-2, 3) if max(abs(x), abs(y)) == 2]


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

    def label(self, axes) -> str:
        """Return the name, with the values in brackets if the point lies beyond the axes."""
        means = self.x.diff.mean, self.y.diff.mean
        return self.name if self.place(axes) == means else "{} ({:+.1f}, {:+.1f})".format(self.name, *means)


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
    for point in panel.points:
        x, y = point.x, point.y
        if point.place(axes) != (x.diff.mean, y.diff.mean):
            axes.plot(*point.place(axes), "X", color=look(y)[0], markersize=6, zorder=4)
            continue
        mark(axes, x.diff.mean, y.diff.mean, y)
        draw_interval(axes, y, x.diff, y.diff.mean, left, right, alpha=0.35)
        draw_interval(axes, y, y.diff, x.diff.mean, low, high, upright=True, alpha=0.35)


def _label(axes, panel: Panel) -> None:
    """Write the names of the quadrants, and that of each point beside it, where it covers the least.

    Each text has several candidate places, and all texts are placed three times, so that early ones make room for later ones. A
    text that is far from its point, or nearer to another one, gets a line to it.
    """
    inside, pixel = axes.get_window_extent(), axes.figure.dpi / 72  # a point, the unit of type
    corners = [_sides(_corner_name(axes, corner, text)) for corner, text in panel.corners.items()]
    points = [(*point.place(axes), point.label(axes)) for point in panel.points]
    spots = {(x, y, text): axes.transData.transform((x, y)) for x, y, text in points}
    fixed = corners + [_box(x - 5 * pixel, y - 5 * pixel, 10 * pixel, 10 * pixel) for x, y in spots.values()]
    ground = dict(facecolor="white", edgecolor="none", alpha=0.85, pad=0.6)  # lines below a name would strike it through
    style = dict(size=8, zorder=5, parse_math=False, bbox=ground, textcoords="offset pixels")
    sizes = {}
    for x, y, text in spots:
        trial = axes.annotate(text, (x, y), (0, 0), **style)
        sizes[x, y, text] = trial.get_window_extent()
        trial.remove()
    placed: dict[tuple, tuple] = {}  # point: its box, and the distance from the point
    places = {point: list(_around(spots[point].tolist(), sizes[point], pixel)) for point in spots}
    for point in [*spots] * 3:
        occupied = fixed + [box for other, (box, _) in placed.items() if other != point]
        others = [spot for other, spot in spots.items() if other != point]

        def cost(place, own=spots[point], others=others, occupied=occupied):
            strange = any(_gap(place[0], other) < _gap(place[0], own) for other in others)
            return _cost(place, occupied, _sides(inside)) + (60 * pixel if strange else 0)

        placed[point] = min(places[point], key=cost)
    for (x, y, text), (box, distance) in placed.items():
        offset = box[0] - spots[x, y, text][0], box[1] - spots[x, y, text][1]
        nearest = min(spots.values(), key=lambda spot: _gap(box, spot))
        is_far = distance > 8 * pixel or nearest is not spots[x, y, text]
        line = dict(arrowstyle="-", color="#555", linewidth=0.7, shrinkA=0, shrinkB=3) if is_far else None
        axes.annotate(text, (x, y), offset, arrowprops=line, **style)


def _corner_name(axes, corner: tuple[int, int], text: str):
    """Write the name of a quadrant into its corner and return its box."""
    x, y = (0.02 + 0.96 * part for part in corner)
    style = dict(size=8, style="italic", color="#8a8a84", transform=axes.transAxes, zorder=2, parse_math=False)
    name = axes.text(x, y, text, ha=("left", "right")[corner[0]], va=("bottom", "top")[corner[1]], **style)
    return name.get_window_extent()


def _around(spot, size, pixel: float) -> Iterator[tuple[Box, float]]:
    """Yield boxes of ``size`` around a point, with the distance of each from it, all in pixels."""
    for distance in (6 * pixel, 15 * pixel, 27 * pixel, 42 * pixel, 60 * pixel, 85 * pixel):
        for x, y in DIRECTIONS:
            left = spot[0] + distance * x + (x - 1) / 2 * size.width
            bottom = spot[1] + 0.9 * distance * y + (y - 1) / 2 * size.height
            yield _box(left, bottom, size.width, size.height), distance


def _cost(place: tuple[Box, float], occupied: list[Box], panel: Box) -> float:
    """Return four times the pixels that a text would cover, three times those outside the panel and twice the distance."""
    box, distance = place
    outside = (box[2] - box[0]) * (box[3] - box[1]) - _overlap(box, panel)
    return 4 * sum(_overlap(box, other) for other in occupied) + 3 * outside + 2 * distance


def _gap(box: Box, spot) -> float:
    """Return the distance of a box from a point."""
    x = max(box[0] - spot[0], 0, spot[0] - box[2])
    y = max(box[1] - spot[1], 0, spot[1] - box[3])
    return (x * x + y * y) ** 0.5


def _box(left: float, bottom: float, width: float, height: float) -> Box:
    return left, bottom, left + width, bottom + height


def _sides(extent) -> Box:
    """Return the sides of a matplotlib box as floats. The box's own properties take ten times as long to read."""
    return *extent.min.tolist(), *extent.max.tolist()


def _overlap(a: Box, b: Box) -> float:
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    return width * height if width > 0 and height > 0 else 0
