"""Draw the figure that answers the project's question: each recipe's gain in a transfer against its gain in top-1."""

from collections.abc import Sequence

from tools.engine.analysis.gains import Gain
from tools.engine.analysis.results import Results, heading_of
from tools.engine.analysis.verdicts import MARGINS
from tools.engine.reporting.drawing.plotting import name_of, one_line
from tools.engine.reporting.drawing.scatter import Panel, Point, scatter

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


def quadrant(results: Results, pairs: Sequence[tuple[Gain, Gain]], over: str) -> bytes:
    """Return a PNG with a panel for each metric of transfer: the gain in it against the gain in top-1, both with intervals.

    Args:
        over: what the gains are over, in words.
    """
    gains = [gain for pair in pairs for gain in pair]
    return scatter(
        [
            Panel(
                results.heading(column),
                one_line(f"top-1, points over {over}"),
                one_line(f"{heading_of(column.metric)}, points over {over}"),
                [Point(x, y, name_of(results, gains, y.recipe, y.base)) for x, y in pairs if y.column == column],
                QUADRANTS,
            )
            for column in dict.fromkeys(y.column for _, y in pairs)
        ]
    )
