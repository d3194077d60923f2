"""Check a copy of ADE20K's SceneParse150: first folders, names and counts, then decode every image and mask.

Loads neither torch nor mmseg.
"""

import os
import re
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from backbones.common import dataset_checks as checking
from backbones.common.data_files import is_hidden, shared_images
from backbones.common.dataset_checks import (
    Finding,
    Look,
    Release,
    entries,
    first_names,
    inspect_image,
    listed,
    map_files,
    refuse_root,
)
from backbones.common.images import LONGEST_DENSE
from segmentation import masks
from segmentation.folders import IMAGE, MASK
from segmentation.masks import CLASSES, count_ids, find_fault, notice_numbering

SPLITS = {"training": "ADE_train_", "validation": "ADE_val_"}  # split -> prefix of its names, which eight digits follow
SUFFIXES = {"images": IMAGE, "annotations": MASK}  # folder -> suffix of the files that training reads in it
FOLDER = "ADEChallengeData2016"
ARCHIVE = f"{FOLDER}.zip"
FULL = ("index_ade20k.*", "images/ADE", "images/training/**/*_seg.png")  # files of the full ADE20K only
FAULTS = {  # key of a fault of an image or mask -> (its description, how to fix it)
    **checking.FAULTS,
    **{f"mask {name}": (fault.many, fault.fix) for name, fault in masks.FAULTS.items()},
}


@dataclass(frozen=True)
class Expected:
    """Describe SceneParse150 as published: its name, and the number of images in each split, each with a mask."""

    name: str
    training: int
    validation: int


# Source: github.com/CSAILVision/sceneparsing, whose archive is data.csail.mit.edu/places/ADEchallenge/ADEChallengeData2016.zip
ADE20K = Expected("ADE20K (SceneParse150)", 20_210, 2_000)


@dataclass
class Split:
    """Hold the contents of a split's two folders; paths are relative to the root."""

    stems: dict[str, list[str]] = field(default_factory=dict)  # images, annotations (if it exists) -> stems of its files
    folders: list[str] = field(default_factory=list)
    stray: list[str] = field(default_factory=list)

    def names(self) -> list[str]:
        """Return the sorted stems of all images and masks."""
        return sorted(set().union(*self.stems.values()))


class Seen(NamedTuple):
    """Hold the inspection of a stem's image and mask.

    Args:
        image: inspection of its image; None if it has none.
        pixels: number of the pixels of each id in its mask; None if it has no mask, or a faulty one.
        faults: (key in FAULTS, place) pairs.
    """

    image: Look | None
    pixels: np.ndarray | None
    faults: list[tuple[str, str]]


def check_release(root: Path, workers: int, expected: Expected = ADE20K) -> Iterator[Finding]:
    """Compare ``root`` with ``expected``; yield the findings of the folders first, then decode every image and mask in full.

    With several workers, a script that calls this must guard its main code by ``if __name__ == "__main__"``.

    Args:
        root: folder of images and annotations.
        workers: number of processes that decode; with 1, the calling process decodes.
        expected: the dataset as published.

    Raises:
        ValueError: no such folder, a folder that cannot be listed, fewer than one worker, or a worker that died.
    """
    root = Path(root)
    if not root.exists() and (root.parent / ARCHIVE).is_file():
        raise ValueError(f"{root} does not exist, but {root.parent / ARCHIVE} does; unpack it, and check the unpacked folder.")
    refuse_root(root, workers, f"images and annotations of {expected.name}")
    missing = [place for place in _places() if not (root / place).is_dir()]
    if missing:
        full = next((path for pattern in FULL for path in root.glob(pattern)), None)
        yield Finding(f"no folder {first_names(missing)} in {root}; {_location_hint(root, full)}.")
        if full:
            return
    else:
        yield from checking.archives(root, "images and annotations")
    splits = {split: scan(root, split) for split in SPLITS}
    for split, contents in splits.items():
        yield from check_names(split, contents, getattr(expected, split))
    yield from compare_splits(root, splits)
    for split, contents in splits.items():
        yield from check_files(root, split, contents, workers)


def _places() -> list[str]:
    """Return the four folders of the dataset."""
    return [f"{kind}/{split}" for kind in SUFFIXES for split in SPLITS]


def _location_hint(root: Path, full: Path | None) -> str:
    """Return where missing folders may be instead, and what to do; ``full`` is a file of the full ADE20K, if there is one."""
    if full:
        return f"{full} is of the full ADE20K, whose masks have thousands of classes: get SceneParse150, {ARCHIVE}, instead"
    patterns = [f"{parent}/{place}" for parent in ("*", "*/*") for place in _places()]
    deeper = sorted(path for pattern in patterns for path in root.glob(pattern) if path.is_dir())
    if deeper:
        return f"there is a {deeper[0]}: check {deeper[0].parents[1]} instead"
    folders, files = entries(root)
    if set(SPLITS) & set(folders):
        return f"{root} itself holds {first_names(sorted(set(SPLITS) & set(folders)))}: check the folder above it"
    archive = next((path for path in (root / ARCHIVE, root.parent / ARCHIVE) if path.is_file()), None)
    if archive:
        return f"{archive} is not unpacked, or not completely: unpack it, and check its folder {FOLDER}"
    return f"{root} holds {first_names(folders + files) or 'nothing'}: unpack {ARCHIVE}, whose folder {FOLDER} is {root} here"


