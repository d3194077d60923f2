"""Choose and shrink images for a smaller copy of a dataset; each task adds its own layout, annotations and masks.

What is chosen depends on names alone, and a shrunk image on the source's pixels and the versions of Pillow and libjpeg.
"""

import hashlib
import os
import shutil
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Literal, NamedTuple, get_args

import msgspec
from msgspec import Meta
from PIL import Image

from backbones.common.data_files import oddity
from backbones.common.dataset_checks import first_names
from backbones.common.files import atomic_path
from backbones.common.schema import Count, Index

Size = tuple[int, int]  # width, height
Resampler = Literal["lanczos", "bicubic", "bilinear", "hamming", "box"]  # a filter of Pillow
RESAMPLERS = get_args(Resampler)


class SubsetOptions(msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """Declare what decides a subset; an option that a layout has no use for keeps its default.

    Args:
        every: take every k-th of the sorted classes, beginning with the first.
        classes: names of the classes to take; None takes all.
        images: number of images of each split; in class folders, of each class of the split. A split that is not named is
            taken whole.
        years: folders of a VOCdevkit; None takes all.
        short_side: pixels; None changes no image.
        resampler: Pillow's filter, which averages over all source pixels of a target pixel (antialiased).
        quality: of the JPEG files that are written.
        seed: of the choice of images.
    """

    every: Count | None = None
    classes: tuple[str, ...] | None = None
    images: dict[str, Count] = {}
    years: tuple[str, ...] | None = None
    short_side: Annotated[int, Meta(ge=8, le=4096)] | None = None
    resampler: Resampler = "lanczos"
    quality: Annotated[int, Meta(ge=1, le=100)] = 90
    seed: Index = 0

    def size(self, size: Size) -> Size:
        """Return the size of an image after the resize: the short side is ``short_side``, if it was longer."""
        short = min(size)
        if self.short_side is None or short <= self.short_side:
            return size
        width, height = ((2 * side * self.short_side + short) // (2 * short) for side in size)  # rounded half up
        return width, height


class Choice(NamedTuple):
    """Hold which images of a dataset are taken.

    Args:
        names: of the images, as the layout's ``files`` and ``write`` take them; each once.
        chosen, available: number of images of each split, taken and in the source (in class folders, in the classes that are
            taken), and of classes where these are chosen.
        texts: content of the files that follow from the choice, such as lists, by their path below the dataset's folder.
    """

    names: list[str]
    chosen: dict[str, int]
    available: dict[str, int]
    texts: dict[str, str]


class Layout(NamedTuple):
    """Hold how a task's datasets are copied. The functions are those of a module, so that worker processes find them.

    Args:
        holds: the content of a folder in this layout, for messages.
        choose: returns the choice from a source folder and options.
        files: returns the paths of an image and of what belongs to it, below source and target alike.
        write: writes these files of one image from a source folder into a target folder.
    """

    holds: str
    choose: Callable[[Path, SubsetOptions], Choice]
    files: Callable[[str], tuple[str, ...]]
    write: Callable[[Path, Path, str, SubsetOptions], None]


def shuffled(names: Collection[str], seed: int) -> list[str]:
    """Return names in the order of a hash of each, which neither the file system nor other names change."""
    return sorted(names, key=lambda name: hashlib.sha256(f"{seed}\0{name}".encode(errors="surrogateescape")).digest())


def draw(names: Sequence[str], count: int | None, seed: int) -> list[str]:
    """Return ``count`` of the names in their given order, or all if there are no more; more contain fewer."""
    if count is None or count >= len(names):
        return list(names)
    taken = set(shuffled(names, seed)[:count])
    return [name for name in names if name in taken]


def draw_evenly(groups: Mapping[str, Collection[str]], count: int) -> set[str]:
    """Return ``count`` of the names in ``groups``: in turns, each group gives its first name that is not taken yet."""
    waiting = [iter(names) for names in groups.values()]
    taken: set[str] = set()
    while waiting and len(taken) < count:
        turn = waiting.pop(0)
        name = next((name for name in turn if name not in taken), None)
        if name is not None:
            taken.add(name)
            waiting.append(turn)
    return taken


def refuse_splits(images: Mapping[str, int], splits: Collection[str], root: Path) -> None:
    """Raise ValueError if a number of images is asked of a split that a dataset does not have."""
    if unknown := [split for split in images if split not in splits]:
        raise ValueError(f"--images names {unknown[0]!r}, which {root} does not have; allowed: {first_names(splits, 20)}.")


def is_written(source: Path, target: Path, files: Sequence[str]) -> bool:
    """Return whether ``target`` has all the files, none of them empty or older than in ``source``."""
    return all(not oddity(target / file) and _time(target / file) >= _time(source / file) for file in files)


def _time(path: Path) -> int:
    try:
        return os.stat(path).st_mtime_ns
    except OSError:  # a missing source is reported when it is read
        return -1


def save_image(image: Image.Image, size: Size, source: Path, target: Path, options: SubsetOptions) -> None:
    """Write an image: the very bytes of ``source`` if ``size`` is its own, else resized, in the format of the name's suffix.

    Args:
        image: decoded from ``source``, RGB.
        size: to write, see ``SubsetOptions.size``.
        source, target: files.
        options: of the subset.
    """
    if size == image.size:
        copy_file(source, target)
        return
    form = Image.registered_extensions().get(target.suffix.lower(), "JPEG")
    resampler = Image.Resampling[options.resampler.upper()]
    with atomic_path(target) as part:
        image.resize(size, resampler).save(part, form, quality=options.quality)


def copy_file(source: Path, target: Path) -> None:
    """Copy the content of a file; a link counts as its target."""
    with atomic_path(target) as part:
        shutil.copyfile(source, part)
