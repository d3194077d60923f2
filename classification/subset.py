"""Copy a part of a dataset of class folders, such as ImageNet and Places365, with smaller images. Loads no torch."""

import difflib
import os
from pathlib import Path

from backbones.common.dataset_checks import first_names
from backbones.common.files import missing_folder
from backbones.common.images import read_rgb
from backbones.common.subsets import Choice, Layout, SubsetOptions, draw, refuse_splits, save_image
from classification.folders import class_images, class_names

SPLITS = ("train", "val")


def choose(root: Path, options: SubsetOptions) -> Choice:
    """Choose classes, and images of each class.

    Raises:
        ValueError: a split is missing, a class that was asked for does not exist, or a class has no images or lacks in a split.
    """
    refuse_splits(options.images, SPLITS, root)
    for split in SPLITS:
        if not os.path.isdir(root / split):
            raise ValueError(missing_folder(root / split, "one folder of images per class"))
    names = {split: class_names(root / split) for split in SPLITS}
    classes = choose_classes(names["train"], options, root / "train")
    if lacking := [name for name in classes if name not in names["val"]]:
        raise ValueError(f"{root / 'val'} has no folder for classes of train: {first_names(lacking)}; add them, or name others.")
    images: list[str] = []
    chosen, available = {"classes": len(classes)}, {"classes": len(names["train"])}
    for split in SPLITS:
        images_of = {name: class_images(root / split, name) for name in classes}
        if empty := [name for name, files in images_of.items() if not files]:
            raise ValueError(f"{root / split} has class folders without images: {first_names(empty)}; fill or leave them out.")
        taken = [file for files in images_of.values() for file in draw(files, options.images.get(split), options.seed)]
        images += [f"{split}/{file}" for file in taken]
        chosen[split], available[split] = len(taken), sum(map(len, images_of.values()))
    return Choice(images, chosen, available, {})


def choose_classes(names: list[str], options: SubsetOptions, place: Path) -> list[str]:
    """Return the classes to take, sorted.

    Raises:
        ValueError: one is not there, or there are none.
    """
    for name in options.classes or ():
        if name not in names:
            near = difflib.get_close_matches(name, names, n=3, cutoff=0.5) or names[:3]
            raise ValueError(f"{place} has no class {name!r}; nearest: {', '.join(near)}. There are {len(names):,} folders.")
    if not names:
        raise ValueError(f"{place} should hold one folder of images per class, and holds no folder.")
    return sorted(set(names if options.classes is None else options.classes))[:: options.every or 1]


def files(name: str) -> tuple[str, ...]:
    """Return the path of an image, SPLIT/CLASS/FILE."""
    return (name,)


def write(source: Path, target: Path, name: str, options: SubsetOptions) -> None:
    """Write one image.

    Raises:
        BadImage: it cannot be decoded.
    """
    image = read_rgb(source / name)
    save_image(image, options.size(image.size), source / name, target / name, options)


LAYOUT = Layout("train and val, with one folder of images per class", choose, files, write)
