"""Read folders of images that are sorted by class, as ImageNet is. Loads no torch."""

import os
from pathlib import Path

from backbones.common.data_files import is_hidden, unlisted, walk
from backbones.common.files import missing_folder

# suffixes of the images that are read, torchvision's IMG_EXTENSIONS -> PIL's format
FORMATS = {
    ".jpg": "JPEG",
    ".jpeg": "JPEG",
    ".png": "PNG",
    ".ppm": "PPM",
    ".bmp": "BMP",
    ".pgm": "PPM",
    ".tif": "TIFF",
    ".tiff": "TIFF",
    ".webp": "WEBP",
}


def is_image(name: str) -> bool:
    """Return whether a file in a class folder is read as an image."""
    return not is_hidden(name) and os.path.splitext(name)[1].lower() in FORMATS


def class_names(root: Path) -> list[str]:
    """Return the sorted names of the class folders in ``root``.

    Raises:
        ValueError: ``root`` cannot be listed.
    """
    try:
        with os.scandir(root) as listing:
            return sorted(entry.name for entry in listing if not is_hidden(entry.name) and entry.is_dir())
    except OSError as error:
        raise unlisted(root, error) from None


def class_images(root: Path, name: str) -> list[str]:
    """Return the images of a class at any depth of its folder, relative to ``root``, in torchvision's order."""
    places = [(os.path.join(name, subfolder), files) for subfolder, files in walk(root / name)]
    return [os.path.join(place, file) for place, files in places for file in files if is_image(file)]


def read_folder(root: Path) -> dict[str, list[str]]:
    """Return the images of each class, relative to ``root``, as training, testing and all checks read them.

    Raises:
        ValueError: no such folder, no class folders, or a class folder without images; the message says what was expected where.
    """
    if not os.path.isdir(root):
        raise ValueError(missing_folder(root, "one folder of images per class"))
    names = class_names(root)
    if not names:
        content = ", ".join(sorted(path.name for path in root.iterdir())[:5]) or "nothing"
        raise ValueError(f"{root} should hold one folder of images per class, and holds no folder (found: {content}).")
    images = {name: class_images(root, name) for name in names}
    for name in names:
        if not images[name]:
            raise ValueError(
                f"The class folder {root / name} holds no image ({', '.join(FORMATS)}); fill it or "
                "remove it, since every folder counts as a class."
            )
    return images
