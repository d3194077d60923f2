"""Lay out small finished runs whose pictures are drawn."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from backbones.common.files import write_json, write_npz, write_text
from detection.annotations import read_annotation
from detection.metrics import Boxes
from tools.engine.config import Options, load, resolve
from tools.engine.training.run import dump

DETECTOR, CLASSIFIER = "configs/detection/faster_rcnn_fpn_toy.py", "configs/classification/resnet50_toy.py"


@pytest.fixture
def world(toy_root, tmp_path, monkeypatch) -> Path:
    """Return the small synthetic datasets, set as DATA_ROOT/toy, and change to an empty working folder."""
    monkeypatch.setenv("DATA_ROOT", str(toy_root.parent))
    monkeypatch.chdir(tmp_path)
    return toy_root


def make_run(task: str, config: str, per_image: str, **changes) -> Path:
    """Create a run's folder without its per-image results."""
    folder = Path("work_dirs/runs") / f"{task}_run"
    folder.mkdir(parents=True)
    resolved = resolve(config, Options(backbone=None if config == CLASSIFIER else "scratch"))
    write_text(folder / "config.py", dump(resolved))
    record = dict(key=folder.name, task=task, network="net", scale="toy", status="done", seed=3, split="test")
    write_json(folder / "record.json", record | dict(metrics={"mAP": 12.345, "top1": 50.0}, per_image=per_image) | changes)
    return folder


@pytest.fixture
def detected(world) -> Path:
    """Create a run that detected every object of the synthetic test images exactly, with the score 0.9."""
    folder = make_run("detection", DETECTOR, "detections.npz")
    home, classes = world / "VOCdevkit/VOC2007", load(DETECTOR).classes
    names = (home / "ImageSets/Main/test.txt").read_text().split()
    rows = [(i, t) for i, name in enumerate(names) for t in read_annotation(home / f"Annotations/{name}.xml")[1]]
    truth = dict(image=[i for i, _ in rows], label=[classes.index(thing.name) for _, thing in rows])
    truth["box"] = [np.array(thing.box) - 1 for _, thing in rows]
    arrays = {f"det_{k}": v for k, v in truth.items()} | {"det_score": np.full(len(rows), 0.9)}
    arrays |= {f"gt_{k}": v for k, v in truth.items()} | {"gt_difficult": [thing.difficult == "1" for _, thing in rows]}
    write_npz(folder / "detections.npz", **{k: np.array(v) for k, v in arrays.items()})
    return folder


@pytest.fixture
def classified(world) -> Path:
    """Create a run that was right on every second of the synthetic validation images."""
    folder = make_run("classification", CLASSIFIER, "ranks.npz")
    write_npz(folder / "ranks.npz", rank=np.arange(8, dtype=np.uint16) % 2, label=np.arange(8, dtype=np.uint16))
    return folder


def boxes(*rows: tuple, **columns) -> Boxes:
    """Return the boxes of one image from (x1, y1, x2, y2, label) rows."""
    table = np.array(rows, dtype=float).reshape(-1, 5)
    columns = {name: np.array(values) for name, values in columns.items()}
    return Boxes(np.zeros(len(table), int), table[:, :4], table[:, 4].astype(int), **columns)


def colours(image: Image.Image) -> set[tuple[int, int, int]]:
    return {colour for _, colour in image.convert("RGB").getcolors(1 << 20)}


def rgb(colour: str) -> tuple[int, ...]:
    return tuple(int(colour[i : i + 2], 16) for i in (1, 3, 5))


TRUE = boxes((10, 10, 50, 50, 0), (60, 60, 90, 90, 1), difficult=[False, True])
