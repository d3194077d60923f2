"""Decode image files the same way in every task: the stored pixels in three channels of 8 bits, or an error.

- The EXIF orientation is not applied: boxes of VOC and masks of ADE20K were drawn on the stored pixels, and torchvision, with
  which classifiers are trained and published, does not apply it either.
- Grey images get three equal channels, palettes become colours, CMYK is converted by its plain formula (no colour profile), and
  transparency is dropped. ImageNet has examples of each.
- More than 8 bits a channel, or values that are not integers, are refused: PIL would clip values above 255 and OpenCV would scale
  them, so the two would read different images.
- The content decides the format, whatever the suffix of the name.
- A truncated file is refused. Wrong bytes in the middle of a JPEG cannot be detected.
- An image more than 1000 times as long as wide is refused; the dense tasks refuse one more than 50 times as long.
- An image of more than 179 megapixels is refused, twice the size at which PIL begins to warn of decompression bombs.
"""

import io
from pathlib import Path

import numpy as np
from PIL import Image

from backbones.common.data_files import oddity

# how many times as long as wide an image may be
LONGEST = 1000  # resized to a short side of 256 it has 65 megapixels
LONGEST_DENSE = 50  # dense tasks shrink the long side, and the short one must keep a pixel
DEEP = ("I", "F", "I;16", "I;16B", "I;16L", "I;16N")  # PIL's modes of more than 8 bits


class BadImage(ValueError):
    """Signal a file that cannot be read as an image or a mask; ``--on-bad-image skip`` replaces such a file in training."""


class DeepImage(ValueError):
    """Signal an image of more than 8 bits a channel."""


class SlenderImage(ValueError):
    """Signal an image that is too narrow for its length."""


def read_rgb(path: str | Path) -> Image.Image:
    """Read the image at ``path`` with PIL, in mode RGB.

    Raises:
        BadImage: the file is missing or refused; names the path.
    """
    try:
        _refuse_odd(path)
        with Image.open(path) as image:
            refuse_deep(image)
            refuse_slender(image, LONGEST)
            image.load()
            return image if image.mode == "RGB" else image.convert("RGB")  # convert would copy an RGB image
    except Exception as error:  # damaged files make PIL raise any error
        raise _bad(path, error) from None


def read_bgr(path: str | Path) -> np.ndarray:
    """Read the image at ``path`` with OpenCV, as mmcv does: uint8 (H, W, 3), BGR.

    Raises:
        BadImage: the file is missing or refused; names the path.
    """
    import cv2

    try:
        _refuse_odd(path)
        content = Path(path).read_bytes()
        with Image.open(io.BytesIO(content)) as image:  # reads only the header
            refuse_deep(image)
            refuse_slender(image, LONGEST_DENSE)
        array = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
        if array is None:
            raise OSError("it is cut short or damaged")
        return array
    except Exception as error:
        raise _bad(path, error) from None


def _refuse_odd(path: str | Path) -> None:
    """Raise ValueError for a folder, a pipe or a device; opening a pipe would wait for ever."""
    if reason := oddity(path):
        raise ValueError(reason)


def refuse_slender(image: Image.Image, longest: int) -> None:
    """Raise SlenderImage for an opened image that is more than ``longest`` times as long as wide."""
    if max(image.size) > longest * min(image.size):
        raise SlenderImage(f"it is {image.width} x {image.height}, more than {longest} times as long as wide")


def refuse_deep(image: Image.Image) -> None:
    """Raise DeepImage for an opened image of more than 8 bits a channel; PIL itself refuses one that is too large."""
    raw = str(image.tile[0][3]) if image.tile else ""
    if image.mode in DEEP or raw.endswith((";16B", ";16L", ";16N")):  # 'BGR;16' is a BMP of 16 bits a pixel
        raise DeepImage(f"it has more than 8 bits a channel (mode {image.mode}): save it with 8")


def _bad(path: str | Path, error: Exception) -> BadImage:
    """Return the error for a file: its reason is our phrase, the system's, the decoder's, or the name of the exception."""
    phrases = {Image.UnidentifiedImageError: "it is no image"}
    reason = phrases.get(type(error)) or getattr(error, "strerror", None) or " ".join(str(error).split()) or type(error).__name__
    return BadImage(f"The image {path} cannot be decoded ({reason}); replace it, or take it out of the data.")
