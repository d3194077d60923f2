"""Read and check the XML files of a VOCdevkit without loading mmdet, as training, testing and ``prepare_data.py check`` do."""

import xml.etree.ElementTree as ET
from collections.abc import Iterator, Sequence
from math import isfinite
from pathlib import Path
from typing import NamedTuple

from backbones.common.data_files import oddity, other_suffix
from backbones.common.dataset_checks import first_names
from detection.image_lists import LISTS, ListedImages, repeated

LARGEST = 2**24  # float32, in which boxes are trained on, holds all whole numbers up to here


class Thing(NamedTuple):
    """Hold an object of an XML.

    Args:
        name: its class.
        box: xmin, ymin, xmax, ymax, 1-based, with both ends inside: the whole pixels that are trained and tested on, without the
            fractions that some boxes of VOC2012 have.
        difficult: text of that tag.
        written: the box as text, as the XML states it.
    """

    name: str
    box: tuple[int, int, int, int]
    difficult: str
    written: str

    def faults(self, classes: Sequence[str], size: tuple[int, int]) -> Iterator[tuple[str, str]]:
        """Yield a pair (fault, detail) for each fault of the object in an image of ``size`` (width, height)."""
        xmin, ymin, xmax, ymax = self.box
        box = f"{self.name!r:.40} {self.written}"
        if self.name not in classes:
            yield "class", f"{self.name!r:.40}"
        if xmax <= xmin or ymax <= ymin:
            yield "flat", box
        elif min(xmin, ymin) < 1 or xmax > size[0] or ymax > size[1]:
            yield "outside", f"{box}, image {sides(size)}"
        if self.difficult not in ("0", "1"):
            yield "difficult", f"{self.difficult!r:.40}"

    def meets(self, size: tuple[int, int]) -> bool:
        """Return whether any pixel of the box lies in an image of ``size`` (width, height)."""
        xmin, ymin, xmax, ymax = self.box
        return xmin <= size[0] and ymin <= size[1] and xmax >= 1 and ymax >= 1


class _Plain(ET.TreeBuilder):
    """Build an XML tree, but refuse a DOCTYPE: its entities can expand a small file without limit."""

    def doctype(self, *_) -> None:
        raise ValueError("it has a DOCTYPE, which no VOC annotation has, and was not read")


def parse_annotation(path: Path) -> ET.Element:
    """Return the outermost element of an XML.

    Raises:
        FileNotFoundError: the file does not exist.
        ValueError: the file is no file, no XML, has a DOCTYPE or is no annotation. The message names the fault.
    """
    reason = oddity(path)
    if reason.startswith("it is a"):  # a pipe or a device would be read without end
        raise ValueError(reason)
    try:
        root = ET.parse(path, ET.XMLParser(target=_Plain())).getroot()
    except (ET.ParseError, LookupError) as error:  # LookupError: unknown encoding
        raise ValueError(str(error)) from None
    if root.tag != "annotation":
        raise ValueError(f"its outermost tag is {root.tag!r:.40}, not 'annotation'")
    return root


def read_annotation(path: Path) -> tuple[tuple[int, int], list[Thing]]:
    """Return (width, height) and the objects of an XML; an object without a ``difficult`` tag counts as not difficult.

    Raises:
        FileNotFoundError, ValueError: see ``parse_annotation``; or the XML lacks a number.
    """
    root = parse_annotation(path)
    return (_side(root, "size/width"), _side(root, "size/height")), [_thing(element) for element in root.findall("object")]


def _thing(element: ET.Element) -> Thing:
    box = tuple(_number(element, f"bndbox/{side}") for side in ("xmin", "ymin", "xmax", "ymax"))
    difficult = element.findtext("difficult", "0").strip()
    return Thing(element.findtext("name", ""), tuple(map(int, box)), difficult, " ".join(f"{side:g}" for side in box))


def _number(element: ET.Element, path: str) -> float:
    """Return a number of an XML as float, because some boxes of VOC2012 have fractions."""
    text = element.findtext(path, "")
    try:
        number = float(text)
    except ValueError:
        number = float("nan")
    if not isfinite(number):
        raise ValueError(f"{path} of <{element.tag}> is {text!r:.40}, not a number")
    if abs(number) > LARGEST:
        raise ValueError(f"{path} of <{element.tag}> is {text!r:.40}, more than {LARGEST:,}")
    return number


def _side(element: ET.Element, path: str) -> int:
    """Return a side of the image, a whole number of pixels."""
    number = _number(element, path)
    if number < 1 or number != int(number):
        raise ValueError(f"{path} of <{element.tag}> is {number:g}, not a number of pixels")
    return int(number)


def sides(size: tuple[int, int]) -> str:
    """Return a size as text, such as '500 x 375'."""
    return " x ".join(f"{side:g}" for side in size)


