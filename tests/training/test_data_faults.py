"""Test that every task reads odd files correctly, and refuses broken or missing ones in one sentence that names them."""

import io
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.registry import DATASETS, init_default_scope
from PIL import Image

from backbones.common.images import BadImage, read_rgb
from backbones.common.project import ROOT
from tests.helpers.bad_input import CLASSIFIER, DETECTOR, SEGMENTER, SMALL, SMALL_DENSE  # noqa: F401
from tests.helpers.bad_input import refused as refused
from tests.helpers.bad_input import world as world
from tools.engine.config import Options, resolve
from tools.engine.training.checkpoints import last_checkpoint
from tools.engine.training.seeding import REPLACED, SampleIndex, SeededDataset

# with worker processes that load the training images
WITH_WORKERS = [word.replace("num_workers", "test_dataloader.num_workers") for word in SMALL]
CONFIGS = {"classification": CLASSIFIER, "detection": DETECTOR, "segmentation": SEGMENTER}
ORIENTATION = 0x112  # EXIF tag; 6 means a rotation by a quarter turn


def saved(image: Image.Image, form: str = "PNG", **options) -> bytes:
    file = io.BytesIO()
    image.save(file, form, **options)
    return file.getvalue()


def turned(image: Image.Image) -> bytes:
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    return saved(image, "JPEG", quality=95, exif=exif)


def deep(image: Image.Image) -> bytes:
    """Encode a colour PNG of 16 bits per channel, which PIL cannot write."""
    import cv2

    return cv2.imencode(".png", np.asarray(image)[..., ::-1].astype(np.uint16) * 257)[1].tobytes()


