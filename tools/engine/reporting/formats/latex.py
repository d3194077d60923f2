"""Print the tables of results and gains as LaTeX, for a paper."""

from tools.engine.reporting.document import Figure, Report, Table

TEX = {c: "\\" + c for c in "&%$#_{}"} | {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "±": r"$\pm$",
    "—": "---",
    "−": "$-$",
    "[": "{[}",  # a row that starts with [ would be read as the optional argument of the \\ before it
}


def latex(report: Report) -> str:
    r"""Return the report's tables for a paper as booktabs tables, to \input.

    Figures become comments, since a paper chooses its own places for them.
    """
    packages = [r"\usepackage{booktabs}"]
    if any(table.grey for table in report.paper):
        packages.append(r"\usepackage{xcolor}")
    parts = ["% needs " + " and ".join(packages), *map(_table, report.paper), *map(_figure, report.figures)]
    return "\n".join(parts)


def _figure(figure: Figure) -> str:
    return rf"% \includegraphics[width=\linewidth]{{{figure.name}}} % {' '.join(figure.words.split())}" + "\n"


def _table(table: Table) -> str:
    header, *rows = [" & ".join(_cells(line, table.grey)) + r" \\" for line in (table.header, *table.rows)]
    begin = [
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{_tex(table.title)}. {_tex(table.note)}}}",
        rf"\begin{{tabular}}{{{table.align}}}",
    ]
    end = [r"\bottomrule", r"\end{tabular}", r"\end{table}"]
    return "\n".join([*begin, r"\toprule", header, r"\midrule", *rows, *end]) + "\n"


def _cells(line: list[str], grey: tuple[int, ...]) -> list[str]:
    return [rf"\textcolor{{gray}}{{{_tex(cell)}}}" if i in grey else _tex(cell) for i, cell in enumerate(line)]


def _tex(text: str) -> str:
    return "".join(TEX.get(character, character) for character in text)
