"""Subsets in ADE20K's layout: masks that follow the resize and keep their ids."""

import numpy as np
import pytest
from PIL import Image

from segmentation.dataset_check import ADE20K, check_release
from segmentation.folders import read_split
from tests.helpers.check_ade20k import PNG, tree, whole
from tests.helpers.subsets import size_of, source_of, take

assert tree and whole


def test_a_subset_passes_the_check_and_its_masks_are_the_nearest_pixels(toy_root, tmp_path):
    source, out = source_of("ade20k", toy_root), tmp_path / "out"
    take("ade20k", source, out, short_side=37, images=dict(training=3, validation=1))
    wrong = [str(finding) for finding in check_release(out, 1, ADE20K) if finding.level == "WRONG" and not finding.published]
    masks = sorted(out.rglob("*.png"))
    assert wrong == [] and len(masks) == len(list(out.rglob("*.jpg"))) == 4
    for path in masks:
        mask, original = (np.asarray(Image.open(place)) for place in (path, source / path.relative_to(out)))
        assert mask.shape[::-1] == size_of(out / "images" / path.relative_to(out / "annotations").with_suffix(".jpg"))
        assert min(mask.shape) == 37 and set(np.unique(mask)) <= set(np.unique(original))
        rows, columns = (holding_centres(new, old) for new, old in zip(mask.shape, original.shape, strict=True))
        assert np.any([mask == original[r[:, None], c] for r in rows for c in columns], axis=0).all()


def holding_centres(new: int, old: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the pixel of ``old`` that holds the centre of each of ``new``, and the one before it for a centre on its edge."""
    ends = (2 * np.arange(new) + 1) * old
    return ends // (2 * new), (ends - 1) // (2 * new)


def test_images_at_any_depth_keep_their_place(tree, tmp_path):  # noqa: F811
    for kind in ("images", "annotations"):
        (tree / kind / "training").rename(tree / kind / "deep")
        (tree / kind / "training").mkdir()
        (tree / kind / "deep").rename(tree / kind / "training/deep")
    take("ade20k", tree, tmp_path / "out", short_side=20)
    pairs = [read_split(root / "images/training", root / "annotations/training").pairs for root in (tree, tmp_path / "out")]
    assert pairs[0] == pairs[1] and pairs[0][0].startswith("deep/")


def test_small_images_are_copied_byte_for_byte(tree, tmp_path):  # noqa: F811
    take("ade20k", tree, tmp_path / "out", short_side=40)
    for path in (*tree.rglob("*.jpg"), *tree.rglob("*.png")):
        assert (tmp_path / "out" / path.relative_to(tree)).read_bytes() == path.read_bytes()


def test_a_mask_that_cannot_be_used_is_named(tree, tmp_path):  # noqa: F811
    Image.fromarray(np.full((40, 48), 151, np.uint8)).save(tree / PNG)
    with pytest.raises(ValueError, match="1 of the 5 images cannot be used, such as: The mask .*00000002.png has the id 151"):
        take("ade20k", tree, tmp_path / "out", short_side=20)
