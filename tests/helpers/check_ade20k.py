"""Lay out small copies of ADE20K."""

import shutil
import struct
import zlib
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

WIDTH, HEIGHT = 48, 40
STEMS = {"training": [f"ADE_train_0000000{i}" for i in (1, 2, 3)], "validation": [f"ADE_val_0000000{i}" for i in (1, 2)]}
JPG, PNG = "images/training/ADE_train_00000002.jpg", "annotations/training/ADE_train_00000002.png"


def ids() -> np.ndarray:
    """Return a mask whose four quarters are 0, 1, 75 and 150."""
    return np.repeat(np.uint8([[0, 1, 75, 150]]), HEIGHT, 0).repeat(WIDTH // 4, 1)


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("whole")
    noise = Image.merge("RGB", [Image.effect_noise((WIDTH, HEIGHT), 60)] * 3)
    for split, stems in STEMS.items():
        for kind in ("images", "annotations"):
            (root / kind / split).mkdir(parents=True)
        for stem in stems:
            noise.save(root / f"images/{split}/{stem}.jpg")
            Image.fromarray(ids()).save(root / f"annotations/{split}/{stem}.png")
    (root / "objectInfo150.txt").write_text("Idx\n")
    return root


@pytest.fixture
def tree(whole, tmp_path) -> Path:
    """Make a copy that a test may break."""
    return shutil.copytree(whole, tmp_path / "ADEChallengeData2016")


def grey(depth: int) -> bytes:
    """Encode a PNG of one channel of ``depth`` bits, all zeros, which PIL cannot write."""
    rows = (b"\0" + bytes((WIDTH * depth + 7) // 8)) * HEIGHT
    head = struct.pack(">IIBBBBB", WIDTH, HEIGHT, depth, 0, 0, 0, 0)
    parts = [(b"IHDR", head), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    chunks = [struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)) for name, data in parts]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def put(root: Path, path: str, data: bytes) -> None:
    (root / path).write_bytes(data)


def mask(array=None, form: str = "PNG", mode: str = ""):
    """Return a function that replaces the mask PNG by ``array``, or by the same ids in another format or mode."""

    def spoil(root: Path) -> None:
        image = Image.fromarray(ids() if array is None else array)
        (image.convert(mode) if mode else image).save(root / PNG, form)

    return spoil


def palette(root: Path) -> None:
    image = Image.fromarray(ids())
    image.putpalette([value for i in range(256) for value in (i, 255 - i, 7)])
    image.save(root / PNG)


def cut(path: str, length: int):
    return lambda root: put(root, path, (root / path).read_bytes()[:length])


def lead_nowhere(path: str):
    return lambda root: ((root / path).unlink(), (root / path).symlink_to(root / "gone"))


MASKS = {  # key in FAULTS, variant -> how to spoil a mask; its line in the report after "training: "; its message in training
    "unreadable": (
        lead_nowhere(PNG),
        "masks that cannot be read (1): {} (No such file or directory); fix its",
        "cannot be r",
    ),
    "broken, empty": (
        partial(put, path=PNG, data=b""),
        "masks that cannot be decoded (1): {} (0 bytes); unpack",
        "cannot be dec",
    ),
    "broken, cut": (
        cut(PNG, 60),
        "masks that cannot be decoded (1): {} (image file is truncated",
        "cannot be decoded (image file",
    ),
    "broken, cut early": (cut(PNG, 20), "masks that cannot be decoded (1): {} (", "cannot be decoded ("),
    "broken, text": (
        partial(put, path=PNG, data=b"<html>"),
        "masks that cannot be decoded (1): {} (no image);",
        "cannot be decod",
    ),
    "format": (mask(form="JPEG"), "masks of another format than PNG (1): {} (JPEG); use the", "is of the format JPEG, not PNG"),
    "palette": (palette, "masks with a palette (1): {} (mode P); if its indices are the ids", "has a palette (mode P); allowed:"),
    "channels": (
        mask(mode="RGB"),
        "masks of more than one channel (1): {} (mode RGB); use",
        "has more than one channel (mode RG",
    ),
    "channels, LA": (mask(mode="LA"), "masks of more than one channel (1): {} (mode LA);", "has more than one channel (mode LA)"),
    "depth": (mask(ids().astype(np.uint16)), "masks of other than 8 bits a pixel (1): {} (16 bits); use", "has 16 bits a pixel"),
    "depth, 4": (partial(put, path=PNG, data=grey(4)), "masks of other than 8 bits a pixel (1): {} (4 bits);", "has 4 bits a pi"),
    "depth, 1": (partial(put, path=PNG, data=grey(1)), "masks of other than 8 bits a pixel (1): {} (1 bit);", "has 1 bit a pix"),
    "size": (
        mask(ids()[:-1]),
        "masks of another size than their image (1): {} (48 x 39, and its image 48 x 40); take both from",
        "is 48 x 39, and its image 48 x 40; allowed:",
    ),
    "size, turned": (mask(ids().T), "masks of another size than their image (1): {} (40 x 48, and its", "is 40 x 48, and its im"),
    "id": (
        mask(ids() + np.uint8(1)),
        "masks with an id above 150 (1): {} (151); use",
        "has the id 151; allowed: 0 (ignored) and",
    ),
    "id, 255": (
        mask(ids() - np.uint8(1)),
        "masks with an id above 150 (1): {} (255); use",
        "has the id 255; allowed: 0 (ignore",
    ),
}
