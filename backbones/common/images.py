"""How an image file becomes pixels, the same in every task: as they are stored, in three channels of 8 bits, or not at all.

- The EXIF orientation is not applied: boxes of VOC and masks of ADE20K were drawn on the stored pixels, and torchvision, by which
  classifiers are trained and published, does not apply it either.
- Grey images get three equal channels, palettes their colours, CMYK is converted by its plain formula (no colour profile), and
  transparency is dropped. Each has examples in ImageNet.
- More than 8 bits a channel, or numbers that are no integers, are refused: PIL would cut off all above 255 and OpenCV would
  scale, so one file would be two images.
- What a file is, its content says: its name may end otherwise.
- A file that is cut short is refused. One with wrong bytes in the middle of a JPEG cannot be told from a sound one.
- An image of more than 179 megapixels is refused, twice the size at which PIL begins to warn of decompression bombs.
"""

import io
from pathlib import Path

import numpy as np
from PIL import Image

DEEP = ("I", "F", "I;16", "I;16B", "I;16L", "I;16N")  # PIL's modes of more than 8 bits


class BadImage(ValueError):
    """A file that cannot be read as an image, or as a mask: what ``--on-bad-image skip`` replaces while training."""


def read_rgb(path: str | Path) -> Image.Image:
    """The image at ``path``, decoded by PIL, in mode RGB.

    Raises:
        BadImage: it is missing or refused; names the path.
    """
    try:
        with Image.open(path) as image:
            _refuse(image)
            image.load()
            return image if image.mode == "RGB" else image.convert("RGB")  # convert would copy one that is RGB
    except Exception as error:  # damaged files make PIL raise anything
        raise _bad(path, error) from None


def read_bgr(path: str | Path) -> np.ndarray:
    """The image at ``path``, decoded by OpenCV as mmcv does it: uint8 (H, W, 3), BGR.

    Raises:
        BadImage: it is missing or refused; names the path.
    """
    import cv2

    try:
        content = Path(path).read_bytes()
        with Image.open(io.BytesIO(content)) as image:  # its head alone
            _refuse(image)
        array = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
        if array is None:
            raise OSError("it is cut short or damaged")
        return array
    except Exception as error:
        raise _bad(path, error) from None


def _refuse(image: Image.Image) -> None:
    """Raises ValueError for an opened image of more than 8 bits; PIL itself has refused one that is too large."""
    raw = str(image.tile[0][3]) if image.tile else ""
    if image.mode in DEEP or raw.endswith((";16B", ";16L", ";16N")):  # 'BGR;16' is a BMP of 16 bits a pixel
        raise ValueError(f"it has more than 8 bits a channel (mode {image.mode}): save it with 8")


def _bad(path: str | Path, error: Exception) -> BadImage:
    known = {FileNotFoundError: "there is no such file", Image.UnidentifiedImageError: "it is no image"}
    what = known.get(type(error)) or getattr(error, "strerror", None) or " ".join(str(error).split()) or type(error).__name__
    return BadImage(f"The image {path} cannot be decoded ({what}); replace it, or take it out of the data.")
