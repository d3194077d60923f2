"""Test training curves: thinning, the published curves, and the distance of a run from them."""

import json
import math
from pathlib import Path
from types import SimpleNamespace

import pytest

from backbones.common.project import ROOT
from tools.engine.analysis.curves import (
    MOST,
    PUBLISHED,
    PublishedCurve,
    against_published,
    collect_curves,
    distance,
    published_curve,
    thin,
)
from tools.engine.config import Options, RunKey
from tools.engine.run_folder import CURVE, read_curve
from tools.engine.studies.graph import shared
from tools.engine.studies.node import Node
from tools.engine.study_folder.files import CURVES, load_curves

PAPER, DETECTOR = "configs/classification/resnet50_paper.py", "configs/detection/faster_rcnn_c4_paper.py"


def write_curve(folder: Path, lines: list[dict]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / CURVE).write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


def synthetic_curve(updates: int, per_epoch: int = 10, every: int = 1) -> list[dict]:
    """Build a curve whose loss is the number of its update, evaluated after each epoch."""
    lines = []
    for update in range(1, updates + 1):
        if update % every == 0:
            lines.append(dict(update=update, epoch=update / per_epoch, loss=float(update), lr=0.1))
        if update % per_epoch == 0:
            lines.append(dict(update=update, epoch=update / per_epoch, top1=update / 10))
    return lines


@pytest.fixture
def node(tmp_path, monkeypatch):
    """Return ``node(recipe='smooth', config=PAPER, lines=...)``: a node of a study whose run has written these lines so far."""
    monkeypatch.chdir(tmp_path)

    def make(recipe="smooth", config=PAPER, lines=(), **overrides):
        options = Options(overrides=overrides)
        new_node = Node(RunKey("key", {}), recipe, "", config, options, shared(config, options))
        write_curve(new_node.folder, list(lines))
        return new_node

    return make


# --- the curves of a study's folder -------------------------------------------------------------------------


@pytest.mark.parametrize("updates", [1, 7, 99, 100, 101, 199, 250])
def test_a_thinned_curve_keeps_its_mean_its_ends_and_every_evaluation(updates):
    lines = synthetic_curve(updates)
    thinned = thin(lines)
    training = [line for line in thinned if "loss" in line]
    assert 1 <= len(training) <= MOST and training[-1]["update"] == updates
    starts = [0, *(line["update"] for line in training)]
    total = sum(line["loss"] * (line["update"] - start) for line, start in zip(training, starts, strict=False))
    assert total == pytest.approx(updates * (updates + 1) / 2, rel=1e-4)  # of 1 + 2 + ... + updates
    assert [line for line in thinned if "top1" in line] == [line for line in lines if "top1" in line]
    assert [line["update"] for line in thinned] == sorted(line["update"] for line in thinned)
    assert thinned == lines or updates > MOST


def test_neighbours_count_by_their_updates():
    lines = [dict(update=30, epoch=1.0, loss=2.0), dict(update=40, epoch=1.5, loss=6.0)]
    assert thin(lines, most=1) == [dict(update=40, epoch=1.5, loss=3.0)]  # (30 * 2 + 10 * 6) / 40


def test_curves_are_collected_by_key_with_none_for_nan(tmp_path):
    lines = [dict(update=1, epoch=0.5, loss=1.23456789, lr=0.1), dict(update=2, epoch=1.0, loss=math.nan, lr=0.1)]
    nodes = [SimpleNamespace(key="a", folder=write_curve(tmp_path / "a", lines)), SimpleNamespace(key="b", folder=tmp_path / "b")]
    curves = collect_curves(nodes)
    assert curves == {"a": [dict(update=1, epoch=0.5, loss=1.23457, lr=0.1), dict(update=2, epoch=1.0, loss=None, lr=0.1)]}
    (tmp_path / CURVES).write_text(json.dumps(curves, allow_nan=False))
    assert load_curves(tmp_path) == curves
    assert load_curves(tmp_path / "a") == {}
    (tmp_path / CURVES).write_text("{")
    with pytest.raises(ValueError, match="curves.json is not JSON"):
        load_curves(tmp_path)


def test_a_line_that_a_kill_cut_short_is_left_out(tmp_path):
    folder = write_curve(tmp_path, synthetic_curve(3))
    path = folder / CURVE
    path.write_text(path.read_text() + '{"update": 4, "epo')
    assert read_curve(path) == synthetic_curve(3)


# --- published curves ---------------------------------------------------------------------------------------


