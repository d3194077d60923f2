"""Is a copy of ADE20K's SceneParse150 whole? First folders, names and counts, then every image and mask decoded.

Loads neither torch nor mmseg.
"""

import os
import re
import warnings
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from backbones.common import dataset_checks as checking
from backbones.common.dataset_checks import Finding, Look, entries, first_names, inspect_image, listed, map_files, refuse_root
from segmentation import masks
from segmentation.masks import CLASSES, find_fault

SPLITS = {"training": "ADE_train_", "validation": "ADE_val_"}  # -> how names begin; eight digits follow
SUFFIXES = {"images": ".jpg", "annotations": ".png"}  # the folders, and what training reads in them
FOLDER = "ADEChallengeData2016"
ARCHIVE = f"{FOLDER}.zip"
FULL = ("index_ade20k.*", "images/ADE", "images/training/**/*_seg.png")  # what only the full ADE20K has
ORIENTATION = 0x0112  # of EXIF
FAULTS = {  # of an image or of a mask: what it is, and what mends it
    **checking.FAULTS,
    "turned": (
        "images with an EXIF orientation, by which training turns them but not their mask",
        "turn both alike and save the image without it",
    ),
    **{f"mask {name}": (fault.many, fault.mend) for name, fault in masks.FAULTS.items()},
}


@dataclass(frozen=True)
class Expected:
    """SceneParse150 as published: its name, and how many images each split has, each with a mask."""

    name: str
    training: int
    validation: int


# Source: github.com/CSAILVision/sceneparsing, whose archive is data.csail.mit.edu/places/ADEchallenge/ADEChallengeData2016.zip
ADE20K = Expected("ADE20K (SceneParse150)", 20_210, 2_000)


@dataclass
class Split:
    """What lies in a split's two folders; paths are relative to the root."""

    stems: dict[str, list[str]] = field(default_factory=dict)  # images, annotations (those that exist) -> of their files
    folders: list[str] = field(default_factory=list)
    stray: list[str] = field(default_factory=list)

    def names(self) -> list[str]:
        """Stems of an image, a mask or both, sorted."""
        return sorted(set().union(*self.stems.values()))


class Seen(NamedTuple):
    """What there is to say of a stem.

    Args:
        image: its image; None where it has none.
        ids: those in its mask; None where it has no mask, or none that can be used.
        pixels: of the mask.
        ignored: how many of these are 0.
        faults: (one of FAULTS, where) pairs.
    """

    image: Look | None
    ids: list[int] | None
    pixels: int
    ignored: int
    faults: list[tuple[str, str]]


def check_release(root: Path, workers: int, expected: Expected = ADE20K) -> Iterator[Finding]:
    """Compares ``root`` with ``expected``; yields what the folders show at once, then decodes every image and mask in full.

    Args:
        root: folder of images and annotations.
        workers: processes that decode; with 1, this one does.
        expected: the data set as published.

    With several workers, a script that calls this must guard its main code by ``if __name__ == "__main__"``.

    Raises:
        ValueError: no such folder, a folder that cannot be listed, fewer than one worker, or a worker that died.
    """
    root = Path(root)
    if not root.exists() and (root.parent / ARCHIVE).is_file():
        raise ValueError(f"{root} does not exist, but {root.parent / ARCHIVE} does; unpack it, and check the folder it makes.")
    refuse_root(root, workers, f"images and annotations of {expected.name}")
    missing = [place for place in _places() if not (root / place).is_dir()]
    if missing:
        full = next((path for pattern in FULL for path in root.glob(pattern)), None)
        yield Finding(f"no folder {first_names(missing)} in {root}; {_where(root, full)}.")
        if full:
            return
    else:
        yield from checking.archives(root, "images and annotations")
    splits = {split: scan(root, split) for split in SPLITS}
    for split, found in splits.items():
        yield from check_names(split, found, getattr(expected, split))
    yield from compare_splits(splits)
    for split, found in splits.items():
        yield from check_files(root, split, found, workers)


def _places() -> list[str]:
    return [f"{kind}/{split}" for kind in SUFFIXES for split in SPLITS]


