"""Check that a run with any trick or task, stopped within an epoch or killed after one, equals the undisturbed run exactly.

Not all combinations are tested: each pair of levels is in at least one row of the table.
"""

import random
import shutil
from itertools import combinations, product
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.hooks import Hook
from mmengine.registry import HOOKS

from classification.tricks import TRICKS
from tests.helpers.exact import CLASSIFIER, DETECTOR, SEGMENTER, assert_same
from tools.engine.config import Options, resolve
from tools.engine.run_folder import CURVE, read_curve
from tools.engine.stopping import Stopped
from tools.engine.training.building import build_runner
from tools.engine.training.checkpoints import last_checkpoint
from tools.engine.training.hooks import CurveHook
from tools.engine.training.runner import end_workers

C4 = "configs/detection/faster_rcnn_c4_toy.py"
LEVELS = dict(
    stop=("signal in an epoch", "kill after an epoch"),
    workers=(0, 2),
    evaluates=(False, True),
    precision=("float32", "bfloat16"),
    accumulates=(False, True),
)
DENSE = {name: LEVELS[name] for name in ("stop", "workers", "evaluates")}  # dense tasks do not have the other factors
SUBJECTS = {name: LEVELS for name in TRICKS} | dict.fromkeys(("detection", "C4", "segmentation", "by updates"), DENSE)
OPTIONS = dict(mixup=dict(schedule="same"), large_batch=dict(factor=2))


def pairs(row: dict) -> set:
    """Return the pairs of levels in ``row``."""
    return set(combinations(row.items(), 2))


def all_pairs() -> set:
    """Return the pairs of levels of all combinations."""
    pairs_of_all = set()
    for subject, levels in SUBJECTS.items():
        for values in product(*levels.values()):
            pairs_of_all |= pairs(dict(subject=subject) | dict(zip(levels, values, strict=True)))
    return pairs_of_all


def table() -> list[dict]:
    """Return two rows for each subject, opposite in every level, chosen to add as many new pairs as possible."""
    rows, seen = [], set()
    for subject, levels in SUBJECTS.items():
        couples = []
        for places in product((0, 1), repeat=len(levels)):
            values = [{n: v[p ^ other] for (n, v), p in zip(levels.items(), places, strict=True)} for other in (0, 1)]
            couples.append([dict(subject=subject) | value for value in values])
        best = max(couples, key=lambda couple: len((pairs(couple[0]) | pairs(couple[1])) - seen))
        rows += best
        seen |= pairs(best[0]) | pairs(best[1])
    return rows


def test_the_table_has_each_pair_of_levels():
    rows = table()
    assert len(rows) == 2 * len(SUBJECTS) and set().union(*map(pairs, rows)) == all_pairs()


class Broken(Exception):
    """Stand for a kill."""


class Break(Hook):
    """End a run abruptly, as a kill does: after ``after`` updates, or in an evaluation if it is None."""

    priority = "LOWEST"

    def __init__(self, after: int | None = None):
        self.after = after

    def before_train_iter(self, runner, batch_idx, data_batch=None) -> None:
        if runner.iter == self.after:
            raise Broken

    def before_val_iter(self, runner, batch_idx, data_batch=None) -> None:
        if self.after is None:
            raise Broken


HOOKS.register_module(module=Break)


def config(row: dict, folder: Path, card: Path, workers: int, hook: dict | None = None):
    """Return the config of a row of the table, ready for ``build_runner`` in ``folder``."""
    path = dict(detection=DETECTOR, C4=C4, segmentation=SEGMENTER).get(row["subject"], CLASSIFIER)
    path = SEGMENTER if row["subject"] == "by updates" else path
    values, tricks = {}, []
    if path == CLASSIFIER:
        values = {"model.backbone.base_channels": 4, "batch": 4, "micro_batch": 2 if row["accumulates"] else 4}
        options = dict(low_precision={}, distillation=dict(teacher=str(card))) | OPTIONS
        chosen = {row["subject"]: options.get(row["subject"], {})}
        if row["subject"] == "low_precision" or row["precision"] != "float32":
            chosen["low_precision"] = dict(dtype=row["precision"])
        tricks = list(chosen.items())
        values["epochs"] = 2
    elif row["subject"] == "by updates":
        values = {"protocol.batch": 2, "protocol.length.updates": 5}
    else:
        values = {"protocol.batch": 2, "protocol.length.epochs": 2}
    values |= {"train_dataloader.num_workers": workers, "test_dataloader.num_workers": 0, "val_interval": int(row["evaluates"])}
    if row["subject"] == "detection":  # from scratch, where BN trains
        values["scratch_backbone.base_channels"] = 8
    if path == CLASSIFIER:
        backbone = None
    elif row["subject"] == "detection":
        backbone = "scratch"
    else:
        backbone = str(card)
    cfg = resolve(path, Options(tricks=tricks, backbone=backbone, overrides=values)).cfg
    cfg.work_dir, cfg.launcher = str(folder), "none"
    if hook:
        cfg.custom_hooks.append(hook)
    return cfg


