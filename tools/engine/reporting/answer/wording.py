"""Write numbers, intervals and lists in the same words wherever a report's first screen has them."""

from collections.abc import Sequence

from tools.engine.analysis.differences import Difference
from tools.engine.analysis.gains import Gain
from tools.engine.analysis.results import SCRATCH, Column, Results


def digits_of(results: Results, column: Column) -> int:
    """Return the decimals of a column: one where the seeds of a recipe spread by a point or more, else two."""
    spreads = (results.cell(recipe, column).spread for recipe in results.study["recipes"])
    return 1 if any(spread and (spread.std or 0) >= 1 for spread in spreads) else 2


def signed(value: float, digits: int) -> str:
    """Return a number with its sign; what is rounded to 0 is never negative."""
    return f"{round(value, digits) + 0.0:+.{digits}f}"


def interval_text(diff: Difference, digits: int) -> str:
    """Return '[+5.0, +23.3]'; '' without an interval."""
    return "[{}, {}]".format(*(signed(end, digits) for end in diff.interval)) if diff.interval else ""


def facts_of(gain: Gain) -> list[str]:
    """Return the verdict of a gain without its remarks, its p, and whether its interval covers no seeds."""
    facts = [gain.verdict] if gain.verdict else []
    facts += [p_text(gain.p)] if gain.p is not None else []
    return facts + (["interval over images only"] if gain.diff and gain.diff.kind == "images" else [])


def p_text(p: float) -> str:
    """Return 'p 0.028' or 'p < 0.001'; a p that would be rounded to 0.050 keeps a digit that shows its side."""
    if p < 0.001:
        return "p < 0.001"
    return f"p {p:.4f}" if f"{p:.3f}" == "0.050" else f"p {p:.3f}"


def listed(names: Sequence[str]) -> str:
    """Return names as a text: 'a, b and c'."""
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def columns_of(results: Results, gains: Sequence[Gain]) -> list[Column]:
    """Return the columns in which there are gains, in the order of the study's metrics."""
    present = {gain.column for gain in gains}
    return [column for column in results.columns if column in present]


def tricks_apart(gains: Sequence[Gain]) -> list[Gain]:
    """Return the gains without those of scratch, which is no competitor; all of them if there are no others."""
    return [gain for gain in gains if SCRATCH not in (gain.recipe, gain.base)] or list(gains)


def number(value: float) -> str:
    """Return a number with about three digits and never with an exponent: '0.045', '2.61', '46.8', '2,610'."""
    size = abs(value)
    if size >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if size >= 10 else f"{value:.2f}" if size >= 1 else f"{value:.3f}"


def unit_of(seconds: Sequence[float]) -> tuple[str, int]:
    """Return the unit that suits times in seconds, by the longest, and its length in seconds: ('min', 60)."""
    longest = max(seconds, default=0)
    if longest < 100:
        return "s", 1
    return ("min", 60) if longest < 6000 else ("h", 3600)


def duration(seconds: float) -> str:
    """Return seconds in the unit that suits them: '42 s', '2.4 min' or '1.5 h'."""
    unit, length = unit_of([seconds])
    return f"{seconds / length:.{0 if unit == 's' else 1}f} {unit}"
