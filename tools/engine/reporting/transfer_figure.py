"""The figure that answers the project's question: each recipe's gain in a transfer against its gain in top-1."""

from collections.abc import Iterator, Sequence

from tools.engine.analysis.gains import Gain
from tools.engine.analysis.results import Results, heading_of
from tools.engine.analysis.statistics import MARGINS
from tools.engine.reporting.plotting import draw_interval, limits, make_panels, mark, name_of, png, verdict_legend

Box = tuple[float, float, float, float]  # left, bottom, right, top
QUADRANTS = {  # of the corners of a panel, x and y in its own units: 0 or 1
    (1, 1): "transfers",
    (1, 0): "lost in transfer",
    (0, 1): "gained in transfer only",
    (0, 0): "worse in both",
}


def transfer_pairs(gains: Sequence[Gain]) -> list[tuple[Gain, Gain]]:
    """(gain in top-1, gain of the same recipe over the same base in mAP, pixAcc or mIoU), as far as both have numbers."""
    first = next((g.column for g in gains if g.column.metric == "top1"), None)
    source = {(g.recipe, g.base): g for g in gains if g.column == first and g.diff}
    others = [g for g in gains if g.column.metric in MARGINS and g.column.metric != "top1" and g.diff]
    return [(source[g.recipe, g.base], g) for g in others if (g.recipe, g.base) in source]


def quadrant(results: Results, pairs: Sequence[tuple[Gain, Gain]]) -> bytes:
    """PNG: a panel for each metric of transfer: the gain in it against the gain in top-1, each recipe with both intervals."""
    columns = list(dict.fromkeys(y.column for _, y in pairs))
    figure, panels = make_panels([results.heading(c) for c in columns], (4.6, 3.9), across=2)
    for axes, column in zip(panels, columns, strict=True):
        shown = [(x, y) for x, y in pairs if y.column == column]
        (left, right), (low, high) = limits([x for x, _ in shown]), limits([y for _, y in shown])
        axes.set(xlim=(left, right), ylim=(low, high))
        axes.set_xlabel("gain in top-1, points", fontsize=9)
        axes.set_ylabel(f"gain in {heading_of(column.metric)}, points", fontsize=9)
        axes.axvspan(-shown[0][0].margin, shown[0][0].margin, color="#f1f1ee", zorder=0, linewidth=0)
        axes.axhspan(-shown[0][1].margin, shown[0][1].margin, color="#f1f1ee", zorder=0, linewidth=0)
        axes.axvline(0, color="#555", linewidth=0.8, zorder=1)
        axes.axhline(0, color="#555", linewidth=0.8, zorder=1)
        for x, y in shown:
            if left <= x.diff.mean <= right and low <= y.diff.mean <= high:
                mark(axes, x.diff.mean, y.diff.mean, y)
                draw_interval(axes, y, x.diff, y.diff.mean, left, right, alpha=0.5)
                draw_interval(axes, y, y.diff, x.diff.mean, low, high, upright=True, alpha=0.5)
    verdict_legend(figure, [y for _, y in pairs])
    figure.draw_without_rendering()  # settles where everything is, so that labels can keep out of each other's way
    figure.set_layout_engine("none")
    names = [g for pair in pairs for g in pair]
    for axes, column in zip(panels, columns, strict=True):
        found = [(x.diff.mean, y.diff.mean, name_of(results, names, y.recipe, y.base)) for x, y in pairs if y.column == column]
        _label(axes, found)
    return png(figure)


def _label(axes, points: Sequence[tuple[float, float, str]]) -> None:
    """Writes the names of the quadrants, and beside each (x, y, text) its text: where it covers the least of what is there.

    Tries some places around each point, and all texts again when the others have theirs. A far one gets a line to its point.
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
        made = axes.annotate(text, (x, y), (0, 0), **style)
        sizes[x, y, text] = made.get_window_extent()
        made.remove()
    placed: dict[tuple, tuple] = {}  # point: its box, and how far it is from the point
    places = {point: list(_around(spots[point].tolist(), sizes[point], pixel)) for point in spots}
    for point in [*spots] * 3:
        taken = fixed + [box for other, (box, _) in placed.items() if other != point]
        placed[point] = min(places[point], key=lambda place: _cost(place, taken, _sides(panel)))
    for (x, y, text), (box, far) in placed.items():
        offset = box[0] - spots[x, y, text][0], box[1] - spots[x, y, text][1]
        line = dict(arrowstyle="-", color="#888", linewidth=0.6, shrinkA=0, shrinkB=4) if far > 8 * pixel else None
        axes.annotate(text, (x, y), offset, arrowprops=line, **style)


def _corner_name(axes, corner: tuple[int, int], text: str):
    """Writes the name of a quadrant into its corner, and returns its box."""
    x, y = (0.02 + 0.96 * part for part in corner)
    style = dict(size=8, style="italic", color="#8a8a84", transform=axes.transAxes, zorder=2)
    made = axes.text(x, y, text, ha=("left", "right")[corner[0]], va=("bottom", "top")[corner[1]], **style)
    return made.get_window_extent()


def _around(spot, size, pixel: float) -> Iterator[tuple[Box, float]]:
    """Boxes of that size around a point, all in pixels, and how far each is from it."""
    for far in (6 * pixel, 15 * pixel, 27 * pixel, 42 * pixel):
        for x, y in ((1, 1), (-1, 1), (1, -1), (-1, -1), (1, 0), (-1, 0), (0, 1), (0, -1)):
            left = spot[0] + far * x + (x - 1) / 2 * size.width
            bottom = spot[1] + 0.7 * far * y + (y - 1) / 2 * size.height
            yield _box(left, bottom, size.width, size.height), far


def _cost(place: tuple[Box, float], taken: list[Box], panel: Box) -> float:
    """Square pixels of what a text would cover, three times those outside the panel, and a little for the distance."""
    box, far = place
    outside = (box[2] - box[0]) * (box[3] - box[1]) - _overlap(box, panel)
    return sum(_overlap(box, other) for other in taken) + 3 * outside + 2 * far


def _box(left: float, bottom: float, width: float, height: float) -> Box:
    return left, bottom, left + width, bottom + height


def _sides(extent) -> Box:
    """Of a box of matplotlib, whose own sides take ten times as long to read."""
    return *extent.min.tolist(), *extent.max.tolist()


def _overlap(a: Box, b: Box) -> float:
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    return width * height if width > 0 and height > 0 else 0
