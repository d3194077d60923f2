"""Prints a report as Markdown, HTML and LaTeX; what it says comes as tables of text, figures and pictures."""

import base64
import io
import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from jinja2 import Environment, FileSystemLoader

from tools.engine.analysis.results import DASH
from tools.engine.analysis.statistics import VERDICTS

DPI = 144  # of a figure: one and a half pixels for each pixel of a page, which has 96 to the inch
LONG = 45  # rows; a longer table is folded in the page
TEX = {c: "\\" + c for c in "&%$#_{}"} | {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "±": r"$\pm$",
    "—": "---",
    "[": "{[}",  # a row that starts with [ would be read as the optional argument of the \\ before it
}


@dataclass(frozen=True)
class Table:
    """A titled table of text; ``align`` has an l or r for each column, as in LaTeX.

    ``grey``: the places of columns whose numbers are not like for like with the others.
    """

    title: str
    align: str
    header: list[str]
    rows: list[list[str]]
    note: str = ""
    grey: tuple[int, ...] = ()

    @property
    def anchor(self) -> str:
        """What a link to the table in the page is called."""
        return _anchor(self.title)


@dataclass(frozen=True)
class Figure:
    """A drawing, ``png`` at ``DPI``: ``name`` is its file without .png, ``after`` the title of the table that it follows.

    One that follows no table of the report stands after the first.
    """

    name: str
    title: str
    caption: str
    png: bytes
    after: str = ""

    @property
    def words(self) -> str:
        return f"{self.title}. {self.caption}"

    @property
    def inlined(self) -> str:
        """The file in base64."""
        return base64.b64encode(self.png).decode()

    @property
    def width(self) -> int:
        """In pixels of a page: in a PNG bytes 16 to 19 are its width in its own."""
        return int.from_bytes(self.png[16:20], "big") * 96 // DPI


@dataclass(frozen=True)
class Sheet:
    """Pictures of a run: their file, where it lies as seen from the study's folder, and whose they are."""

    path: Path
    link: str
    caption: str

    def jpeg(self) -> str:
        """The file in base64 as JPEG, a third as large as PNG: every recipe and task has one in the page.

        Raises:
            ValueError: it is no image that can be read.
        """
        from PIL import Image

        file = io.BytesIO()
        try:
            with Image.open(self.path) as image:
                image.convert("RGB").save(file, "JPEG", quality=85, subsampling=0)  # thin coloured lines stay as they are
        except (OSError, SyntaxError) as error:  # PIL has both for a broken PNG
            raise ValueError(f"{self.path} cannot be read ({error}); draw it again with tools/show.py, or remove it.") from None
        return base64.b64encode(file.getvalue()).decode()


@dataclass(frozen=True)
class Report:
    """``findings``: what was found; ``basis``: what that rests on; ``figures``: between these; ``sheets``: pictures of runs."""

    title: str
    lead: str
    findings: list[Table]
    basis: list[Table]
    caveats: tuple[str, ...]
    sheets: tuple[Sheet, ...] = ()
    figures: tuple[Figure, ...] = ()

    @property
    def tables(self) -> list[Table]:
        return [*self.findings, *self.basis]

    def figures_after(self, table: Table) -> list[Figure]:
        """The figures that follow a table of this report."""
        titles = [other.title for other in self.tables]
        return [f for f in self.figures if (f.after if f.after in titles else titles[0]) == table.title]


def markdown(report: Report) -> str:
    """GitHub's Markdown; figures are the files of their names beside it, pictures are the files of their runs."""
    parts = [f"# {_md(report.title)}", _md(report.lead)]
    for table in report.tables:
        parts += [_markdown_table(table), *map(_markdown_figure, report.figures_after(table))]
    sheets = [f"{_md(sheet.caption)}:\n\n![pictures]({quote(sheet.link)})" for sheet in report.sheets]
    parts += ["## Pictures", *sheets] * bool(sheets)
    caveats = "\n".join(f"- {text}" for text in report.caveats)
    return "\n\n".join([*parts, f"## Caveats\n\n{caveats}"]) + "\n"


def _markdown_table(table: Table) -> str:
    marks = ["---:" if a == "r" else "---" for a in table.align]
    rows = [
        [_md(cell) if cell in ("", DASH) or i not in table.grey else f"*{_md(cell)}*" for i, cell in enumerate(r)]
        for r in table.rows
    ]
    body = "\n".join(f"| {' | '.join(line)} |" for line in [map(_md, table.header), marks, *rows])
    return "\n\n".join([f"## {_md(table.title)}", body, *[_md(table.note)] * bool(table.note)])


def _markdown_figure(figure: Figure) -> str:
    return f"![{_md(figure.title)}]({quote(figure.name)}.png)\n\n{_md(figure.words)}"


def _md(text: str) -> str:
    return " ".join(text.split()).replace("&", "&amp;").replace("<", "&lt;").replace("|", "\\|").replace("](", "]\\(")


def html(report: Report) -> str:
    """One page that needs no other file: figures and pictures are inlined, every value escaped."""
    pages = Environment(loader=FileSystemLoader(Path(__file__).parent), autoescape=True, trim_blocks=True, lstrip_blocks=True)
    page = pages.get_template("report.html.jinja")
    return page.render(report=report, verdicts=VERDICTS, long=LONG)


def _anchor(title: str) -> str:
    """'Gains over + smooth' is gains-over-smooth."""
    return "-".join(re.findall(r"\w+", title.lower()))


def latex(report: Report) -> str:
    r"""The findings as booktabs tables, to \input in a paper; the figures as comments, since a paper has its own places."""
    grey = any(table.grey for table in report.findings)
    head = [r"% needs \usepackage{booktabs}" + r" and \usepackage{xcolor}" * grey]
    for table in report.findings:
        head += [_latex_table(table), *map(_latex_figure, report.figures_after(table))]
    return "\n".join(head)


def _latex_figure(figure: Figure) -> str:
    return rf"% \includegraphics[width=\linewidth]{{{figure.name}}} % {' '.join(figure.words.split())}" + "\n"


def _latex_table(table: Table) -> str:
    head, *rows = [" & ".join(_latex_cells(line, table.grey)) + r" \\" for line in (table.header, *table.rows)]
    begin = [
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{_tex(table.title)}. {_tex(table.note)}}}",
        rf"\begin{{tabular}}{{{table.align}}}",
    ]
    end = [r"\bottomrule", r"\end{tabular}", r"\end{table}"]
    return "\n".join([*begin, r"\toprule", head, r"\midrule", *rows, *end]) + "\n"


def _latex_cells(line: list[str], grey: tuple[int, ...]) -> list[str]:
    return [rf"\textcolor{{gray}}{{{_tex(cell)}}}" if i in grey else _tex(cell) for i, cell in enumerate(line)]


def _tex(text: str) -> str:
    return "".join(TEX.get(character, character) for character in text)
