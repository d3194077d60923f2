"""Draw the figure that answers the project's question: each recipe's gain in a transfer against its gain in top-1."""

from collections.abc import Iterator, Sequence

from tools.engine.analysis.gains import Gain
from tools.engine.analysis.results import Results, heading_of
from tools.engine.analysis.verdicts import MARGINS
from tools.engine.reporting.plotting import draw_interval, limits, make_panels, mark, name_of, png, verdict_legend

Box = tuple[float, float, float, float]  # left, bottom, right, top
QUADRANTS = {  # of the corners of a panel, x and y in its own units: 0 or 1
    (1, 1): "transfers",
    (1, 0): "lost in transfer",
    (0, 1): "gained in transfer only",
    (0, 0): "worse in both",
}


def transfer_pairs(gains: Sequence[Gain]) -> list[tuple[Gain, Gain]]:
    """Return pairs of a gain in top-1 and a gain of the same recipe over the same base in mAP, pixAcc or mIoU.

    Gains without a number are skipped.
    """
    first = next((g.column for g in gains if g.column.metric == "top1"), None)
    source = {(g.recipe, g.base): g for g in gains if g.column == first and g.diff}
    others = [g for g in gains if g.column.metric in MARGINS and g.column.metric != "top1" and g.diff]
    return [(source[g.recipe, g.base], g) for g in others if (g.recipe, g.base) in source]


def quadrant(results: Results, pairs: Sequence[tuple[Gain, Gain]]) -> bytes:
    """Return a PNG with a panel for each metric of transfer: the gain in it against the gain in top-1, both with intervals."""
    columns = list(dict.fromkeys(y.column for _, y in pairs))
    figure, panels = make_panels([results.heading(c) for c in columns], (4.6, 3.9), across=2)
    for axes, column in zip(panels, columns, strict=True):
        _draw_panel(axes, column.metric, [(x, y) for x, y in pairs if y.column == column])
    verdict_legend(figure, [y for _, y in pairs])
    figure.draw_without_rendering()  # settles where everything is, so that labels can keep out of each other's way
    figure.set_layout_engine("none")
    gains = [g for pair in pairs for g in pair]
    for axes, column in zip(panels, columns, strict=True):
        points = [(x.diff.mean, y.diff.mean, name_of(results, gains, y.recipe, y.base)) for x, y in pairs if y.column == column]
        _label(axes, points)
    return png(figure)


def _draw_panel(axes, metric: str, pairs: Sequence[tuple[Gain, Gain]]) -> None:
    """Draw the axes, the margins, and each pair as a mark with both intervals."""
    (left, right), (low, high) = limits([x for x, _ in pairs]), limits([y for _, y in pairs])
    axes.set(xlim=(left, right), ylim=(low, high))
    axes.set_xlabel("gain in top-1, points", fontsize=9)
    axes.set_ylabel(f"gain in {heading_of(metric)}, points", fontsize=9)
    axes.axvspan(-pairs[0][0].margin, pairs[0][0].margin, color="#f1f1ee", zorder=0, linewidth=0)
    axes.axhspan(-pairs[0][1].margin, pairs[0][1].margin, color="#f1f1ee", zorder=0, linewidth=0)
    axes.axvline(0, color="#555", linewidth=0.8, zorder=1)
    axes.axhline(0, color="#555", linewidth=0.8, zorder=1)
    for x, y in pairs:
        if left <= x.diff.mean <= right and low <= y.diff.mean <= high:
            mark(axes, x.diff.mean, y.diff.mean, y)
            draw_interval(axes, y, x.diff, y.diff.mean, left, right, alpha=0.5)
            draw_interval(axes, y, y.diff, x.diff.mean, low, high, upright=True, alpha=0.5)


def _label(axes, points: Sequence[tuple[float, float, str]]) -> None:
    """Write the names of the quadrants, and the text of each (x, y, text) beside its point, where it covers the least.

    Each text has several candidate places, and all texts are placed three times, so that early ones make room for later ones. A
    text far from its point gets a line to it.
    """
    from matplotlib.patheffects import withStroke

    panel, pixel = axes.get_window_extent(), axes.figure.dpi / 72  # a point, the unit of type
    corners = [_sides(_corner_name(axes, corner, text)) for corner, text in QUADRANTS.items()]
    spots = {(x, y, text): axes.transData.transform((x, y)) for x, y, text in points}
    spots = {point: spot for point, spot in spots.items() if panel.contains(*spot)}
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
        placed[point] = min(places[point], key=lambda place: _cost(place, occupied, _sides(panel)))
    for (x, y, text), (box, distance) in placed.items():
        offset = box[0] - spots[x, y, text][0], box[1] - spots[x, y, text][1]
        line = dict(arrowstyle="-", color="#888", linewidth=0.6, shrinkA=0, shrinkB=4) if distance > 8 * pixel else None
        axes.annotate(text, (x, y), offset, arrowprops=line, **style)


def _corner_name(axes, corner: tuple[int, int], text: str):
    """Write the name of a quadrant into its corner and return its box."""
    x, y = (0.02 + 0.96 * part for part in corner)
    style = dict(size=8, style="italic", color="#8a8a84", transform=axes.transAxes, zorder=2)
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
