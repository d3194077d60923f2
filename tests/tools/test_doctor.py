"""Test the checks of tools/doctor.py on made-up installations, and the script on this one."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers.networks import ROOT
from tools.engine.doctor import checks as doctor
from tools.engine.doctor.checks import (
    FROZEN_LINE,
    NEEDED,
    Finding,
    check_data,
    check_disk,
    check_import,
    check_opencv,
    check_openmmlab,
    check_packages,
    check_precision,
    check_python,
    installed,
    measure_bf16,
    read_constraints,
    render,
)
from tools.engine.toy_data.writer import ToySizes, make_toy

GOOD = {
    **{
        "torch": "2.14.1",
        "torchvision": "0.29.1",
        "timm": "1.0.31",
        "onedl-mmengine": "0.10.12",
        "onedl-mmcv": "2.3.6",
    },
    **{"onedl-mmdetection": "3.5.1", "onedl-mmsegmentation": "1.4.2"},
    **{"opencv-python": "4.12.0.88", "opencv-python-headless": "4.12.0.88"},
}


def wrong(findings: list[Finding]) -> dict[str, Finding]:
    return {f.what: f for f in findings if f.fix}


def test_constraints_are_read_by_name(tmp_path):
    path = tmp_path / "constraints.txt"
    path.write_text("torch==2.14.1+cpu\n onedl_mmcv == 2.3.6  # x\nNumPy==2.2.6; python_version>'3.9'\npillow>=11\n")
    assert read_constraints(path) == {"torch": "2.14.1+cpu", "onedl-mmcv": "2.3.6", "numpy": "2.2.6"}
    assert read_constraints(tmp_path / "none.txt") == {}


def test_a_good_installation_has_nothing_wrong():
    assert [f.what for f in check_packages(GOOD, GOOD)] == list(NEEDED)
    assert not wrong(check_packages(GOOD, GOOD) + check_packages(GOOD, {}) + check_openmmlab(GOOD) + check_opencv(GOOD, GOOD))
    assert not wrong(check_packages(GOOD | {"torch": "2.14.1+cpu"}, GOOD) + check_packages(GOOD, GOOD | {"torch": "2.14.1+cpu"}))


@pytest.mark.parametrize("name", NEEDED)
def test_another_version_and_a_missing_package_are_fixed_by_the_constraints(name):
    problems = wrong(check_packages(GOOD | {name: "9.9"}, GOOD))
    assert list(problems) == [name] and f"9.9; constraints.txt has {GOOD[name]}" in problems[name].found
    assert problems[name].fix == 'pip install -c constraints.txt -e ".[test]"'
    for have in (GOOD | {name: None}, {k: v for k, v in GOOD.items() if k != name}):
        problems = wrong(check_packages(have, GOOD))
        assert [f.found for f in problems.values()] == ["not installed"] and list(problems) == [name]
    assert wrong(check_packages(GOOD | {name: None}, {}))[name].fix == 'pip install -e ".[test]"'


@pytest.mark.parametrize("name", FROZEN_LINE)
def test_both_lines_of_openmmlab_together_are_wrong(name):
    (finding,) = check_openmmlab(GOOD | {name: "2.2.0"})
    assert name in finding.found and finding.fix.startswith(f"pip uninstall -y {name} && pip install ")
    assert all(package in finding.fix for package in NEEDED if package.startswith("onedl-"))


def test_the_two_variants_of_opencv_must_agree():
    have = GOOD | {"opencv-python-headless": "4.9.0.80"}
    (finding,) = check_opencv(have, {})
    assert finding.fix.endswith("opencv-python==4.9.0.80 opencv-python-headless==4.9.0.80")  # 4.9 is below 4.12
    (finding,) = check_opencv(have, {"opencv-python": "4.12.0.88"})
    assert finding.fix.endswith("opencv-python==4.12.0.88 opencv-python-headless==4.12.0.88")
    for name in ("opencv-python", "opencv-python-headless"):
        assert not wrong(check_opencv({name: "4.9.0.80"}, {}))
    assert wrong(check_opencv({}, {}))


def test_only_the_tested_python_is_called_tested():
    assert check_python((3, 11)) == Finding("python", "3.11")
    for running in ((3, 10), (3, 12)):
        finding = check_python(running)
        assert "not tested" in finding.found and (finding.fix, finding.state) == ("", "note")


@pytest.mark.parametrize(
    ("name", "error", "have", "fix"),
    [
        (
            "cv2",
            ImportError("libGL.so.1: cannot open shared object file"),
            GOOD,
            "opencv-python-headless==4.12.0.88",
        ),
        (
            "cv2",
            ImportError("libgthread-2.0.so.0: cannot open shared object file"),
            {},
            "apt-get install -y libgl1 libglib2.0-0",
        ),
        (
            "cv2",
            ImportError("numpy.core.multiarray failed to import"),
            GOOD,
            '-c constraints.txt -e ".[test]"',
        ),
        ("torch", OSError("libGL of something else"), GOOD, '-c constraints.txt -e ".[test]"'),
        ("mmengine", ModuleNotFoundError(""), GOOD, '-c constraints.txt -e ".[test]"'),
    ],
)
def test_the_fix_of_a_failed_import_depends_on_its_cause(name, error, have, fix):
    def fail(module: str):
        assert module == name
        raise error

    (finding,) = check_import(name, have, fail)
    assert finding.what == name and finding.fix.endswith(fix)
    assert type(error).__name__ in finding.found and str(error) in finding.found
    assert check_import(name, have, lambda module: None) == []


def test_little_disk_space_is_wrong():
    assert not check_disk(3 * 10**9, Path("x")).fix and check_disk(10**9, Path("x")).fix


def test_slow_bfloat16_is_reported():
    assert "not in hardware; a convolution takes 5.80 of" in check_precision(False, 5.8).found
    assert "slower than expected" in check_precision(True, 2.0).found
    assert "slower" not in check_precision(True, 0.6).found


def test_the_ratio_is_measured_quickly():
    assert 0.05 < measure_bf16(seconds=0.1) < 500


def test_versions_are_those_of_the_installed_packages():
    have = installed(["pytest", "surely-not-a-package"])
    assert have == {"pytest": pytest.__version__, "surely-not-a-package": None}


def test_data_is_searched_under_the_data_root(tmp_path, monkeypatch):
    toy_root = tmp_path / "toy"
    make_toy(toy_root, sizes=ToySizes(2, 1, voc_train=6, voc_val=2, voc_test=1, ade_training=8, ade_validation=1), processes=1)
    monkeypatch.setenv("DATA_ROOT", str(tmp_path))
    by_item = {f.what: f for f in check_data()}
    assert {f"data: {t}, {s}" for t in ("classification", "detection", "segmentation") for s in doctor.SCALES} == set(by_item)
    assert by_item["data: detection, toy"].found == f"found in {toy_root}/VOCdevkit/VOC2007"
    assert {item for item, f in by_item.items() if f.state == "ok"} == {w for w in by_item if w.endswith("toy")}
    assert not wrong(list(by_item.values()))
    monkeypatch.setenv("DATA_ROOT", str(toy_root / "nowhere"))
    assert all(f.state == "note" and "does not exist" in f.found for f in check_data())
    assert sum("generate it with python tools/prepare_data.py toy" in f.found for f in check_data()) == 3


def test_the_report_is_aligned_and_counts_the_problems():
    text = render(
        [
            Finding("torch", "2.14.1"),
            Finding("onedl-mmcv", "not installed", "pip install it"),
            Finding("x", "y", note=True),
        ]
    )
    assert text.splitlines() == [
        "ok     torch       2.14.1",
        "WRONG  onedl-mmcv  not installed",
        "                   fix: pip install it",
        "note   x           y",
        "",
        "1 problem found.",
    ]
    assert render([Finding("torch", "2.14.1")]).endswith("No problems found.")


def run_script(folder: Path, path: Path | None = None) -> subprocess.CompletedProcess:
    command = [sys.executable, str(ROOT / "tools" / "doctor.py")]
    env = dict(os.environ, PYTHONPATH=str(path or ""))
    return subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True)


def states(process: subprocess.CompletedProcess) -> dict[str, str]:
    rows = [line.split() for line in process.stdout.splitlines()]
    return {row[1]: row[0] for row in rows if row and row[0] in ("ok", "note", "WRONG")}


def test_a_broken_import_is_reported_and_the_status_is_1(tmp_path):
    (tmp_path / "cv2.py").write_text("raise ImportError('libGL.so.1: cannot open shared object file')")
    process = run_script(tmp_path, tmp_path)
    assert (process.returncode, process.stderr) == (1, "")
    assert states(process)["cv2"] == "WRONG" and "disk" in states(process)
    assert "fix: pip install --force-reinstall" in process.stdout or "fix: apt-get" in process.stdout


@pytest.mark.slow
def test_the_script_reports_every_item(tmp_path):
    process = run_script(tmp_path)
    by_item = states(process)
    assert {
        *NEEDED,
        "python",
        "opencv",
        "operators",
        "devices",
        "threads",
        "bfloat16",
        "disk",
        "data:",
    } <= set(by_item)
    assert process.returncode == ("WRONG" in by_item.values()), process.stdout + process.stderr
