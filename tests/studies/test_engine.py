"""Test keys, nodes and records: which runs start, which are reused, and which are refused before anything is written."""

import argparse
import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from backbones.common.project import ROOT
from tools.engine.cli import HelpFormatter, sentence
from tools.engine.config import Options, find_config, resolve
from tools.engine.config.fingerprint import forget
from tools.engine.launching.local import run_node
from tools.engine.studies.graph import nodes_of, rows_of
from tools.engine.studies.node import brief_names
from tools.engine.studies.study import load_study
from tools.engine.training.building import build_model

CLASSIFIER = "configs/classification/resnet50_toy.py"
DETECTOR = "configs/detection/faster_rcnn_fpn_toy.py"
SEGMENTER = "configs/segmentation/fcn_toy.py"
DEMO = "configs/studies/demo.py"


@pytest.fixture(autouse=True)
def _forget_fingerprints():
    forget()


@pytest.fixture
def data_root(toy_root, monkeypatch):
    monkeypatch.setenv("DATA_ROOT", str(toy_root.parent))
    return toy_root


def key(tricks=("resnet_b",), seed=0, **overrides) -> str:
    return resolve(CLASSIFIER, Options(tricks=list(tricks), seed=seed, overrides=overrides)).key.name


def test_a_key_follows_what_decides_the_result(data_root):
    assert key() == key()
    others = [
        key(seed=1),
        key(("resnet_d",)),
        key(**{"optim_wrapper.optimizer.lr": 0.5}),
        key(epochs=3),
    ]
    assert len({key(), *others}) == 5
    assert key(seconds=1) == key()


def test_a_moved_folder_changes_no_key_but_other_data_does(data_root, tmp_path, monkeypatch):
    import shutil

    before = key()
    shutil.copytree(data_root, tmp_path / "elsewhere/toy")
    monkeypatch.setenv("DATA_ROOT", str(tmp_path / "elsewhere"))
    assert key() == before
    image = next((tmp_path / "elsewhere/toy/imagenet/train").rglob("*.jpg"))
    image.write_bytes(image.read_bytes() + b"\0")
    forget()
    assert key() != before


def test_a_transfers_key_follows_its_card_and_mode(data_root, make_card):
    cards = [make_card(name=name, source={"run": name}) for name in ("0123", "4567")]

    def transfer_key(backbone: str, **options) -> str:
        return resolve(DETECTOR, Options(backbone=backbone, **options)).key.name

    places = ["scratch", *(str(card.path) for card in cards)]
    keys = [transfer_key(place, seed=seed) for seed in (0, 1) for place in places]
    keys += [transfer_key(place, transfer="frozen") for place in places[1:]]
    assert len(set(keys)) == len(keys) == 8
    assert transfer_key(places[1], transfer="finetune") == transfer_key(places[1])
    with pytest.raises(ValueError, match="scratch with --transfer frozen would never train the backbone"):
        transfer_key("scratch", transfer="frozen")


def test_train_gives_a_run_the_key_that_the_study_expects(data_root, tmp_path):
    study = load_study(DEMO, "toy", ["scratch", "b_standard"])
    nodes = {node.name: node for node in nodes_of(study)}
    pretraining = nodes["classification b_standard seed 0"]
    resolved = resolve(CLASSIFIER, Options(tricks=["resnet_b"]))
    assert resolved.key == pretraining.run_key
    resolved.cfg.run = resolved.key.name
    card = resolved.task.write_card(build_model(resolved.cfg), resolved.cfg, 50.0, tmp_path / "card")
    (tmp_path / "record.json").write_text(json.dumps({"key": resolved.key.name, "card": card.sha256}))
    for task, config in (("detection", DETECTOR), ("segmentation", SEGMENTER)):
        assert resolve(config, Options(backbone=str(card.path))).key == nodes[f"{task} b_standard seed 0"].run_key
        assert resolve(config, Options(backbone="scratch")).key == nodes[f"{task} scratch seed 0"].run_key


def test_each_node_of_the_demo_follows_its_upstream_node(data_root):
    nodes = nodes_of(load_study(DEMO, "toy", seeds=2))
    assert len(nodes) == len({node.key for node in nodes}) == 2 * (2 + 3 + 3)
    for node in nodes:
        assert (node.above is None) == (node.task == "classification" or node.recipe == "scratch")
        if node.above:
            assert nodes.index(node.above) < nodes.index(node) and node.above.recipe == node.recipe
            assert node.above.options.seed == node.options.seed


