"""Check that a study, its plan and its runs agree on keys, with one and several processes."""

import csv
import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from tests.helpers.bad_input import CLASSIFIER, refused
from tools.engine.analysis.verify import verify
from tools.engine.config.fingerprint import write_digests
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
def test_two_processes_of_a_study_write_the_record_of_its_key(toy_root, tmp_path, monkeypatch):
    shutil.copytree(toy_root, tmp_path / "data/toy")
    monkeypatch.setenv("DATA_ROOT", str(tmp_path / "data"))
    monkeypatch.setenv("TRICKTRANSFER_DEVICE", "cpu")
    study = small_study(2)
    (node,) = nodes_of(study)
    (digest,) = write_digests([node.plan], tmp_path / "data/toy/imagenet", 1)
    assert run_node(node), node.log.read_text()[-2000:]
    record = read_record(node.folder)
    assert record["key"] == node.key and record["machine"]["processes"] == 2 and not expected_key(node.folder).exists()
    assert record["data"] == {"fingerprint": node.run_key.content["data"], "digest": digest}
    assert [n.state() for n in nodes_of(study)] == ["done"]
    folder = collect(study)
    with open(Path(folder) / "results.csv") as file:
        assert {row["run"] for row in csv.DictReader(file)} == {node.key}
    findings = verify(folder)
    assert findings.computed and not findings.differ and not findings.lacking


@pytest.mark.parametrize("command_name", ["status", "plan"])
def test_json_has_the_key_and_state_of_each_run(command_name, monkeypatch, capsys):
    from tools.study import study

    nodes = nodes_of(load_study(DEMO, "toy", ["scratch", "b_standard"], seeds=2))
    done = nodes[0]
    done.folder.mkdir(parents=True)
    record = {"key": done.key, "status": "done", "metrics": {"mAP": 12.5}, "seconds": {"total": 1}}
    (done.folder / "record.json").write_text(json.dumps(record))
    options = ["--scale", "toy", "--recipes", "scratch", "b_standard", "--seeds", "2", "--json"]
    monkeypatch.setattr(sys, "argv", ["study.py", command_name, DEMO, *options])
    assert study() == 0
    document = json.loads(capsys.readouterr().out)
    assert (document["study"], document["scale"], document["missing_data"]) == ("demo", "toy", [])
    assert [(run["key"], run["name"], run["folder"]) for run in document["runs"]] == [
        (n.key, n.name, str(n.folder)) for n in nodes
    ]
    runs = {run["key"]: run for run in document["runs"]}
    assert [run["state"] for run in document["runs"]] == ["done"] + ["waiting"] * (len(nodes) - 1)
    assert runs[done.key]["metrics"] == {"mAP": 12.5} and not any(runs[node.key]["metrics"] for node in nodes[1:])
    for node in nodes:
        assert runs[node.key]["upstream"] == (node.above.key if node.above else None)
        assert runs[node.key]["finetune_seed"] == (None if node.pretrain else node.options.seed)


def test_the_record_of_another_run_in_a_runs_folder_is_no_result():
    node = nodes_of(small_study(1))[0]
    node.folder.mkdir(parents=True)
    (node.folder / "record.json").write_text(json.dumps({"key": "0123456789ab", "status": "done", "metrics": {}}))
    assert node.record is None and node.state() == "unreadable" and "holds the record of the run 0123456789ab" in node.fault


def test_a_rescan_reads_all_data_again(monkeypatch):
    from tools.study import parse

    calls = []
    monkeypatch.setattr("tools.engine.config.fingerprint.rescan", lambda: calls.append("rescan"))
    for options in ([], ["--rescan"]):
        monkeypatch.setattr(sys, "argv", ["study.py", "status", DEMO, *options])
        study_of(parse())
        assert len(calls) == len(options)
