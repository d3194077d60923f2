"""Test that images and masks are paired alike by the check of a run, by training and by its key, and as mmseg pairs them."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from mmengine.config import ConfigDict
from mmengine.registry import init_default_scope
from PIL import Image

from segmentation.dataset_check import Expected, check_release
from segmentation.masks import notice_numbering
from segmentation.task import check_data, data_files
from tests.helpers.images import save_noise


def config(root: Path) -> ConfigDict:
    """Return the data of a segmenter's config that reads the dataset in ``root``."""

    def data(split: str) -> dict:
        return dict(data_root=str(root), data_prefix=dict(img_path=f"images/{split}", seg_map_path=f"annotations/{split}"))

    return ConfigDict(batch=1, train_dataloader=dict(dataset=data("training")), test_dataloader=dict(dataset=data("validation")))


def save_mask(root: Path, split: str, name: str, ids: np.ndarray) -> None:
    path = root / f"annotations/{split}/{name}.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(ids.astype(np.uint8)).save(path)


@pytest.fixture
def root(tmp_path) -> Path:
    """Write two pairs to train on and one to test on."""
    for i, (split, name) in enumerate((("training", "a"), ("training", "b"), ("validation", "c"))):
        save_noise(tmp_path / f"images/{split}/{name}.jpg", seed=i)
        save_mask(tmp_path, split, name, np.arange(120).reshape(10, 12) % 8)
    return tmp_path


def datasets(root: Path, part: str = "training") -> list:
    """Return our dataset of a split, and mmseg's."""
    import backbones.mmcv_ops  # noqa: F401
    from segmentation import ADE20KDataset

    # isort: split
    from mmseg.datasets import ADE20KDataset as Reference

    init_default_scope("mmseg")
    data = config(root)["train_dataloader" if part == "training" else "test_dataloader"].dataset
    return [kind(**data, pipeline=[]) for kind in (ADE20KDataset, Reference)]


def test_pairs_and_their_order_are_those_of_mmseg(root):
    for i, name in enumerate(("a-b", "sub/a", "sub/deep/x.y", "B")):
        save_noise(root / f"images/training/{name}.jpg", seed=10 + i)
        save_mask(root, "training", name, np.ones((10, 12)))
    for folder in ("images", "annotations"):
        (root / folder / "training/linked").symlink_to(root / folder / "validation")
    ours, reference = datasets(root)
    assert len(ours) == len(reference) == 7
    assert [ours.get_data_info(i) for i in range(7)] == [reference.get_data_info(i) for i in range(7)]


def test_hidden_files_are_passed_over_by_check_training_and_key(root):
    before = data_files(config(root))
    for folder, suffix in (("images", "jpg"), ("annotations", "png")):
        for split in ("training", "validation"):
            for name in (f"._a.{suffix}", ".DS_Store", "Thumbs.db", f".sub/x.{suffix}", f"__MACOSX/x.{suffix}"):
                path = root / folder / split / name
                path.parent.mkdir(exist_ok=True)
                path.write_bytes(b"no image")
    assert check_data(config(root)) == [] and data_files(config(root)) == before
    assert [len(datasets(root, split)[0]) for split in ("training", "validation")] == [2, 1]
    findings = [f.text for f in check_release(root, 1, Expected("Small", 2, 1)) if not f.published and f.level != "info"]
    assert findings == []


def test_the_key_counts_the_files_that_training_reads(root):
    training = data_files(config(root))[0]
    assert training.content == ("annotations/training/a.png", "annotations/training/b.png")
    assert training.images == ("images/training/a.jpg", "images/training/b.jpg") and training.folder == root


@pytest.mark.parametrize("suffix", [".png", ".jpeg", ".JPG"])
def test_images_with_another_suffix_are_named(root, suffix):
    for path in list((root / "images/training").iterdir()):
        path.rename(path.with_suffix(suffix))
    with pytest.raises(ValueError, match=f"holds no .jpg image; rename the images, such as a{suffix}, since a name must end in"):
        check_data(config(root))
    (root / f"images/training/a{suffix}").rename(root / "images/training/a.jpg")
    with pytest.raises(ValueError, match=f"1 of the masks .* the first is b.png. There is .*b{suffix}: rename such files, since"):
        check_data(config(root))