def outcome(cfg, resume: bool = False) -> dict:
    """Train and test a run; return its last checkpoint, the states of the generators, its curve and its metrics."""
    runner = build_runner(cfg, resume)
    try:
        runner.train()
        generators = torch.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate()
        metrics = runner.test()
    finally:
        end_workers(runner)
    state = torch.load(last_checkpoint(Path(cfg.work_dir)), weights_only=True)
    results = {name: state[name] for name in ("state_dict", "optimizer", "param_schedulers", "ranks")}
    statistics = [name for name in results["state_dict"] if "running_mean" in name]
    assert statistics and 0 < len(metrics)
    results |= {"generators": generators, "metrics": metrics, "curve": read_curve(Path(cfg.work_dir) / CURVE)}
    return results | {"epoch": len(runner.train_dataloader)}


def label(row: dict) -> str:
    return "-".join(str(value).replace(" ", "_") for value in row.values())


@pytest.fixture
def card(make_card) -> Path:
    rng = torch.Generator().manual_seed(0)
    return make_card(classifier={"weight": torch.randn(8, 256, generator=rng) / 16, "bias": torch.zeros(8)}).path


@pytest.mark.slow
@pytest.mark.parametrize("row", table(), ids=label)
def test_a_disturbed_run_is_the_undisturbed_one(toy_root, tmp_path, monkeypatch, card, row):
    monkeypatch.setenv("DATA_ROOT", str(toy_root.parent))
    monkeypatch.setattr(CurveHook, "LINES", 3)  # a line every two updates, so a stop falls between two lines
    whole = outcome(config(row, tmp_path / "whole", card, 0))
    assert len(whole["curve"]) >= 2 and whole["epoch"] >= 2
    in_epoch = row["stop"] == LEVELS["stop"][0]
    updates = whole["epoch"]
    hook = dict(type="tests.helpers.exact.Kill", after=updates - 1) if in_epoch else dict(type="Break", after=updates)
    with pytest.raises(Stopped if in_epoch else Broken):
        outcome(config(row, tmp_path / "again", card, row["workers"], hook))
    saved = last_checkpoint(tmp_path / "again").name
    assert saved == f"iter_{updates - 1}.pth" if in_epoch else saved in ("epoch_1.pth", f"iter_{updates}.pth")
    assert_same(outcome(config(row, tmp_path / "again", card, row["workers"]), resume=True), whole)


@pytest.mark.slow
@pytest.mark.parametrize("subject", ["cosine", "by updates"])
def test_an_evaluation_that_a_kill_cut_short_is_repeated(toy_root, tmp_path, monkeypatch, card, subject):
    monkeypatch.setenv("DATA_ROOT", str(toy_root.parent))
    row = dict(subject=subject, evaluates=True, accumulates=False, precision="float32")
    whole = outcome(config(row, tmp_path / "whole", card, 0))
    for _ in range(2):  # the second kill hits the repeated evaluation
        with pytest.raises(Broken):
            outcome(config(row, tmp_path / "again", card, 0, dict(type="Break")), resume=True)
    assert_same(outcome(config(row, tmp_path / "again", card, 0), resume=True), whole)
    shutil.copytree(tmp_path / "again", tmp_path / "done")
    done = outcome(config(row, tmp_path / "done", card, 0), resume=True)  # no update is left, so nothing is drawn
    assert_same(done | {"generators": 0}, whole | {"generators": 0})
