"""Print a study's answer on a terminal: the verdict in words, and the table of gains."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tools.engine.analysis.gains import Gain, decisive, gains, over
from tools.engine.analysis.results import DASH, Results, load_results
from tools.engine.reporting.answer.main_table import main_table
from tools.engine.reporting.answer.sentences import verdict
from tools.engine.reporting.answer.wording import duration
from tools.engine.reporting.report import title_of

if TYPE_CHECKING:
    from rich.text import Text

LONGEST = 24  # characters of a line in a cell of the terminal's table, unless a word is longer


def terminal_table(folder: Path, console=None, margins: Mapping[str, float] | None = None) -> None:
    """Print a study's verdict in words, and its closing table: level, gain and verdict in the metrics that have verdicts.

    Columns that have no value are left out, and those that do not fit beside the others follow in a table below.

    Args:
        folder: the study's folder, as for ``write_report``.
        console: a ``rich.console.Console`` (default: one on standard output).
        margins: see ``gains``.
    """
    from rich.box import SIMPLE
    from rich.console import Console
    from rich.table import Table as Grid
    from rich.text import Text

    console, results = console or Console(), load_results(folder)
    whole = gains(results, over(results, results.reference), margins)
    labels, columns, note = _terminal_columns(results, whole)
    parts = _side_by_side(columns, console.width - max(map(len, labels)))
    console.print(Text("\n".join(verdict(results, whole))), "", sep="\n")
    for part in parts:
        title = title_of(results) if part is parts[0] else None
        grid = Grid(box=SIMPLE, title=title and Text(title), padding=0, show_edge=False)
        grid.add_column(labels[0], no_wrap=True)
        for column in part:
            grid.add_column(Text(column.name), justify="right", max_width=LONGEST)
        for label, *cells in zip(labels[1:], *(column.cells for column in part), strict=True):
            grid.add_row(Text(label), *cells)  # Text, since rich reads brackets in a str as markup
        console.print(grid)
    console.print(Text(note))


@dataclass(frozen=True)
class TerminalColumn:
    """Hold the name and the cells of a column."""

    name: str
    cells: tuple["Text", ...]

    @property
    def width(self) -> int:
        """Return the width that the column takes, with the space before it: of its longest line, which is broken if need be."""
        lines = [line for text in (self.name, *map(str, self.cells)) for line in text.splitlines()]
        return 1 + max(*(min(len(line), LONGEST) for line in lines), *(len(word) for line in lines for word in line.split()))


def _terminal_columns(results: Results, whole: list[Gain]) -> tuple[list[str], list[TerminalColumn], str]:
    """Return the first column with its heading, the others, and the note below: the table of gains, and what a seed takes."""
    from rich.text import Text

    table = main_table(results, whole, decisive(results) or results.columns)
    shown = [i for i in range(1, len(table.header)) if i not in table.hidden and {row[i] for row in table.rows} != {DASH}]
    columns = [
        TerminalColumn(
            table.header[i],
            tuple(Text(row[i], style="bold" if (k, i) in table.best else "") for k, row in enumerate(table.rows)),
        )
        for i in shown
    ]
    times = [results.seconds_per_seed(recipe) for recipe in results.study["recipes"]]
    columns.append(TerminalColumn("time", tuple(Text(DASH if time is None else duration(time)) for time in times)))
    labels = [table.header[0], *(row[0] for row in table.rows)]
    return labels, columns, f"{table.note} Time: of all runs of one seed."


def _side_by_side(columns: Sequence[TerminalColumn], room: int) -> list[list[TerminalColumn]]:
    """Return columns in groups that fit ``room``; at least one group, which may be empty."""
    parts: list[list[TerminalColumn]] = [[]]
    left = room
    for column in columns:
        if parts[-1] and column.width > left:
            parts.append([])
            left = room
        parts[-1].append(column)
        left -= column.width
    return parts
