"""Test the files of a study's folder: cells that a spreadsheet would run, and files of another shape."""

import csv
import io
import json
from pathlib import Path

import pytest

from tests.helpers.synthetic_report import made_rows, made_study, write_study
from tools.engine.analysis.results import load_results
from tools.engine.reporting.report import load_details, write_report
from tools.engine.study_folder.files import COLUMNS, guarded, load_curves, read_table, unguarded, write_table

ROW = dict(
    study="s", scale="toy", recipe="smooth", network="net", task="detection", protocol="p", split="val", metric="mAP", run="r"
)
ROW |= dict(pretrain_seed="0", finetune_seed="0", value="-1.5", status="done")


@pytest.fixture
def folder(tmp_path) -> Path:
    return write_study(tmp_path / "demo-toy", made_rows())


# --- cells ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["=1+1", "+ smooth", "-5", "@SUM(A1)", "\tx", "\rx", "'quoted", "''twice", "'=1", "plain", ""])
def test_a_cell_that_a_spreadsheet_would_run_is_guarded_and_read_back(tmp_path, text):
    assert unguarded(guarded(text)) == text and guarded(text)[:1] not in ("=", "+", "-", "@", "\t", "\r")
    write_table(tmp_path / "results.csv", [ROW | {"network": text, "protocol": text}])
    with open(tmp_path / "results.csv", newline="") as file:
        (cells,) = csv.DictReader(file)
    assert cells["network"] == guarded(text) and cells["value"] == "-1.5"  # a number stays one
    assert read_table(tmp_path / "results.csv") == [ROW | {"network": text, "protocol": text}]


def test_a_table_that_a_spreadsheet_saved_with_a_mark_of_its_encoding_is_read(folder):
    path = folder / "results.csv"
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert len(read_table(path)) == len(made_rows())


# --- tables of another shape ------------------------------------------------------------------------------------


