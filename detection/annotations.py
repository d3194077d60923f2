"""The lists and XML files of a VOCdevkit, read and checked without loading mmdet."""

import xml.etree.ElementTree as ET
from collections.abc import Iterator, Sequence
from math import isfinite
from pathlib import Path
from typing import NamedTuple

from backbones.common.dataset_checks import first_names
from backbones.common.files import missing_folder
from backbones.transfer.holdout import in_part


def read_list(path: str | Path) -> list[str]:
    """The image names of a file of ImageSets/Main.

    Raises:
        ValueError: it does not exist, or is empty.
    """
    if not Path(path).is_file():
        raise ValueError(missing_folder(path, "the list of image names of a VOCdevkit"))
    names = Path(path).read_text().split()
    if not names:
        raise ValueError(f"{path} lists no image; restore the file of the VOCdevkit.")
    return names


def split_of(dataset) -> list[tuple[Path, list[str]]]:
    """The images that the data set of a config has: (folder VOCdevkit/VOC2007, names) of each list that it joins.

    Raises:
        ValueError: a list does not exist or is empty, or a part of it is.
    """
    found = []
    for part in dataset.get("datasets", [dataset]):
        root = Path(part.data_root)
        names = [name for name in read_list(root / part.ann_file) if in_part(name, part.get("part"))]
        if not names:
            raise ValueError(f"{root / part.ann_file} is too short to hold images out of training; give it more, or none.")
        found.append((root / part.data_prefix.sub_data_root, names))
    return found


class Thing(NamedTuple):
    """An object as its XML has it; the box is xmin, ymin, xmax, ymax, 1-based, both ends inside."""

    name: str
    box: tuple[float, float, float, float]
    difficult: str

    def faults(self, classes: Sequence[str], size: tuple[float, float]) -> Iterator[tuple[str, str]]:
        """(fault, what) pairs, in an image of that width and height."""
        xmin, ymin, xmax, ymax = self.box
        box = f"{self.name!r:.40} " + " ".join(f"{side:g}" for side in self.box)
        if self.name not in classes:
            yield "class", f"{self.name!r:.40}"
        if xmax <= xmin or ymax <= ymin:
            yield "flat", box
        elif min(xmin, ymin) < 1 or xmax > size[0] or ymax > size[1]:
            yield "outside", f"{box}, image {sides(size)}"
        if self.difficult not in ("0", "1"):
            yield "difficult", f"{self.difficult!r:.40}"

    def meets(self, size: tuple[float, float]) -> bool:
        """Whether any pixel of the box lies in an image of that width and height."""
        xmin, ymin, xmax, ymax = self.box
        return xmin <= size[0] and ymin <= size[1] and xmax >= 1 and ymax >= 1


class _Plain(ET.TreeBuilder):
    """Builds the tree of an XML without a DOCTYPE: with one come entities, which can grow a small file without bounds."""

    def doctype(self, *_) -> None:
        raise ValueError("it has a DOCTYPE, which no VOC annotation has, and was not read")


def read_annotation(path: Path) -> tuple[tuple[float, float], list[Thing]]:
    """(width, height) and the objects of an XML; an object that does not say whether it is difficult is not.

    Raises:
        FileNotFoundError: it does not exist.
        ValueError: it is no XML, has a DOCTYPE, is no annotation, or lacks a number; says what.
    """
    try:
        root = ET.parse(path, ET.XMLParser(target=_Plain())).getroot()
    except (ET.ParseError, LookupError) as error:  # LookupError: of an unknown encoding
        raise ValueError(str(error)) from None
    if root.tag != "annotation":
        raise ValueError(f"its outermost tag is {root.tag!r:.40}, not 'annotation'")
    size = _number(root, "size/width"), _number(root, "size/height")
    return size, [_thing(element) for element in root.findall("object")]


def _thing(element: ET.Element) -> Thing:
    box = tuple(_number(element, f"bndbox/{side}") for side in ("xmin", "ymin", "xmax", "ymax"))
    return Thing(element.findtext("name", ""), box, element.findtext("difficult", "0").strip())


def _number(element: ET.Element, path: str) -> float:
    """A number of an XML; some boxes of VOC2012 have fractions."""
    text = element.findtext(path, "")
    try:
        number = float(text)
    except ValueError:
        number = float("nan")
    if not isfinite(number):
        raise ValueError(f"{path} of <{element.tag}> is {text!r:.40}, not a number")
    return number


def sides(size: tuple[float, float]) -> str:
    """'500 x 375'."""
    return " x ".join(f"{side:g}" for side in size)


def check_annotation(path: str | Path, classes: Sequence[str]) -> tuple[list[Thing], list[str]]:
    """The objects of an XML, and a phrase for each box that reaches out of its image but lies partly in it.

    Such a box is trained on as far as it lies in the image, and tested whole, as the devkit does.

    Raises:
        ValueError: the XML is missing or broken, an object is of no class in ``classes`` or marked neither difficult nor not,
            or a box has no area or lies outside the image; says which.
    """
    try:
        size, things = read_annotation(Path(path))
    except FileNotFoundError:
        raise ValueError(f"{path} does not exist, though it is listed in ImageSets/Main; complete the VOCdevkit.") from None
    except (ValueError, OSError) as error:
        raise ValueError(f"{path} is no VOC annotation ({error}); restore the file.") from None
    out = []
    for thing in things:
        for fault, what in thing.faults(classes, size):
            if fault == "class":
                raise ValueError(
                    f"{path} has an object of the unknown class {thing.name!r}; allowed: {', '.join(classes)}. Correct the "
                    "file, or give your own names with --cfg-options \"classes=('cat','dog')\"."
                )
            if fault == "outside" and thing.meets(size):
                out.append(f"{path} ({what})")
            else:
                raise ValueError(f"{path} has {REFUSED[fault]}: {what}; correct the file.")
    return things, out


REFUSED = {
    "flat": "a box with xmax <= xmin or ymax <= ymin",
    "outside": "a box that lies outside its image",
    "difficult": "an object whose difficult is neither 0 nor 1",
}


def check_split(names: Sequence[str], folder: Path, classes: Sequence[str], training: bool) -> list[str]:
    """Checks the images of a list, in ``folder`` (VOCdevkit/VOC2007), and returns a sentence for what is odd but usable.

    Raises:
        ValueError: see ``check_annotation``; an image that is not there; or a split that is not for training and has no object
            that counts, so that there would be no mAP.
    """
    out, barren, counting = [], [], 0
    for name in names:
        if not (image := folder / "JPEGImages" / f"{name}.jpg").is_file():
            raise ValueError(f"{image} does not exist, though it is listed in ImageSets/Main; complete the VOCdevkit.")
        things, reaching = check_annotation(folder / "Annotations" / f"{name}.xml", classes)
        out += reaching
        barren += [name] * (not things)
        counting += sum(training or thing.difficult == "0" for thing in things)
    if not counting:
        lacks = "train on has an object: there is nothing to learn"
        lacks = lacks if training else "test on has an object that is not difficult: there would be no mAP"
        raise ValueError(f"None of the {len(names)} images of {folder.name} to {lacks}; take another list.")
    use = "trained on as far as they lie in it" if training else "tested whole, as by the devkit"
    text = [f"{folder.name}: boxes that reach out of their image ({len(out)}), {use}: {first_names(out)}."] if out else []
    use = "left out of training" if training else "tested: whatever is found on them is a false alarm"
    return text + ([f"{folder.name}: images without an object ({len(barren)}), {use}: {first_names(barren)}."] if barren else [])
