"""Subsets of class folders: which classes and images are taken, and how each kind of image is written."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from backbones.common.images import read_rgb
from classification.dataset_check import IMAGENET, check_folders
from classification.folders import read_folder
from tests.helpers.images import save_noise
from tests.helpers.subsets import contents, make_class_folders, size_of, source_of, take, unfinished

NAMES = ("cat", "dog", "eel", "fox", "gnu")


@pytest.fixture
def folders(tmp_path) -> Path:
    return make_class_folders(tmp_path / "animals", NAMES)


def test_a_subset_passes_the_check(toy_root, tmp_path):
    source, out = source_of("imagenet", toy_root), tmp_path / "out"
    take("imagenet", source, out, every=3, images=dict(train=2, val=1), short_side=24)
    wrong = [str(finding) for finding in check_folders(out, 1, IMAGENET) if finding.level == "WRONG" and not finding.published]
    assert wrong == []
    assert list(read_folder(out / "train")) == list(read_folder(source / "train"))[::3]
    assert {min(size_of(path)) for path in out.rglob("*.jpg")} == {24}


def test_every_kth_class_and_named_classes_are_taken(folders, tmp_path):
    take("imagenet", folders, tmp_path / "a", every=2)
    take("imagenet", folders, tmp_path / "b", classes=("gnu", "dog"))
    take("imagenet", folders, tmp_path / "c", classes=("gnu", "dog", "cat"), every=2)
    assert [list(read_folder(tmp_path / name / "val")) for name in "abc"] == [
        ["cat", "eel", "gnu"],
        ["dog", "gnu"],
        ["cat", "gnu"],
    ]


def test_a_class_with_too_few_images_gives_all(folders, tmp_path):
    recipe = take("imagenet", folders, tmp_path / "out", images=dict(train=2, val=9)).recipe
    assert recipe.chosen == {"classes": 5, "train": 10, "val": 10} and recipe.available == {"classes": 5, "train": 15, "val": 10}


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (dict(classes=("dig",)), "train has no class 'dig'; nearest: dog.*There are 5 folders"),
        (dict(images=dict(test=1)), "--images names 'test', which .*animals does not have; allowed: train, val"),
    ],
)
def test_what_the_source_lacks_is_refused(folders, tmp_path, options, sentence):
    with pytest.raises(ValueError, match=sentence):
        take("imagenet", folders, tmp_path / "out", **options)
    assert list(tmp_path.iterdir()) == [folders]


def test_a_class_that_val_lacks_is_refused(folders, tmp_path):
    (folders / "val/fox").rename(folders / "val/wolf")
    with pytest.raises(ValueError, match="val has no folder for classes of train: fox"):
        take("imagenet", folders, tmp_path / "out")


def test_linked_folders_and_images_at_any_depth_are_copied(folders, tmp_path):
    (folders / "train/cat").rename(tmp_path / "elsewhere")
    (folders / "train/cat").symlink_to(tmp_path / "elsewhere")
    save_noise(tmp_path / "elsewhere/deep/down.png")
    (folders / "train/cat/._x.JPEG").write_bytes(b"left by another system")
    take("imagenet", folders, tmp_path / "out")
    assert not (tmp_path / "out/train/cat").is_symlink()
    assert read_folder(tmp_path / "out/train") == read_folder(folders / "train")


def jpeg(image: Image.Image, **options) -> bytes:
    file = io.BytesIO()
    image.save(file, "JPEG", **options)
    return file.getvalue()


def slopes(mode: str, size: tuple[int, int]) -> Image.Image:
    """Return an image whose channels rise smoothly, each in another direction."""
    x, y = np.meshgrid(np.linspace(0, 1, size[0]), np.linspace(0, 1, size[1]))
    pixels = (200 * np.stack([x, y, (x + y) / 2, 0.3 * y], -1)).astype(np.uint8)
    image = Image.fromarray(pixels, "CMYK")
    return image if mode == "CMYK" else image.convert("RGB").convert(mode)


def turned() -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = 6  # to be shown turned by 90 degrees
    return exif


KINDS = {  # name of a file -> its content
    "colour.JPEG": jpeg(slopes("RGB", (60, 40))),
    "grey.jpg": jpeg(slopes("L", (60, 40))),
    "cmyk.jpeg": jpeg(slopes("CMYK", (60, 40))),
    "turned.jpg": jpeg(slopes("RGB", (60, 40)), exif=turned()),
}


@pytest.mark.parametrize("name", KINDS)
def test_an_image_is_shrunk_as_training_reads_it(folders, tmp_path, name):
    source, written = folders / "train/cat" / name, tmp_path / "out/train/cat" / name
    source.write_bytes(KINDS[name])
    take("imagenet", folders, tmp_path / "out", classes=("cat",), short_side=20, resampler="box", quality=100)
    with Image.open(written) as image:
        assert (image.format, image.mode, image.size, dict(image.getexif())) == ("JPEG", "RGB", (30, 20), {})
    expected = np.asarray(read_rgb(source)).reshape(20, 2, 30, 2, 3).mean((1, 3))  # 2 x 2 pixels become one
    assert np.abs(np.asarray(read_rgb(written)).astype(float) - expected).mean() < 2


def test_a_png_stays_without_loss_and_a_palette_becomes_colours(folders, tmp_path):
    source = folders / "train/cat/palette.png"
    slopes("RGB", (60, 40)).quantize(7).save(source)
    take("imagenet", folders, tmp_path / "out", short_side=20, resampler="bicubic")
    with Image.open(tmp_path / "out/train/cat/palette.png") as image:
        assert (image.format, image.mode) == ("PNG", "RGB")
        assert image.tobytes() == read_rgb(source).resize((30, 20), Image.Resampling.BICUBIC).tobytes()


@pytest.mark.parametrize("short_side", [None, 30, 31])
def test_what_is_small_enough_is_copied_byte_for_byte(folders, tmp_path, short_side):
    (folders / "train/cat/disguised.JPEG").write_bytes((save_noise(tmp_path / "noise.png", (40, 30))).read_bytes())
    take("imagenet", folders, tmp_path / "out", short_side=short_side)
    copied = contents(tmp_path / "out")
    assert len(copied) == 27 and {name: copied[name] for name in copied if name != ".subset.json"} == contents(folders)


def test_unreadable_images_are_named_and_the_same_command_goes_on(folders, tmp_path, capsys):
    bad = folders / "train/dog/train_1.JPEG"
    sound = bad.read_bytes()
    bad.write_bytes(sound[:300])
    (folders / "val/eel/val_0.JPEG").write_bytes(b"")
    with pytest.raises(ValueError, match="2 of the 25 images cannot be used, such as: .*train_1.JPEG cannot be decoded"):
        take("imagenet", folders, tmp_path / "out")
    output = capsys.readouterr().out
    assert f"{bad} cannot be decoded (" in output and "val_0.JPEG cannot be read (it is empty)." in output
    assert not (tmp_path / "out").exists() and len(list(unfinished(tmp_path / "out").rglob("*.JPEG"))) == 23
    bad.write_bytes(sound)
    (folders / "val/eel/val_0.JPEG").unlink()
    outcome = take("imagenet", folders, tmp_path / "out")
    assert outcome.written == 1 and len(list((tmp_path / "out").rglob("*.JPEG"))) == 24
