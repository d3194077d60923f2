"""Print a report as Markdown that GitHub renders with its figures: the answer first, all else folded by subject."""

from html import escape
from urllib.parse import quote

from tools.engine.analysis.results import DASH
from tools.engine.reporting.document import Block, Figure, Links, Notes, Report, Section, Sheet, Table


def markdown(report: Report) -> str:
    """Return the report in GitHub's Markdown. It links to the figures beside it and to the sheets in the folders of the runs."""
    headline, *others = map(_md, report.verdict)
    parts = [f"# {_md(report.title)}", f"**{headline}**", *others, _md(report.lead)]
    parts += [_block(block) for block in report.first]
    return "\n\n".join([*parts, *map(_section, report.sections)]) + "\n"


def _section(section: Section) -> str:
    """Return a folded section; GitHub reads Markdown within HTML after an empty line."""
    summary = f"<summary><b>{_raw(section.title)}</b>: {_raw(section.summary)}</summary>"
    return "\n\n".join([f"<details>\n{summary}", *map(_block, section.blocks), "</details>"])


def _raw(text: str) -> str:
    """Return a text for a line of HTML, in which GitHub reads no Markdown; it begins no link elsewhere either."""
    return escape(" ".join(text.split())).replace("](", "]&#40;")


def _block(block: Block) -> str:
    if isinstance(block, Table):
        return _table(block)
    if isinstance(block, Figure):
        return f"![{_md(block.title)}]({quote(block.name)}.png)\n\n{_md(block.words)}"
    if isinstance(block, Sheet):
        return f"{_md(block.caption)}:\n\n![pictures]({quote(block.link)})"
    if isinstance(block, Links):
        return "\n".join([f"{_md(block.title)}:\n", *(f"- [{_md(text)}]({quote(link)})" for text, link in block.links)])
    assert isinstance(block, Notes)
    return "\n".join(f"- {_md(text)}" for text in block.texts)


def _table(table: Table) -> str:
    """Return a table; its columns that are shown on demand become a second one, folded."""
    if not table.hidden:
        return _plain_table(table)
    shown = [i for i in range(len(table.header)) if i not in table.hidden]
    more = _plain_table(table.columns([0, *table.hidden], "Published values", table.hidden_note))
    folded = f"<details>\n<summary>Published values</summary>\n\n{more}\n\n</details>"
    return "\n\n".join([_plain_table(table.columns(shown, table.title, table.note)), folded])


def _plain_table(table: Table) -> str:
    rules = ["---:" if letter == "r" else "---" for letter in table.align]
    rows = [
        [_cell(cell, (i, k) in table.best, k in table.grey) for k, cell in enumerate(row)] for i, row in enumerate(table.rows)
    ]
    body = "\n".join(f"| {' | '.join(line)} |" for line in [[_md(head) for head in table.header], rules, *rows])
    parts = [f"### {_md(table.title)}", body]
    if table.note:
        parts.append(_md(table.note))
    return "\n\n".join(parts)


def _cell(cell: str, is_best: bool, is_grey: bool) -> str:
    first, *others = [_md(line) for line in cell.split("\n")]
    if is_best:
        first = f"**{first}**"
    if is_grey and cell not in ("", DASH):
        first = f"*{first}*"
    return "<br>".join([first, *others])


def _md(text: str) -> str:
    return " ".join(text.split()).replace("&", "&amp;").replace("<", "&lt;").replace("|", "\\|").replace("](", "]\\(")
