"""Check work folders that are shared, left behind by a dead process, moved, or older than this version."""

import json
import os
import re
import shutil
import sys
from importlib import import_module
from pathlib import Path

import pytest

from tests.helpers.exact import CLASSIFIER, assert_same, config, resolved_config, trained
from tests.helpers.graph import run_fakes
from tools.engine.config import Options, resolve
from tools.engine.launching.events import Events
from tools.engine.launching.local import run_study
from tools.engine.reporting.report import write_report
from tools.engine.run_folder import LOCK, RECORD, is_locked, read_record
from tools.engine.studies.collect import collect
from tools.engine.studies.graph import nodes_of, rows_of
from tools.engine.studies.study import load_study
from tools.engine.training.building import build_model
from tools.engine.training.checkpoints import check_checkpoint, last_checkpoint
from tools.engine.training.run import Start, run

DEMO = "configs/studies/demo.py"

SLOW = """
import json, pathlib, sys, time
sys.path[:0] = [{root!r}]
from tools.engine.run_folder import locked
folder = pathlib.Path(sys.argv[1])
folder.mkdir(parents=True, exist_ok=True)
with locked(folder):
    if not (folder / "record.json").exists():
        with open(folder / "runs", "a") as file:
            file.write("x")
        time.sleep(0.5)
        (folder / "record.json").write_text(json.dumps(dict(status="done", metrics={{}}, seconds=dict(total=1))))
"""


