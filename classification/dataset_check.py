"""Check a copy of ImageNet or Places365: first layout and counts, then decode every image. Loads no torch."""

import os
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from backbones.common.data_files import is_hidden, shared_images, walk
from backbones.common.dataset_checks import (
    ARCHIVES,
    FAULTS,
    Finding,
    Look,
    Release,
    archives,
    entries,
    first_names,
    inspect_image,
    listed,
    map_files,
    refuse_root,
)
from classification.folders import FORMATS, is_image

SPLITS = ("train", "val")


@dataclass(frozen=True)
class Expected:
    """Describe a dataset of class folders as published.

    Args:
        name: name of the dataset for messages.
        classes: number of class folders in train, and in val.
        train: number of images in train.
        val: number of images in val; every class has the same number.
        train_each: fewest and most images of a class in train.
        pattern: regular expression for the name of a class folder.
        naming: the pattern in words, with an example.
        source: origin of the layout, in sentences.
        sort_val: instructions to sort a val without class folders into them.
        cmyk: number of CMYK images in train; None if unknown.
        disguised: names of the files in train whose format is not that of their suffix; None if unknown.
    """

    name: str
    classes: int
    train: int
    val: int
    train_each: tuple[int, int]
    pattern: str
    naming: str
    source: str = ""
    sort_val: str = "the class of each is in the list that came with the data"
    cmyk: int | None = None
    disguised: tuple[str, ...] | None = None

    def each(self, split: str) -> tuple[int, int]:
        """Return the fewest and most images of a class in ``split``."""
        return self.train_each if split == "train" else (self.val // self.classes, self.val // self.classes)


IMAGENET = Expected(
    name="ImageNet (ILSVRC2012)",
    classes=1000,
    train=1_281_167,
    val=50_000,
    train_each=(732, 1300),
    pattern=r"n\d{8}",
    naming="n and eight digits (n01440764)",
    source="train is ILSVRC2012_img_train.tar, a tar of one tar per class; unpack each into a folder of its name. val is\n"
    "ILSVRC2012_img_val.tar, which has all images in one folder: they must be sorted into class folders.",
    sort_val="torchvision.datasets.ImageNet(DIR, 'val') does that, from ILSVRC2012_img_val.tar and "
    "ILSVRC2012_devkit_t12.tar.gz in DIR",
    cmyk=22,
    disguised=("n02105855_2933.JPEG",),
)
PLACES365 = Expected(
    name="Places365-Standard",
    classes=365,
    train=1_803_460,
    val=36_500,
    train_each=(3068, 5000),
    pattern=r"[a-z][a-z_-]+",
    naming="small letters, _ and - (airfield, arena-hockey)",
    source="The small images (256 x 256) in the easy directory structure: places365standard_easyformat.tar, which unpacks to\n"
    "places365_standard. Other archives have train in folders by letter (a/airfield, a/arena/hockey) and val in one folder.",
    sort_val="the class of each is in places365_val.txt; the val of places365standard_easyformat.tar is sorted already",
)


@dataclass
class Split:
    """Hold the contents of a split's folder; all paths are relative to the dataset's root."""

    classes: dict[str, list[str]] = field(default_factory=dict)  # class -> paths of its images
    flat: list[str] = field(default_factory=list)  # images outside class folders
    wrapped: list[str] = field(default_factory=list)  # folders between the split and its class folders
    inner: list[str] = field(default_factory=list)  # folders in class folders
    misnamed: list[str] = field(default_factory=list)  # class folders with a name that no class has
    barren: list[str] = field(default_factory=list)  # folders without images
    archives: list[str] = field(default_factory=list)
    stray: list[str] = field(default_factory=list)

    def images(self) -> list[str]:
        """Return the paths of all images."""
        return self.flat + [path for name in sorted(self.classes) for path in self.classes[name]]

    def add_files(self, folder: str, files: list[str]) -> list[str]:
        """Record the archives and stray files of a folder, and return the paths of its images; hidden files are passed over."""
        images = []
        for name in files:
            if is_image(name):
                images.append(f"{folder}/{name}")
            elif os.path.splitext(name)[1].lower() in ARCHIVES:
                self.archives.append(f"{folder}/{name}")
            elif not is_hidden(name):
                self.stray.append(f"{folder}/{name}")
        return images

    def add_class(self, root: Path, folder: str, pattern: str) -> None:
        """Add a class folder with the images at any depth below it, as training reads them."""
        images, name = [], os.path.basename(folder)
        for subfolder, files in walk(root / folder):
            parent = os.path.join(folder, subfolder).rstrip("/")
            images += self.add_files(parent, files)
            if subfolder:
                self.inner.append(parent)
        is_class_name = re.fullmatch(pattern, name)
        if not is_class_name and not images:
            self.barren.append(folder)
            return
        if not is_class_name:
            self.misnamed.append(folder)
        self.classes.setdefault(name, []).extend(images)


def check_folders(root: Path, workers: int, expected: Expected) -> Iterator[Finding]:
    """Compare ``root`` with ``expected``; yield the findings of the folders first, then decode every image in full.

    With several workers, a script that calls this must guard its main code by ``if __name__ == "__main__"``.

    Args:
        root: folder of train and val.
        workers: number of processes that decode; with 1, the calling process decodes.
        expected: the dataset as published.

    Raises:
        ValueError: no such folder, a folder that cannot be listed, fewer than one worker, or a worker that died.
    """
    root = Path(root)
    refuse_root(root, workers, f"train and val of {expected.name}")
    splits = {split: scan(root, split, expected) for split in SPLITS if (root / split).is_dir()}
    for split in SPLITS:
        if split in splits:
            yield from check_layout(split, splits[split], expected)
        else:
            yield _missing_split(root, split, expected)
    yield from _compare_classes(splits)
    yield from _compare_images(root, splits)
    yield from archives(root, "train and val")
    for split, contents in splits.items():
        yield from check_images(root, split, contents, expected, workers)


def scan(root: Path, split: str, expected: Expected) -> Split:
    """List ``root/split``. Class folders that lie one level too deep count as if they did not.

    Raises:
        ValueError: a folder cannot be listed.
    """
    contents = Split()
    folders, files = entries(root / split)
    contents.flat = contents.add_files(split, files)
    for name in folders:
        folder = f"{split}/{name}"
        if is_hidden(name):
            continue
        subfolders, files = entries(root / folder)
        classes = [sub for sub in subfolders if re.fullmatch(expected.pattern, sub)]
        # A class folder may hold one folder by mistake (n01440764/n01440764); several folders are classes themselves.
        fewest = 2 if re.fullmatch(expected.pattern, name) else 1
        if len(classes) >= fewest and not any(os.path.splitext(file)[1].lower() in FORMATS for file in files):
            contents.wrapped.append(folder)
            contents.add_files(folder, files)
            for sub in subfolders:
                contents.add_class(root, f"{folder}/{sub}", expected.pattern)
        else:
            contents.add_class(root, folder, expected.pattern)
    return contents


def _missing_split(root: Path, split: str, expected: Expected) -> Finding:
    """Report a missing split, and where it may be instead."""
    folders, files = entries(root)
    deeper = sorted(p for parent in ("*", "*/Data/CLS-LOC") for p in root.glob(f"{parent}/{split}") if p.is_dir())
    if deeper:
        hint = f"there is a {deeper[0]}: check {deeper[0].parent} instead, or move its contents to {root}"
    elif sum(bool(re.fullmatch(expected.pattern, name)) for name in folders) >= max(2, expected.classes // 2):
        hint = f"{root} itself holds class folders: check the folder above it, where train and val should be"
    else:
        hint = f"{root} holds {first_names(folders + files) or 'nothing'}: unpack {split} there, one folder per class"
    return Finding(f"{split}: no folder {root / split}; {hint}.")


def check_layout(split: str, found: Split, expected: Expected) -> Iterator[Finding]:
    """Report faults in the folders, names and counts of a split."""
    if found.wrapped:
        yield Finding(f"{split}: class folders one level too deep, in {first_names(found.wrapped)}; move them up into {split}.")
    if found.flat:
        hint = f" ({expected.sort_val})" if split == "val" else ""
        yield Finding(
            f"{split}: {len(found.flat):,} of the images lie straight in {split} ({first_names(found.flat)}); "
            f"sort them into one folder per class{hint}."
        )
    if found.inner:
        yield Finding(f"{split}: folders in class folders: {first_names(found.inner)}; move their images up and remove them.")
    if found.misnamed:
        naming = f"a class of {expected.name} is {expected.naming}"
        text = f"{split}: folders named like no class: {first_names(found.misnamed)}; {naming}: rename or remove them."
        yield Finding(text, published=True)
    if found.barren:
        yield Finding(
            f"{split}: folders that are no class: {first_names(found.barren)}; remove them, since training would take them."
        )
    if found.archives:
        yield Finding(f"{split}: archives: {first_names(found.archives)}; unpack them if that was not done, then take them out.")
    if found.stray:
        yield Finding(f"{split}: stray files without an image's suffix: {first_names(found.stray)}; remove them.")
    yield from _check_counts(split, found, expected)


def _check_counts(split: str, contents: Split, expected: Expected) -> Iterator[Finding]:
    """Report wrong numbers of classes and images."""
    counts = {name: len(images) for name, images in sorted(contents.classes.items())}
    if len(counts) != expected.classes and not (contents.flat and not counts):
        remedy = "unpack the missing ones" if len(counts) < expected.classes else f"remove those that {expected.name} lacks"
        text = f"{split}: class folders: {len(counts):,}, and {expected.name} has {expected.classes:,}; {remedy}."
        yield Finding(text, published=bool(counts))
    empty = [f"{split}/{name}" for name, count in counts.items() if not count]
    if empty:
        yield Finding(f"{split}: class folders without images: {first_names(empty)}; unpack their images again.")
    total, published = sum(counts.values()) + len(contents.flat), getattr(expected, split)
    low, high = expected.each(split)
    miscounted = [f"{name} ({count:,})" for name, count in counts.items() if count and not low <= count <= high]
    if total == published and not miscounted:
        return
    text = f"{split}: {total:,} images, {published:,} expected"
    if miscounted:
        text += f"; classes with other than {_range(low, high)} images: {first_names(miscounted)}"
    if total < published:
        remedy = "some are missing: unpack them again"
    elif total > published:
        remedy = "some do not belong here: remove them"
    else:
        remedy = "some lie in the wrong folder: unpack those classes again"
    yield Finding(f"{text}; {remedy}.", published=True)


def _compare_classes(splits: dict[str, Split]) -> Iterator[Finding]:
    """Report classes that only one split has."""
    train, val = (set(splits[split].classes if split in splits else ()) for split in SPLITS)
    if train and val and train != val:
        only = {"train": sorted(train - val), "val": sorted(val - train)}
        parts = [f"only in {split}: {first_names(names)}" for split, names in only.items() if names]
        yield Finding(
            f"train and val hold different classes; {'; '.join(parts)}; labels follow the sorted names, so make both the same."
        )


def _compare_images(root: Path, splits: dict[str, Split]) -> Iterator[Finding]:
    """Report images of val that train has too, in the same class and under the same name."""
    pairs = ([(path.partition("/")[2], root / path) for path in splits[s].images()] if s in splits else [] for s in SPLITS)
    if shared := shared_images(*pairs):
        text = f"val: images that are also in train ({len(shared):,}): {first_names(shared)}; unpack both again, since a network "
        yield Finding(f"{text}must not be tested on images that it was trained on.")


def check_images(root: Path, split: str, found: Split, expected: Expected, workers: int) -> Iterator[Finding]:
    """Decode all images of a split; report faulty files, then counts of formats and modes."""
    paths = found.images()
    if not paths:
        return
    formats, modes, disguised = Counter(), Counter(), []
    faults: dict[str, list[str]] = {fault: [] for fault in FAULTS}
    with closing(map_files(partial(look_at, str(root)), paths, workers, split)) as images:
        for path, image in images:
            if image.fault:
                faults[image.fault].append(path)
                continue
            formats[image.form] += 1
            modes[image.mode] += 1
            if image.form != FORMATS[os.path.splitext(path)[1].lower()]:
                disguised.append((path, image.form))
    for fault, names in faults.items():
        if names:
            problem, remedy = FAULTS[fault]
            yield Finding(f"{split}: {problem}: {first_names(names)}; {remedy}.")
    text = f"{split}: {sum(formats.values()):,} of {len(paths):,} images decoded; class folders: {len(found.classes):,}"
    if formats:
        text += f"; formats: {listed(formats)}; modes: {listed(modes)}"
    if disguised:
        text += f"; not the format of their suffix: {first_names(f'{path} ({form})' for path, form in disguised)}"
    yield Finding(f"{text}.", "info")
    if split == "train" and formats:
        yield from _check_oddities(modes["CMYK"], {os.path.basename(path) for path, _ in disguised}, expected)


def look_at(root: str, paths: list[str]) -> list[Look]:
    """Decode each image in full, and return what ``inspect_image`` says of it."""
    return [inspect_image(os.path.join(root, path)) for path in paths]


def _check_oddities(cmyk: int, disguised: set[str], expected: Expected) -> Iterator[Finding]:
    """Note oddities of the published files that are missing, as in copies that were saved again."""
    reason = "expected if the images were resized or saved again; otherwise files were replaced"
    if expected.cmyk not in (None, cmyk):
        yield Finding(f"train: {cmyk:,} CMYK images, and {expected.cmyk:,} as published; {reason}.", "note", published=True)
    if expected.disguised is not None and disguised != set(expected.disguised):
        present, published = first_names(sorted(disguised)) or "none", first_names(expected.disguised) or "none"
        text = f"train: not the format of their suffix: {present}, and as published {published}; {reason}."
        yield Finding(text, "note", published=True)


def _range(low: int, high: int) -> str:
    """Format a range, or a single number if both ends are the same."""
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"


def published_training(cfg, known: Sequence[Expected] = (IMAGENET, PLACES365)) -> str:
    """Return the published name and number of the images of a run, if it trains on all; '' if not.

    Counts the class folders and the images of one, and takes a dataset for the published one if both and the names fit.
    """
    folder = Path(cfg.train_dataloader.dataset.root)
    names = sorted(name for name in (os.listdir(folder) if folder.is_dir() else ()) if not is_hidden(name))
    for expected in known:
        if len(names) == expected.classes and all(re.fullmatch(expected.pattern, name) for name in names):
            low, high = expected.train_each
            if (folder / names[0]).is_dir() and low <= len(os.listdir(folder / names[0])) <= high:
                return f"{expected.train:,} images of {expected.name}"
    return ""


def describe(expected: Expected) -> str:
    """Describe the layout and the counts that ``check_folders`` expects, for a help text."""
    rows = [
        f"  DIR/{split + '/CLASS/*':14}  {getattr(expected, split):,} images, {_range(*expected.each(split))} per class"
        for split in SPLITS
    ]
    lines = [
        f"{expected.name}, {expected.classes:,} classes:",
        "",
        *rows,
        "",
        f"CLASS is {expected.naming}, the same in train and val.",
    ]
    if expected.source:
        lines.append(expected.source)
    return "\n".join(lines)


RELEASES = {
    "imagenet": Release(
        folder="imagenet",
        title=IMAGENET.name,
        source="Stanford and Princeton, after registering: https://image-net.org/challenges/LSVRC/2012/2012-downloads.php",
        layout=describe(IMAGENET),
        check=partial(check_folders, expected=IMAGENET),
    ),
    "places365": Release(
        folder="places365_standard",
        title=PLACES365.name,
        source="MIT: http://places2.csail.mit.edu",
        layout=describe(PLACES365),
        check=partial(check_folders, expected=PLACES365),
    ),
}
