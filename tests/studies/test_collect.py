"""Test that a table grows with each call of a study, and names what it keeps without its run, drops, or cannot read."""

import json
import shutil
from importlib import import_module
from pathlib import Path

import pytest

from backbones.common.project import ROOT
from tests.helpers.finished import finish
from tools.engine.planning.cost import past_runs
from tools.engine.reporting.report import write_report
from tools.engine.studies.collect import collect
from tools.engine.studies.graph import nodes_of, why
from tools.engine.studies.study import load_study
from tools.engine.study_folder.files import read_table

DEMO = "configs/studies/demo.py"


@pytest.fixture
def here(toy_root, tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("DATA_ROOT", str(toy_root.parent))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*recipes: str, said: list | None = None, finished: bool = True, **options) -> Path:
    """Finish the runs of a study, collect them, and return its folder; sentences are appended to ``said``."""
    study = load_study(DEMO, "toy", list(recipes) or None, **options)
    if finished:
        finish(nodes_of(study))
    return collect(study, (said if said is not None else []).append)


def rows_of(folder: Path) -> list[dict]:
    return read_table(folder / "results.csv")


def runs_of(folder: Path) -> set[tuple]:
    return {(row["recipe"], row["task"], row["pretrain_seed"] or row["finetune_seed"]) for row in rows_of(folder)}


def test_a_part_adds_to_the_table_and_takes_nothing_away(here):
    said: list[str] = []
    whole = runs_of(run(seeds=2))
    before = rows_of(here / "work_dirs/demo-toy")
    folder = run("scratch", tasks=["segmentation"], said=said)
    assert rows_of(folder) == before and said == []
    text = write_report(folder)["report.md"].read_text()
    assert "# demo at scale toy, 2 seeds" in text and len(whole) == 2 * (2 + 3 + 3)


def test_parts_make_the_table_of_the_whole(here):
    folder = run("smooth", tasks=["detection"])
    assert runs_of(folder) == {("smooth", "detection", "0")}
    run("b_standard", "scratch", seeds=2)
    run("smooth", tasks=["classification"])
    parts = rows_of(folder)
    expected = {("smooth", task, "0") for task in ("classification", "detection")}
    expected |= {("b_standard", task, seed) for task in ("classification", "detection", "segmentation") for seed in "01"}
    assert runs_of(folder) == expected | {("scratch", task, seed) for task in ("detection", "segmentation") for seed in "01"}
    study = json.loads((folder / "study.json").read_text())
    assert study["recipes"] == ["scratch", "b_standard", "smooth"] and len(study["requests"]) == 3
    whole = rows_of(run(seeds=2))
    assert len(json.loads((folder / "study.json").read_text())["requests"]) == 1  # it contains the parts
    assert {tuple(row.values()) for row in parts} <= {tuple(row.values()) for row in whole}


def test_rows_whose_runs_are_gone_are_kept_and_named_also_in_the_report(here):
    folder = run("b_standard", "scratch")
    before = {tuple(row.values()) for row in rows_of(folder)}
    gone = next(row["run"] for row in rows_of(folder) if (row["recipe"], row["task"]) == ("scratch", "detection"))
    shutil.rmtree(here / "work_dirs/runs" / gone)
    said: list[str] = []
    run("b_standard", said=said)
    assert {tuple(row.values()) for row in rows_of(folder)} == before
    assert len(said) == 1 and f"are kept (scratch, detection, run {gone}): their runs are gone" in said[0]
    assert said[0] in write_report(folder)["report.md"].read_text()
    assert gone in json.loads((folder / "study.json").read_text())["runs"]


def test_rows_of_another_result_version_are_dropped_and_named(here, monkeypatch):
    folder = run("b_standard", "scratch")
    module = import_module("detection.task")
    monkeypatch.setattr(module, "RESULT_VERSION", module.RESULT_VERSION + 1)
    said: list[str] = []
    run("b_standard", tasks=["classification"], said=said)
    assert {task for _, task, _ in runs_of(folder)} == {"classification", "segmentation"}
    assert len(said) == 1 and "are dropped" in said[0] and "RESULT_VERSION changed" in said[0] and "scratch, detection" in said[0]


def test_rows_are_kept_while_their_data_is_not_here(here, monkeypatch, toy_root):
    folder = run("scratch")
    before = rows_of(folder)
    shutil.copytree(toy_root, here / "data/toy", ignore=lambda *_: ["VOCdevkit"])
    monkeypatch.setenv("DATA_ROOT", str(here / "data"))
    said: list[str] = []
    run("scratch", tasks=["segmentation"], said=said)
    assert [row for row in before if row["task"] == "detection"] == [r for r in rows_of(folder) if r["task"] == "detection"]
    assert any("their data is not here" in text for text in said)


