"""Print a report as Markdown, HTML and LaTeX, from tables of text, figures and image sheets."""

import base64
import io
import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from jinja2 import Environment, FileSystemLoader

from tools.engine.analysis.results import DASH
from tools.engine.analysis.verdicts import VERDICTS

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
    """Hold a titled table of text.

    Attributes:
        align: an l or r for each column, as in LaTeX.
        grey: indices of the columns whose numbers are not like for like with the others.
    """

    title: str
    align: str
    header: list[str]
    rows: list[list[str]]
    note: str = ""
    grey: tuple[int, ...] = ()

    @property
    def anchor(self) -> str:
        """Return the id that links in the page use for the table."""
        return _anchor(self.title)


@dataclass(frozen=True)
class Figure:
    """Hold a drawing.

    Attributes:
        name: file name without .png.
        png: the file's content, drawn at ``DPI``.
        after: title of the table that the figure follows. A figure whose table is not in the report follows the first table.
    """

    name: str
    title: str
    caption: str
    png: bytes
    after: str = ""

    @property
    def words(self) -> str:
        """Return the title and the caption as one text."""
        return f"{self.title}. {self.caption}"

    @property
    def inlined(self) -> str:
        """Return the file in base64."""
        return base64.b64encode(self.png).decode()

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
    """

    path: Path
    link: str
    caption: str

    def jpeg(self) -> str:
        """Return the sheet as JPEG in base64. It is a third as large as PNG, and the page holds one for each recipe and task.

        Raises:
            ValueError: the file is not a readable image.
        """
        from PIL import Image

        file = io.BytesIO()
        try:
            with Image.open(self.path) as image:
                image.convert("RGB").save(file, "JPEG", quality=85, subsampling=0)  # subsampling would smear thin coloured lines
        except (OSError, SyntaxError) as error:  # PIL raises either for a broken PNG
            raise ValueError(f"{self.path} cannot be read ({error}); draw it again with tools/show.py, or remove it.") from None
        return base64.b64encode(file.getvalue()).decode()


@dataclass(frozen=True)
class Report:
    """Hold all that a report says.

    Attributes:
        findings: tables of results and gains.
        basis: tables of what the findings rest on.
        figures: drawings, each of which names the table that it follows.
        sheets: image sheets of runs.
    """

    title: str
    lead: str
    findings: list[Table]
    basis: list[Table]
    caveats: tuple[str, ...]
    sheets: tuple[Sheet, ...] = ()
    figures: tuple[Figure, ...] = ()

    @property
    def tables(self) -> list[Table]:
        """Return all tables in the order of the report."""
        return [*self.findings, *self.basis]

    def figures_after(self, table: Table) -> list[Figure]:
        """Return the figures that follow a table of this report."""
        titles = [other.title for other in self.tables]
        return [f for f in self.figures if (f.after if f.after in titles else titles[0]) == table.title]


def markdown(report: Report) -> str:
    """Return the report in GitHub's Markdown. It links to the figures beside it and to the sheets in the folders of the runs."""
    parts = [f"# {_md(report.title)}", _md(report.lead)]
    for table in report.tables:
        parts += [_markdown_table(table), *map(_markdown_figure, report.figures_after(table))]
    if report.sheets:
        parts.append("## Pictures")
        parts += [f"{_md(sheet.caption)}:\n\n![pictures]({quote(sheet.link)})" for sheet in report.sheets]
    caveats = "\n".join(f"- {text}" for text in report.caveats)
    return "\n\n".join([*parts, f"## Caveats\n\n{caveats}"]) + "\n"


def _markdown_table(table: Table) -> str:
    rules = ["---:" if letter == "r" else "---" for letter in table.align]
    rows = [
        [_md(cell) if cell in ("", DASH) or i not in table.grey else f"*{_md(cell)}*" for i, cell in enumerate(row)]
        for row in table.rows
    ]
    body = "\n".join(f"| {' | '.join(line)} |" for line in [map(_md, table.header), rules, *rows])
    parts = [f"## {_md(table.title)}", body]
    if table.note:
        parts.append(_md(table.note))
    return "\n\n".join(parts)


def _markdown_figure(figure: Figure) -> str:
    return f"![{_md(figure.title)}]({quote(figure.name)}.png)\n\n{_md(figure.words)}"


def _md(text: str) -> str:
    return " ".join(text.split()).replace("&", "&amp;").replace("<", "&lt;").replace("|", "\\|").replace("](", "]\\(")


def html(report: Report) -> str:
    """Return the report as one page that needs no other file: figures and sheets are inlined, and every value is escaped."""
    pages = Environment(loader=FileSystemLoader(Path(__file__).parent), autoescape=True, trim_blocks=True, lstrip_blocks=True)
    page = pages.get_template("report.html.jinja")
    return page.render(report=report, verdicts=VERDICTS, long=LONG)


def _anchor(title: str) -> str:
    """Return the title in lower case with hyphens: 'Gains over + smooth' becomes 'gains-over-smooth'."""
    return "-".join(re.findall(r"\w+", title.lower()))


def latex(report: Report) -> str:
    r"""Return the findings as booktabs tables, to \input in a paper.

    Figures become comments, since a paper chooses its own places for them.
    """
    packages = [r"\usepackage{booktabs}"]
    if any(table.grey for table in report.findings):
        packages.append(r"\usepackage{xcolor}")
    parts = ["% needs " + " and ".join(packages)]
    for table in report.findings:
        parts += [_latex_table(table), *map(_latex_figure, report.figures_after(table))]
    return "\n".join(parts)


def _latex_figure(figure: Figure) -> str:
    return rf"% \includegraphics[width=\linewidth]{{{figure.name}}} % {' '.join(figure.words.split())}" + "\n"


def _latex_table(table: Table) -> str:
    header, *rows = [" & ".join(_latex_cells(line, table.grey)) + r" \\" for line in (table.header, *table.rows)]
    begin = [
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{_tex(table.title)}. {_tex(table.note)}}}",
        rf"\begin{{tabular}}{{{table.align}}}",
    ]
    end = [r"\bottomrule", r"\end{tabular}", r"\end{table}"]
    return "\n".join([*begin, r"\toprule", header, r"\midrule", *rows, *end]) + "\n"


def _latex_cells(line: list[str], grey: tuple[int, ...]) -> list[str]:
    return [rf"\textcolor{{gray}}{{{_tex(cell)}}}" if i in grey else _tex(cell) for i, cell in enumerate(line)]


def _tex(text: str) -> str:
    return "".join(TEX.get(character, character) for character in text)
