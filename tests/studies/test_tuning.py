"""Test tuning of a transfer's learning rate: the held-out split, the choice from a grid, and the rows it adds to a study."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from backbones.transfer.holdout import EVERY, GRID, in_part
from backbones.transfer.holdout import test_pipeline as pipeline_of
from tools.engine.config import Options, resolve
from tools.engine.studies.graph import nodes_of, rows_of
from tools.engine.studies.lr_search import TUNED, best
from tools.engine.studies.study import load_study
from tools.engine.training.run import dump

DETECTORS = ["configs/detection/faster_rcnn_fpn_toy.py", "configs/detection/faster_rcnn_c4_paper.py"]
DENSE = [*DETECTORS, "configs/segmentation/fcn_toy.py"]


@pytest.mark.parametrize("names", [[f"{i:06d}" for i in range(1, 5012)], [f"ADE_train_{i:08d}" for i in range(1, 20211)]])
def test_the_parts_of_a_split(names):
    training, held = ([name for name in names if in_part(name, part)] for part in ("rest", "held_out"))
    assert not set(training) & set(held) and sorted(training + held) == names and all(in_part(name, None) for name in names)
    spread = np.sqrt(len(names) * (1 / EVERY) * (1 - 1 / EVERY))
    assert abs(len(held) - len(names) / EVERY) < 4 * spread  # as an even split by chance


def options(**changes) -> Options:
    return Options(backbone="scratch", **changes)


@pytest.mark.parametrize("path", DENSE)
def test_a_factor_scales_the_learning_rate_and_nothing_else(path):
    unscaled, half = (resolve(path, options(lr_factor=factor)).cfg.to_dict() for factor in (None, 0.5))
    assert half["optim_wrapper"]["optimizer"]["lr"] == 0.5 * unscaled["optim_wrapper"]["optimizer"]["lr"]
    half["optim_wrapper"]["optimizer"]["lr"] *= 2
    assert half.pop("lr_factor") == 0.5 and half == unscaled
    assert resolve(path, options(lr_factor=1.0)).cfg.to_dict() == unscaled


@pytest.mark.parametrize("path", DENSE)
def test_held_out_images_are_tested_as_test_images_are(path):
    default, held = (resolve(path, options(hold_out=flag)).cfg for flag in (False, True))
    train, test = held.train_dataloader.dataset, held.test_dataloader.dataset
    trained, tested = (data.get("datasets", [data]) for data in (train, test))
    assert len(trained) == len(tested) == len(default.train_dataloader.dataset.get("datasets", [0]))
    for a, b in zip(trained, tested, strict=True):
        assert (a.part, b.part) == ("rest", "held_out") and b.test_mode and b.pipeline == pipeline_of(default)
        assert a.data_prefix == b.data_prefix and a.get("ann_file") == b.get("ann_file")
        assert "filter_cfg" not in b and "difficult_in_training" not in b
    assert "part" not in default.train_dataloader.dataset.get("datasets", [default.train_dataloader.dataset])[0]


def test_the_two_parts_of_a_toy_split_share_no_image(toy_root, monkeypatch):
    from mmengine.registry import DATASETS, init_default_scope

    import backbones.mmcv_ops  # noqa: F401

    monkeypatch.setenv("DATA_ROOT", str(toy_root.parent))
    for path in (DETECTORS[0], DENSE[2]):
        cfg, undivided = (resolve(path, options(hold_out=flag)).cfg for flag in (True, False))
        init_default_scope(cfg.default_scope)
        data = (cfg.train_dataloader.dataset, cfg.test_dataloader.dataset, undivided.train_dataloader.dataset)
        sets = [DATASETS.build(part) for part in data]
        training, held, everything = ([data.get_data_info(i)["img_path"] for i in range(len(data))] for data in sets)
        assert training and held and not set(training) & set(held) and sorted(training + held) == sorted(everything)


def test_every_choice_has_its_key():
    def key(**changes) -> str:
        return resolve(DETECTORS[0], options(**changes)).key.name

    keys = [key(lr_factor=f, hold_out=h) for f in GRID for h in (False, True)]
    assert len(set(keys)) == 6 and key() == keys[2]


@pytest.mark.parametrize(
    ("path", "changes", "message"),
    [
        (DETECTORS[0], dict(lr_factor=0.0), "--lr-factor is 0; give a finite number above 0, such as 0.5, 1, 2"),
        (DETECTORS[0], dict(lr_factor=-1.0), "--lr-factor is -1"),
        (DETECTORS[0], dict(lr_factor=float("nan")), "--lr-factor is nan"),
    ],
)
def test_a_wrong_factor_is_refused(path, changes, message):
    with pytest.raises(ValueError, match=message):
        resolve(path, options(**changes))


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        (dict(lr_factor=2.0), "--lr-factor is for detection and segmentation; classification has no protocol; change lr_at_256"),
        (dict(hold_out=True), "--hold-out is for detection and segmentation; classification is tested on its validation images"),
    ],
)
def test_a_pretraining_has_no_such_options(changes, sentence):
    with pytest.raises(ValueError, match=sentence):
        resolve("configs/classification/resnet50_toy.py", Options(**changes))


@pytest.mark.parametrize("changes", [dict(lr_factor=2.0), dict(hold_out=True)])
def test_a_dumped_config_runs_again_as_it_is(tmp_path, changes):
    resolved = resolve(DETECTORS[0], options(**changes))
    (tmp_path / "config.py").write_text(dump(resolved))
    reread = resolve(tmp_path / "config.py")
    assert reread.cfg.to_dict() == resolved.cfg.to_dict() and reread.key == resolved.key
    other_factor = dict(lr_factor=0.5)  # asked of a run's config, it takes the place of the run's own factor and leaves the rest
    changed, fresh = (
        resolve(tmp_path / "config.py", Options(**other_factor)),
        resolve(DETECTORS[0], options(**changes | other_factor)),
    )
    assert changed.cfg.to_dict() == fresh.cfg.to_dict() and changed.key == fresh.key


def test_the_best_factor_has_the_highest_value_and_is_nearest_to_1():
    assert best({0.5: 3.0, 1.0: 4.0, 2.0: 5.0}) == 2.0 and best({0.5: 5.0, 1.0: 5.0, 2.0: 4.0}) == 1.0
    assert best({0.5: 3.0, 1.0: 2.0, 2.0: None}) == 0.5
    assert best({0.5: None, 1.0: None, 2.0: None}) is None and best(None) is None


@pytest.fixture
def finish(tmp_path, monkeypatch):
    """Return a function that gives runs a record as if they had finished."""
    monkeypatch.chdir(tmp_path)

    def write(node, value: float | None) -> None:
        node.folder.mkdir(parents=True, exist_ok=True)
        metrics = {} if value is None else {"mAP": value, "pixAcc": value, "mIoU": value, "top1": value}
        record = dict(
            key=node.key,
            node="pretrain" if node.pretrain else "transfer",
            task=node.task,
            network="net",
            seed=node.options.seed,
            status="done" if metrics else "diverged",
            metrics=metrics,
            protocol=dict(name="toy"),
            split="test",
            seconds=dict(total=1.0),
        )
        (node.folder / "record.json").write_text(json.dumps(record))

    return write


def test_a_study_tunes_each_transfer_and_reports_both(finish):
    from tools.engine.reporting.report import write_report
    from tools.engine.studies.collect import collect

    study = load_study("configs/studies/demo.py", "toy", ["scratch", "smooth"], tune_lr=True)
    nodes = nodes_of(study)
    grid = [node for node in nodes if node.options.hold_out]
    assert len(grid) == 2 * 2 * 3 and len(nodes) == 1 + 4 + 12
    assert [node.key for node in nodes_of(load_study("configs/studies/demo.py", "toy", ["scratch", "smooth"]))] == [
        node.key for node in nodes if not node.options.hold_out
    ]
    for node in nodes:  # scratch does best at x2, at the edge; smooth at x1, the shared rate
        best_factor = {"scratch": 2.0, "smooth": 1.0}[node.recipe]
        finish(node, 10.0 + 5 * (node.options.lr_factor == best_factor))
    rows = list(rows_of(study))
    tuned = {(node.recipe, node.task): node for node in rows if node.note == TUNED}
    shared = {(node.recipe, node.task): node for node in rows if not node.note}
    assert len(tuned) == 4 and tuned["smooth", "detection"].key == shared["smooth", "detection"].key
    assert tuned["scratch", "detection"].options == replace(shared["scratch", "detection"].options, lr_factor=2.0)
    assert shared["scratch", "detection"].options == Options(backbone="scratch", seed=0)
    unfinished = [node for node in nodes_of(study) if not node.record]
    assert {node.key for node in unfinished} == {tuned["scratch", task].key for task in ("detection", "segmentation")}
    for node in unfinished:
        finish(node, 12.0)

    folder = collect(study)
    text = (folder / "results.csv").read_text()
    assert text.count('"toy, tuned lr"') == 2 * 5 * 2  # five lines of each run: four metrics and the seconds
    write_report(folder)
    report = (folder / "report.md").read_text()
    assert "x2 (edge)" in report and "for 2 of 4 the best is at the edge of the grid" in report
    assert "mAP (toy, tuned lr)" in report


def test_a_grid_that_diverged_everywhere_has_no_tuned_row(finish):
    study = load_study("configs/studies/demo.py", "toy", ["scratch"], tune_lr=True)
    for node in nodes_of(study):
        finish(node, None)
    assert not [node for node in rows_of(study) if node.note]


def test_the_command_line_of_a_grid_run():
    from tools.engine.studies.commands import command

    study = load_study("configs/studies/demo.py", "toy", ["scratch"], tune_lr=True)
    lines = [" ".join(command(node)) for node in nodes_of(study) if node.options.hold_out]
    assert sum("--lr-factor 0.5 --hold-out" in line for line in lines) == 2
    assert Path("tools/train.py").name in lines[0]
