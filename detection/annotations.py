"""Read and check the image lists and XML files of a VOCdevkit without loading mmdet."""

import xml.etree.ElementTree as ET
from collections.abc import Iterator, Sequence
from math import isfinite
from pathlib import Path
from typing import NamedTuple

from backbones.common.dataset_checks import first_names
from backbones.common.files import missing_folder
from backbones.transfer.holdout import in_part


def read_list(path: str | Path) -> list[str]:
    """Return the image names that a file of ImageSets/Main lists.

    Raises:
        ValueError: the file does not exist or is empty.
    """
    if not Path(path).is_file():
        raise ValueError(missing_folder(path, "the list of image names of a VOCdevkit"))
    names = Path(path).read_text().split()
    if not names:
        raise ValueError(f"{path} lists no image; restore the file of the VOCdevkit.")
    return names


def split_of(dataset) -> list[tuple[Path, list[str]]]:
    """Return the images of a config's dataset: a pair (folder VOCdevkit/VOC2007, names) for each list that it joins.

    Raises:
        ValueError: a list does not exist, or it or the requested part of it is empty.
    """
    lists = []
    for part in dataset.get("datasets", [dataset]):
        root = Path(part.data_root)
        names = [name for name in read_list(root / part.ann_file) if in_part(name, part.get("part"))]
        if not names:
            raise ValueError(f"{root / part.ann_file} is too short to hold images out of training; add images or hold none out.")
        lists.append((root / part.data_prefix.sub_data_root, names))
    return lists


class Thing(NamedTuple):
    """Hold an object as its XML states it; the box is xmin, ymin, xmax, ymax, 1-based, with both ends inside."""

    name: str
    box: tuple[float, float, float, float]
    difficult: str

    def faults(self, classes: Sequence[str], size: tuple[float, float]) -> Iterator[tuple[str, str]]:
        """Yield a pair (fault, detail) for each fault of the object in an image of ``size`` (width, height)."""
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
        """Return whether any pixel of the box lies in an image of ``size`` (width, height)."""
        xmin, ymin, xmax, ymax = self.box
        return xmin <= size[0] and ymin <= size[1] and xmax >= 1 and ymax >= 1


class _Plain(ET.TreeBuilder):
    """Build an XML tree, but refuse a DOCTYPE: its entities can expand a small file without limit."""

    def doctype(self, *_) -> None:
        raise ValueError("it has a DOCTYPE, which no VOC annotation has, and was not read")


def read_annotation(path: Path) -> tuple[tuple[float, float], list[Thing]]:
    """Return (width, height) and the objects of an XML; an object without a ``difficult`` tag counts as not difficult.

    Raises:
        FileNotFoundError: the file does not exist.
        ValueError: the file is no XML, has a DOCTYPE, is no annotation or lacks a number. The message names the fault.
    """
    try:
        root = ET.parse(path, ET.XMLParser(target=_Plain())).getroot()
    except (ET.ParseError, LookupError) as error:  # LookupError: unknown encoding
        raise ValueError(str(error)) from None
    if root.tag != "annotation":
        raise ValueError(f"its outermost tag is {root.tag!r:.40}, not 'annotation'")
    size = _number(root, "size/width"), _number(root, "size/height")
    return size, [_thing(element) for element in root.findall("object")]


def _thing(element: ET.Element) -> Thing:
    box = tuple(_number(element, f"bndbox/{side}") for side in ("xmin", "ymin", "xmax", "ymax"))
    return Thing(element.findtext("name", ""), box, element.findtext("difficult", "0").strip())


def _number(element: ET.Element, path: str) -> float:
    """Return a number of an XML as float, because some boxes of VOC2012 have fractions."""
    text = element.findtext(path, "")
    try:
        number = float(text)
    except ValueError:
        number = float("nan")
    if not isfinite(number):
        raise ValueError(f"{path} of <{element.tag}> is {text!r:.40}, not a number")
    return number


def sides(size: tuple[float, float]) -> str:
    """Return a size as text, such as '500 x 375'."""
    return " x ".join(f"{side:g}" for side in size)


def check_annotation(path: str | Path, classes: Sequence[str]) -> tuple[list[Thing], list[str]]:
    """Return the objects of an XML, and a phrase for each box that lies only partly in its image.

    Training clips such a box to the image. Testing uses the whole box, as the devkit does.

    Raises:
        ValueError: the XML is missing or broken, the class of an object is not in ``classes``, ``difficult`` is neither 0 nor
            1, or a box has no area or lies outside the image. The message names the fault.
    """
    try:
        size, things = read_annotation(Path(path))
    except FileNotFoundError:
        raise ValueError(f"{path} does not exist, though it is listed in ImageSets/Main; complete the VOCdevkit.") from None
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
    return things, reaching


REFUSED = {
    "flat": "a box with xmax <= xmin or ymax <= ymin",
    "outside": "a box that lies outside its image",
    "difficult": "an object whose difficult is neither 0 nor 1",
}


def check_split(names: Sequence[str], folder: Path, classes: Sequence[str], training: bool) -> list[str]:
    """Check the images of a list in ``folder`` (VOCdevkit/VOC2007), and return a sentence for each oddity that stops no run.

    Raises:
        ValueError: ``check_annotation`` refuses an XML, an image is missing, or no object counts. In training every object
            counts; in testing only those that are not difficult, and without one mAP is undefined.
    """
    reaching, barren, counting = [], [], 0
    for name in names:
        if not (image := folder / "JPEGImages" / f"{name}.jpg").is_file():
            raise ValueError(f"{image} does not exist, though it is listed in ImageSets/Main; complete the VOCdevkit.")
        things, phrases = check_annotation(folder / "Annotations" / f"{name}.xml", classes)
        reaching += phrases
        if not things:
            barren.append(name)
        counting += sum(training or thing.difficult == "0" for thing in things)
    if not counting:
        lack = "test on has an object that is not difficult: mAP would be undefined"
        if training:
            lack = "train on has an object: there is nothing to learn"
        raise ValueError(f"None of the {len(names)} images of {folder.name} to {lack}; use another list.")
    remarks = []
    if reaching:
        use = "clipped to it in training" if training else "tested whole, as by the devkit"
        remarks.append(f"{folder.name}: boxes that reach out of their image ({len(reaching)}), {use}: {first_names(reaching)}.")
    if barren:
        use = "left out of training" if training else "tested: every detection on them is a false alarm"
        remarks.append(f"{folder.name}: images without an object ({len(barren)}), {use}: {first_names(barren)}.")
    return remarks