def _where(root: Path, full: Path | None) -> str:
    """Where folders that are missing may be instead, and what to do."""
    if full:
        return f"{full} is of the full ADE20K, whose masks have thousands of classes: get SceneParse150, {ARCHIVE}, instead"
    deeper = sorted(p for below in ("*", "*/*") for place in _places() for p in root.glob(f"{below}/{place}") if p.is_dir())
    if deeper:
        return f"there is a {deeper[0]}: check {deeper[0].parents[1]} instead"
    folders, files = entries(root)
    if set(SPLITS) & set(folders):
        return f"{root} itself holds {first_names(sorted(set(SPLITS) & set(folders)))}: check the folder above it"
    archive = next((path for path in (root / ARCHIVE, root.parent / ARCHIVE) if path.is_file()), None)
    if archive:
        return f"{archive} is not unpacked, or not all of it: unpack it, and check the folder {FOLDER} that it makes"
    return f"{root} holds {first_names(folders + files) or 'nothing'}: unpack {ARCHIVE}, whose folder {FOLDER} is {root} here"


def scan(root: Path, split: str) -> Split:
    """Lists the folders of images and of masks of a split, as far as they are there.

    Raises:
        ValueError: one of them cannot be listed.
    """
    found = Split()
    for kind, suffix in SUFFIXES.items():
        place = f"{kind}/{split}"
        if not (root / place).is_dir():
            continue
        folders, files = entries(root / place)
        files = [name for name in files if name[0] != "."]  # mmseg passes over hidden files
        found.stems[kind] = [name.removesuffix(suffix) for name in files if name.endswith(suffix)]
        found.stray += [f"{place}/{name}" for name in files if not name.endswith(suffix)]
        found.folders += [f"{place}/{name}" for name in folders]
    return found


def check_names(split: str, found: Split, right: int) -> Iterator[Finding]:
    """What is wrong with the files of a split by their names alone; ``right`` is how many images there should be."""
    counts = {kind: len(stems) for kind, stems in found.stems.items()}
    # One that lacks its other half is named below; the number is wrong where whole pairs are missing or too many.
    if counts and (len(found.names()) != right or not all(counts.values())):
        have = " and ".join(f"{count:,} {_plural(kind)}" for kind, count in counts.items())
        mend = f"unpack {ARCHIVE} again" if min(counts.values()) < right else "remove those that are not of the release"
        yield Finding(f"{split}: {have}, {right:,} of each expected; {mend}.")
    if len(counts) == 2 and all(counts.values()):
        for kind, other in (("images", "annotations"), ("annotations", "images")):
            known = set(found.stems[other])
            if alone := [f"{kind}/{split}/{stem}{SUFFIXES[kind]}" for stem in found.stems[kind] if stem not in known]:
                what = f"{_plural(kind)} without {'a mask' if kind == 'images' else 'an image'} of the same name"
                yield Finding(_line(split, what, alone, f"unpack {ARCHIVE} again, or remove them"))
    if found.folders:
        mend = "move up what belongs to the release and remove them, since training reads images at any depth"
        yield Finding(_line(split, "folders where only files should be", found.folders, mend))
    if found.stray:
        mend = "an image's name must end in .jpg, and a mask's in .png"
        yield Finding(_line(split, "files that training does not read", found.stray, mend), "note")
    own = [stem for stem in found.names() if not any(re.fullmatch(rf"{prefix}\d{{8}}", stem) for prefix in SPLITS.values())]
    if own:
        what = f"names unlike the published {SPLITS[split]}00000001"
        yield Finding(_line(split, what, own, "they can be trained on, but are no part of the release"), "note")


def _plural(kind: str) -> str:
    return "images" if kind == "images" else "masks"


def _line(split: str, what: str, places: list[str], mend: str) -> str:
    return f"{split}: {what} ({len(places):,}): {first_names(places)}; {mend}."


def compare_splits(splits: dict[str, Split]) -> Iterator[Finding]:
    """Names that are in both splits, or in the one that is not theirs; as published there is none."""
    training, validation = (set(splits[split].names()) for split in SPLITS)
    why = f"restore both from {ARCHIVE}, since what a network is tested on must not be among what it was trained on"
    if both := sorted(training & validation):
        yield Finding(_line("validation", "names that are also in training", both, why))
    for split, names, other in (("training", training, "validation"), ("validation", validation, "training")):
        if moved := sorted(stem for stem in names - set(both) if re.fullmatch(rf"{SPLITS[other]}\d{{8}}", stem)):
            yield Finding(_line(split, f"names that are those of {other}", moved, why))


