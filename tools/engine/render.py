"""Prints a report as Markdown, HTML, LaTeX and a figure; what it says comes as tables of text."""

import base64
import io
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from jinja2 import Environment, FileSystemLoader

from tools.engine.compare import VERDICTS
from tools.engine.results import SCRATCH, Cell, Results

FIGURE = (
    "Each seed (orange), the mean of a recipe (blue) and its 95 % t interval; dashed: the reference; "
    "an arrow: a value off the axis."
)
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
    """A titled table of text; ``align`` has an l or r for each column, as in LaTeX."""

    title: str
    align: str
    header: list[str]
    rows: list[list[str]]
    note: str = ""


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
    """``findings``: what was found, the figure after the first table; ``basis``: what that rests on; ``sheets``: pictures."""

    title: str
    lead: str
    findings: list[Table]
    basis: list[Table]
    caveats: tuple[str, ...]
    sheets: tuple[Sheet, ...] = ()


def markdown(report: Report) -> str:
    """GitHub's Markdown; the figure is the file gains.png beside it, pictures are the files of their runs."""
    first, *others = [_markdown_table(table) for table in (*report.findings, *report.basis)]
    caveats = "\n".join(f"- {text}" for text in report.caveats)
    parts = [f"# {_md(report.title)}", _md(report.lead), first, f"![{FIGURE}](gains.png)", *others]
    sheets = [f"{_md(sheet.caption)}:\n\n![pictures]({quote(sheet.link)})" for sheet in report.sheets]
    parts += ["## Pictures", *sheets] * bool(sheets)
    return "\n\n".join([*parts, f"## Caveats\n\n{caveats}"]) + "\n"


def _markdown_table(table: Table) -> str:
    marks = ["---:" if a == "r" else "---" for a in table.align]
    lines = [map(_md, table.header), marks, *(map(_md, row) for row in table.rows)]
    body = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    return "\n\n".join([f"## {_md(table.title)}", body, *[_md(table.note)] * bool(table.note)])


def _md(text: str) -> str:
    return " ".join(text.split()).replace("&", "&amp;").replace("<", "&lt;").replace("|", "\\|")


def html(report: Report, figure: bytes) -> str:
    """One page that needs no other file: the figure (PNG) and the pictures are inlined, every value escaped."""
    pages = Environment(loader=FileSystemLoader(Path(__file__).parent), autoescape=True, trim_blocks=True, lstrip_blocks=True)
    inlined = base64.b64encode(figure).decode()
    page = pages.get_template("report.html.jinja")
    return page.render(report=report, verdicts=VERDICTS, caption=FIGURE, figure=inlined)


def latex(report: Report) -> str:
    r"""The findings as booktabs tables, to \input in a paper."""
    return "% needs \\usepackage{booktabs}\n" + "\n".join(map(_latex_table, report.findings))


def _latex_table(table: Table) -> str:
    head, *rows = [" & ".join(map(_tex, line)) + r" \\" for line in (table.header, *table.rows)]
    begin = [
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{_tex(table.title)}. {_tex(table.note)}}}",
        rf"\begin{{tabular}}{{{table.align}}}",
    ]
    end = [r"\bottomrule", r"\end{tabular}", r"\end{table}"]
    return "\n".join([*begin, r"\toprule", head, r"\midrule", *rows, *end]) + "\n"


def _tex(text: str) -> str:
    return "".join(TEX.get(character, character) for character in text)


def draw(results: Results) -> bytes:
    """PNG: one panel a metric; for each recipe its points, their mean and its 95 % t interval."""
    from matplotlib.figure import Figure  # half a second, which the terminal's table need not wait for

    recipes, columns = results.study["recipes"], results.columns
    size = (1.2 + 2.3 * len(columns), 0.9 + 0.4 * len(recipes))
    figure = Figure(figsize=size, layout="constrained")
    panels = figure.subplots(1, len(columns), sharey=True, squeeze=False)[0]
    for axes, column in zip(panels, columns, strict=True):
        _style(axes, f"{results.heading(column)}, %")
        for y, recipe in sorted(enumerate(recipes), key=lambda pair: pair[1] == SCRATCH):  # scratch last
            _draw_cell(axes, y, results.cell(recipe, column), recipe == results.reference, recipe == SCRATCH)
    panels[0].set_yticks(range(len(recipes)), [results.label(r) for r in recipes], parse_math=False)
    panels[0].set_ylim(len(recipes) - 0.5, -0.5)
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=200)
    return file.getvalue()


def _style(axes, title: str) -> None:
    axes.set_title(title, fontsize=10, parse_math=False)
    axes.grid(axis="x", color="#e4e4e0")
    axes.set_axisbelow(True)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(left=False, labelsize=9)


def _draw_cell(axes, y: int, cell: Cell, is_reference: bool, is_scratch: bool) -> None:
    spread, (low, high) = cell.spread, axes.get_xlim()
    # far from the pretrained recipes, scratch would squeeze their gains into one dot: it is written instead
    far = spread and is_scratch and axes.has_data() and not 2 * low - high < spread.mean < 2 * high - low
    if not spread or far:
        text = f"{'◄' if spread.mean < low else '►'} {' '.join(cell.parts)}" if far else str(cell)
        style = dict(color="#666", size=8, ha="center", va="center", backgroundcolor="white")
        axes.text(0.5, y, text, transform=axes.get_yaxis_transform(), **style)
        return
    if is_reference:
        axes.axvline(spread.mean, color="#888", linewidth=0.8, linestyle="--", zorder=1)
    axes.errorbar(spread.mean, y, xerr=spread.half, fmt="D", markersize=5, capsize=3, color="#1f4e79", zorder=2)
    heights = [y - 0.22] * len(cell.points)
    axes.plot(cell.points, heights, "o", color="#c55a11", alpha=0.7, markersize=3.5, zorder=3)
