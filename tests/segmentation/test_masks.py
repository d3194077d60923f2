"""Test that training reads masks, and refuses in one sentence those with a fault that the dataset check finds."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from segmentation.masks import FAULTS, check_mask
from tests.helpers.check_ade20k import HEIGHT, MASKS, PNG, WIDTH, ids, palette  # noqa: F401
from tests.helpers.check_ade20k import tree as tree
from tests.helpers.check_ade20k import whole as whole


def dataset(root: Path, *between: dict):
    """Build the dataset of the training split; the steps ``between`` run after the image is loaded and before the mask."""
    from segmentation.data import ADE20KDataset

    pipeline = [dict(type="backbones.LoadImage"), *between, dict(type="segmentation.LoadMask")]
    prefix = dict(img_path="images/training", seg_map_path="annotations/training")
    return ADE20KDataset(data_root=str(root), data_prefix=prefix, pipeline=pipeline)


RESIZE = dict(type="Resize", scale=(96, 80), keep_ratio=True)


@pytest.mark.parametrize("between", [(), (RESIZE,)])
def test_training_reads_the_mask_at_its_own_size(tree, between):  # noqa: F811
    sample = dataset(tree, *between)[1]
    assert sample["gt_seg_map"].dtype == np.uint8 and sample["img"].shape == ((80, 96, 3) if between else (40, 48, 3))
    assert np.array_equal(sample["gt_seg_map"], np.where(ids() == 0, 255, ids().astype(int) - 1))
    assert np.array_equal(check_mask(tree / PNG), ids())


@pytest.mark.parametrize("name", MASKS)
def test_training_refuses_the_same_masks_in_one_sentence(tree, name):  # noqa: F811
    spoil, _, sentence = MASKS[name]
    spoil(tree)
    for between in ((), (RESIZE,)):
        with pytest.raises(ValueError) as error:
            dataset(tree, *between)[1]
        text, fault = str(error.value), FAULTS[name.split(",")[0]]
        assert text.startswith(f"The mask {tree / PNG} {sentence}") and text.endswith(f"; {fault.fix}.") and "\n" not in text
        assert "; allowed: 0 (ignored) and 1..150 in a PNG of one channel of 8 bits (mode L), as large as its image; " in text


def test_the_advised_conversion_of_a_palette_keeps_the_ids(tree):  # noqa: F811
    palette(tree)
    Image.fromarray(np.array(Image.open(tree / PNG))).save(tree / PNG)
    assert np.array_equal(check_mask(tree / PNG, (HEIGHT, WIDTH)), ids())


def test_training_refuses_a_mask_that_cannot_be_read(tree):  # noqa: F811
    with pytest.raises(ValueError, match=r"The mask .*gone.png cannot be read \(No such file or directory\); allowed: .*; fix"):
        check_mask(tree / "gone.png")


def test_training_refuses_images_without_masks(tree):  # noqa: F811
    (tree / PNG).unlink()
    with pytest.raises(ValueError, match=f"1 of 3 images have no mask; the first is missing at .*{PNG}. Complete the data"):
        dataset(tree)


def test_training_refuses_an_empty_split(tree):  # noqa: F811
    for path in (tree / "images/training").iterdir():
        path.unlink()
    with pytest.raises(ValueError, match="images/training holds no .jpg image; put ADE20K's there"):
        dataset(tree)