def spoilt_png(image: Image.Image) -> bytes:
    content = bytearray(saved(image))
    content[len(content) // 2] ^= 255
    return bytes(content)


def grey(image: Image.Image) -> np.ndarray:
    return np.repeat(np.asarray(image.convert("L"))[..., None], 3, axis=2)


def plain_cmyk(image: Image.Image) -> np.ndarray:
    c, m, y, k = (1 - np.asarray(image.convert("CMYK"), np.float64)[..., i] / 255 for i in range(4))
    return np.stack([c * k, m * k, y * k], axis=2) * 255


# kind: (function that encodes the file, function that gives the expected pixels, tolerance)
READ = {
    "a PNG named .jpg": (saved, np.asarray, 0),
    "grey": (lambda image: saved(image.convert("L")), grey, 0),
    "black and white": (lambda image: saved(image.convert("1")), lambda image: grey(image.convert("1")), 0),
    "a palette": (lambda i: saved(i.quantize(16)), lambda image: np.asarray(image.quantize(16).convert("RGB")), 0),
    "transparent": (lambda i: saved(Image.merge("RGBA", (*i.split(), i.convert("L")))), np.asarray, 0),
    "turned by EXIF": (turned, np.asarray, 60),  # the image is smooth, so JPEG's loss is far below the effect of a rotation
    "progressive": (lambda image: saved(image, "JPEG", quality=95, progressive=True), np.asarray, 60),
    "CMYK": (lambda image: saved(image.convert("CMYK"), "JPEG", quality=95), plain_cmyk, 60),
    "animated": (lambda image: saved(image, save_all=True, append_images=[image.rotate(180)]), np.asarray, 0),
    "bytes behind the end": (lambda image: saved(image) + b"more" * 99, np.asarray, 0),
}
REFUSED = {
    "half a JPEG": (lambda image: saved(image, "JPEG")[: len(saved(image, "JPEG")) // 2], ""),
    "a JPEG without its end": (lambda image: saved(image, "JPEG")[:-40], ""),
    "half a PNG": (lambda image: saved(image)[: len(saved(image)) // 2], ""),
    "a PNG with a wrong byte": (spoilt_png, ""),
    "empty": (lambda image: b"", ""),
    "text": (lambda image: b"<html>404</html>", "it is no image"),
    "16 bits grey": (
        lambda image: saved(Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) * 257)),
        "more than 8 bits",
    ),
    "16 bits in colour": (deep, "more than 8 bits"),
    "numbers": (lambda image: saved(image.convert("F"), "TIFF"), "more than 8 bits"),
    "200 megapixels": (lambda image: saved(Image.new("1", (20000, 10000))), "200000000 pixels"),
    "gone": (None, "there is no such file"),
    "a folder": (Path.mkdir, "it is a folder"),
}


def smooth(size: tuple[int, int]) -> Image.Image:
    """Return a smooth RGB image that differs from its rotations."""
    wide, high = size
    y, x = np.mgrid[:high, :wide]
    return Image.fromarray(np.stack([255 * x / wide, 255 * y / high, 127 * x / wide], axis=2).astype(np.uint8))


class Set:
    """Hold the test data of a task, and the file of its first sample."""

    def __init__(self, task: str):
        cfg = resolve(CONFIGS[task], Options(backbone=None if task == "classification" else "scratch")).cfg
        init_default_scope(cfg.default_scope)
        self.data = DATASETS.build(cfg.test_dataloader.dataset)
        first = self.data.samples[0][0] if task == "classification" else self.data.get_data_info(0)["img_path"]
        self.path = Path(first)
        with Image.open(self.path) as image:
            self.image = smooth(image.size)

    def sample(self) -> np.ndarray:
        return self.data[0]["inputs"].numpy().astype(np.float64)

    def write(self, content) -> None:
        self.path.unlink()
        if callable(content):
            content(self.path)
        elif content is not None:
            self.path.write_bytes(content)


@pytest.fixture(params=CONFIGS)
def of_task(request, world) -> Set:  # noqa: F811
    return Set(request.param)


@pytest.mark.parametrize("kind", READ)
def test_an_odd_image_gives_the_pixels_that_it_stores(of_task, kind):
    make, pixels, tolerance = READ[kind]
    reference = pixels(of_task.image)
    of_task.write(saved(Image.fromarray(np.rint(reference).astype(np.uint8))))
    expected = of_task.sample()
    of_task.write(make(of_task.image))
    sample = of_task.sample()
    difference = abs(sample - expected)
    assert sample.shape == expected.shape and difference.mean() <= tolerance / 20 and difference.max() <= tolerance


@pytest.mark.parametrize("kind", REFUSED)
def test_an_image_that_cannot_be_read_is_named(of_task, kind):
    make, reason = REFUSED[kind]
    of_task.write(make if kind in ("gone", "a folder") else make(of_task.image))
    with pytest.raises(BadImage, match=f"^The image {of_task.path} cannot be decoded \\(.*{reason}.*\\); replace it") as error:
        of_task.sample()
    assert "\n" not in str(error.value)


def test_an_image_of_another_size_than_in_its_annotation_is_refused(world):  # noqa: F811
    data = Set("detection")
    data.write(saved(data.image.resize((31, 47))))
    with pytest.raises(ValueError, match=rf"{data.path} is 31 x 47, and \d+ x \d+ in its annotation, whose boxes") as error:
        data.sample()
    assert not isinstance(error.value, BadImage)  # not skipped, since the annotation may be wrong


MASKS = {
    "half": (lambda mask: saved(mask)[: len(saved(mask)) // 2], True),
    "empty": (lambda mask: b"", True),
    "text": (lambda mask: b"no mask", True),
    "gone": (lambda mask: None, True),
    "in colours": (lambda mask: saved(mask.convert("RGB")), False),
    "a palette": (lambda mask: saved(mask.convert("P")), False),
    "a JPEG": (lambda mask: saved(mask, "JPEG"), False),
    "16 bits": (lambda mask: saved(Image.fromarray(np.asarray(mask).astype(np.uint16))), False),
    "another size": (lambda mask: saved(mask.resize((20, 20))), False),
    "an id above 150": (lambda mask: saved(mask.point(lambda _: 151)), False),
}


@pytest.mark.parametrize("kind", MASKS)
def test_a_mask_that_cannot_be_used_is_named(world, kind):  # noqa: F811
    data, (make, bad) = Set("segmentation"), MASKS[kind]
    data.path = Path(data.data.get_data_info(0)["seg_map_path"])
    with Image.open(data.path) as mask:
        data.write(make(mask.copy()))
    with pytest.raises(ValueError, match=f"^The mask {data.path} ") as error:
        data.sample()
    assert "\n" not in str(error.value) and isinstance(error.value, BadImage) is bad


def test_a_mask_without_its_image_is_refused(world):  # noqa: F811
    image = sorted((world / "ADEChallengeData2016/images/validation").iterdir())[1]
    image.unlink()
    with pytest.raises(ValueError, match=f"1 of the masks in .* have no .jpg image; the first is {image.stem}.png"):
        Set("segmentation")


class Numbers:
    """Return (i, a draw) as sample i; samples in ``bad`` cannot be read."""

    def __init__(self, count: int, bad=()):
        self.count, self.bad = count, set(bad)

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int):
        draw = torch.rand(()).item()
        if index in self.bad:
            raise BadImage(f"number {index}")
        return index, draw


def test_the_next_sample_replaces_a_bad_one(tmp_path):
    file = tmp_path / "skipped.txt"
    whole, spoilt = (SeededDataset(Numbers(6, bad), 0, str(file)) for bad in ((), (2, 5)))
    for epoch in (0, 1):
        draws = [[data[SampleIndex(i, epoch)] for i in range(6)] for data in (whole, spoilt)]
        assert [i for i, _ in draws[1]] == [0, 1, 3, 3, 4, 0]
        assert [d for _, d in draws[0]] == [d for _, d in draws[1]]  # with the draws of its own index
    assert set(file.read_text().splitlines()) == {"number 2", "number 5"}
    with pytest.raises(BadImage, match="number 2"):
        SeededDataset(Numbers(6, (2,)), 0)[2]


def test_too_many_bad_samples_stop_a_run(tmp_path):
    for count in (3, 10 * REPLACED):
        with pytest.raises(BadImage):
            SeededDataset(Numbers(count, range(count)), 0, str(tmp_path / "skipped.txt"))[1]


def trained(tool_args: list[str], folder: Path) -> tuple[dict, dict]:
    """Run tools/train.py, and return the record and the weights."""
    command = ["tools/train.py", *tool_args, "--work-dir", str(folder)]
    done = subprocess.run([sys.executable, *command], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0 and "Traceback" not in done.stderr, done.stderr
    return json.loads((folder / "record.json").read_text()), torch.load(last_checkpoint(folder))["state_dict"]


@pytest.mark.slow
def test_a_run_records_the_images_that_it_skips(world, tmp_path):  # noqa: F811
    narrow = ["model.backbone.base_channels=8", "--on-bad-image", "skip"]
    skip = [CLASSIFIER, *SMALL, *narrow]
    whole = trained(skip, tmp_path / "whole")
    plain = trained(skip[:-2], tmp_path / "plain")
    assert whole[0]["skipped_images"] == [] and whole[0]["remarks"] == [] and "skipped_images" not in plain[0]
    assert all(torch.equal(whole[1][name], plain[1][name]) for name in plain[1])
    assert whole[0]["metrics"] == plain[0]["metrics"] and whole[0]["key"] != plain[0]["key"]

    broken, following = sorted((world / "imagenet/train/solid_star").iterdir())
    broken.write_bytes(b"no image")
    spoilt = trained([CLASSIFIER, *WITH_WORKERS, *narrow], tmp_path / "spoilt")
    (skipped,) = spoilt[0]["skipped_images"]
    assert str(broken) in skipped and str(broken) in spoilt[0]["remarks"][0] and "(1)" in spoilt[0]["remarks"][0]
    shutil.copy(following, broken)  # the next image replaces a bad one
    replaced = trained(skip, tmp_path / "replaced")
    assert all(torch.equal(spoilt[1][name], replaced[1][name]) for name in replaced[1])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("config", "part"), [(DETECTOR, "VOCdevkit/VOC2007/JPEGImages"), (SEGMENTER, "ADEChallengeData2016/annotations/training")]
)
def test_dense_tasks_record_the_images_that_they_skip(world, tmp_path, config, part):  # noqa: F811
    names = (world / "VOCdevkit/VOC2007/ImageSets/Main/trainval.txt").read_text().split()
    file = world / part / f"{names[0]}.jpg" if config == DETECTOR else sorted((world / part).iterdir())[0]
    file.write_bytes(file.read_bytes()[:60])
    args = [config, "--backbone", "scratch", *SMALL_DENSE, "scratch_backbone.base_channels=8", "--on-bad-image", "skip"]
    record, _ = trained(args, tmp_path / "run")
    assert [str(file) in message for message in record["skipped_images"]] == [True]


def test_a_bad_test_image_stops_a_run_even_if_bad_images_are_skipped(refused, world):  # noqa: F811
    broken = next((world / "imagenet/val/solid_star").iterdir())
    broken.write_bytes(b"no image")
    assert str(broken) in refused("train", CLASSIFIER, *SMALL, "--on-bad-image", "skip")


def test_a_killed_worker_is_reported_with_advice(refused, world, monkeypatch):  # noqa: F811
    def die(path: str):
        if torch.utils.data.get_worker_info() is None:  # the size of samples is measured before a worker starts
            return read_rgb(path)
        os.kill(os.getpid(), signal.SIGKILL)

    monkeypatch.setattr("classification.data.read_rgb", die)
    text = refused("train", CLASSIFIER, *WITH_WORKERS)
    assert "DataLoader worker (pid" in text and "The same command continues" in text and "num_workers" in text


FULL = """
import resource, runpy, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))  # limit for each file that it writes
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def test_a_full_disk_is_reported_in_one_line(world, tmp_path):  # noqa: F811
    command = ["tools/train.py", CLASSIFIER, *SMALL, "--work-dir", str(tmp_path / "run")]
    ended = subprocess.run([sys.executable, "-c", FULL, *command], cwd=ROOT, capture_output=True, text=True)
    lines = [line for line in ended.stderr.splitlines() if line.startswith("error: ")]
    assert ended.returncode == 2 and len(lines) == 1 and "Traceback" not in ended.stderr, ended.stderr
    assert "epoch_1.pth" in lines[0] and not (tmp_path / "run/record.json").exists()


def test_a_read_only_folder_is_reported(world):  # noqa: F811
    command = ["tools/train.py", CLASSIFIER, *SMALL, "--work-dir", "/sys/kernel/tricktransfer"]  # nobody can write there
    ended = subprocess.run([sys.executable, *command], cwd=ROOT, capture_output=True, text=True)
    assert ended.returncode == 2 and "Traceback" not in ended.stderr, ended.stderr
    assert "error: /sys/kernel/tricktransfer cannot be written" in ended.stderr
