"""Test the names that stand for paths on a command line: of studies, of runs by the beginning of their key, of tables."""

import re
from pathlib import Path

import pytest

from backbones.card_facts import CardFacts
from backbones.common.project import ROOT, RUNS, find_run, run_with_key
from tools.engine.analysis.results import load_results
from tools.engine.config.arguments import card_path, resolved_of
from tools.engine.studies.study import load_study
from tools.engine.study_folder.names import find_study, folder_of, study_names
from tools.test import files_of
from tools.train import parse

A, B = "7087aa000000", "7087bb000000"


@pytest.fixture(autouse=True)
def work(tmp_path, monkeypatch):
    """Enter a folder with two runs, whose keys begin alike."""
    monkeypatch.chdir(tmp_path)
    for key in (A, B):
        (RUNS / key).mkdir(parents=True)
    return tmp_path


def test_every_study_is_found_by_its_name():
    names = study_names()
    assert {"demo", "table8", "transfer"} < set(names) and "recipes" not in names
    for name in names:
        assert find_study(name) == find_study(f"{name}.py") == str(ROOT / f"configs/studies/{name}.py")
    assert load_study(find_study("demo"), "toy").name == "demo"


def test_a_path_of_a_study_stays_as_it_is(work):
    (work / "mine.py").touch()
    assert find_study("mine.py") == "mine.py" and find_study("configs/studies/demo.py") == "configs/studies/demo.py"


def test_a_study_file_in_work_dirs_is_found_by_the_name_of_its_folder(work):
    (work / "work_dirs/mine-mini").mkdir()
    (work / "work_dirs/mine-mini/study.py").touch()
    assert find_study("mine-mini") == "work_dirs/mine-mini/study.py"


@pytest.mark.parametrize("text", [A, A[:5], A[:-1]])
def test_a_run_is_found_by_the_beginning_of_its_key(text):
    assert run_with_key(text) == find_run(text) == RUNS / A


def test_a_run_is_found_by_its_folder(work):
    assert find_run(work / RUNS / B) == work / RUNS / B and find_run(f"work_dirs/runs/{B}") == RUNS / B


def test_the_beginning_of_several_keys_is_refused_with_all_of_them():
    with pytest.raises(ValueError, match=f"The keys of 2 runs begin with 7087: {A}, {B}; give more of the key"):
        find_run("7087")


def test_many_keys_that_begin_alike_are_counted():
    for i in range(7):
        (RUNS / f"70870{i}000000").mkdir()
    with pytest.raises(ValueError, match=r"The keys of 9 runs begin with 7: \w+, \w+, \w+, \w+, \w+ and 4 more; give more"):
        find_run("7")


def test_a_whole_key_wins_over_longer_names():
    (RUNS / f"{A}-old").mkdir()
    assert find_run(A) == RUNS / A


def test_the_nearest_key_is_named():
    with pytest.raises(ValueError, match=f"There is no run 7088aa; .*nearest: {A}"):
        find_run("7088aa")


@pytest.mark.parametrize("text", ["*", "..", "7087*", "[7]", "7087aa000000/", "7087AA", ""])
def test_no_pattern_or_path_is_taken_for_a_key(text):
    assert run_with_key(text) is None


def test_a_card_is_found_by_the_key_of_its_run(work, make_card):
    (work / RUNS / A).rmdir()
    make_card(name=RUNS / A / "card")
    assert card_path("7087a") == f"work_dirs/runs/{A}/card" and CardFacts.read(card_path("7087a")).arch["depth"] == 50


@pytest.mark.parametrize("text", ["scratch", "cards/mine", "1234", "."])
def test_what_is_no_key_stays_the_path_of_a_card(text):
    assert card_path(text) == text


def test_a_table_is_found_by_study_and_scale_or_by_study_alone(work):
    for name in ("demo-toy", "table8-toy", "table8-paper"):
        (work / "work_dirs" / name).mkdir()
        (work / "work_dirs" / name / "results.csv").touch()
    assert folder_of("demo") == folder_of("demo-toy") == "work_dirs/demo-toy"
    assert folder_of("work_dirs/demo-toy") == "work_dirs/demo-toy"
    assert folder_of(".") == "." and folder_of(str(work)) == str(work)
    with pytest.raises(ValueError, match="table8 has tables at several scales; give one of table8-toy, table8-paper"):
        folder_of("table8")


RUN_DEMO = "python tools/study.py run demo --seeds 3"


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("demo", f"There is no work_dirs/demo-toy yet; make it with {RUN_DEMO}."),
        ("demo-toy", f"There is no work_dirs/demo-toy yet; make it with {RUN_DEMO}."),
        ("table8-paper", "make it with python tools/study.py run table8 --scale paper --seeds 3."),
        ("dmeo", "There is no study dmeo, and no folder of this name; nearest: demo"),
        ("xyz", "There is no study xyz, and no folder of this name; with a table: none yet."),
    ],
)
def test_a_study_without_a_table_is_told_how_to_make_it(name, words):
    with pytest.raises(ValueError, match=re.escape(words)):
        folder_of(name)


@pytest.mark.parametrize(
    ("folder", "command"),
    [
        ("work_dirs/demo-toy", RUN_DEMO),
        ("work_dirs/mine-mini", "python tools/study.py run work_dirs/mine-mini/study.py"),
        ("elsewhere", "python tools/collect.py STUDY --scale SCALE"),
    ],
)
def test_a_folder_without_a_table_is_told_how_to_make_it(work, folder, command):
    (work / folder).mkdir(parents=True)
    (work / "work_dirs/mine-mini").mkdir(parents=True, exist_ok=True)
    (work / "work_dirs/mine-mini/study.py").touch()
    with pytest.raises(ValueError, match=f"^{folder}/results.csv does not exist; make it with {command}.$"):
        load_results(Path(folder_of(folder)))


def test_a_test_takes_a_run_and_the_name_of_a_checkpoint(work):
    folder = RUNS / A
    for name in ("epoch_1.pth", "epoch_2.pth"):
        (folder / name).touch()
    assert files_of("7087a", None) == (f"{folder}/config.py", folder / "epoch_2.pth")
    assert files_of("7087a", "epoch_1.pth") == (f"{folder}/config.py", folder / "epoch_1.pth")
    assert files_of(f"{folder}/config.py", f"{folder}/epoch_1.pth") == (f"{folder}/config.py", folder / "epoch_1.pth")
    with pytest.raises(ValueError, match=f"{RUNS / B} holds no checkpoint of a run"):
        files_of("7087b", None)


def test_a_teacher_is_named_by_the_key_of_its_run(work, make_card, toy_root, monkeypatch):
    monkeypatch.setenv("DATA_ROOT", str(toy_root.parent))
    (work / RUNS / A).rmdir()
    make_card(name=RUNS / A / "card")
    args = parse(["configs/classification/resnet50_toy.py", "--tricks", "distillation:teacher=7087a"])
    assert resolved_of(args).cfg.teacher == f"work_dirs/runs/{A}/card"


def test_a_transfer_takes_the_key_of_a_pretraining(work, make_card, toy_root, monkeypatch):
    monkeypatch.setenv("DATA_ROOT", str(toy_root.parent))
    (work / RUNS / A).rmdir()
    make_card(name=RUNS / A / "card")
    resolved = resolved_of(parse(["configs/segmentation/fcn_toy.py", "--backbone", "7087a"]))
    assert resolved.card.folder == resolved.origin.backbone == f"work_dirs/runs/{A}/card"
