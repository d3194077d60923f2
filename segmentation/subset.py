"""Copy a part of a dataset in ADE20K's layout, with smaller images and masks. Loads no torch."""

import os
from pathlib import Path

from PIL import Image

from backbones.common.files import atomic_path, missing_folder
from backbones.common.images import read_rgb
from backbones.common.subsets import Choice, Layout, SubsetOptions, copy_file, draw, refuse_splits, save_image
from segmentation.folders import IMAGE, MASK, read_split
from segmentation.masks import check_mask

SPLITS = ("training", "validation")


def choose(root: Path, options: SubsetOptions) -> Choice:
    """Choose images with their masks.

    Raises:
        ValueError: a folder is missing, or images and masks do not pair.
    """
    refuse_splits(options.images, SPLITS, root)
    names: list[str] = []
    chosen, available = {}, {}
    for split in SPLITS:
        folders = root / "images" / split, root / "annotations" / split
        for folder in folders:
            if not os.path.isdir(folder):
                raise ValueError(missing_folder(folder, "a part of ADEChallengeData2016 in its original layout"))
        pairs = read_split(*folders).pairs
        taken = draw(pairs, options.images.get(split), options.seed)
        names += [f"{split}/{name}" for name in taken]
        chosen[split], available[split] = len(taken), len(pairs)
    return Choice(names, chosen, available, {})


def files(name: str) -> tuple[str, ...]:
    """Return the paths of an image and its mask; ``name`` is SPLIT/STEM."""
    return f"images/{name}{IMAGE}", f"annotations/{name}{MASK}"


def write(source: Path, target: Path, name: str, options: SubsetOptions) -> None:
    """Write one image and its mask, which is resized by nearest neighbour, so that it holds no id that it did not have.

    Raises:
        ValueError: the image cannot be decoded, or the mask cannot be used, see ``check_mask``.
    """
    photo, label = files(name)
    image = read_rgb(source / photo)
    width, height = image.size
    mask = check_mask(source / label, (height, width))
    size = options.size(image.size)
    save_image(image, size, source / photo, target / photo, options)
    if size == image.size:
        copy_file(source / label, target / label)
        return
    with atomic_path(target / label) as part:
        Image.fromarray(mask).resize(size, Image.Resampling.NEAREST).save(part, "PNG")


LAYOUT = Layout("images and annotations of ADE20K", choose, files, write)