def test_another_study_file_of_the_same_name_is_refused(here):
    folder = run("scratch")
    before = (folder / "results.csv").read_bytes()
    other = here / "demo.py"
    text = (ROOT / DEMO).read_text()
    other.write_text(text.replace('metrics = ("top1", ', "metrics = ("))
    assert other.read_text() != text
    with pytest.raises(ValueError, match="holds the table of configs/studies/demo.py, and .*demo.py is another study"):
        collect(load_study(str(other), "toy", ["scratch"]))
    assert (folder / "results.csv").read_bytes() == before
    other.write_text(text)  # the same study, moved
    collect(load_study(str(other), "toy", ["scratch"]))


def test_a_cell_that_a_later_call_runs_otherwise_is_its_own(here, make_card):
    import torch

    card = make_card(classifier={"weight": torch.zeros(8, 256), "bias": torch.zeros(8)})
    options = dict(path="configs/studies/table8.py", scale="toy", recipes=["distill"], tasks=["classification"])
    study = load_study(**options, seeds=2)
    finish(nodes_of(study))
    folder = collect(study, [].append)
    assert {row["pretrain_seed"] for row in rows_of(folder)} == {"0", "1"}
    with_card = load_study(
        "configs/studies/table8.py", "toy", ["distill"], 1, {"smooth": str(card.path)}, tasks=["classification"]
    )
    finish(nodes_of(with_card))
    said: list[str] = []
    collect(with_card, said.append)
    assert {row["pretrain_seed"] for row in rows_of(folder)} == {"0"}  # seeds of two teachers must not stand together
    assert len(said) == 1 and "are replaced (distill, classification" in said[0]


def test_a_table_that_cannot_be_read_is_set_aside_and_collected_anew(here):
    folder = run("scratch")
    before = rows_of(folder)
    (folder / "results.csv").write_text("broken")
    said: list[str] = []
    run("scratch", said=said)
    assert rows_of(folder) == before and (folder / "results.csv.unreadable").read_text() == "broken"
    assert "set aside as results.csv.unreadable" in said[0]


def test_a_table_of_a_version_without_requests_is_added_to(here):
    folder = run("b_standard", "scratch", seeds=2)
    before = rows_of(folder)
    study = json.loads((folder / "study.json").read_text())
    for name in ("requests", "file", "file_sha256", "remarks", "decisive"):
        del study[name]
    (folder / "study.json").write_text(json.dumps(study))
    run("scratch", tasks=["segmentation"])
    assert sorted(map(str, rows_of(folder))) == sorted(map(str, before))


ODD = {
    "null": "null",
    "a list": "[]",
    "cut short": '{"status": "done"',
    "deep": "[" * 100_000,
    "no status": "{}",
    "another status": '{"status": "fine"}',
    "metrics of text": '{"status": "done", "metrics": {"mAP": "high"}}',
    "metrics that are a list": '{"status": "done", "metrics": [1]}',
    "NaN": '{"status": "done", "metrics": {"mAP": NaN}}',
    "seconds of text": '{"status": "done", "seconds": "long"}',
    "a seed of text": '{"status": "done", "seed": "first"}',
    "a protocol of text": '{"status": "done", "protocol": "p"}',
    "tricks of text": '{"status": "done", "tricks": "cosine"}',
    "Latin-1": '{"status": "done", "task": "é"}'.encode("latin-1"),
    "null bytes": b"\0" * 100,
}


@pytest.mark.parametrize("name", ODD)
def test_one_odd_record_stops_no_study_and_is_named(here, name):
    study = load_study(DEMO, "toy", ["scratch"])
    finish(nodes_of(study))
    odd = next(node for node in nodes_of(study) if node.task == "detection")
    content = ODD[name]
    (odd.folder / "record.json").write_bytes(content if isinstance(content, bytes) else content.encode())
    assert odd.state() == "unreadable" and odd.record is None
    said: list[str] = []
    assert {row["task"] for row in rows_of(collect(study, said.append))} == {"segmentation"}
    assert len(said) == 1 and f"left out: {odd.folder}/record.json" in said[0] and why(odd) and past_runs() == []


@pytest.mark.parametrize("field", ["node", "task", "network", "split", "protocol", "metrics", "seconds", "seed"])
def test_a_record_that_lacks_what_a_row_needs_is_named_and_left_out(here, field):
    study = load_study(DEMO, "toy", ["scratch"])
    finish(nodes_of(study))
    odd = next(node for node in nodes_of(study) if node.task == "detection")
    record = json.loads((odd.folder / "record.json").read_text())
    del record[field]
    (odd.folder / "record.json").write_text(json.dumps(record))
    said: list[str] = []
    assert {row["task"] for row in rows_of(collect(study, said.append))} == {"segmentation"}
    assert len(said) == 1 and f"{odd.folder}/record.json lacks {field}" in said[0]


def test_without_a_finished_run_the_table_stays(here):
    folder = run("scratch")
    before = (folder / "results.csv").read_bytes()
    with pytest.raises(ValueError, match="No run of demo at scale toy has finished"):
        run("smooth", finished=False)
    assert (folder / "results.csv").read_bytes() == before
