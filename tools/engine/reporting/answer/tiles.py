"""Answer each metric in a tile: the best recipe, its gain over the reference, the interval and the verdict."""

from collections.abc import Sequence

from tools.engine.analysis.gains import Gain
from tools.engine.analysis.results import Results
from tools.engine.reporting.answer.wording import columns_of, digits_of, facts_of, interval_text, signed, tricks_apart
from tools.engine.reporting.document import Tile


def tiles(results: Results, whole: Sequence[Gain]) -> tuple[Tile, ...]:
    """Return a tile for each column with verdicts, of the recipe with the largest gain in it; scratch does not compete.

    Args:
        whole: gains over the reference.
    """
    judged = [gain for gain in whole if gain.verdict]
    return tuple(_tile(results, [g for g in judged if g.column == c]) for c in columns_of(results, judged))


def _tile(results: Results, gains: Sequence[Gain]) -> Tile:
    competitors = tricks_apart(gains)
    best = max(competitors, key=lambda gain: gain.diff.mean)
    digits = digits_of(results, best.column)
    sides = [results.cell(recipe, best.column).spread for recipe in (best.recipe, best.base)]
    levels = "{:.{d}f} against {:.{d}f} of {}".format(*(side.mean for side in sides), results.label(best.base), d=digits)
    if len(competitors) > 1:
        levels += f"; largest of {len(competitors)} gains"
    gain, interval = signed(best.diff.mean, digits), interval_text(best.diff, digits)
    heading = results.heading(best.column)
    return Tile(
        heading, results.label(best.recipe), gain, interval, best.verdict, ", ".join([*facts_of(best), *best.remarks]), levels
    )
