"""Test that class folders are read alike by the check of a run, by training and by its key, and as torchvision reads them."""

import os
from pathlib import Path

import pytest
from mmengine.config import ConfigDict
from torchvision import datasets

from classification import ImageFolder
from classification.dataset_check import IMAGENET, check_folders
from classification.folders import read_folder
from classification.task import check_data, data_files
from tests.helpers.images import save_noise

PIPELINE = [dict(type="torchvision.transforms.v2.PILToTensor")]


def config(root: Path) -> ConfigDict:
    """Return the data of a classifier's config with the class folders ``root/train`` and ``root/val``."""
    loaders = {
        f"{name}_dataloader": dict(dataset=dict(root=str(root / part))) for name, part in (("train", "train"), ("test", "val"))
    }
    return ConfigDict(batch=2, model=dict(num_classes=2, distillation=None), **loaders)


@pytest.fixture
def root(tmp_path) -> Path:
    """Write two classes with two images to train on and one to test on."""
    for i, path in enumerate(("train/cat/1.png", "train/cat/2.png", "train/dog/1.png", "train/dog/2.png", "val/cat/3.png")):
        save_noise(tmp_path / path, seed=i)
    save_noise(tmp_path / "val/dog/3.png", seed=9)
    return tmp_path


def test_images_and_their_order_are_those_of_torchvision(root):
    for i, path in enumerate(("cat/b/1.JPG", "cat/a-c/1.webp", "cat/a/b/1.png", "cat/a/0.jpeg", "cat/0.BMP", "dog/x.tiff")):
        save_noise(root / "train" / path, seed=10 + i)
    (root / "elsewhere").mkdir()
    save_noise(root / "elsewhere/deep/1.png", seed=20)
    (root / "train/ant").symlink_to(root / "elsewhere")
    (root / "train/dog/more").symlink_to("../../elsewhere/deep")
    (root / "train/dog/notes.txt").write_text("no image")
    ours, reference = ImageFolder(str(root / "train"), PIPELINE), datasets.ImageFolder(str(root / "train"))
    assert ours.samples == reference.samples and len(ours) == 12
    assert ours.classes == reference.classes == ["ant", "cat", "dog"] and ours.class_to_idx == reference.class_to_idx


def test_hidden_files_and_folders_are_passed_over_by_check_training_and_key(root):
    before = data_files(config(root))
    for split in ("train", "val"):
        for name in ("cat/._1.png", "cat/.DS_Store", "cat/Thumbs.db", "cat/.sub/1.png", ".ipynb_checkpoints/1.png"):
            save_noise(root / split / name)
        save_noise(root / split / "__MACOSX/cat/._1.png")
    assert check_data(config(root)) == [] and data_files(config(root)) == before
    assert [len(ImageFolder(str(root / split), PIPELINE)) for split in ("train", "val")] == [4, 2]
    assert [
        finding.text for finding in check_folders(root, 1, IMAGENET) if not finding.published and finding.level != "info"
    ] == []


def test_the_key_counts_the_images_that_training_reads(root):
    for part, split in zip(data_files(config(root)), ("train", "val"), strict=True):
        data = ImageFolder(str(root / split), PIPELINE)
        assert [str(part.folder / name) for name in part.images] == [path for path, _ in data.samples] and part.content == ()


def test_a_loop_of_links_is_refused(root):
    (root / "train/cat/again").symlink_to(root / "train")
    with pytest.raises(ValueError, match="The link .*train/cat/again leads to a folder above it.*; remove the link"):
        check_data(config(root))


def spoil(path: Path, kind: str) -> None:
    path.unlink()
    if kind == "it is a pipe":
        os.mkfifo(path)
    elif kind == "it is a device":
        path.symlink_to("/dev/zero")
    elif kind == "it is empty":
        path.write_bytes(b"")
    else:
        path.symlink_to("gone")


@pytest.mark.parametrize("kind", ["it is a pipe", "it is a device", "it is empty", "there is no such file"])
def test_a_test_image_that_cannot_be_read_is_refused_before_training(root, kind):
    spoil(root / "val/cat/3.png", kind)
    with pytest.raises(
        ValueError, match=f"The image {root}/val/cat/3.png cannot be read \\({kind}\\); replace it, or take it out"
    ):
        check_data(config(root))


def test_images_that_are_trained_and_tested_on_are_named(root):
    (root / "val/cat/1.png").write_bytes((root / "train/cat/1.png").read_bytes())
    assert check_data(config(root)) == ["Images to test on that are also trained on (1 of 3): cat/1.png."]
    wrong = [finding.text for finding in check_folders(root, 1, IMAGENET) if finding.level == "WRONG" and not finding.published]
    assert len(wrong) == 1 and wrong[0].startswith("val: images that are also in train (1): cat/1.png; unpack both again")


def test_a_test_on_the_training_images_is_refused(root):
    cfg = config(root)
    cfg.test_dataloader.dataset.root = cfg.train_dataloader.dataset.root
    with pytest.raises(ValueError, match="Each of the 4 images to test on is also trained on, such as cat/1.png; test on others"):
        check_data(cfg)


@pytest.mark.parametrize("name", ["m\u00e4dchen", "a b", "it's", "new\nline", os.fsdecode(b"caf\xe9")])
def test_a_class_may_have_any_name(root, name):
    for split in ("train", "val"):
        (root / split / "cat").rename(root / split / name)
    assert check_data(config(root)) == [] and set(read_folder(root / "train")) == {name, "dog"}
