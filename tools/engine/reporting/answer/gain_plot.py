"""Draw the plot of gains as HTML with inline SVG: light and dark, as wide as its place, with the values on hover."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import floor, log10

from tools.engine.analysis.gains import Gain
from tools.engine.analysis.results import Column, Results
from tools.engine.analysis.verdicts import VERDICTS
from tools.engine.reporting.answer.wording import columns_of, digits_of, facts_of, interval_text, signed
from tools.engine.reporting.drawing.plotting import IMAGES, SEEDS, kind_of, limits, name_of
from tools.engine.reporting.formats.html import render

TICKS = 4  # about as many on an axis


@dataclass(frozen=True)
class Row:
    """Hold one gain as it is drawn. Places along the axis are in percent of its length.

    Attributes:
        place: row from the top.
        tip: what is shown on hover; '' for a row without a number.
        beyond: 'left' or 'right' if the gain lies beyond the axis, where an arrow stands for it.
        ends: of the interval, within the axis; those where it continues are ``cut``.
        filled: True if the interval is over seeds.
    """

    place: int
    name: str
    value: str = ""
    tip: str = ""
    verdict: str = ""
    x: float = 0.0
    beyond: str = ""
    ends: tuple[float, float] | None = None
    cut: tuple[float, ...] = ()
    filled: bool = False
    dashed: bool = False


@dataclass(frozen=True)
class Panel:
    """Hold the plot of one metric; see ``Row`` for the unit of places."""

    title: str
    rows: tuple[Row, ...]
    ticks: tuple[tuple[float, str], ...]
    zero: float
    band: tuple[float, float]


def gain_plot(results: Results, gains: Sequence[Gain]) -> str:
    """Return the plot: a panel for each column of the gains, a row for each pair of recipes.

    Args:
        gains: those to draw; a gain without a number has an empty row.
    """
    drawn = [gain for gain in gains if gain.diff]
    panels = [_panel(results, gains, column) for column in columns_of(results, drawn)]
    verdicts = [verdict for verdict in (*VERDICTS, "") if any(gain.verdict == verdict for gain in drawn)]
    has_images = any(kind_of(gain) == IMAGES for gain in drawn)
    return render("gain_plot.html.jinja", panels=panels, verdicts=verdicts, has_images=has_images)


def _panel(results: Results, gains: Sequence[Gain], column: Column) -> Panel:
    pairs = list(dict.fromkeys((gain.recipe, gain.base) for gain in gains))
    of_pair = {(gain.recipe, gain.base): gain for gain in gains if gain.column == column and gain.diff}
    low, high = limits(list(of_pair.values()))

    def place(value: float) -> float:
        return round(100 * (value - low) / (high - low), 2)

    rows = []
    for i, pair in enumerate(pairs):
        name = " ".join(name_of(results, gains, *pair).split("\n"))
        rows.append(_row(results, of_pair[pair], i, name, place) if pair in of_pair else Row(i, name))
    margin = max(gain.margin for gain in of_pair.values())
    ticks = tuple((place(value), text) for value, text in _ticks(low, high))
    return Panel(
        f"{results.heading(column)}, points",
        tuple(rows),
        ticks,
        place(0),
        (place(-margin), round(place(margin) - place(-margin), 2)),
    )


def _side_beyond(x: float) -> str:
    """Return the side of the axis, 0..100 percent, beyond which ``x`` lies; empty if it lies on the axis."""
    if x < 0:
        return "left"
    return "right" if x > 100 else ""


def _row(results: Results, gain: Gain, i: int, name: str, place) -> Row:
    """Return a gain with its places: ``place`` turns points into percent of the axis."""
    digits = digits_of(results, gain.column)
    value, x = signed(gain.diff.mean, digits), place(gain.diff.mean)
    ends, cut = None, ()
    if gain.diff.interval:
        exact = [place(end) for end in gain.diff.interval]
        ends = (max(exact[0], 0), min(exact[1], 100))
        cut = tuple(end for end, true in zip(ends, exact, strict=True) if end != true)
    kind = kind_of(gain)
    return Row(
        i, name, value, _tip(results, gain, name), gain.verdict, x, _side_beyond(x), ends, cut, kind == SEEDS, kind == IMAGES
    )


def _tip(results: Results, gain: Gain, name: str) -> str:
    """Return the values of a gain in three lines: name and metric, both levels, gain with interval and verdict."""
    digits = digits_of(results, gain.column)
    levels = [results.cell(recipe, gain.column).spread.mean for recipe in (gain.recipe, gain.base)]
    words = [f"{signed(gain.diff.mean, digits)} {interval_text(gain.diff, digits)}".rstrip(), *facts_of(gain), *gain.remarks]
    heading = results.heading(gain.column)
    base = results.label(gain.base)
    return f"{name}, {heading}\n{levels[0]:.{digits}f} against {levels[1]:.{digits}f} of {base}\n{', '.join(words)}"


def _ticks(low: float, high: float) -> list[tuple[float, str]]:
    """Return round numbers within an axis, with 0 among them, and their texts."""
    rough = (high - low) / TICKS
    power = 10.0 ** floor(log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= 0.8 * rough)
    digits = max(0, -floor(log10(step)))
    first, last = floor(low / step) + 1, floor(high / step)
    return [(k * step, f"{k * step:+.{digits}f}" if k else "0") for k in range(first, last + 1)]
