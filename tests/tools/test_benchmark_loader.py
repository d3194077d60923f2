"""Test the stage that times the reading of images: all contenders do the same work on the same files."""

import numpy as np
import pytest
import torch
from PIL import Image

from tools.benchmarks import loader
from tools.benchmarks.rounds import Settings

CONFIG = "configs/classification/resnet50_mini.py"


@pytest.fixture
def few(monkeypatch, tmp_path):
    """Set the stage to eight images in batches of four, without real ones."""
    monkeypatch.setattr(loader, "IMAGES", 8)
    monkeypatch.setattr(loader, "BATCH", 4)
    monkeypatch.setenv("DATA_ROOT", str(tmp_path / "none"))
    return tmp_path


def test_synthetic_images_are_as_large_as_photographs(few):
    description = loader.fill(few / "made", (375, 500), few / "none")
    files = sorted((few / "made").rglob("*.jpg"))
    assert [file.parent.name for file in files] == ["a"] * 4 + ["b"] * 4 and "synthetic, 500x375 px, quality 90" in description
    for file in files:
        with Image.open(file) as image:
            assert (image.size, image.mode, image.format) == ((500, 375), "RGB", "JPEG")
        assert 40_000 < file.stat().st_size < 160_000
    assert len({file.read_bytes() for file in files}) == 8


def test_real_images_are_used_if_there_are_enough(few):
    for i in range(8):
        (few / "real" / f"n{i % 3}").mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (9, 7), (i, 0, 0)).save(few / "real" / f"n{i % 3}" / f"{i}.JPEG")
    assert "the first of" in loader.fill(few / "some", (8, 8), few / "real")
    assert {Image.open(file).size for file in (few / "some").rglob("*.jpg")} == {(9, 7)}
    (few / "real/n0/0.JPEG").unlink()
    assert "synthetic, 10x8 px" in loader.fill(few / "fewer", (8, 10), few / "real")


@pytest.mark.parametrize("colours", [False, True])
def test_each_contender_gives_every_image_once(few, colours):
    loader.fill(few / "made", (60, 80), few / "none")
    contenders = (
        (loader.ours(few / "made", CONFIG, colours), torch.uint8),
        (loader.torchvisions(few / "made", CONFIG, colours), torch.float32),
        (loader.timms(few / "made", CONFIG, colours), torch.uint8),
    )
    for contender, dtype in contenders:
        batches = [loader.parts(batch) for batch in contender]
        assert [(images.shape, images.dtype) for images, _ in batches] == [((4, 3, 64, 64), dtype)] * 2
        assert sorted(torch.cat([labels for _, labels in batches]).tolist()) == [0] * 4 + [1] * 4
        assert loader.run(contender) == 8


def test_levels_are_compared_on_one_scale(few):
    """Use images of one colour, so that the mean of any crop is known."""
    for i in range(8):
        (few / "grey" / "ab"[i % 2]).mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (40, 40), (90, 120, 150)).save(few / "grey" / "ab"[i % 2] / f"{i}.jpg", quality=100)
    ways = (loader.ours, loader.as_is), (loader.torchvisions, loader.denormalised(CONFIG)), (loader.timms, loader.as_is)
    levels = []
    for make, to_levels in ways:
        images = make(few / "grey", CONFIG, False)
        if make is loader.torchvisions:  # it normalises 0..1, and to_levels returns to 0..255
            assert next(iter(images))[0].abs().max() < 1
        levels.append(loader.mean_level(images, to_levels))
    np.testing.assert_allclose(levels, 120, atol=1)


def test_a_contender_that_leaves_images_out_is_refused(few, monkeypatch):
    loader.fill(few / "made", (40, 40), few / "none")
    batches = loader.ours(few / "made", CONFIG, False)
    monkeypatch.setattr(loader, "IMAGES", 9)
    with pytest.raises(ValueError, match="gave 8 images instead of 9"):
        loader.mean_level(batches, loader.as_is)


def test_the_stage_yields_four_comparisons(few, monkeypatch):
    monkeypatch.setattr(loader, "IMAGES", 48)
    monkeypatch.setenv("DATA_ROOT", str(few))
    for i in range(48):  # small ones, for speed
        for scale in ("imagenet", "imagenet-mini"):
            (few / scale / "train/n0").mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (40, 40), (90 + i, 120, 150)).save(few / scale / f"train/n0/{i:02}.JPEG")
    threads = torch.get_num_threads()
    comparisons = list(loader.comparisons(Settings(rounds=1, warm_ups=0)))
    assert [item.name.partition(":")[0] for item in comparisons] == ["resnet50_paper"] * 2 + ["resnet50_mini"] * 2
    assert [any("PCA noise is ours alone" in note for note in item.notes) for item in comparisons] == [False, True] * 2
    assert all([contender.units for contender in item.contenders] == [48] * 3 and len(item.equal) == 3 for item in comparisons)
    assert torch.get_num_threads() == threads
