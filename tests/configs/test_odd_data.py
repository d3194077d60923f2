"""Test that data in which something is missing or odd is refused in one sentence, before a run's folder is made."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.helpers.bad_input import CLASSIFIER, DETECTOR, SEGMENTER
from tests.helpers.bad_input import refused as refused
from tests.helpers.bad_input import world as world

TRAIN, VAL = "imagenet/train", "imagenet/val"
VOC, ADE = "VOCdevkit/VOC2007", "ADEChallengeData2016"


def first(path: Path) -> Path:
    return sorted(path.iterdir())[0]


def pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def to_file(path: Path) -> None:
    shutil.rmtree(path)
    path.write_text("no folder")


def to_png(folder: Path) -> None:
    for path in list(folder.iterdir()):
        path.rename(path.with_suffix(".png"))


def lines(name: str, change):
    """Return a function that changes the lines of a list."""

    def spoil(world: Path) -> None:
        path = world / VOC / f"ImageSets/Main/{name}.txt"
        path.write_text("\n".join(change(path.read_text().split())))

    return spoil


def colour(path: Path) -> None:
    Image.fromarray(np.zeros((*np.array(Image.open(path)).shape, 3), np.uint8)).save(path)


CASES = {
    "no train": (CLASSIFIER, lambda w: shutil.rmtree(w / TRAIN), "imagenet/train does not exist; it should hold one folder of"),
    "train is a file": (CLASSIFIER, lambda w: to_file(w / TRAIN), "imagenet/train is no folder; it should hold one folder of"),
    "no class": (CLASSIFIER, lambda w: [shutil.rmtree(p) for p in (w / VAL).iterdir()], "val should hold one folder of images"),
    "an empty class": (CLASSIFIER, lambda w: first(first(w / TRAIN)).unlink() or first(first(w / TRAIN)).unlink(), "no image"),
    "a class of hidden files": (
        CLASSIFIER,
        lambda w: first(first(w / VAL)).rename(first(w / VAL) / "._1.jpg"),
        "holds no image",
    ),
    "a class less in val": (CLASSIFIER, lambda w: shutil.rmtree(first(w / VAL)), "only one has banded_disc"),
    "a loop": (CLASSIFIER, lambda w: (first(w / TRAIN) / "up").symlink_to(w), "leads to a folder above it"),
    "a pipe in val": (CLASSIFIER, lambda w: pipe(first(first(w / VAL))), "cannot be read (it is a pipe)"),
    "no devkit": (DETECTOR, lambda w: shutil.rmtree(w / "VOCdevkit"), "toy/VOCdevkit does not exist, and configs/detection"),
    "no images": (DETECTOR, lambda w: shutil.rmtree(w / VOC / "JPEGImages"), "JPEGImages does not exist; it should hold a part"),
    "no list": (
        DETECTOR,
        lambda w: (w / VOC / "ImageSets/Main/test.txt").unlink(),
        "test.txt does not exist; it should hold the",
    ),
    "an empty list": (DETECTOR, lines("trainval", lambda names: []), "trainval.txt lists no image"),
    "a list of one class": (DETECTOR, lines("test", lambda names: [f"{n} -1" for n in names]), "by 1, 0 or -1"),
    "a name above": (DETECTOR, lines("test", lambda names: ["../../x"]), "lead out of JPEGImages (1): '../../x'"),
    "a name twice": (DETECTOR, lines("test", lambda names: names + names[:1]), "lists images twice (1)"),
    "a pipe for a list": (DETECTOR, lambda w: pipe(w / VOC / "ImageSets/Main/test.txt"), "cannot be read (it is a pipe)"),
    "a pipe for an XML": (DETECTOR, lambda w: pipe(first(w / VOC / "Annotations")), "is no VOC annotation (it is a pipe)"),
    "images as PNG": (DETECTOR, lambda w: to_png(w / VOC / "JPEGImages"), "must end in .jpg, whatever their format"),
    "masks are a file": (SEGMENTER, lambda w: to_file(w / ADE / "annotations/validation"), "validation is no folder"),
    "no mask": (SEGMENTER, lambda w: first(w / ADE / "annotations/validation").unlink(), "1 of 2 images have no mask"),
    "masks of colours": (SEGMENTER, lambda w: colour(first(w / ADE / "annotations/validation")), "more than one channel"),
    "a pipe for a mask": (SEGMENTER, lambda w: pipe(first(w / ADE / "annotations/validation")), "cannot be read (it is a pipe)"),
    "photos as PNG": (SEGMENTER, lambda w: to_png(w / ADE / "images/training"), "since a name must end in .jpg"),
}


@pytest.mark.parametrize("case", CASES)
def test_odd_data_is_refused_before_a_folder_is_made(refused, world, case):  # noqa: F811
    config, spoil, sentence = CASES[case]
    spoil(world)
    args = [] if config == CLASSIFIER else ["--backbone", "scratch"]
    assert sentence in refused("train", config, *args)
    assert not Path("work_dirs").exists()
