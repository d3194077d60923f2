"""Place the names of a panel's points where they cover neither marks, intervals, the lines at 0 nor each other; all in pixels."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

Box = tuple[float, float, float, float]  # left, bottom, right, top
Spot = tuple[float, float]
DIRECTIONS = [(x / 2, y / 2) for x in range(-2, 3) for y in range(-2, 3) if max(abs(x), abs(y)) == 2]
DISTANCES = (6, 11, 18, 27, 42, 60, 85)  # of a name from its point, in points of type
NEAR = 8  # a name that is farther from its point gets a line to it
CLEARER = 3  # a name that is not nearer to its point than to any other by this much gets one too
HARDLY = 4.0  # square pixels that a name may cover of the intervals


@dataclass(frozen=True)
class Ground:
    """Hold what names keep out of.

    Args:
        panel: the axes.
        spots: the points.
        zeros: the lines at 0.
        intervals: the lines of the intervals.
        pixel: a point of type.
    """

    panel: Box
    spots: Sequence[Spot]
    zeros: Sequence[Box]
    intervals: Sequence[Box]
    pixel: float

    @property
    def marks(self) -> list[Box]:
        """Return the boxes of the marks of the points."""
        half = 5 * self.pixel
        return [(x - half, y - half, x + half, y + half) for x, y in self.spots]


@dataclass(frozen=True)
class Place:
    """Hold a place for a name: its box, its distance from its point, and the line to it; None if it needs no line."""

    box: Box
    distance: float
    line: tuple[Spot, Spot] | None


def placed(sizes: Sequence[tuple[float, float]], ground: Ground) -> tuple[list[Place], bool]:
    """Return a place for the name of each point, and whether no name covers anything and no line crosses a name or a mark.

    All names are placed three times, so that early ones make room for later ones.

    Args:
        sizes: width and height of the names.
        ground: has the points in the same order.
    """
    candidates = [list(_around(i, size, ground)) for i, size in enumerate(sizes)]
    chosen: dict[int, Place] = {}
    for i in [*range(len(sizes))] * 3:
        others = [place for other, place in chosen.items() if other != i]
        chosen[i] = min(candidates[i], key=lambda place, others=others: _faults(place, others, ground) + _covered(place, ground))
    places = [chosen[i] for i in range(len(sizes))]
    is_clean = all(
        _faults(place, places[:i] + places[i + 1 :], ground) == 0 and _shared(place.box, ground.intervals) <= HARDLY
        for i, place in enumerate(places)
    )
    return places, is_clean


def _around(i: int, size: tuple[float, float], ground: Ground) -> Iterator[Place]:
    """Yield places for a name around the i-th point."""
    (x, y), (width, height), pixel = ground.spots[i], size, ground.pixel
    for distance in (length * pixel for length in DISTANCES):
        for right, up in DIRECTIONS:
            left = x + distance * right + (right - 1) / 2 * width
            bottom = y + 0.9 * distance * up + (up - 1) / 2 * height
            box = left, bottom, left + width, bottom + height
            gap = _gap(box, (x, y))
            is_strange = any(_gap(box, spot) < gap + CLEARER * pixel for spot in ground.spots if spot != (x, y))
            line = (_nearest(box, (x, y)), (x, y)) if is_strange or distance > NEAR * pixel else None
            yield Place(box, distance, line)


def _faults(place: Place, others: Sequence[Place], ground: Ground) -> float:
    """Return what is never right about a place: a name on a name, a mark or a line at 0, outside, or crossed by a line."""
    box, pixel = place.box, ground.pixel
    outside = (box[2] - box[0]) * (box[3] - box[1]) - overlap(box, ground.panel)
    names = [other.box for other in others]
    covered = 8 * _shared(box, names) + 4 * _shared(box, ground.marks) + 20 * _shared(box, ground.zeros)
    crossings = sum(other.line is not None and crosses(other.line, box) for other in others)
    if place.line:
        strange = [mark for mark, spot in zip(ground.marks, ground.spots, strict=True) if spot != place.line[1]]
        crossings += sum(crosses(place.line, thing) for thing in (*names, *strange))
    return covered + 8 * max(outside, 0) + 400 * pixel * crossings


def _covered(place: Place, ground: Ground) -> float:
    """Return the cost of a place that only counts among places without a fault: what it hides, and how far away it is."""
    far = 30 * ground.pixel if place.line else 0
    return 4 * _shared(place.box, ground.intervals) + 2 * place.distance + far


def _shared(box: Box, others: Sequence[Box]) -> float:
    return sum(overlap(box, other) for other in others)


def overlap(a: Box, b: Box) -> float:
    """Return the area that two boxes share."""
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    return width * height if width > 0 and height > 0 else 0


def crosses(line: tuple[Spot, Spot], box: Box) -> bool:
    """Return whether a line has a part within a box (Liang and Barsky, 1984)."""
    (x, y), (end_x, end_y) = line
    first, last = 0.0, 1.0
    for start, step, low, high in ((x, end_x - x, box[0], box[2]), (y, end_y - y, box[1], box[3])):
        if step == 0:
            if not low < start < high:
                return False
            continue
        near, far = sorted(((low - start) / step, (high - start) / step))
        first, last = max(first, near), min(last, far)
    return first < last


def _nearest(box: Box, spot: Spot) -> Spot:
    """Return the place in a box that is nearest to a point."""
    return min(max(spot[0], box[0]), box[2]), min(max(spot[1], box[1]), box[3])


def _gap(box: Box, spot: Spot) -> float:
    """Return the distance of a box from a point."""
    x, y = _nearest(box, spot)
    return ((x - spot[0]) ** 2 + (y - spot[1]) ** 2) ** 0.5
