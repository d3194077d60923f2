"""Read the image lists of a VOCdevkit, the files of ImageSets/Main.

Each line is the name of one image without its suffix. Blanks around it, empty lines, Windows line ends and a byte order mark are
passed over; blanks inside belong to the name.
"""

from collections import Counter
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from backbones.common.data_files import oddity
from backbones.common.dataset_checks import first_names
from backbones.common.files import missing_folder
from backbones.transfer.holdout import in_part

IMAGES, XMLS, LISTS = "JPEGImages", "Annotations", "ImageSets/Main"


class ListedImages(NamedTuple):
    """Hold the images that a dataset of a config reads.

    Args:
        folder: of the year, VOCdevkit/VOC2007.
        file: the list.
        names: those of the asked part of it, in its order.
    """

    folder: Path
    file: Path
    names: list[str]

    def image(self, name: str) -> Path:
        """Return the path of an image."""
        return self.folder / IMAGES / f"{name}.jpg"

    def xml(self, name: str) -> Path:
        """Return the path of an annotation."""
        return self.folder / XMLS / f"{name}.xml"


def list_lines(path: Path) -> list[str]:
    """Return the lines of a list that are not empty, without blanks around them.

    Raises:
        ValueError: the list is missing, is no file, or is no text.
    """
    reason = oddity(path)
    if reason == "there is no such file":
        raise ValueError(missing_folder(path, "the list of image names of a VOCdevkit"))
    if reason and reason != "it is empty":
        raise ValueError(f"The list {path} cannot be read ({reason}); restore the file of the VOCdevkit.")
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")  # other line ends become this one
    except OSError as error:
        raise ValueError(f"The list {path} cannot be read ({error.strerror}); correct that and try again.") from None
    except UnicodeDecodeError:
        raise ValueError(f"The list {path} is no text in UTF-8; save it as UTF-8, with one image name a line.") from None
    return [line for line in map(str.strip, lines) if line]


def leaves_folder(name: str) -> bool:
    """Return whether a name of a list is no plain path below the image folder."""
    parts = PurePosixPath(name).parts
    return name.startswith("/") or ".." in parts or not name.isprintable()


def read_list(path: str | Path) -> list[str]:
    """Return the image names that a list has, in its order.

    Raises:
        ValueError: see ``list_lines``; the list has no name, or a name leads out of the image folder.
    """
    names = list_lines(Path(path))
    if not names:
        raise ValueError(f"{path} lists no image; restore the file of the VOCdevkit.")
    if outside := [name for name in names if leaves_folder(name)]:
        raise ValueError(
            f"{path} lists names that lead out of {IMAGES} ({len(outside)}): {first_names(map(ascii, outside))}; a line must be "
            "the name of an image there, without its suffix."
        )
    return names


def repeated(names: list[str]) -> list[str]:
    """Return the names that occur more than once."""
    return [name for name, count in Counter(names).items() if count > 1]


def split_of(dataset) -> list[ListedImages]:
    """Return the images of a config's dataset, one item for each list that it joins.

    Raises:
        ValueError: a list cannot be read, or it or the requested part of it is empty.
    """
    lists = []
    for part in dataset.get("datasets", [dataset]):
        root = Path(part.data_root)
        file = root / part.ann_file
        names = [name for name in read_list(file) if in_part(name, part.get("part"))]
        if not names:
            raise ValueError(f"{file} is too short to hold images out of training; add images or hold none out.")
        lists.append(ListedImages(root / part.data_prefix.sub_data_root, file, names))
    return lists
