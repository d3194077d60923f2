"""Check that a copy of Pascal VOC is complete: first layout, lists and counts, then every image and its XML.

Loads neither torch nor mmdet.
"""

import os
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from itertools import combinations
from pathlib import Path
from typing import NamedTuple

from backbones.common import dataset_checks as checking
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
from detection.annotations import read_annotation, sides
from detection.image_lists import IMAGES, LISTS, XMLS, leaves_folder, list_lines, repeated

CLASSES = (
    *("aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "diningtable", "dog"),
    *("horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor"),
)
FOLDERS = (IMAGES, XMLS)
NAME = re.compile(r"\w+", re.ASCII)  # name of an image: 000005, 2008_000002
RESTORE = "restore the published ones"
FAULTS = {  # fault of an image, of its XML or of an object -> its description, and how to fix it
    "no image": ("listed images that are not in JPEGImages", "unpack their archive again"),
    **checking.FAULTS,
    "no XML": ("listed images without an XML in Annotations", "unpack their archive again"),
    "broken": ("XML files that are no VOC annotation", RESTORE),
    "size": ("images of another size than their XML says", "unpack both again, since the boxes fit one of them only"),
    "barren": ("annotations without an object", RESTORE),
    "class": ("objects of another class than VOC's", RESTORE),
    "flat": ("boxes with xmax <= xmin or ymax <= ymin in whole pixels", RESTORE),
    "outside": ("boxes not inside their image (1 <= xmin, xmax <= width, likewise y)", RESTORE),
    "difficult": ("objects whose difficult is neither 0 nor 1", RESTORE),
}


@dataclass(frozen=True)
class ImageList:
    """Describe a list of ImageSets/Main as published.

    Args:
        year: folder of the list, such as VOC2007.
        name: name of the list, such as trainval.
        images: number of images in it.
        use: what needs the list, as text for people.
        archive: archive that holds the list.
    """

    year: str
    name: str
    images: int
    use: str = "to train"
    archive: str = "its archive"

    def __str__(self) -> str:
        return f"{self.year} {self.name}"

    @property
    def path(self) -> str:
        return f"{self.year}/{LISTS}/{self.name}.txt"


@dataclass(frozen=True)
class Expected:
    """Describe Pascal VOC as published: its lists and the names of its classes."""

    name: str
    lists: tuple[ImageList, ...]
    classes: tuple[str, ...] = CLASSES

    @property
    def years(self) -> list[str]:
        return list(dict.fromkeys(part.year for part in self.lists))


VOC = Expected(
    "Pascal VOC",
    (
        ImageList("VOC2007", "trainval", 5011, "to train", "VOCtrainval_06-Nov-2007.tar"),
        ImageList("VOC2007", "test", 4952, "to test", "VOCtest_06-Nov-2007.tar"),
        ImageList("VOC2012", "trainval", 11540, "to train on 07+12", "VOCtrainval_11-May-2012.tar"),
    ),
)


class Seen(NamedTuple):
    """Hold what was found for a listed image: its file, the number of objects, how many are difficult, (fault, place) pairs."""

    image: Look
    objects: int
    difficult: int
    faults: list[tuple[str, str]]


def check_devkit(root: Path, workers: int, expected: Expected = VOC) -> Iterator[Finding]:
    """Compare ``root`` with ``expected``: yield findings on folders and lists at once, then read every image and XML in full.

    With several workers, a script that calls this must guard its main code with ``if __name__ == "__main__"``.

    Args:
        root: the VOCdevkit, the folder that holds VOC2007 and VOC2012.
        workers: number of processes that decode; 1 decodes in this process.
        expected: the dataset as published.

    Raises:
        ValueError: ``root`` is no folder, a folder cannot be listed, ``workers`` is below 1, or a worker died.
    """
    root = Path(root)
    refuse_root(root, workers, f"{' and '.join(expected.years)} of {expected.name}")
    yield from check_layout(root, expected)
    names: dict[ImageList, list[str]] = {}
    for part in expected.lists:
        if (root / part.path).is_file():
            lines = list_lines(root / part.path)
            names[part] = [line for line in dict.fromkeys(lines) if not leaves_folder(line)]
            yield from check_list(part, lines)
    yield from _compare_lists(names)
    yield from checking.archives(root, " and ".join(expected.years))
    for part, images in names.items():
        if all((root / part.year / folder).is_dir() for folder in FOLDERS):
            yield from check_images(root, part, images, expected.classes, workers)


def check_layout(root: Path, expected: Expected) -> Iterator[Finding]:
    """Yield a finding for each missing folder or list."""
    for year in expected.years:
        parts = [part for part in expected.lists if part.year == year]
        archives = " and ".join(part.archive for part in parts)
        if not (root / year).is_dir():
            text = _missing(root, year, f"needed {' and '.join(part.use for part in parts)}", archives)
            yield Finding(text, published=any((root / other).is_dir() for other in expected.years))
            continue
        for folder in FOLDERS:
            if not (root / year / folder).is_dir():
                yield Finding(f"{year}: no folder {root / year / folder}; unpack {archives} again.")
        for part in parts:
            if not (root / part.path).is_file():
                yield Finding(f"{part}: no list {root / part.path}, needed {part.use}; {_unpack(root, part.archive)}.")


def _missing(root: Path, year: str, use: str, archives: str) -> str:
    """Return a sentence on a missing year, with a hint where it may be."""
    folders, files = entries(root)
    deeper = sorted(p for below in ("*", "*/*") for p in root.glob(f"{below}/{year}") if p.is_dir())
    if deeper:
        hint = f"there is a {deeper[0]}: check {deeper[0].parent} instead, or move what it holds to {root}"
    elif "JPEGImages" in folders:
        hint = f"{root} itself holds JPEGImages: check the folder above it"
    else:
        hint = f"{root} holds {first_names(folders + files) or 'nothing'}: {_unpack(root, archives)}"
    return f"{year}: no folder {root / year}, {use}; {hint}."


def _unpack(root: Path, archives: str) -> str:
    return f"unpack {archives}, whose folder VOCdevkit is {root} here"


def check_list(part: ImageList, lines: list[str]) -> Iterator[Finding]:
    """Yield the faults of a list: names like the published, inside the image folder, none twice, and as many as published."""
    names = [line for line in dict.fromkeys(lines) if not leaves_folder(line)]
    if outside := [ascii(line) for line in dict.fromkeys(lines) if leaves_folder(line)]:
        yield Finding(f"{part}: names that lead out of {IMAGES} ({len(outside):,}): {first_names(outside)}; {_restore(part)}.")
    if odd := [repr(name) for name in names if not NAME.fullmatch(name)]:
        text = f"{part}: lines unlike the name of an image ({len(odd):,}): {first_names(odd)}; {_restore(part)}."
        yield Finding(text, published=True)
    if twice := repeated(lines):
        yield Finding(f"{part}: images listed twice ({len(twice):,}): {first_names(twice)}; {_restore(part)}.")
    if len(names) != part.images:
        text = f"{part}: {len(names):,} images listed, {part.images:,} expected; {_restore(part)}."
        yield Finding(text, published=True)


def _restore(part: ImageList) -> str:
    return f"restore {part.path} from {part.archive}"


def _compare_lists(names: dict[ImageList, list[str]]) -> Iterator[Finding]:
    """Yield a finding for each pair of lists that share images; the published lists share none."""
    for first, second in combinations(names, 2):
        first_set = set(names[first])
        if shared := [name for name in names[second] if name in first_set]:
            text = f"{second}: images that are also in {first} ({len(shared):,}): {first_names(shared)}; restore both lists, "
            text += "since a network must not be tested on images that it was trained on."
            yield Finding(text, published=first.year != second.year)


def check_images(root: Path, part: ImageList, names: list[str], classes: Sequence[str], workers: int) -> Iterator[Finding]:
    """Decode the images of a list and read their XML files; yield their faults, then counts of objects, formats and modes."""
    if not names:
        return
    faults: dict[str, list[str]] = {fault: [] for fault in FAULTS}
    formats, modes, disguised, objects, difficult = Counter(), Counter(), [], 0, 0
    with closing(map_files(partial(inspect, str(root), part.year, classes), names, workers, str(part))) as images:
        for name, seen in images:
            for fault, place in seen.faults:
                faults[fault].append(place)
            if not seen.image.fault:
                formats[seen.image.form] += 1
                modes[seen.image.mode] += 1
                if seen.image.form != "JPEG":
                    disguised.append(f"{name}.jpg ({seen.image.form})")
            objects, difficult = objects + seen.objects, difficult + seen.difficult
    for fault, places in faults.items():
        if places:
            description, fix = FAULTS[fault]
            text = f"{part}: {description} ({len(places):,}): {first_names(places)}; {fix}."
            yield Finding(text, published=fault == "class")
    text = f"{part}: {sum(formats.values()):,} of {len(names):,} images decoded"
    text += f"; objects: {objects:,}, of which difficult: {difficult:,}"
    if formats:
        text += f"; formats: {listed(formats)}; modes: {listed(modes)}"
    if disguised:
        text += f"; not the format of their suffix: {first_names(disguised)}"
    yield Finding(f"{text}.", "info")


def inspect(root: str, year: str, classes: Sequence[str], names: list[str]) -> list[Seen]:
    """Inspect each image in the folder of a year, and its XML."""
    return [_inspect(Path(root), year, classes, name) for name in names]


def _inspect(root: Path, year: str, classes: Sequence[str], name: str) -> Seen:
    image, xml = f"{year}/JPEGImages/{name}.jpg", f"{year}/Annotations/{name}.xml"
    look = inspect_image(root / image, LONGEST_DENSE) if os.path.lexists(root / image) else Look(fault="no image")
    faults, objects = [(look.fault, image)] if look.fault else [], []
    try:
        size, objects = read_annotation(root / xml)
    except FileNotFoundError:
        faults.append(("no XML", xml))
    except (ValueError, OSError) as error:
        faults.append(("broken", f"{xml} ({error})"))
    else:
        if not look.fault and look.size != size:
            faults.append(("size", f"{image} ({sides(look.size)}, in its XML {sides(size)})"))
        if not objects:
            faults.append(("barren", xml))
        for thing in objects:
            faults += [(fault, f"{xml} ({detail})") for fault, detail in thing.faults(classes, size if look.fault else look.size)]
    return Seen(look, len(objects), sum(thing.difficult == "1" for thing in objects), faults)


def published_training(cfg, expected: Expected = VOC) -> str:
    """Return which published list of images a run trains on in full, with their number; '' if it does not. Counts lines alone."""
    data = cfg.train_dataloader.dataset
    for dataset in data.get("datasets", [data]):
        path = Path(dataset.data_root) / dataset.ann_file
        for part in expected.lists:
            if path.match(part.path) and path.is_file() and len(list_lines(path)) == part.images:
                return f"{part.images:,} images of {part}"
    return ""


def describe(expected: Expected) -> str:
    """Return the layout and the counts that ``check_devkit`` expects, as text for people."""
    rows = [f"  DIR/{part.path:36} {part.images:>6,} images, {part.use}" for part in expected.lists]
    archives = [f"  {part.archive}" for part in expected.lists]
    return "\n".join(
        [
            f"{expected.name}, {len(expected.classes)} classes:",
            "",
            *rows,
            "  beside each ImageSets, for every NAME in the list:",
            "  JPEGImages/NAME.jpg and Annotations/NAME.xml",
            "",
            "All archives unpack to one folder VOCdevkit, which is DIR:",
            *archives,
        ]
    )


RELEASES = {
    "voc": Release(
        folder="VOCdevkit",
        title=VOC.name,
        source="the University of Oxford: http://host.robots.ox.ac.uk/pascal/VOC/",
        layout=describe(VOC),
        check=partial(check_devkit, expected=VOC),
    )
}