def test_the_published_curves_are_those_of_their_logs():
    data = json.loads(PUBLISHED.read_text())
    assert "dmlc/web-data" in data["source"]
    for name, epochs, last, best in (
        ("resnet50_v1", 120, 77.33, 77.34),
        ("resnet50_v1b", 120, 77.66, 77.71),
        ("resnet50_v1c", 120, 78.00, 78.04),
        ("resnet50_v1d", 120, 78.47, 78.52),
        ("resnet50_v1d-mixup", 200, 79.08, 79.09),
    ):
        curve = data["classification"][name]
        assert (curve["epochs"], len(curve["top1"]), len(curve["top5"])) == (epochs,) * 3
        assert (curve["top1"][-1], max(curve["top1"])) == (last, best)
    (detector,) = data["detection"].values()
    assert (len(detector["mAP"]), detector["mAP"][-1], max(detector["mAP"])) == (20, 77.66, 78.31)


def test_only_recipes_with_the_tricks_of_a_published_run_have_a_curve():
    smooth, mixup = (published_curve(recipe, PAPER, "resnet50", "top1") for recipe in ("smooth", "mixup"))
    # top-1 after these epochs, as the logs have it
    for curve, points in (
        (smooth, {1: 9.2, 5: 44.6, 10: 56.8, 20: 57.7, 40: 62.9, 60: 67.1, 80: 70.7, 100: 75.4, 110: 77.7, 120: 78.5}),
        (mixup, {1: 7.4, 5: 41.2, 10: 54.1, 20: 59.1, 50: 61.9, 100: 67.1, 150: 73.4, 180: 77.6, 190: 78.8, 200: 79.1}),
    ):
        values = dict(zip(curve.epochs, curve.values, strict=True))
        assert {epoch: values[epoch] for epoch in points} == pytest.approx(points, abs=0.0501)
    for recipe in ("baseline", "b_standard", "b_efficient", "c_efficient", "d_efficient", "cosine", "distill", "mixup_same"):
        assert published_curve(recipe, PAPER, "resnet50", "top1") is None
    assert published_curve("smooth", "configs/classification/inception_v3_paper.py", "inception_v3", "top1") is None
    assert published_curve("smooth", PAPER, "resnet50", "mAP") is None
    assert published_curve("b_standard", DETECTOR, "faster_rcnn_c4", "mAP") is None  # that log's backbone has all refinements


def test_every_row_names_a_curve_a_recipe_and_says_what_differs():
    from mmengine.config import Config

    data, recipes = json.loads(PUBLISHED.read_text()), Config.fromfile(str(ROOT / "configs/studies/recipes.py")).recipes
    for row in data["rows"]:
        assert row["curve"] in data[row["task"]] and row["recipe"] in recipes and row["name"] and row["differs"]
        assert Config.fromfile(str(ROOT / row["config"])).scale == "paper"


CURVE_OF_FOUR = PublishedCurve("made", "nowhere", "", "top1", (1, 2, 3, 4), (10.0, 20.0, 30.0, 40.0))


@pytest.mark.parametrize(
    "points, expected",
    [
        ({1: 11.0}, (1, 1.0)),
        ({1: 11.0, 3: 28.5}, (3, -1.5)),
        ({3: 28.5, 6: 50.0}, (3, -1.5)),  # after epoch 6 only our run was evaluated
        ({1: 11.0, 2.5: 99.0}, (1, 1.0)),  # in the middle of an epoch
        ({2: math.nan}, None),
        ({6: 50.0}, None),
        ({}, None),
    ],
)
def test_distance_is_own_minus_published_at_the_last_epoch_of_both(points, expected):
    lines = [dict(update=int(epoch * 10), epoch=epoch, loss=1.0, lr=0.1) for epoch in (0.5, *points)]
    lines += [dict(update=int(epoch * 10), epoch=float(epoch), top1=value) for epoch, value in points.items()]
    assert distance(lines, CURVE_OF_FOUR) == expected


def evaluated(epoch: int, top1: float) -> list[dict]:
    return [*synthetic_curve(3, 1251), dict(update=epoch * 1251, epoch=float(epoch), top1=top1, top5=90.0)]


def test_a_run_at_scale_paper_is_held_against_the_published_one(node):
    run = node(lines=evaluated(20, 58.24))
    assert against_published(run, "paper") == "top-1 +0.50 against GluonCV resnet50_v1d at epoch 20"  # which has 57.74
    assert against_published(node("mixup", lines=evaluated(200, 78.58)), "paper").startswith("top-1 -0.50 against GluonCV")


def test_a_run_without_a_published_curve_has_no_comparison(node):
    for scale in ("toy", "mini"):
        assert against_published(node(lines=evaluated(20, 58.0)), scale) == ""
    assert against_published(node("cosine", lines=evaluated(20, 58.0)), "paper") == ""
    assert against_published(node(lines=synthetic_curve(3, 1251)), "paper") == ""  # nothing evaluated yet
    assert against_published(node(lines=()), "paper") == ""
    assert against_published(node(lines=evaluated(20, 58.0), **{"model.backbone.depth": 152}), "paper") == ""  # a teacher, say
    places = "configs/classification/resnet50_places365_paper.py"
    assert against_published(node(config=places, lines=evaluated(20, 50.0)), "paper") == ""
