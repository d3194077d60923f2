"""Print runs as lines that fit the terminal and cut nothing that may be copied, such as keys."""

import os
import shutil
import sys
import textwrap
from collections.abc import Sequence

from tools.engine.wording import WHOLE_WORDS

GAP = "  "
WIDE = 10_000  # columns where the output is no terminal


def width() -> int:
    """Return the columns of the terminal, or what the variable COLUMNS says; many where the output goes elsewhere."""
    is_known = (sys.stdout and sys.stdout.isatty()) or "COLUMNS" in os.environ
    return shutil.get_terminal_size((WIDE, 24)).columns if is_known else WIDE


def folded(text: str, columns: int) -> str:
    """Return a line of text in several that fit the terminal, indented as the first; a word longer than that stays whole."""
    indent = " " * (len(text) - len(text.lstrip()))
    return textwrap.fill(text, columns, subsequent_indent=indent, **WHOLE_WORDS)


def in_columns(rows: Sequence[Sequence[str]], head: Sequence[str], columns: int) -> list[str]:
    """Return rows of cells as lines below a head. The last cell goes to a line of its own where not all fit.

    Args:
        rows: cells; the last one of each is a text that may be long.
        head: names of the columns.
        columns: width of the terminal. A text longer than that is left to the terminal to wrap.
    """
    table = [head, *rows]
    widths = [max(len(row[i]) for row in table) for i in range(len(head) - 1)]
    starts = [GAP.join(cell.ljust(space) for cell, space in zip(row, widths, strict=False)) for row in table]
    longest = max(len(row[-1]) for row in table)
    if len(starts[0]) + len(GAP) + longest <= columns:
        return [f"{start}{GAP}{row[-1]}".rstrip() for start, row in zip(starts, table, strict=True)]
    return [line.rstrip() for start, row in zip(starts, table, strict=True) for line in (start, f"{GAP}{row[-1]}")]
