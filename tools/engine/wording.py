"""Word durations, names and next steps so that they fit a line of a terminal."""

import shlex
from pathlib import Path

MINUTE, HOUR, DAY = 60, 3600, 86400  # seconds


WHOLE_WORDS = dict(break_long_words=False, break_on_hyphens=False)  # options of ``textwrap.fill`` that cut no path or option


def duration(seconds: float) -> str:
    """Return a duration as '41 s', '12 min', '3.5 h' or '2.1 days'."""
    if seconds < 1.5 * MINUTE:
        return f"{seconds:.0f} s"
    if seconds < 1.5 * HOUR:
        return f"{seconds / MINUTE:.0f} min"
    return f"{seconds / HOUR:.1f} h" if seconds < 2 * DAY else f"{seconds / DAY:.1f} days"


def counted(count: int, noun: str) -> str:
    """Return a number with its noun, as '1 run' or '2 runs'."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def shortened(text: str, width: int) -> str:
    """Return ``text``, or its beginning and end with an ellipsis between them if it has more than ``width`` characters."""
    if len(text) <= width:
        return text
    kept = max(width - 1, 0)
    end = kept // 2
    return text[: kept - end] + "…" + text[len(text) - end :]


def number(value: float) -> str:
    """Return a loss or a pace in four digits, as '0.5120', '55.12' or '12345'."""
    return f"{value:.0f}" if abs(value) >= 1000 else f"{value:#.4g}"


def uses_of_card(folder: Path) -> list[str]:
    """Return lines with the commands that use a new card."""
    card = shlex.quote(str(folder))
    return [
        "Use it, compared with random weights or in one run:",
        f"  python tools/compare.py {card} scratch",
        f"  python tools/train.py configs/detection/faster_rcnn_fpn_mini.py --backbone {card}",
    ]