def test_a_mask_with_another_suffix_is_named(root):
    path = root / "annotations/validation/c.png"
    path.rename(path.with_suffix(".PNG"))
    with pytest.raises(
        ValueError, match=r"1 of 1 images have no mask; .* There is .*c.PNG: rename such files, since a name must"
    ):
        check_data(config(root))


@pytest.mark.parametrize("kind", ["it is a pipe", "it is a device", "it is empty", "there is no such file"])
@pytest.mark.parametrize("place", ["images/validation/c.jpg", "annotations/validation/c.png"])
def test_a_test_file_that_cannot_be_read_is_refused_before_training(root, kind, place):
    path = root / place
    path.unlink()
    if kind == "it is a pipe":
        os.mkfifo(path)
    elif kind == "it is empty":
        path.write_bytes(b"")
    else:
        path.symlink_to("/dev/zero" if kind == "it is a device" else "gone")
    with pytest.raises(ValueError, match=f"{path} cannot be read \\({kind}\\); replace it, or take the image and its mask out"):
        check_data(config(root))


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        (np.zeros((10, 11)), "is 11 x 10, and its image 12 x 10; allowed"),
        (np.full((10, 12), 151), "has the id 151; allowed"),
        (np.zeros((10, 12, 3)), "has more than one channel .mode RGB.; allowed"),
    ],
)
@pytest.mark.parametrize(("split", "name"), [("training", "b"), ("validation", "c")])
def test_a_mask_that_cannot_be_used_is_refused_before_training(root, ids, message, split, name):
    save_mask(root, split, name, ids)
    with pytest.raises(ValueError, match=f"The mask .*{name}.png {message}"):
        check_data(config(root))


def test_a_training_mask_that_cannot_be_decoded_is_left_to_training_which_may_skip_it(root):
    (root / "annotations/training/a.png").write_bytes(b"no mask")
    assert check_data(config(root)) == []


@pytest.mark.parametrize(("split", "names"), [("training", "ab"), ("validation", "c")])
def test_masks_without_a_labelled_pixel_are_refused_before_training(root, split, names):
    for name in names:
        save_mask(root, split, name, np.zeros((10, 12)))
    with pytest.raises(ValueError, match=f"No mask in .*{split} that was looked at has a pixel of a class: all are 0, which is"):
        check_data(config(root))


def test_masks_that_count_from_0_are_noticed(root):
    for name in ("a", "b"):
        save_mask(root, "training", name, np.repeat([0, 0, 0, 1, 2, 3], 20).reshape(10, 12))
    (remark,) = check_data(config(root))
    assert remark == (
        f"{root}/annotations/training: 0, which is ignored, is the most frequent id in the masks (50 %); if 0 is a class, add 1 "
        "to every pixel of all masks."
    )


@pytest.mark.parametrize(
    ("ids", "complete", "words"),
    [
        ([0, 3, 150], True, ""),  # as published
        ([0, 3, 149], False, ""),  # a sample may lack the last class
        ([0, 3, 149], True, "the masks have the ids 0 to 149"),
        ([3, 149], True, ""),  # without 0 nothing is ignored
        ([0, 3, 3, 0, 0], False, "0, which is ignored, is the most frequent id in the masks (60 %)"),
        ([0, 3, 0, 3], True, ""),
    ],
)
def test_the_numbering_of_masks_is_told_from_their_ids(ids, complete, words):
    notice = notice_numbering(np.bincount(ids, minlength=151), complete)
    assert notice.startswith(words) and bool(notice) == bool(words)


def test_images_that_are_trained_and_tested_on_are_named(root):
    for folder, suffix in (("images", "jpg"), ("annotations", "png")):
        shutil.copy(root / folder / f"training/a.{suffix}", root / folder / f"validation/a.{suffix}")
    assert check_data(config(root)) == ["Images to test on that are also trained on (1 of 2): a."]
    for folder, suffix in (("images", "jpg"), ("annotations", "png")):
        (root / folder / f"validation/c.{suffix}").unlink()
    with pytest.raises(ValueError, match="Each of the 1 images to test on is also trained on, such as a; test on others"):
        check_data(config(root))


def test_images_of_one_name_in_both_splits_may_differ(root):
    save_noise(root / "images/validation/a.jpg", seed=99)
    save_mask(root, "validation", "a", np.ones((10, 12)))
    assert check_data(config(root)) == []
