"""Lay out small finished runs of segmentation whose pictures are drawn."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from backbones.common.files import write_json, write_npz, write_text
from segmentation.visualization import GAP, HEAD, PANEL
from tools.engine.config import Options, resolve
from tools.engine.training.run import dump

CONFIG = "configs/segmentation/fcn_toy.py"
WALL, TREE, CAR = (120, 120, 120), (4, 200, 3), (0, 102, 200)  # ADE20K's colours of the ids 1, 5 and 21
SIZE = (8, 6)  # of a panel's shape: a pixel becomes a square of 42


def save(path: Path, array) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.array(array, np.uint8)).save(path)


def add_image(run: Path, stem: str, photo: np.ndarray, truth: np.ndarray, predicted: np.ndarray) -> None:
    """Save a test image, its truth and the run's prediction where they belong, with masks in ADE20K's numbering."""
    root = run.parent / "ade"
    save(root / f"images/validation/{stem}.jpg", photo)
    save(root / f"annotations/validation/{stem}.png", truth)
    save(run / f"masks/{stem}.png", predicted)


def truth_of(size=SIZE) -> np.ndarray:
    """Return a mask of ids: wall on the left, car on the right, and the lowest row or rows not labelled."""
    mask = np.full(size[::-1], 1)
    mask[:, size[0] // 2 :] = 21
    mask[-max(1, size[1] // 6) :] = 0
    return mask


@pytest.fixture
def run(tmp_path) -> Path:
    """Create a finished run that predicted walls everywhere, and five test images."""
    folder = tmp_path / "run"
    for i in range(5):
        add_image(folder, f"im_{i}", np.full((*SIZE[::-1], 3), 200), truth_of(), np.full(SIZE[::-1], 1))
    resolved = resolve(CONFIG, Options(backbone="scratch", overrides={"data_root": str(tmp_path / "ade")}))
    write_text(folder / "config.py", dump(resolved))
    record = dict(key="run", task="segmentation", network="fcn", scale="toy", status="done", seed=0, split="validation")
    write_json(folder / "record.json", record | dict(metrics={"pixAcc": 50.0, "mIoU": 25.0}, per_image="confusion.npz"))
    write_npz(folder / "confusion.npz", image=np.zeros(0))
    return folder


def panel(triple: Image.Image, i: int) -> np.ndarray:
    left = i * (PANEL[0] + GAP)
    return np.array(triple.crop((left, HEAD, left + PANEL[0], HEAD + PANEL[1])))
