"""Pair the images and masks of a dataset in ADE20K's layout, for training, testing and all checks. Loads no torch."""

import os
from pathlib import Path
from typing import NamedTuple

from backbones.common.data_files import other_suffix, walk
from backbones.transfer.holdout import in_part

IMAGE, MASK = ".jpg", ".png"  # the suffixes that are read


class Split(NamedTuple):
    """Hold the contents of a split's two folders.

    Args:
        images, masks: folders.
        pairs: sorted paths below both, without suffix, of the images that have a mask.
        unmasked: paths of the images that have none.
        unpaired: paths of the masks without an image.
    """

    images: Path
    masks: Path
    pairs: list[str]
    unmasked: list[str]
    unpaired: list[str]

    def image(self, name: str) -> str:
        """Return the path of an image."""
        return os.path.join(self.images, name + IMAGE)

    def mask(self, name: str) -> str:
        """Return the path of a mask."""
        return os.path.join(self.masks, name + MASK)


def stems(folder: Path, suffix: str) -> list[str]:
    """Return the paths of the files with a suffix, at any depth below ``folder`` and without their suffix, as mmseg sorts them.

    Raises:
        ValueError: a folder cannot be listed, or a link leads to a folder above it.
    """
    names = [os.path.join(subfolder, file) for subfolder, files in walk(folder) for file in files if file.endswith(suffix)]
    return [name.removesuffix(suffix) for name in sorted(names)]


def list_split(images: Path, masks: Path) -> Split:
    """List the images and masks of a split.

    Raises:
        ValueError: see ``stems``.
    """
    photos, labels = stems(images, IMAGE), stems(masks, MASK)
    labelled, photographed = set(labels), set(photos)
    return Split(
        images,
        masks,
        [name for name in photos if name in labelled],
        [name for name in photos if name not in labelled],
        [name for name in labels if name not in photographed],
    )


def read_split(images: str | Path, masks: str | Path, part: str | None = None) -> Split:
    """List the images and masks of a split, and refuse what cannot be paired.

    Args:
        images, masks: folders.
        part: 'rest' or 'held_out' of the images, see ``backbones.transfer.holdout``; None for all.

    Raises:
        ValueError: see ``stems``; no images, images without a mask of the same name, masks without an image, or too few images to
            hold any out. The message names the first.
    """
    split = list_split(Path(images), Path(masks))
    if not split.pairs and not split.unmasked:
        other_name = next((other for name in split.unpaired if (other := other_suffix(Path(split.image(name))))), None)
        remedy = (
            f"rename the images, such as {other_name}, since a name must end in {IMAGE}" if other_name else "put ADE20K's there"
        )
        raise ValueError(f"{images} holds no {IMAGE} image; {remedy}.")
    if split.unpaired:
        first = Path(split.mask(split.unpaired[0]))
        raise ValueError(
            f"{len(split.unpaired)} of the masks in {masks} have no {IMAGE} image; the first is {first.name}. "
            + _remedy(Path(split.image(split.unpaired[0])), "masks")
        )
    if split.unmasked:
        first = Path(split.mask(split.unmasked[0]))
        raise ValueError(
            f"{len(split.unmasked)} of {len(split.unmasked) + len(split.pairs)} images have no mask; the first is missing at "
            f"{first}. " + _remedy(first, "images")
        )
    pairs = [name for name in split.pairs if in_part(Path(name).name, part)]
    if not pairs:
        raise ValueError(f"{images} has too few images to hold any out of training; add images.")
    return split._replace(pairs=pairs)


def _remedy(missing: Path, partners: str) -> str:
    """Return what to do about a missing image or mask: rename it if it has another suffix, else complete the data."""
    if other := other_suffix(missing):
        return f"There is {missing.with_name(other)}: rename such files, since a name must end in {missing.suffix}."
    return f"Complete the data, or remove these {partners}."
