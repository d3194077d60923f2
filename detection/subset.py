"""Copy a part of a VOCdevkit, with smaller images and the boxes that fit them. Loads neither torch nor mmdet."""

import difflib
import xml.etree.ElementTree as ET
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path

from backbones.common.data_files import is_hidden
from backbones.common.dataset_checks import entries, first_names
from backbones.common.files import missing_folder, write_text
from backbones.common.images import read_rgb
from backbones.common.subsets import (
    Choice,
    Layout,
    Size,
    SubsetOptions,
    copy_file,
    draw_evenly,
    refuse_splits,
    save_image,
    shuffled,
)
from detection.annotations import REFUSED, Thing, parse_annotation, read_annotation, sides
from detection.image_lists import IMAGES, LISTS, XMLS, list_lines, read_list

FLAGS = ("-1", "0", "1")  # the last column of a list of one class
EDGES = ("xmin", "ymin", "xmax", "ymax")


def choose(root: Path, options: SubsetOptions) -> Choice:
    """Choose images of the lists in ImageSets/Main; all lists lose the images that one of them loses.

    Of named classes, all images are left out that show none. A list of which a number of images is asked gives images of each
    class in turns, so that rare classes stay.

    Raises:
        ValueError: a year, a list or a class is missing, a list or the XML of a listed image cannot be read, or a list loses all.
    """
    names, texts = [], {}
    chosen, available = {}, {}
    years = {year: _read_lists(root / year) for year in _years(root, options.years)}
    refuse_splits(options.images, sorted({name for lists in years.values() for name in _plain(lists)}), root)
    classes: set[str] = set()
    for year, lists in years.items():
        images = _plain(lists)
        listed_once = list(dict.fromkeys(image for listed in images.values() for image in listed))
        things = _objects(root / year, listed_once, options)
        classes |= {thing.name for objects in things.values() for thing in objects}
        left_out = _left_out(images, things, options)
        for name, lines in lists.items():
            if name in images or options.classes is None or name.rpartition("_")[0] in options.classes:
                kept = [line for line in lines if (line if name in images else line.rsplit(maxsplit=1)[0]) not in left_out]
                texts[f"{year}/{LISTS}/{name}.txt"] = "".join(f"{line}\n" for line in kept)
        for name, listed in images.items():
            available[f"{year} {name}"], chosen[f"{year} {name}"] = len(listed), sum(image not in left_out for image in listed)
        names += [f"{year}/{image}" for image in listed_once if image not in left_out]
    _refuse_empty(chosen, classes, root, options)
    return Choice(names, chosen, available, texts)


def _refuse_empty(chosen: Mapping[str, int], classes: Collection[str], root: Path, options: SubsetOptions) -> None:
    """Raise ValueError if no listed image shows a class that is asked for, or if a list has lost all its images."""
    for name in options.classes or ():
        if name not in classes:
            near = difflib.get_close_matches(name, sorted(classes), n=3, cutoff=0.5) or sorted(classes)[:3]
            raise ValueError(f"No image in a list of {root} shows the class {name!r}; nearest: {', '.join(near)}.")
    if empty := [split for split, count in chosen.items() if not count]:
        raise ValueError(f"The subset would have no image in the list {empty[0]}; take more classes or images.")


def _years(root: Path, asked: tuple[str, ...] | None) -> list[str]:
    """Return the folders of a VOCdevkit to take.

    Raises:
        ValueError: one that was asked for is not there, or there are none.
    """
    years = [name for name in entries(root)[0] if not is_hidden(name) and (root / name / LISTS).is_dir()]
    for year in years if asked is None else asked:
        if year not in years:
            raise ValueError(f"{root} has no {year}/{LISTS}; there are: {first_names(years) or 'none'}.")
    if not years:
        raise ValueError(missing_folder(root / "VOC2007" / LISTS, "the lists of images of a VOCdevkit"))
    return years if asked is None else sorted(set(asked))


def _read_lists(folder: Path) -> dict[str, list[str]]:
    """Return the lines of each list of a year, by its name."""
    lists = {}
    for file in entries(folder / LISTS)[1]:
        path = folder / LISTS / file
        if path.suffix == ".txt" and not is_hidden(file):
            lines = list_lines(path)
            lists[path.stem] = lines if _is_of_class(lines) else read_list(path)
    return lists


def _is_of_class(lines: list[str]) -> bool:
    """Return whether a list says by 1, 0 or -1 which images show one class."""
    return all(len(parts := line.rsplit(maxsplit=1)) == 2 and parts[1] in FLAGS for line in lines)


def _plain(lists: Mapping[str, list[str]]) -> dict[str, list[str]]:
    """Return the images of the lists that are not of one class, each image once."""
    return {name: list(dict.fromkeys(lines)) for name, lines in lists.items() if not _is_of_class(lines)}


def _objects(folder: Path, images: list[str], options: SubsetOptions) -> dict[str, list[Thing]]:
    """Return the objects in each image of a year; nothing if the choice does not depend on them."""
    if options.classes is None and not options.images:
        return {}
    return {image: _read(folder / XMLS / f"{image}.xml")[1] for image in images}


def _left_out(images: Mapping[str, list[str]], things: Mapping[str, list[Thing]], options: SubsetOptions) -> set[str]:
    """Return the images of a year that are not taken."""
    left_out: set[str] = set()
    if options.classes is not None:
        wanted = set(options.classes)
        left_out = {image for image, objects in things.items() if wanted.isdisjoint(thing.name for thing in objects)}
    for name, count in sorted(options.images.items()):
        listed = {image: things[image] for image in images.get(name, ()) if image not in left_out}
        if count < len(listed):
            left_out |= set(listed) - _taken(listed, count, options)
    return left_out