REFUSED = {
    "flat": "a box with xmax <= xmin or ymax <= ymin in whole pixels",
    "outside": "a box that lies outside its image",
    "difficult": "an object whose difficult is neither 0 nor 1",
}


class Annotation(NamedTuple):
    """Hold what an XML says, checked.

    Args:
        size: (width, height) of the image.
        things: the objects.
        reaching: a phrase for each box that lies only partly in the image. Training clips it to the image; testing uses the whole
            box, as the devkit does.
    """

    size: tuple[int, int]
    things: list[Thing]
    reaching: list[str]


def check_annotation(path: str | Path, classes: Sequence[str]) -> Annotation:
    """Read an XML, and refuse what could not be trained and tested on as it stands.

    Raises:
        ValueError: the XML is missing or broken, the class of an object is not in ``classes``, ``difficult`` is neither 0 nor
            1, or a box has no area or lies outside the image. The message names the fault.
    """
    try:
        size, things = read_annotation(Path(path))
    except FileNotFoundError:
        raise ValueError(f"{path} does not exist, though it is listed in {LISTS}; complete the VOCdevkit.") from None
    except (ValueError, OSError) as error:
        raise ValueError(f"{path} is no VOC annotation ({error}); restore the file.") from None
    reaching = []
    for thing in things:
        for fault, detail in thing.faults(classes, size):
            if fault == "class":
                raise ValueError(
                    f"{path} has an object of the unknown class {thing.name!r}; allowed: {', '.join(classes)}. Correct the "
                    "file, or give your own names with --cfg-options \"classes=('cat','dog')\"."
                )
            if fault == "outside" and thing.meets(size):
                reaching.append(f"{path} ({detail})")
            else:
                raise ValueError(f"{path} has {REFUSED[fault]}: {detail}; correct the file.")
    return Annotation(size, things, reaching)


def check_split(split: ListedImages, classes: Sequence[str], training: bool) -> list[str]:
    """Check the images of a list, and return a sentence for each oddity that stops no run.

    Raises:
        ValueError: ``check_annotation`` refuses an XML, an image is missing, a test image is listed twice or cannot be read, or
            no object counts. In training every object counts; in testing only those that are not difficult, and without one
            mAP is undefined.
    """
    remarks = _check_repeated(split, training)
    reaching, barren, counting = [], [], 0
    for name in split.names:
        _check_image(split, name, training)
        annotation = check_annotation(split.xml(name), classes)
        reaching += annotation.reaching
        if not annotation.things:
            barren.append(name)
        counting += sum(training or thing.difficult == "0" for thing in annotation.things)
    year = split.folder.name
    if not counting:
        lack = "test on has an object that is not difficult: mAP would be undefined"
        if training:
            lack = "train on has an object: there is nothing to learn"
        raise ValueError(f"None of the {len(split.names)} images of {year} to {lack}; use another list.")
    if reaching:
        use = "clipped to it in training" if training else "tested whole, as by the devkit"
        remarks.append(f"{year}: boxes that reach out of their image ({len(reaching)}), {use}: {first_names(reaching)}.")
    if barren:
        use = "left out of training" if training else "tested: every detection on them is a false alarm"
        remarks.append(f"{year}: images without an object ({len(barren)}), {use}: {first_names(barren)}.")
    return remarks


def _check_repeated(split: ListedImages, training: bool) -> list[str]:
    """Return a sentence if a list to train on names images twice; raise ValueError for a list to test on."""
    names = repeated(split.names)
    if names and not training:
        raise ValueError(
            f"{split.file} lists images twice ({len(names)}): {first_names(names)}; each would count twice in mAP, so remove the "
            "repeated lines."
        )
    if names:
        return [f"{split.file} lists images twice ({len(names)}), which are trained on as often: {first_names(names)}."]
    return []


def _check_image(split: ListedImages, name: str, training: bool) -> None:
    """Raise ValueError if an image is missing, or cannot be read in a test; training reports that when it reads the image."""
    image = split.image(name)
    reason = oddity(image)
    if reason == "there is no such file":
        raise ValueError(_missing_image(split, name))
    if reason and not training:
        raise ValueError(f"The image {image} cannot be read ({reason}); replace it, or take it out of {split.file}.")


def _missing_image(split: ListedImages, name: str) -> str:
    """Return the error for an image that is not there: it has another suffix, the list has flags, or the data is not complete."""
    image = split.image(name)
    if other := other_suffix(image):
        return (
            f"{image} does not exist, but {other} does: the names of images must end in .jpg, whatever their format; rename the "
            "images."
        )
    columns = name.rsplit(maxsplit=1)
    if len(columns) == 2 and columns[1] in ("-1", "0", "1") and split.image(columns[0]).exists():
        return (
            f"{split.file} has the line {name!r}, as in a list that says by 1, 0 or -1 which images show one class; use a list "
            "with one image name a line and nothing else."
        )
    return f"{image} does not exist, though it is listed in {LISTS}; complete the VOCdevkit."