def test_a_run_shared_by_two_recipes_stands_once_among_the_nodes(data_root):
    study = load_study(DEMO, "toy", ["scratch", "b_standard"])
    (network,), recipes = study.networks, (*study.recipes, "again")
    copy = replace(study.catalogue["b_standard"], name="again")
    catalogue, networks = study.catalogue | {"again": copy}, (replace(network, recipes=recipes),)
    study = replace(study, recipes=recipes, catalogue=catalogue, networks=networks)
    assert len(nodes_of(study)) == 5 and len(list(rows_of(study))) == 8


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: load_study("configs/studies/demmo.py", "toy"), r"no config configs/studies/demmo.py; nearest: .*demo.py"),
        (lambda: load_study(DEMO, "mimi"), r"no scale 'mimi'; nearest: mini.*paper"),
        (lambda: load_study(DEMO, "toy", ["smoth"]), r"no recipe 'smoth'; nearest: smooth"),
        (lambda: load_study(DEMO, "toy", seeds=0), r"--seeds is 0"),
        (lambda: find_config("configs/detection/faster_rcnn_fpn_tiny.py"), r"nearest: .*faster_rcnn_fpn_toy.py"),
    ],
)
def test_unknown_names_are_refused_with_the_nearest(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_a_finished_node_is_not_run_and_a_failed_one_leaves_its_last_lines(data_root, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    node = nodes_of(load_study(DEMO, "toy", ["b_standard"]))[0]
    monkeypatch.setattr(
        "tools.engine.launching.local.command", lambda *_: [sys.executable, "-c", "print('why'); raise SystemExit(3)"]
    )
    assert not run_node(node)
    assert node.state() == "failed" and node.failure.read_text() == "why\n" == node.log.read_text()
    assert not node.folder.exists()  # neither the run nor its launcher has created it
    code = f"import os; os.makedirs({str(node.folder)!r}); print('why not'); raise SystemExit(3)"
    monkeypatch.setattr("tools.engine.launching.local.command", lambda *_: [sys.executable, "-c", code])
    assert not run_node(node)
    assert node.state() == "failed" and (node.folder / "failed.txt").read_text() == "why not\n"
    assert (node.folder / "log.txt").read_text() == "why not\n" and not any((tmp_path / "work_dirs/logs").iterdir())
    (node.folder / "record.json").write_text(json.dumps({"status": "done"}))
    assert node.state() == "done"
    monkeypatch.setattr("tools.engine.launching.local.command", lambda *_: pytest.fail("it was run again"))
    assert run_node(node)


def test_the_sentence_of_a_loaders_worker_is_without_its_traceback():
    text = "Caught ValueError in DataLoader worker process 0.\nOriginal Traceback:\n  File x\nValueError: The image a is bad."
    assert sentence(ValueError(text)) == "The image a is bad."
    assert sentence(ValueError("two\nlines")) == "two\nlines"


@pytest.mark.parametrize("tool", sorted(p.name for p in (ROOT / "tools").glob("*.py") if p.name != "__init__.py"))
def test_help_shows_usage_and_an_example(tool):
    out = subprocess.run(
        [sys.executable, str(ROOT / "tools" / tool), "--help"], capture_output=True, text=True, check=True
    ).stdout
    assert f"python tools/{tool}" in out and "usage:" in out


def test_help_shows_a_default_that_is_a_value_and_no_other():
    parser = argparse.ArgumentParser(prog="x", formatter_class=HelpFormatter)
    for number, value in enumerate((0, "local", Path("data"), None, False, [], {})):
        parser.add_argument(f"--o{number}", default=value, help=f"o{number}")
    text = parser.format_help()
    assert re.findall(r"o\d \(default: (.*)\)", text) == ["0", "local", "data"]


def test_help_fills_paragraphs_and_keeps_indented_lines(monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")
    command = "  python tools/train.py configs/classification/resnet50_toy.py"
    description = f"a b\nc\n\n{command}\n  python\n\nwords of a paragraph that is longer than a narrow terminal"
    text = argparse.ArgumentParser(prog="x", description=description, formatter_class=HelpFormatter).format_help()
    assert f"\na b c\n\n{command}\n  python\n\nwords of a paragraph that is longer\nthan a narrow terminal\n" in text


def test_the_names_of_runs_are_shortened_alike_until_they_fit():
    nodes = nodes_of(load_study(DEMO, "toy", ["b_standard"]))
    names = {width: list(brief_names(nodes, width).values()) for width in (32, 31, 22, 21, 17)}
    assert names[32] == [node.name for node in nodes]
    assert names[31] == ["cla. b_standard seed 0", "det. b_standard seed 0", "seg. b_standard seed 0"]
    assert names[22] == names[31] and names[21] == ["cla. b_standard s0", "det. b_standard s0", "seg. b_standard s0"]
    assert names[17] == ["cla. b_…andard s0", "det. b_…andard s0", "seg. b_…andard s0"]
