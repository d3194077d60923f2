"""Declare what a report is made of: sentences, tiles, tables, figures, image sheets and sections, all of text or bytes."""

import re
from dataclasses import dataclass
from pathlib import Path

from tools.engine.analysis.verdicts import VERDICTS

DPI = 144  # of a figure: one and a half pixels for each pixel of a page, which has 96 to the inch


@dataclass(frozen=True)
class Table:
    """Hold a titled table of text. A cell may have several lines; the first is its value.

    Attributes:
        align: an l or r for each column, as in LaTeX.
        grey: indices of the columns whose numbers are not like for like with the others.
        best: (row, column) of the cells in bold.
        hidden: indices of the columns that are shown on demand, and ``hidden_note`` what they are.
    """

    title: str
    align: str
    header: list[str]
    rows: list[list[str]]
    note: str = ""
    grey: tuple[int, ...] = ()
    best: frozenset[tuple[int, int]] = frozenset()
    hidden: tuple[int, ...] = ()
    hidden_note: str = ""

    kind = "table"

    @property
    def anchor(self) -> str:
        """Return the id that links in the page use for the table."""
        return anchor(self.title)

    def columns(self, indices: list[int], title: str, note: str) -> "Table":
        """Return a table of some of the columns."""
        places = {old: new for new, old in enumerate(indices)}
        return Table(
            title,
            "".join(self.align[i] for i in indices),
            [self.header[i] for i in indices],
            [[row[i] for i in indices] for row in self.rows],
            note,
            tuple(places[i] for i in self.grey if i in places),
            frozenset((row, places[i]) for row, i in self.best if i in places),
        )


@dataclass(frozen=True)
class Figure:
    """Hold a drawing.

    Attributes:
        name: file name without .png.
        png: the file's content, drawn at ``DPI``.
        html: the same drawing as HTML, which the page shows instead; '' if there is none.
    """

    name: str
    title: str
    caption: str
    png: bytes
    html: str = ""

    kind = "figure"

    @property
    def anchor(self) -> str:
        """Return the id that links in the page use for the figure."""
        return anchor(f"figure {self.name}")

    @property
    def words(self) -> str:
        """Return the title and the caption as one text."""
        return f"{self.title}. {self.caption}"

    @property
    def width(self) -> int:
        """Return the width in pixels of a page. Bytes 16 to 19 of a PNG hold its width in its own pixels."""
        return int.from_bytes(self.png[16:20], "big") * 96 // DPI


@dataclass(frozen=True)
class Sheet:
    """Hold an image sheet of a run.

    Attributes:
        path: its file.
        link: the same file, relative to the study's folder.
        caption: which run it shows.
        task: the task of the run.
    """

    path: Path
    link: str
    caption: str
    task: str

    kind = "sheet"


@dataclass(frozen=True)
class Notes:
    """Hold paragraphs of text."""

    texts: tuple[str, ...]

    kind = "notes"


@dataclass(frozen=True)
class Links:
    """Hold links to files beside the report, under one title: (text, path relative to the study's folder)."""

    title: str
    links: tuple[tuple[str, str], ...]

    kind = "links"


Block = Table | Figure | Sheet | Notes | Links


@dataclass(frozen=True)
class Tile:
    """Hold the answer in one metric: the best recipe, its gain, the interval, and the verdict.

    Attributes:
        verdict: one of ``VERDICTS``, or '' without a gain.
        words: the verdict with its p and remarks.
        levels: 'text' on both levels.
    """

    metric: str
    recipe: str
    gain: str
    interval: str
    verdict: str
    words: str
    levels: str


@dataclass(frozen=True)
class Section:
    """Hold one subject of a report, which the page folds under its title and a summary of one line."""

    title: str
    summary: str
    blocks: tuple[Block, ...]

    @property
    def anchor(self) -> str:
        """Return the id that links in the page use for the section."""
        return anchor(self.title)


@dataclass(frozen=True)
class Report:
    """Hold all that a report says.

    Attributes:
        verdict: the answer in plain words; the first sentence is the headline.
        lead: a sentence on what was evaluated.
        first: figures and tables of the first screen.
        sections: all else, by subject.
        tiles: the answer in each metric.
        paper: tables of results and gains for LaTeX.
    """

    title: str
    verdict: tuple[str, ...]
    lead: str
    first: tuple[Block, ...]
    sections: tuple[Section, ...]
    tiles: tuple[Tile, ...] = ()
    paper: tuple[Table, ...] = ()

    @property
    def blocks(self) -> list[Block]:
        """Return all tables, figures, sheets and notes in the order of the report."""
        return [*self.first, *(block for section in self.sections for block in section.blocks)]

    @property
    def figures(self) -> list[Figure]:
        """Return the figures in the order of the report."""
        return [block for block in self.blocks if isinstance(block, Figure)]


def anchor(title: str) -> str:
    """Return the title in lower case with hyphens: 'Gains over + smooth' becomes 'gains-over-smooth'."""
    return "-".join(re.findall(r"\w+", title.lower()))


def verdict_of(text: str) -> str:
    """Return the verdict that a cell or one of its lines states, or ''.

    >>> verdict_of("+14.1 [+5.0, +23.3]\\nbetter (one teacher), p 0.028")
    'better'
    """
    for line in text.splitlines():
        words = re.findall(r"\w+", line.split(" (")[0])
        if found := [word for word in VERDICTS if words and word in (words[0], words[-1])]:
            return found[0]
    return ""