def check_files(root: Path, split: str, found: Split, workers: int) -> Iterator[Finding]:
    """Decodes the images and masks of a split: those at fault, then counts of formats, modes, ids and ignored pixels."""
    names = found.names()
    if not names:
        return
    faults: dict[str, list[str]] = {fault: [] for fault in FAULTS}
    formats, modes, ids, read, pixels, ignored = Counter(), Counter(), set(), 0, 0, 0
    disguised, barren = [], []
    with closing(map_files(partial(inspect, str(root), split), names, workers, split)) as stems:
        for stem, seen in stems:
            for fault, where in seen.faults:
                faults[fault].append(where)
            if seen.image and not seen.image.fault:
                formats[seen.image.form] += 1
                modes[seen.image.mode] += 1
                disguised += [f"{stem}.jpg ({seen.image.form})"] * (seen.image.form != "JPEG")
            if seen.ids is not None:
                read, pixels, ignored = read + 1, pixels + seen.pixels, ignored + seen.ignored
                ids.update(seen.ids)
                barren += [f"{stem}.png"] * (seen.ignored == seen.pixels)
    for fault, places in faults.items():
        if places:
            what, mend = FAULTS[fault]
            yield Finding(_line(split, what, places, mend))
    text = f"{split}: {sum(formats.values()):,} of {len(found.stems.get('images', ())):,} images decoded"
    if formats:
        text += f"; formats: {listed(formats)}; modes: {listed(modes)}"
    if disguised:
        text += f"; not the format of their suffix: {first_names(disguised)}"
    text += f"; {read:,} of {len(found.stems.get('annotations', ())):,} masks are PNG of mode L with ids 0..{CLASSES}"
    if read:
        text += f"; of the ids 1..{CLASSES} there are {len(ids - {0})}; pixels ignored (0): {100 * ignored / pixels:.1f} %"
    if barren:  # github.com/CSAILVision/semantic-segmentation-pytorch/issues/298 names 14 published ones in training
        text += f"; masks without a labelled pixel (a few of those published are said to be such): {first_names(barren)}"
    yield Finding(f"{text}.", "info")


def inspect(root: str, split: str, stems: list[str]) -> list[Seen]:
    """What there is to say of the image and the mask of each stem of a split."""
    return [_inspect(Path(root), split, stem) for stem in stems]


def _inspect(root: Path, split: str, stem: str) -> Seen:
    photo, label = f"images/{split}/{stem}.jpg", f"annotations/{split}/{stem}.png"
    image, size, faults = None, None, []
    if os.path.lexists(root / photo):
        image = inspect_image(root / photo)
        if image.fault:
            faults.append((image.fault, photo))
        else:
            size = image.size[::-1]
            if turn := _orientation(root / photo):
                faults.append(("turned", f"{photo} ({turn})"))
    if not os.path.lexists(root / label):
        return Seen(image, None, 0, 0, faults)
    mask, fault, detail = find_fault(root / label, size)
    if fault:
        return Seen(image, None, 0, 0, [*faults, (f"mask {fault}", f"{label} ({detail})")])
    counts = np.bincount(mask.ravel())
    return Seen(image, np.flatnonzero(counts).tolist(), mask.size, int(counts[0]), faults)


def _orientation(path: Path) -> int:
    """EXIF's, by which OpenCV turns an image as it reads it; 0 where it changes nothing."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(path) as image:
                turn = image.getexif().get(ORIENTATION, 1)
    except Exception:  # odd EXIF data make PIL raise anything, and OpenCV passes over them
        return 0
    return turn if turn in range(2, 9) else 0


def describe(expected: Expected) -> str:
    """The layout and the counts that ``check_release`` expects, for people."""
    rows = [
        f"  DIR/{f'{kind}/{split}/{prefix}00000001{suffix}':46} and so on: {getattr(expected, split):>6,} {_plural(kind)}"
        for kind, suffix in SUFFIXES.items()
        for split, prefix in SPLITS.items()
    ]
    return "\n".join(
        [
            f"{expected.name}, {CLASSES} classes:",
            "",
            *rows,
            "",
            "A mask has the name and the size of its image, and is a PNG of one channel of 8 bits (mode L) with the ids",
            f"0 (ignored) and 1..{CLASSES}. objectInfo150.txt and sceneCategories.txt may be there, and are not read.",
            f"All of it is in {ARCHIVE}, which unpacks to {FOLDER}; that is DIR. The full ADE20K is another data set.",
        ]
    )