def scan(root: Path, split: str) -> Split:
    """List the folders of images and of masks of a split, if they exist.

    Raises:
        ValueError: one of them cannot be listed.
    """
    contents = Split()
    for kind, suffix in SUFFIXES.items():
        place = f"{kind}/{split}"
        if not (root / place).is_dir():
            continue
        folders, files = entries(root / place)
        folders, files = ([name for name in names if not is_hidden(name)] for names in (folders, files))
        contents.stems[kind] = [name.removesuffix(suffix) for name in files if name.endswith(suffix)]
        contents.stray += [f"{place}/{name}" for name in files if not name.endswith(suffix)]
        contents.folders += [f"{place}/{name}" for name in folders]
    return contents


def check_names(split: str, found: Split, right: int) -> Iterator[Finding]:
    """Report faults in the names of a split's files; ``right`` is the published number of images."""
    counts = {kind: len(stems) for kind, stems in found.stems.items()}
    # A file without its counterpart is named below; the number is wrong only if whole pairs are missing or extra.
    if counts and (len(found.names()) != right or not all(counts.values())):
        totals = " and ".join(f"{count:,} {_plural(kind)}" for kind, count in counts.items())
        remedy = f"unpack {ARCHIVE} again" if min(counts.values()) < right else "remove those that the release lacks"
        yield Finding(f"{split}: {totals}, {right:,} of each expected; {remedy}.", published=min(counts.values()) > 0)
    if len(counts) == 2 and all(counts.values()):
        yield from _check_pairs(split, found)
    if found.folders:
        remedy = "move up what belongs to the release and remove them, since training reads images at any depth"
        yield Finding(_line(split, "folders where only files should be", found.folders, remedy))
    if found.stray:
        remedy = "an image's name must end in .jpg, and a mask's in .png"
        yield Finding(_line(split, "files that training does not read", found.stray, remedy), "note")
    patterns = [rf"{prefix}\d{{8}}" for prefix in SPLITS.values()]
    unusual = [stem for stem in found.names() if not any(re.fullmatch(pattern, stem) for pattern in patterns)]
    if unusual:
        problem = f"names unlike the published {SPLITS[split]}00000001"
        text = _line(split, problem, unusual, "they can be trained on, but are not part of the release")
        yield Finding(text, "note", published=True)


def _check_pairs(split: str, contents: Split) -> Iterator[Finding]:
    """Report images without a mask, and masks without an image."""
    for kind, other, counterpart in (("images", "annotations", "a mask"), ("annotations", "images", "an image")):
        partners = set(contents.stems[other])
        unpaired = [f"{kind}/{split}/{stem}{SUFFIXES[kind]}" for stem in contents.stems[kind] if stem not in partners]
        if unpaired:
            problem = f"{_plural(kind)} without {counterpart} of the same name"
            yield Finding(_line(split, problem, unpaired, f"unpack {ARCHIVE} again, or remove them"))


def _plural(kind: str) -> str:
    """Return the word for the files of a folder."""
    return "images" if kind == "images" else "masks"


def _line(split: str, problem: str, places: list[str], remedy: str) -> str:
    """Format a finding with its first places."""
    return f"{split}: {problem} ({len(places):,}): {first_names(places)}; {remedy}."


def compare_splits(root: Path, splits: dict[str, Split]) -> Iterator[Finding]:
    """Report names that are in both splits, or in the wrong one; the published dataset has none."""
    training, validation = (set(splits[split].names()) for split in SPLITS)
    remedy = f"restore both from {ARCHIVE}, since a network must not be tested on images that it was trained on"
    shared = sorted(training & validation)
    pairs = ([(stem, root / f"images/{split}/{stem}{IMAGE}") for stem in shared] for split in SPLITS)
    if same := shared_images(*pairs):
        yield Finding(_line("validation", "images that are also in training", same, remedy))
    elif shared:
        yield Finding(_line("validation", "names that are also in training", shared, remedy), published=True)
    for split, names, other in (("training", training, "validation"), ("validation", validation, "training")):
        moved = sorted(stem for stem in names - set(shared) if re.fullmatch(rf"{SPLITS[other]}\d{{8}}", stem))
        if moved:
            yield Finding(_line(split, f"names that belong to {other}", moved, remedy), published=True)


