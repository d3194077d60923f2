"""Test which files a report refuses, and the script that writes it."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers.synthetic_report import ROOT, line, made_rows, write_study
from tools.engine.analysis.results import load_results
from tools.engine.reporting.formats.terminal import terminal_table
from tools.engine.reporting.report import make_report, write_report


@pytest.fixture
def folder(tmp_path) -> Path:
    return write_study(tmp_path / "demo-toy", made_rows())


@pytest.mark.parametrize("value", ["nan", "inf", "n/a"])
def test_a_value_that_is_no_number_is_refused(tmp_path, value):
    rows = made_rows()
    rows[0]["value"] = value
    with pytest.raises(ValueError, match=f"the value is '{value}'"):
        write_report(write_study(tmp_path / "s", rows))


def test_files_that_disagree_are_refused(tmp_path):
    with pytest.raises(ValueError, match="study.json does not have this recipe"):
        load_results(write_study(tmp_path / "s", made_rows(), recipes=["smooth"]))
    folder = write_study(tmp_path / "t", made_rows())
    (folder / "results.csv").write_text("recipe,metric\n")
    with pytest.raises(ValueError, match="lacks the columns network, task"):
        load_results(folder)


def test_a_study_without_a_finished_run_has_a_report_of_dashes(tmp_path):
    folder = write_study(tmp_path / "s", [], recipes=["b_standard", "smooth"])
    text = write_report(folder)["report.md"].read_text()
    assert line(text, "Gains over B-standard", "+ smooth")[1:] == ["—"] * 4
    assert line(text, "Published values", "+ smooth")[1:] == ["*80.71 (+3.17)*"] and "Nothing can be compared yet" in text
    assert make_report(load_results(folder)).title == "demo at scale toy, 0 seeds"
    terminal_table(folder)


# --- the script ---------------------------------------------------------------------------------------------


def run_script(*args) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, "tools/report.py", *args], cwd=ROOT, capture_output=True, text=True)


def test_script_writes_the_report(folder):
    process = run_script(str(folder))
    assert process.returncode == 0 and process.stderr == ""
    assert str(folder / "report.html") in process.stdout and "+ smooth" in process.stdout


@pytest.mark.parametrize("lacking", ["", "results.csv", "study.json"])
def test_script_says_in_a_sentence_what_is_missing(folder, lacking):
    target = folder / lacking if lacking else folder / "elsewhere"
    if lacking:
        target.unlink()
    process = run_script(str(folder if lacking else target))
    assert process.returncode == 2 and process.stdout == "" and process.stderr.count("\n") == 1
    assert str(target) in process.stderr and "python tools/collect.py" in process.stderr


def test_report_loads_neither_torch_nor_mmengine(folder):
    code = (
        "import sys; from pathlib import Path; "
        "from tools.engine.reporting.formats.terminal import terminal_table; "
        "from tools.engine.reporting.report import write_report; "
        "from tools.engine.reporting.fidelity_report import write_fidelity; "
        f"write_report(Path({str(folder)!r})); terminal_table(Path({str(folder)!r})); "
        f"write_fidelity({str(folder)!r}, 'published'); "
        "heavy = {'torch', 'mmengine', 'mmcv', 'mmdet', 'mmseg'}; "
        "print(sorted({name.split('.')[0] for name in sys.modules} & heavy))"
    )
    process = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert process.stdout.splitlines()[-1] == "[]"
