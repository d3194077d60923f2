"""Name the files in a study's folder, and read and write them; each is checked against its schema."""

import csv
import io
from collections.abc import Iterable, Mapping
from math import isfinite
from pathlib import Path

import msgspec

from backbones.common.files import read_json, write_text
from backbones.common.schema import accept
from tools.engine.study_folder.schema import CurvesSchema, RowSchema

TABLE, STUDY, DETAILS, CURVES, GAINS = "results.csv", "study.json", "details.json", "curves.json", "gains.json"
NUMERIC = ("pretrain_seed", "finetune_seed", "value")  # the columns that hold numbers; all others hold text
COLUMNS = (
    *("study", "scale", "recipe", "network", "task", "protocol", "split", "metric"),
    *("pretrain_seed", "finetune_seed", "value", "status", "run"),
)
OPTIONAL = ("study", "scale")  # study.json has them too
FORMULA = ("=", "+", "-", "@", "\t", "\r", "'")  # how a cell starts that a spreadsheet may run, and the guard itself
AGAIN = "make it again with tools/collect.py"


def load_json(path: Path, schema: type[msgspec.Struct]) -> dict:
    """Return the content of a JSON file of a study's folder.

    Raises:
        ValueError: the file is not JSON or does not fit its schema; names the file and the place.
    """
    content = read_json(path)
    accept(content, schema, str(path))
    return content


def load_curves(folder: Path) -> dict[str, list[dict]]:
    """Read the thinned curves of a study's runs by key; return {} if the folder has no such file.

    Raises:
        ValueError: the file is not JSON, or is not made of lines with an update, an epoch and numbers.
    """
    path = Path(folder) / CURVES
    if not path.is_file():
        return {}
    content = read_json(path)
    accept({"runs": content}, CurvesSchema, str(path))
    for key, lines in content.items():
        for line in lines:
            if any(line.get(name) is None for name in ("update", "epoch")):
                raise ValueError(f"{path} has a line of run {key} without its update or epoch; {AGAIN}.")
    return content


def read_table(path: Path) -> list[dict[str, str]]:
    """Return the rows of results.csv as text, without the guard of ``write_table``.

    Raises:
        ValueError: the file is no table of this project, a cell does not fit its column, or a row is there twice; names the file
            and the line.
    """
    reader = csv.DictReader(io.StringIO(_text(path), newline=""))
    try:
        if missing := [name for name in COLUMNS if name not in (reader.fieldnames or ()) and name not in OPTIONAL]:
            raise ValueError(f"{path} lacks the columns {', '.join(missing)}; {AGAIN}.")
        rows, lines = [], []
        for row in reader:
            rows.append(_row(row, f"{path}, line {reader.line_num}"))
            lines.append(reader.line_num)
    except csv.Error as error:
        raise ValueError(f"{path}, line {reader.line_num + 1} cannot be read as CSV ({error}); {AGAIN}.") from None
    _refuse_twins(path, rows, lines)
    return rows


def _text(path: Path) -> str:
    """Return the text of a file.

    Raises:
        ValueError: the file is not UTF-8, or has null bytes.
    """
    try:
        text = path.read_bytes().decode("utf-8-sig")  # Excel saves a mark before the first column's name
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not UTF-8 text (byte {error.start + 1}); save it as UTF-8, or {AGAIN}.") from None
    if "\0" in text:
        raise ValueError(f"{path}, line {text[: text.index(chr(0))].count(chr(10)) + 1} has a null byte; {AGAIN}.")
    return text


def _row(cells: dict, where: str) -> dict[str, str]:
    """Return a row of results.csv as text, after a check of its cells."""
    if None in cells or None in cells.values():
        raise ValueError(f"{where} has {'more' if None in cells else 'fewer'} cells than the header; {AGAIN}.")
    row = {name: cell if name in NUMERIC else unguarded(cell) for name, cell in cells.items()}
    seeds = {name: int(seed) if (seed := row[name]).isdecimal() and len(seed) < 10 else seed or None for name in NUMERIC[:2]}
    accept({name: cell for name, cell in row.items() if name in COLUMNS} | seeds, RowSchema, where)
    if row["value"] and not is_finite_number(row["value"]):
        raise ValueError(f"{where}: the value is {row['value']!r:.80}; it must be a number, or empty for a run that diverged.")
    return row


def is_finite_number(text: str) -> bool:
    """Return True if a text is a finite number."""
    try:
        return isfinite(float(text))
    except ValueError:
        return False


def row_key(row: Mapping) -> tuple[str, ...]:
    """Return what identifies a row: everything but its value, status and run."""
    return tuple(str(row[name]) for name in COLUMNS if name not in (*OPTIONAL, "value", "status", "run"))


def _refuse_twins(path: Path, rows: list[dict[str, str]], lines: list[int]) -> None:
    """Raise ValueError if two rows are of the same recipe, column and seeds: one run would count twice."""
    first: dict[tuple, int] = {}
    for row, line in zip(rows, lines, strict=True):
        if (known := first.setdefault(row_key(row), line)) != line:
            raise ValueError(
                f"{path}, lines {known} and {line} are both {row['metric']} of {row['recipe']} with the same seeds; {AGAIN}."
            )


def write_table(path: Path, rows: Iterable[Mapping]) -> None:
    """Write results.csv; a text that a spreadsheet would run as a formula gets an apostrophe in front."""
    cells = ([row[name] if name in NUMERIC else guarded(row[name]) for name in COLUMNS] for row in rows)
    write_text(path, "".join(map(_line, (COLUMNS, *cells))))


def _line(cells: Iterable) -> str:
    """Return a line of CSV that ends with a line feed; the writer must end it with both characters to quote either."""
    file = io.StringIO()
    csv.writer(file, lineterminator="\r\n").writerow(cells)
    return file.getvalue().removesuffix("\r\n") + "\n"


def guarded(text: str) -> str:
    """Return a text cell as a spreadsheet shows it and does not run it: '=1+1' becomes "'=1+1".

    >>> guarded("+ smooth"), guarded("smooth")
    ("'+ smooth", 'smooth')
    """
    return f"'{text}" if text.startswith(FORMULA) else text


def unguarded(text: str) -> str:
    """Return the text that ``guarded`` was given."""
    return text[1:] if text.startswith("'") else text
