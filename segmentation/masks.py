"""Read and check mask files of SceneParse150, for training and for ``prepare_data.py check ade20k``.

Only numpy and PIL are imported, so that processes that only decode start quickly.
"""

import warnings
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, UnidentifiedImageError

from backbones.common.data_files import oddity
from backbones.common.drawing import evenly_spaced
from backbones.common.images import BadImage
from segmentation.folders import Split

CLASSES = 150
SAMPLE = 32  # masks that are read before a run
ALLOWED = f"0 (ignored) and 1..{CLASSES} in a PNG of one channel of 8 bits (mode L), as large as its image"
BITS = {"1": "1 bit", "L;2": "2 bits", "L;4": "4 bits", "I;16B": "16 bits"}  # PIL's raw modes of grey PNGs with other than 8 bits


class Fault(NamedTuple):
    """Describe a fault that masks may have.

    Args:
        many: phrase for all masks with the fault, for a report.
        one: predicate for a single mask, with {} for the detail.
        fix: instruction to fix it.
    """

    many: str
    one: str
    fix: str


FAULTS = {
    "unreadable": Fault("masks that cannot be read", "cannot be read ({})", "fix its permissions or link, or copy it again"),
    "broken": Fault("masks that cannot be decoded", "cannot be decoded ({})", "unpack or copy it again"),
    "format": Fault(
        "masks of another format than PNG",
        "is of the format {}, not PNG",
        "use the original PNG, since JPEG and similar formats change ids",
    ),
    "palette": Fault(
        "masks with a palette",
        "has a palette ({})",
        "if its indices are the ids 0..150, convert it to mode L by "
        "Image.fromarray(numpy.array(Image.open(FILE))).save(FILE), not by convert('L'), which gives brightness",
    ),
    "channels": Fault(
        "masks of more than one channel",
        "has more than one channel ({})",
        "use SceneParse150's masks (the *_seg.png of the full ADE20K are coloured), or write the ids to one channel",
    ),
    "depth": Fault(
        "masks of other than 8 bits a pixel",
        "has {} a pixel",
        "use SceneParse150's masks, or save the ids 0..150 in 8 bits (mode L)",
    ),
    "size": Fault(
        "masks of another size than their image",
        "is {}",
        "take both from one release; if only one was resized, resize the mask to its image by nearest neighbour",
    ),
    "id": Fault(
        f"masks with an id above {CLASSES}",
        "has the id {}",
        "use SceneParse150's masks; if classes count from 0 and 255 is ignored, add 1 to each pixel in uint8",
    ),
}


def check_mask(path: str | Path, size: tuple[int, int] | None = None) -> np.ndarray:
    """Read a mask: ids uint8 (H, W), 0 (ignored) to 150.

    Args:
        path: path of a PNG of one channel of 8 bits (mode L).
        size: (H, W) of its image; None allows any size.

    Raises:
        BadImage: the file cannot be read or decoded.
        ValueError: any other fault of ``find_fault``. The message is one sentence that names the file, what is allowed and what
            to do.

    Source: the masks of SceneParse150, github.com/CSAILVision/sceneparsing.
    """
    mask, fault, detail = find_fault(path, size)
    if fault:
        error_type = BadImage if fault in ("broken", "unreadable") else ValueError
        raise error_type(f"The mask {path} {FAULTS[fault].one.format(detail)}; allowed: {ALLOWED}; {FAULTS[fault].fix}.")
    return mask


def find_fault(path: str | Path, size: tuple[int, int] | None = None) -> tuple[np.ndarray, str, str]:
    """Return (ids, '', '') of a mask, or (an empty array, its key in FAULTS, a detail); never raise.

    Arguments and ids are those of ``check_mask``.
    """
    nothing = np.empty((0, 0), np.uint8)
    try:
        reason = oddity(path)
        if reason == "it is empty":
            return nothing, "broken", "0 bytes"
        if reason.startswith("it is a"):  # a pipe or a device would be read without end
            return nothing, "unreadable", reason
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about odd metadata, with which a mask can still be read
            with Image.open(path) as image:
                if format_fault := _format_fault(image):
                    return nothing, *format_fault
                mask = np.array(image)
    except UnidentifiedImageError:
        return nothing, "broken", "no image"
    except Exception as error:  # damaged files make PIL raise anything; only the system's own errors have a number
        if isinstance(error, OSError) and error.errno:
            return nothing, "unreadable", str(error.strerror)
        return nothing, "broken", " ".join(str(error).split()) or type(error).__name__
    if size is not None and mask.shape != tuple(size):
        (mask_height, mask_width), (height, width) = mask.shape, size
        return nothing, "size", f"{mask_width} x {mask_height}, and its image {width} x {height}"
    if mask.max() > CLASSES:
        return nothing, "id", str(mask.max())
    return mask, "", ""


def sample_masks(split: Split, skip_bad: bool) -> list[str]:
    """Read up to ``SAMPLE`` masks of a split, evenly spaced; return a sentence if they look as if classes counted from 0.

    Args:
        split: images and masks.
        skip_bad: pass over what cannot be decoded, which training reports or skips when it reads it.

    Raises:
        BadImage, ValueError: as ``check_mask``; or no pixel is labelled.
    """
    pixels = np.zeros(CLASSES + 1, int)
    for i in evenly_spaced(len(split.pairs), SAMPLE):
        name = split.pairs[i]
        try:
            pixels += count_ids(check_mask(split.mask(name), _size_of(split.image(name))))
        except BadImage:
            if not skip_bad:
                raise
    if pixels[0] and not pixels[1:].any():
        raise ValueError(
            f"No mask in {split.masks} that was looked at has a pixel of a class: all are 0, which is ignored; use masks with "
            f"the ids 1..{CLASSES}."
        )
    notice = notice_numbering(pixels, complete=False)
    return [f"{split.masks}: {notice}"] if notice else []


def _size_of(path: str) -> tuple[int, int] | None:
    """Return (H, W) of an image; None if it cannot be read, which is reported when it is."""
    if oddity(path):
        return None
    try:
        with Image.open(path) as image:
            return image.size[::-1]
    except Exception:  # damaged files make PIL raise anything
        return None


def count_ids(mask: np.ndarray) -> np.ndarray:
    """Return how many pixels of a mask have each of the ids 0..150."""
    return np.bincount(mask.ravel(), minlength=CLASSES + 1)


def notice_numbering(pixels: np.ndarray, complete: bool) -> str:
    """Return a sentence if masks look as if their classes counted from 0, where 0 is ignored; else nothing.

    Args:
        pixels: number of pixels of each id in the masks.
        complete: the masks are a whole split, in which the last class should occur.
    """
    if not pixels[0]:
        return ""
    remedy = "if 0 is a class, add 1 to every pixel of all masks"
    if pixels[0] > pixels[1:].max():
        return f"0, which is ignored, is the most frequent id in the masks ({100 * pixels[0] / pixels.sum():.0f} %); {remedy}."
    if complete and np.flatnonzero(pixels).max() == CLASSES - 1:
        return f"the masks have the ids 0 to {CLASSES - 1}, and 0 is ignored; {remedy}."
    return ""


def _format_fault(image: Image.Image) -> tuple[str, str] | None:
    """Return the fault and detail of an opened image that is not a grey PNG of 8 bits, else None."""
    if image.format != "PNG":
        return "format", str(image.format)
    if image.mode == "P":
        return "palette", "mode P"
    raw = image.tile[0][3]  # PIL scales fewer than 8 bits to 0..255, which changes the ids
    if raw in BITS:
        return "depth", BITS[raw]
    return None if image.mode == "L" else ("channels", f"mode {image.mode}")
