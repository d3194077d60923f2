"""List files of finished runs and of studies, as another version, an editor or a spreadsheet may have left them."""

import csv
import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tests.helpers.inputs.rows import Row, edited, without
from tests.helpers.synthetic_report import COLUMNS, made_rows, made_study, write_study

FOLDER = "demo-toy"
SHAPES: dict[str, Any] = {
    "null": None,
    "a number": 7,
    "text": "abc",
    "a list": [1],
    "a dict": {"abc": 1},
    "nested": {"abc": {"abc": [{}]}},
}
NUMBERS = ("abc", "1,5", "nan", "inf", "1e999", "1 2", "0x1", "=1+1", "71.2 %")
TEXTS = {
    "empty": "",
    "cut short": '{"name": ',
    "null": "null",
    "a list": "[1]",
    "text": '"abc"',
    "a number": "7",
    "NaN": "NaN",
    "deep": "[" * 100_000,
}


def rows() -> Iterator[Row]:
    yield Row("results", "a right folder", "report", (FOLDER,), ("report.html",), status=0, prepare=study())
    yield from _of_study_json()
    yield from _of_table()


def _report(name: str, words: tuple[str, ...], prepare: Callable[[Path], None]) -> Row:
    return Row("results", name, "report", (FOLDER,), words, prepare=prepare)


def study(table: str | bytes | None = None, about: Any = None, **files: str) -> Callable[[Path], None]:
    """Return a function that writes a study's folder.

    Args:
        table: content of results.csv, if it is not a right one.
        about: content of study.json; text is written as it is.
        files: texts of other files of the folder, by name without ``.json``.
    """

    def prepare(folder: Path) -> None:
        place = write_study(folder / FOLDER, made_rows())
        if table is not None:
            (place / "results.csv").write_bytes(table if isinstance(table, bytes) else table.encode())
        if about is not None:
            (place / "study.json").write_text(about if isinstance(about, str) else json.dumps(about))
        for name, text in files.items():
            (place / f"{name}.json").write_text(text)

    return prepare


def table(change: Callable[[dict], dict] | None = None, columns: tuple[str, ...] = COLUMNS, number: int = 3) -> str:
    """Return results.csv, of which ``change`` edits one row."""
    text, rows = io.StringIO(), made_rows()
    if change:
        rows[number] = change(dict(rows[number]))
    writer = csv.DictWriter(text, columns, lineterminator="\n", extrasaction="ignore")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _of_study_json() -> Iterator[Row]:
    about = made_study(made_rows())
    for name, text in TEXTS.items():
        yield _report(f"study.json is {name}", ("study.json",), study(about=text or " "))
        for other in ("details", "curves"):
            yield _report(f"{other}.json is {name}", (f"{other}.json",), study(**{other: text or " "}))
    for key in ("recipes", "metrics"):
        yield _report(f"study.json without {key}", ("study.json", key), study(about=without(about, (key,))))
    for key, value in about.items():
        for shape, wrong in SHAPES.items():
            if type(wrong) is type(value) and shape != "nested" or (wrong is None and key in ("published",)):
                continue
            yield _report(f"study.json: {key} is {shape}", ("study.json", key), study(about=edited(about, (key,), wrong)))


def _of_table() -> Iterator[Row]:
    for column in COLUMNS:
        if column not in ("study", "scale"):
            columns = tuple(name for name in COLUMNS if name != column)
            yield _report(
                f"results.csv without {column}", ("results.csv lacks the columns", column), study(table=table(columns=columns))
            )
    for value in NUMBERS:
        yield _report(
            f"results.csv: value is {value}",
            ("results.csv", "value"),
            study(table=table(lambda row, v=value: row | {"value": v})),
        )
    for column, value in (
        ("recipe", "nosuch"),
        ("status", "finished"),
        ("task", "../x"),
        ("pretrain_seed", "a"),
        ("finetune_seed", "1.5"),
    ):
        changed = table(lambda row, c=column, v=value: row | {c: v})
        yield _report(f"results.csv: {column} is {value}", ("results.csv", value), study(table=changed))
    whole = table()
    header = whole.splitlines()[0]
    for name, content, words in (
        ("empty", b"", ("results.csv",)),
        ("its header alone", header + "\n", ("results.csv",)),
        ("in Latin-1", whole.replace("detection_net", "d\xe9tection").encode("latin-1"), ("results.csv",)),
        ("in UTF-16", whole.encode("utf-16"), ("results.csv",)),
        ("with a zero byte", whole.replace("detection_net", "det\0ection", 1).encode(), ("results.csv",)),
        ("with a very long field", whole.replace("detection_net", "d" * 200_000, 1), ("results.csv",)),
        ("with semicolons", whole.replace(",", ";"), ("results.csv lacks the columns",)),
        ("with a short row", whole + "demo,toy,smooth\n", ("results.csv",)),
        ("with a long row", whole + whole.splitlines()[1] + ",1,2\n", ("results.csv",)),
        ("with a row twice", whole + whole.splitlines()[1] + "\n", ("results.csv",)),
        ("cut in a row", whole[:-20], ("results.csv",)),
        ("a web page", "<html><body>sign in</body></html>", ("results.csv lacks the columns",)),
    ):
        yield _report(f"results.csv is {name}", words, study(table=content))