@pytest.fixture
def here(toy_root, tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("DATA_ROOT", str(toy_root.parent))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_two_launchers_on_one_folder_run_each_node_once(here, monkeypatch):
    root = str(Path(__file__).parents[2])
    code = SLOW.format(root=root)
    monkeypatch.setattr("tools.engine.launching.local.command", lambda node, *_: [sys.executable, "-c", code, str(node.folder)])
    pids = []
    for recipes in (["b_standard", "scratch"], ["scratch", "b_standard", "smooth"]):  # both need the nodes of the first recipe
        if not (pid := os.fork()):
            try:
                os._exit(len(run_study(load_study(DEMO, "toy", recipes), Events())))
            finally:
                os._exit(99)
        pids.append(pid)
    assert [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids] == [0, 0]
    nodes = nodes_of(load_study(DEMO, "toy", ["scratch", "b_standard", "smooth"]))
    assert all(node.state() == "done" for node in nodes)
    assert {(node.folder / "runs").read_text() for node in nodes} == {"x"}


@pytest.mark.slow
def test_a_run_of_a_dead_process_is_resumed(here):
    """Resume in a folder that still has the lock file, half written files and checkpoint of the dead process."""
    cfg = config(CLASSIFIER, here / "run", kill=3)
    assert trained(cfg) == {}
    for name in (LOCK, ".iter_5.pth.abcd.part", ".record.json.x.part"):
        (here / "run" / name).write_text("")
    assert not is_locked(here / "run")
    saved = check_checkpoint(here / "run/iter_3.pth")["seconds"]
    record = run(resolved_config(CLASSIFIER), here / "run", Start(resume=True))
    assert record["status"] == "done" and record["resumed_from"] == "iter_3.pth" and record["remarks"] == []
    seconds = record["seconds"]
    assert seconds["earlier"] == saved > 0 and seconds["total"] >= saved + seconds["train"] + seconds["test"]
    left = sorted(path.name for path in (here / "run").iterdir() if path.name.startswith(".") or path.suffix == ".pth")
    assert left == ["epoch_2.pth"]


@pytest.mark.slow
@pytest.mark.parametrize(("whole", "start"), [(True, "continued from iter_3.pth"), (False, "started over")])
def test_a_checkpoint_that_cannot_be_read_is_in_the_record(here, whole, start):
    folder = here / "run"
    assert trained(config(CLASSIFIER, folder, kill=3)) == {}
    (folder / "iter_9.pth").write_bytes((folder / "iter_3.pth").read_bytes()[:1000])
    if not whole:
        (folder / "iter_3.pth").unlink()
    record = run(resolved_config(CLASSIFIER), folder, Start(resume=True))
    assert record["remarks"] == [f"iter_9.pth could not be read as a checkpoint, so the run {start}."]
    assert record["resumed_from"] == ("iter_3.pth" if whole else None) and record["status"] == "done"
    assert (record["seconds"]["earlier"] > 0) == whole and [p.name for p in folder.glob("*.pth")] == ["epoch_2.pth"]


@pytest.mark.slow
def test_a_moved_work_folder_is_found_by_key_and_resumed(here, monkeypatch):
    """Copy a run in mid-training, which mixes up the times of its files; a study finds cards and runs in the new folder."""
    whole = trained(config(CLASSIFIER, here / "whole"))
    assert trained(config(CLASSIFIER, here / "old" / "run", kill=11)) == {}
    (here / "new").mkdir()
    for path in sorted((here / "old/run").glob("*"), reverse=True):  # iter_11 first, then epoch_1
        (shutil.copytree if path.is_dir() else shutil.copyfile)(path, here / "new" / path.name)
    shutil.rmtree(here / "old")
    assert last_checkpoint(here / "new").name == "iter_11.pth"
    assert_same(trained(config(CLASSIFIER, here / "new"), resume=True), whole)

    keys = [node.key for node in nodes_of(load_study(DEMO, "toy", ["b_standard"]))]
    pretraining = resolve(CLASSIFIER, Options(tricks=["resnet_b"]))
    pretraining.cfg.run = keys[0]
    folder = here / "work_dirs/runs" / keys[0]
    card = pretraining.task.write_card(build_model(pretraining.cfg), pretraining.cfg, 50.0, folder / "card")
    (folder / RECORD).write_text(json.dumps({"key": keys[0], "card": card.sha256}))
    (here / "elsewhere").mkdir()
    shutil.move(here / "work_dirs", here / "elsewhere/work_dirs")
    monkeypatch.chdir(here / "elsewhere")
    assert [node.key for node in nodes_of(load_study(DEMO, "toy", ["b_standard"]))] == keys
    detection = "configs/detection/faster_rcnn_fpn_toy.py"
    places = [f"work_dirs/runs/{keys[0]}/card", str(here / "elsewhere/work_dirs/runs" / keys[0])]
    detectors = [resolve(detection, Options(backbone=place)) for place in places]
    assert {resolved.upstream for resolved in detectors} == {keys[0]}
    assert len({resolved.key.name for resolved in detectors}) == 1 and detectors[0].key.name in keys


@pytest.mark.parametrize("task", ["classification", "detection", "segmentation"])
def test_a_run_of_an_older_version_is_never_used(here, monkeypatch, task):
    def keys() -> set[str]:
        return {node.key for node in nodes_of(load_study(DEMO, "toy", ["b_standard", "scratch"])) if node.task == task}

    older, module = keys(), import_module(f"{task}.task")
    for key in older:
        (here / "work_dirs/runs" / key).mkdir(parents=True)
        (here / "work_dirs/runs" / key / RECORD).write_text(json.dumps({"status": "done"}))
    monkeypatch.setattr(module, "RESULT_VERSION", module.RESULT_VERSION + 1)
    assert older and not older & keys()
    assert not any(node.record for node in nodes_of(load_study(DEMO, "toy", ["b_standard", "scratch"])))


LATER_KEYS = (
    "peak_memory_gb",
    "updates",
    "epochs",
    "commit",
    "speed",
    "resumed_from",
    "remarks",
    "size",
    "certificate",
    "versions",
)


def test_keys_missing_from_older_records_are_shown_as_dashes(here, monkeypatch):
    study = load_study(DEMO, "toy", ["scratch", "b_standard"])
    metrics = dict(classification=("top1", "top5"), detection=("mAP", "mAP_area", "mAP_50_95"), segmentation=("pixAcc", "mIoU"))
    for node in nodes_of(study):
        record = dict(key=node.key, node="pretrain" if node.pretrain else "transfer", task=node.task, scale="toy", status="done")
        record |= dict(network="resnet50", seed=0, split="val", tricks=[], backbone=None, transfer=None, lr_factor=1.0)
        record |= dict(protocol={"name": "toy"}, precision="float32", seconds={"total": 30.0})
        record |= dict(per_image=import_module(f"{node.task}.task").PER_IMAGE)
        record |= dict(metrics={name: 41.5 for name in metrics[node.task]}, machine={"cpu": "x", "device": "cpu", "threads": 1})
        assert not set(record) & set(LATER_KEYS)
        node.folder.mkdir(parents=True)
        (node.folder / RECORD).write_text(json.dumps(record))
    folder = collect(study)
    paths = write_report(folder)
    text = Path(paths["report.md"]).read_text()
    assert "41.50" in text and "—" in text and not re.search(r"\b(nan|None)\b", text)
    for row in rows_of(study):
        assert read_record(row.folder)["status"] == "done"


def test_a_study_continues_after_its_launcher_died(here, monkeypatch):
    """Start a launcher again after a dead one left progress and lock files behind, which must not block it."""
    nodes, _, failed = run_fakes(monkeypatch)
    assert not failed
    last = nodes[-1]
    (last.folder / RECORD).unlink()
    (last.folder / LOCK).write_text("")
    (last.folder / "progress.json").write_text(json.dumps(dict(phase="train", done=5, total=9, saved=3, updates=9)))
    assert last.state() == "stopped, 32 %"
    nodes, lines, failed = run_fakes(monkeypatch)
    assert not failed and sum("done earlier" in line for line in lines) == len(nodes) - 1 and nodes[-1].state() == "done"
