"""Check that a study, its plan and its runs agree on keys, with one and several processes."""

import csv
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from tests.helpers.bad_input import CLASSIFIER, refused
from tools.engine.analysis.verify import verify
from tools.engine.launching.local import run_node
from tools.engine.run_folder import expect_key, expected_key, read_record
from tools.engine.studies.arguments import study_of
from tools.engine.studies.collect import collect
from tools.engine.studies.commands import command
from tools.engine.studies.graph import nodes_of
from tools.engine.studies.study import load_study

DEMO = "configs/studies/demo.py"
assert refused


@pytest.fixture(autouse=True)
def here(toy_root, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("DATA_ROOT", str(toy_root.parent))
    monkeypatch.chdir(tmp_path)


def small_study(processes: int):
    """Load the demo with one recipe and a very small network."""
    study = load_study(DEMO, "toy", ["b_standard"], tasks=["classification"], processes=processes)
    overrides = {"batch": 4, "micro_batch": 2, "epochs": 1, "model.backbone.base_channels": 4}
    return replace(study, networks=(replace(study.networks[0], overrides=overrides),))


def test_a_run_is_started_with_the_key_that_its_study_expects():
    for node in nodes_of(load_study(DEMO, "toy", ["b_standard"])):
        line = command(node)
        assert line[line.index("--expect-key") + 1] == node.key


def test_a_run_of_another_key_is_refused_with_what_differs(refused):
    node = next(node for node in nodes_of(small_study(1)) if node.pretrain)
    expect_key(node.folder, node.run_key.content)
    error = refused("train", CLASSIFIER, "--expect-key", node.key, "--work-dir", node.folder)
    assert f"and {node.key} is expected (config.batch: 4 there, " in error and "start the study again" in error
    assert not node.folder.exists()


@pytest.mark.parametrize("option", ["--gpus", "--processes"])
def test_all_commands_of_a_study_count_its_processes(option, monkeypatch):
    from tools.study import parse

    monkeypatch.setattr(sys, "argv", ["study.py", "status", DEMO, "--scale", "paper", option, "2"])
    keys = {}
    for name in ("plan", "status", "run"):
        sys.argv[1] = name
        keys[name] = {node.task: node.key for node in nodes_of(study_of(parse()))}
    single = {node.task: node.key for node in nodes_of(load_study(DEMO, "paper"))}
    assert keys["plan"] == keys["status"] == keys["run"]
    assert {task for task in single if single[task] != keys["run"][task]} == {"detection", "segmentation"}


@pytest.mark.slow
def test_two_processes_of_a_study_write_the_record_of_its_key(monkeypatch):
    monkeypatch.setenv("TRICKTRANSFER_DEVICE", "cpu")
    study = small_study(2)
    (node,) = nodes_of(study)
    assert run_node(node, lambda *_: None), node.log.read_text()[-2000:]
    record = read_record(node.folder)
    assert record["key"] == node.key and record["machine"]["processes"] == 2 and not expected_key(node.folder).exists()
    assert [n.state() for n in nodes_of(study)] == ["done"]
    folder = collect(study)
    with open(Path(folder) / "results.csv") as file:
        assert {row["run"] for row in csv.DictReader(file)} == {node.key}
    findings = verify(folder)
    assert findings.computed and not findings.differ and not findings.lacking