def table_of(*rows: dict, columns=COLUMNS) -> bytes:
    file = io.StringIO()
    writer = csv.DictWriter(file, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return file.getvalue().encode()


TABLES = {
    "empty": (b"", "lacks the columns recipe, network"),
    "other columns": (b"a,b\n1,2\n", "lacks the columns recipe, network"),
    "one column less": (
        table_of({k: v for k, v in ROW.items() if k != "run"}, columns=[c for c in COLUMNS if c != "run"]),
        "lacks the columns run;",
    ),
    "a cell less": (table_of(ROW).rstrip(b"\n").rpartition(b",")[0] + b"\n", "line 2 has fewer cells than the header"),
    "a cell more": (table_of(ROW).rstrip(b"\n") + b",x\n", "line 2 has more cells than the header"),
    "Latin-1": (table_of(ROW | {"network": "r\xe9seau"}).decode().encode("latin-1"), "is not UTF-8 text"),
    "null bytes": (table_of(ROW | {"network": "a\0b"}), "line 2 has a null byte"),
    "a very long field": (table_of(ROW | {"network": "x" * 200_000}), "line 2 cannot be read as CSV .field larger than"),
    "a very long recipe": (table_of(ROW | {"recipe": "x" * 100_000}), "study.json does not have this recipe"),
    "a seed that is no number": (table_of(ROW | {"pretrain_seed": "first"}), "line 2 has pretrain_seed='first'; give a whole"),
    "a seed of many digits": (table_of(ROW | {"finetune_seed": "9" * 5000}), "line 2 has finetune_seed='999"),
    "a status of its own": (table_of(ROW | {"status": "fine"}), "line 2 has status='fine'; give one of done, diverged, failed"),
    "no recipe": (table_of(ROW | {"recipe": ""}), "line 2 has recipe=''; give text of at least 1"),
    "a value that is no number": (table_of(ROW | {"value": "=1+1"}), "line 2: the value is '=1.1'; it must be a number"),
    "binary": (bytes(range(128, 256)) * 9, "is not UTF-8 text"),
    "a row twice": (table_of(ROW, ROW), "lines 2 and 3 are both mAP of smooth with the same seeds"),
}


@pytest.mark.parametrize("name", TABLES)
def test_a_table_of_another_shape_is_refused_in_a_sentence_that_names_file_and_place(folder, name):
    content, message = TABLES[name]
    (folder / "results.csv").write_bytes(content)
    with pytest.raises(ValueError, match=f"results.csv.*{message}") as error:
        load_results(folder)
    assert len(str(error.value)) < 700 and "\n" not in str(error.value)


def test_a_table_with_its_header_alone_has_a_report_of_dashes(folder):
    (folder / "results.csv").write_bytes(table_of())
    assert "0 seeds" in write_report(folder)["report.md"].read_text()


# --- JSON of another shape --------------------------------------------------------------------------------------

OTHERS = [None, 3, "text", [], [1], {"a": 1}, True]
STUDY = [
    ("recipes", {}, "study.json has recipes={}; give a list"),
    ("recipes", [], "study.json has recipes=.*give"),
    ("recipes", [3], "study.json has recipes.0=3; give text"),
    ("metrics", None, "study.json has metrics=None; give a list"),
    ("labels", {"smooth": 3}, "study.json has labels.smooth=3; give text"),
    ("parents", {"smooth": "b_standard"}, "study.json has parents.smooth='b_standard'; give a list"),
    ("images", [{"recipe": "smooth"}], "study.json lacks images.0.base; add it"),
    ("images", {"a": 1}, "study.json has images={'a': 1}; give a list"),
    ("published", {"values": [{"recipe": "x"}]}, "study.json lacks published.values.0.network"),
    ("published", {"values": 3}, "study.json has published.values=3; give a list"),
    ("tricks", {"smooth": [["cosine"]]}, "study.json has tricks.smooth.0=.*; give a list of 2"),
    ("tricks", {"smooth": 3}, "study.json has tricks.smooth=3"),
    ("differences", {"smooth": {"parent": "x", "keys": {"a": ["1"]}}}, "study.json has differences.smooth.keys.a="),
    ("tuning", [3], "study.json has tuning.0=3"),
    ("protocols", {"detection": 3}, "study.json has protocols.detection=3; give a dict"),
    ("runs", [], "study.json has runs=..; give a dict"),
    (
        "runs",
        {"r": {"speed": {"images_per_second": "fast"}}},
        "study.json has runs.r.speed.images_per_second='fast'; give a number",
    ),
    ("runs", {"r": {"remarks": "text"}}, "study.json has runs.r.remarks='text'; give a list"),
    ("left_out", {"net": "zero_gamma"}, "study.json has left_out.net='zero_gamma'; give a list"),
    ("scale", None, "study.json has scale=None; give text"),
]


@pytest.mark.parametrize(("key", "value", "message"), STUDY)
def test_a_study_json_of_another_shape_is_refused_with_its_field(folder, key, value, message):
    (folder / "study.json").write_text(json.dumps(made_study(made_rows()) | {key: value}))
    with pytest.raises(ValueError, match=message):
        write_report(folder)


@pytest.mark.parametrize("content", [json.dumps(value) for value in OTHERS] + ["{", "[" * 100_000, ""])
@pytest.mark.parametrize("name", ["study.json", "details.json", "curves.json"])
def test_a_file_that_holds_something_else_is_refused_by_name(folder, name, content):
    (folder / name).write_text(content)
    if name == "curves.json" and content == "[]":
        content = None
    with pytest.raises(ValueError, match=f"{name} (holds|has|lacks|is not JSON|is nested)"):
        write_report(folder)


def test_a_file_in_another_encoding_is_refused_by_name(folder):
    (folder / "study.json").write_bytes('{"name": "é"}'.encode("latin-1"))
    with pytest.raises(ValueError, match="study.json is not JSON"):
        load_results(folder)


BREAKDOWN = dict(
    task="detection", network="n", protocol="p", split="s", name="per_class", title="t", note="", digits=2, gains=True
)
DETAILS = [
    ({"tables": [BREAKDOWN]}, "details.json lacks tables.0.recipes"),
    ({"tables": [BREAKDOWN | {"recipes": {"smooth": {"n": 1, "values": {"cat": 3}}}}]}, "tables.0.recipes.smooth.values.cat=3"),
    ({"tables": [BREAKDOWN | {"recipes": {"smooth": {"n": 1, "values": {"cat": [1]}}}}]}, "values.cat=.1.; give a list of 2"),
    ({"tables": [BREAKDOWN | {"recipes": {}, "digits": "two"}]}, "tables.0.digits='two'; give a whole number"),
]


@pytest.mark.parametrize(("content", "message"), DETAILS)
def test_details_of_another_shape_are_refused_with_their_field(tmp_path, content, message):
    (tmp_path / "details.json").write_text(json.dumps(content))
    with pytest.raises(ValueError, match=message):
        load_details(tmp_path / "details.json")


CURVES = [
    ({"r": 3}, "curves.json has runs.r=3; give a list"),
    ({"r": [3]}, "curves.json has runs.r.0=3; give a dict"),
    ({"r": [{"update": 1, "epoch": 1, "loss": "high"}]}, "curves.json has runs.r.0.loss='high'; give a number or None"),
    ({"r": [{"loss": 1.0}]}, "curves.json has a line of run r without its update or epoch"),
]


@pytest.mark.parametrize(("content", "message"), CURVES)
def test_curves_of_another_shape_are_refused_with_their_field(tmp_path, content, message):
    (tmp_path / "curves.json").write_text(json.dumps(content))
    with pytest.raises(ValueError, match=message):
        load_curves(tmp_path)
