"""List files of finished runs and of studies, as another version, an editor or a spreadsheet may have left them."""

import csv
import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tests.helpers.inputs.files import writes
from tests.helpers.inputs.rows import Row, faults
from tests.helpers.synthetic_report import COLUMNS, made_rows, made_study, write_study
from tools.engine.run_folder import Record
from tools.engine.study_folder.schema import StudyFileSchema

FOLDER = "demo-toy"
RECORD = {  # a record that fits its schema
    "status": "done",
    "key": "abc",
    "metrics": {"top1": 50.0},
    "seconds": {"total": 1.0},
    "node": "pretrain",
    "task": "classification",
    "network": "resnet50",
    "split": "val",
    "per_image": "ranks.npz",
    "seed": 0,
    "protocol": {"name": "toy"},
    "machine": {"device": "cpu", "threads": 1},
    "tricks": [["cosine", {}]],
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
    yield from _of_fidelity()
    yield from _of_study_json()
    yield from _of_table()
    yield from _of_record()


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


def _of_fidelity() -> Iterator[Row]:
    """Yield comparisons of a study's folder with the published numbers, with itself and with damaged folders."""
    about = made_study(made_rows())
    for name, other, words, prepare in (
        ("the published numbers", "published", ("fidelity.md", "1 of 1 gains"), study()),
        ("no published numbers", "published", ("study.json has no published numbers",), study(about=about | {"published": None})),
        ("published numbers of no recipe", "published", ("No gain has a number",), study(about=about | _published("nosuch"))),
        ("itself", FOLDER, ("share 24 runs",), study()),
        ("an empty folder", ".", ("results.csv does not exist",), study()),
        ("a damaged folder", "published", ("results.csv",), study(table="recipe,metric\n")),
    ):
        status = 0 if name == "the published numbers" else 2
        yield Row("results", f"fidelity to {name}", "report", ("--fidelity", FOLDER, other), words, status, prepare)


def _published(recipe: str) -> dict[str, dict]:
    return {"published": {"source": "a", "values": [dict(recipe=recipe, network=None, metric="mAP", value=1.0)]}}


def _of_study_json() -> Iterator[Row]:
    about = made_study(made_rows())
    for name, text in TEXTS.items():
        yield _report(f"study.json is {name}", ("study.json",), study(about=text or " "))
        for other in ("details", "curves"):
            yield _report(f"{other}.json is {name}", (f"{other}.json",), study(**{other: text or " "}))
    for fault in faults(StudyFileSchema, about):
        yield _report(f"study.json: {fault.name}", ("study.json", fault.path[-1]), study(about=fault.content))


def _of_record() -> Iterator[Row]:
    """Yield records of other shapes; ``show`` reads the one in the folder that it is given."""
    for fault in faults(Record, RECORD):
        yield _show(fault.name, ("record.json", fault.path[0]), fault.content)
    for name, text in TEXTS.items():
        yield _show(f"record.json is {name}", ("record.json",), text)


def _show(name: str, words: tuple[str, ...], content: Any) -> Row:
    text = content if isinstance(content, str) else json.dumps(content)
    return Row("results", f"record: {name}", "show", ("run",), words, prepare=writes("run/record.json", text))


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
        ("pretrain_seed", "a"),
        ("finetune_seed", "1.5"),
    ):
        changed = table(lambda row, c=column, v=value: row | {c: v})
        yield _report(f"results.csv: {column} is {value}", ("results.csv", value), study(table=changed))
    whole = table()
    for name, content, words in (
        ("empty", b"", ("results.csv",)),
        ("in Latin-1", whole.replace("detection_net", "d\xe9tection").encode("latin-1"), ("results.csv",)),
        ("in UTF-16", whole.encode("utf-16"), ("results.csv",)),
        ("with a zero byte", whole.replace("detection_net", "det\0ection", 1).encode(), ("results.csv",)),
        ("with a very long field", whole.replace("detection_net", "d" * 200_000, 1), ("results.csv",)),
        ("with semicolons", whole.replace(",", ";"), ("results.csv lacks the columns",)),
        ("with a short row", whole + "demo,toy,smooth\n", ("results.csv",)),
        ("with a long row", whole + whole.splitlines()[1] + ",1,2\n", ("results.csv",)),
        ("with a row twice", whole + whole.splitlines()[1] + "\n", ("results.csv",)),
        ("cut in a row", whole.rstrip().rsplit(",", 1)[0], ("results.csv",)),
        ("a web page", "<html><body>sign in</body></html>", ("results.csv lacks the columns",)),
    ):
        yield _report(f"results.csv is {name}", words, study(table=content))
