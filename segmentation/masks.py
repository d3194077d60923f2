"""Masks of SceneParse150 in their files: one check, which both training and ``prepare_data.py check ade20k`` make.

numpy and PIL only, so that what only decodes starts in a moment.
"""

import os
import warnings
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, UnidentifiedImageError

from backbones.common.images import BadImage

CLASSES = 150
ALLOWED = f"0 (ignored) and 1..{CLASSES} in a PNG of one channel of 8 bits (mode L), as large as its image"
BITS = {"1": "1 bit", "L;2": "2 bits", "L;4": "4 bits", "I;16B": "16 bits"}  # PIL's raw modes of a grey PNG, but for 8


class Fault(NamedTuple):
    """What may be wrong with a mask.

    Args:
        many: masks that have it, for a report.
        one: of a single mask, with its detail in place of {}.
        mend: what to do.
    """

    many: str
    one: str
    mend: str


FAULTS = {
    "unreadable": Fault("masks that cannot be read", "cannot be read ({})", "mend rights or links, or copy again"),
    "broken": Fault("masks that cannot be decoded", "cannot be decoded ({})", "unpack or copy again"),
    "format": Fault(
        "masks of another format than PNG",
        "is of the format {}, not PNG",
        "use what was saved as PNG from the start, since JPEG and the like change ids",
    ),
    "palette": Fault(
        "masks with a palette",
        "has a palette ({})",
        "if its indices are the ids 0..150, convert it to mode L with these kept, by "
        "Image.fromarray(numpy.array(Image.open(FILE))).save(FILE), and not by convert('L'), which gives brightness",
    ),
    "channels": Fault(
        "masks of more than one channel",
        "has more than one channel ({})",
        "use SceneParse150's own (the *_seg.png of the full ADE20K are in colours), or write the ids to one channel",
    ),
    "depth": Fault(
        "masks of other than 8 bits a pixel",
        "has {} a pixel",
        "use SceneParse150's own, or save the ids 0..150 in 8 bits (mode L)",
    ),
    "size": Fault(
        "masks of another size than their image",
        "is {}",
        "take both from one release; if only one was resized, resize the mask to its image by nearest neighbour",
    ),
    "id": Fault(
        f"masks with an id above {CLASSES}",
        "has the id {}",
        "use SceneParse150's own; where classes count from 0 and 255 is ignored, add 1 to each pixel, in uint8",
    ),
}


def check_mask(path: str | Path, size: tuple[int, int] | None = None) -> np.ndarray:
    """Reads a mask: ids uint8 (H, W), 0 (ignored) to 150.

    Args:
        path: a PNG of one channel of 8 bits (mode L).
        size: (H, W) of its image; None: of any size.

    Raises:
        BadImage: the file cannot be read.
        ValueError: what else ``find_fault`` finds; one sentence that names the file, what is allowed and what to do.

    Source: the masks of SceneParse150, github.com/CSAILVision/sceneparsing.
    """
    mask, fault, detail = find_fault(path, size)
    if fault:
        _, one, mend = FAULTS[fault]
        kind = BadImage if fault in ("broken", "unreadable") else ValueError
        raise kind(f"The mask {path} {one.format(detail)}; allowed: {ALLOWED}; {mend}.")
    return mask


def find_fault(path: str | Path, size: tuple[int, int] | None = None) -> tuple[np.ndarray, str, str]:
    """(ids, '', ''), or (nothing, which of FAULTS it has, detail); arguments and ids as of ``check_mask``. Raises nothing."""
    mask = np.empty((0, 0), np.uint8)
    try:
        if not os.path.getsize(path):
            return mask, "broken", "0 bytes"
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of odd metadata, which do not keep a mask from being read
            with Image.open(path) as image:
                if wrong := _odd_format(image):
                    return mask, *wrong
                found = np.array(image)
    except UnidentifiedImageError:
        return mask, "broken", "no image"
    except Exception as error:  # damaged files make PIL raise anything; only the system's own errors have a number
        if isinstance(error, OSError) and error.errno:
            return mask, "unreadable", str(error.strerror)
        return mask, "broken", " ".join(str(error).split()) or type(error).__name__
    if size is not None and found.shape != tuple(size):
        (high, wide), (h, w) = found.shape, size
        return mask, "size", f"{wide} x {high}, and its image {w} x {h}"
    if found.max() > CLASSES:
        return mask, "id", str(found.max())
    return found, "", ""


def _odd_format(image: Image.Image) -> tuple[str, str] | None:
    """The fault and detail of an opened image that is not a grey PNG of 8 bits."""
    if image.format != "PNG":
        return "format", str(image.format)
    if image.mode == "P":
        return "palette", "mode P"
    raw = image.tile[0][3]  # of fewer than 8 bits PIL makes 0..255, which are other ids than those written
    if raw in BITS:
        return "depth", BITS[raw]
    return None if image.mode == "L" else ("channels", f"mode {image.mode}")
