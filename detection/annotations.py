"""The lists and XML files of a VOCdevkit, checked without loading mmdet."""

import xml.etree.ElementTree as ET
from collections.abc import Sequence
from pathlib import Path

from backbones.files import missing_folder


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


def check_annotation(path: str | Path, classes: Sequence[str]) -> None:
    """Raises ValueError when an XML is missing, broken, without a number it needs, or names a class not in ``classes``."""
    try:
        objects = ET.parse(path).getroot().findall("object")
        names = [obj.findtext("name") for obj in objects]
        for obj in objects:
            corners = [float(obj.findtext(f"bndbox/{side}", "")) for side in ("xmin", "ymin", "xmax", "ymax")]
            if corners[0] > corners[2] or corners[1] > corners[3]:
                raise ValueError(f"a box runs backwards: {corners}")
            int(obj.findtext("difficult", "0"))
    except FileNotFoundError:
        raise ValueError(f"{path} does not exist, though it is listed in ImageSets/Main; complete the VOCdevkit.") from None
    except (ET.ParseError, ValueError) as error:
        raise ValueError(f"{path} is no VOC annotation ({error}); restore the file.") from None
    if unknown := [name for name in names if name not in classes]:
        raise ValueError(
            f"{path} has an object of the unknown class {unknown[0]!r}; allowed: {', '.join(classes)}. Correct the file, or give "
            "your own names with --cfg-options \"classes=('cat','dog')\"."
        )