def _taken(listed: Mapping[str, list[Thing]], count: int, options: SubsetOptions) -> set[str]:
    """Return ``count`` of the images of a list: in turns one of each class, the rarest class first."""
    groups: dict[str, list[str]] = {}
    others = []
    for image in shuffled(listed, options.seed):
        names = sorted({thing.name for thing in listed[image] if thing.difficult != "1"})
        names = [name for name in names if options.classes is None or name in options.classes]
        for name in names:
            groups.setdefault(name, []).append(image)
        if not names:
            others.append(image)
    rarest_first = dict(sorted(groups.items(), key=lambda group: (len(group[1]), group[0])))
    taken = draw_evenly(rarest_first, count)
    return taken | set(others[: count - len(taken)])


def _read(path: Path) -> tuple[Size, list[Thing]]:
    """Return the size and the objects of an XML.

    Raises:
        ValueError: it is missing or broken; names the file.
    """
    try:
        return read_annotation(path)
    except (OSError, ValueError) as error:
        reason = "there is no such file" if isinstance(error, FileNotFoundError) else error
        raise ValueError(f"{path} is no VOC annotation ({reason}); restore the file.") from None


def files(name: str) -> tuple[str, ...]:
    """Return the paths of an image and its XML; ``name`` is YEAR/IMAGE."""
    year, _, image = name.partition("/")
    return f"{year}/{IMAGES}/{image}.jpg", f"{year}/{XMLS}/{image}.xml"


def write(source: Path, target: Path, name: str, options: SubsetOptions) -> None:
    """Write one image and its XML.

    Raises:
        ValueError: the image cannot be decoded, or the XML cannot be read, has another size, or a box that has no area or lies
            outside the image. The message names the file.
    """
    photo, xml = files(name)
    image = read_rgb(source / photo)
    size, things = _read(source / xml)
    if size != image.size:
        raise ValueError(f"{source / xml} says {sides(size)}, and its image is {sides(image.size)}; restore both files.")
    for fault, detail in _faults(things, size):
        raise ValueError(f"{source / xml} has {REFUSED[fault]}: {detail}; correct the file.")
    new_size = options.size(size)
    save_image(image, new_size, source / photo, target / photo, options)
    if new_size == size and (options.classes is None or all(thing.name in options.classes for thing in things)):
        copy_file(source / xml, target / xml)
    else:
        write_text(target / xml, changed_xml(source / xml, size, new_size, options.classes))


def _faults(things: list[Thing], size: Size) -> Iterator[tuple[str, str]]:
    """Yield the faults that training and testing refuse, other than an unknown class."""
    for thing in things:
        for fault, detail in thing.faults([thing.name], size):
            if fault != "outside" or not thing.meets(size):
                yield fault, detail


def changed_xml(path: Path, size: Size, new_size: Size, classes: Collection[str] | None) -> str:
    """Return the text of an XML for its image at ``new_size``, without objects of other classes than ``classes``.

    All but the size, boxes and points stays as it is.
    """
    root = parse_annotation(path)
    for element in root.findall("object"):
        if classes is not None and element.findtext("name", "") not in classes:
            root.remove(element)
    for side, length in zip(("width", "height"), new_size, strict=True):
        _set(root, (f"size/{side}",), [length])
    for element in root.iter("bndbox"):  # of objects, and of their parts
        if box := _numbers(element, EDGES):
            _set(element, EDGES, resized_box(box, size, new_size))
    for element in root.iter("point"):  # a pixel of a person, in VOC2012
        if point := _numbers(element, ("x", "y")):
            moved = [(2 * place - 1) * new // (2 * old) + 1 for place, old, new in zip(point, size, new_size, strict=True)]
            _set(element, ("x", "y"), moved)
    return ET.tostring(root, encoding="unicode") + "\n"


def _numbers(element: ET.Element, tags: Sequence[str]) -> list[int]:
    """Return the numbers below an element as whole pixels; nothing if one is missing or no number, as parts, unread, may be."""
    try:
        return [int(float(element.findtext(tag, ""))) for tag in tags]
    except (ValueError, OverflowError):
        return []


def _set(element: ET.Element, tags: Sequence[str], values: Sequence[int]) -> None:
    for tag, value in zip(tags, values, strict=True):
        if (child := element.find(tag)) is not None:
            child.text = str(value)


def resized_box(box: list[int], size: Size, new_size: Size) -> list[int]:
    """Return a box for an image of another size: 1-based whole pixels, both ends inside, as VOC has them.

    The pixels a..b cover the interval [a - 1, b]. Its ends are scaled, rounded to whole pixels (half up) and kept in the image. A
    side that would be shorter than two pixels gets two, since readers refuse a box with xmax <= xmin.
    """
    ends = []
    for low, high, old, new in zip(box[:2], box[2:], size, new_size, strict=True):
        first = min(max((2 * (low - 1) * new + old) // (2 * old) + 1, 1), new - 1)
        last = min(max((2 * high * new + old) // (2 * old), first + 1), new)
        ends.append((first, last))
    (xmin, xmax), (ymin, ymax) = ends
    return [xmin, ymin, xmax, ymax]


LAYOUT = Layout("VOC2007 or other years of a VOCdevkit", choose, files, write)