def check_files(root: Path, split: str, found: Split, workers: int) -> Iterator[Finding]:
    """Decode the images and masks of a split; report faulty ones, then counts of formats, modes, ids and ignored pixels."""
    names = found.names()
    if not names:
        return
    faults: dict[str, list[str]] = {fault: [] for fault in FAULTS}
    summary = _Summary(split, {kind: len(stems) for kind, stems in found.stems.items()})
    with closing(map_files(partial(inspect, str(root), split), names, workers, split)) as stems:
        for stem, inspected in stems:
            for fault, place in inspected.faults:
                faults[fault].append(place)
            summary.add(stem, inspected)
    for fault, places in faults.items():
        if places:
            problem, remedy = FAULTS[fault]
            yield Finding(_line(split, problem, places, remedy))
    yield Finding(summary.text(), "info")
    if notice := notice_numbering(summary.pixels, complete=True):
        yield Finding(f"{split}: {notice}", "note")


@dataclass
class _Summary:
    """Count what the images and masks of a split contain; ``totals`` is the number of files of each kind."""

    split: str
    totals: dict[str, int]
    formats: Counter = field(default_factory=Counter)
    modes: Counter = field(default_factory=Counter)
    masks: int = 0
    pixels: np.ndarray = field(default_factory=lambda: np.zeros(CLASSES + 1, int))  # of each id
    disguised: list[str] = field(default_factory=list)  # images whose format is not that of their suffix
    barren: list[str] = field(default_factory=list)  # masks without a labelled pixel

    def add(self, stem: str, inspected: Seen) -> None:
        """Add the image and the mask of a stem."""
        if inspected.image and not inspected.image.fault:
            self.formats[inspected.image.form] += 1
            self.modes[inspected.image.mode] += 1
            if inspected.image.form != "JPEG":
                self.disguised.append(f"{stem}.jpg ({inspected.image.form})")
        if inspected.pixels is not None:
            self.masks += 1
            self.pixels += inspected.pixels
            if not inspected.pixels[1:].any():
                self.barren.append(f"{stem}.png")

    def text(self) -> str:
        """Return the counts as one sentence."""
        text = f"{self.split}: {sum(self.formats.values()):,} of {self.totals.get('images', 0):,} images decoded"
        if self.formats:
            text += f"; formats: {listed(self.formats)}; modes: {listed(self.modes)}"
        if self.disguised:
            text += f"; not the format of their suffix: {first_names(self.disguised)}"
        text += f"; {self.masks:,} of {self.totals.get('annotations', 0):,} masks are PNG of mode L with ids 0..{CLASSES}"
        if self.masks:
            share = 100 * self.pixels[0] / self.pixels.sum()
            text += f"; of the ids 1..{CLASSES} there are {np.count_nonzero(self.pixels[1:])}; pixels ignored (0): {share:.1f} %"
        if self.barren:  # github.com/CSAILVision/semantic-segmentation-pytorch/issues/298 names 14 published ones in training
            text += f"; masks without a labelled pixel (a few published ones are said to have none): {first_names(self.barren)}"
        return f"{text}."


def inspect(root: str, split: str, stems: list[str]) -> list[Seen]:
    """Inspect the image and the mask of each stem of a split."""
    return [_inspect(Path(root), split, stem) for stem in stems]


def _inspect(root: Path, split: str, stem: str) -> Seen:
    """Decode the image and the mask of a stem, and return what they contain."""
    photo, label = f"images/{split}/{stem}.jpg", f"annotations/{split}/{stem}.png"
    image, size, faults = None, None, []
    if os.path.lexists(root / photo):
        image = inspect_image(root / photo, LONGEST_DENSE)
        if image.fault:
            faults.append((image.fault, photo))
        else:
            size = image.size[::-1]
    if not os.path.lexists(root / label):
        return Seen(image, None, faults)
    mask, fault, detail = find_fault(root / label, size)
    if fault:
        return Seen(image, None, [*faults, (f"mask {fault}", f"{label} ({detail})")])
    return Seen(image, count_ids(mask), faults)


def published_training(cfg, expected: Expected = ADE20K) -> str:
    """Return the published name and number of the images of a run, if it trains on all; '' if not. Counts names alone."""
    dataset = cfg.train_dataloader.dataset
    folder = Path(dataset.data_root) / dataset.data_prefix.img_path
    names = os.listdir(folder) if folder.is_dir() else []
    count = sum(name.endswith(IMAGE) and not is_hidden(name) for name in names)
    return f"{count:,} images of {expected.name}" if count == expected.training else ""


def describe(expected: Expected) -> str:
    """Describe the layout and the counts that ``check_release`` expects, for a help text."""
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
            f"0 (ignored) and 1..{CLASSES}. objectInfo150.txt and sceneCategories.txt may be present, and are not read.",
            f"{ARCHIVE} contains all of this and unpacks to {FOLDER}, which is DIR. The full ADE20K is another dataset.",
        ]
    )


RELEASES = {
    "ade20k": Release(
        folder=FOLDER,
        title=ADE20K.name,
        source=f"MIT: http://data.csail.mit.edu/places/ADEchallenge/{ARCHIVE}",
        layout=describe(ADE20K),
        check=partial(check_release, expected=ADE20K),
    )
}
