"""Decide which files of a dataset are read: one rule for hidden files, links and odd files, for every reader of data."""

import os
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

LITTER = ("__MACOSX", "Thumbs.db", "desktop.ini")  # left by macOS and Windows, beside names that begin with a dot
KINDS = {  # what a path may be besides a file
    stat.S_ISDIR: "a folder",
    stat.S_ISFIFO: "a pipe",
    stat.S_ISSOCK: "a socket",
    stat.S_ISCHR: "a device",
    stat.S_ISBLK: "a device",
}


class DataFiles(NamedTuple):
    """Name the files of a dataset that decide a result; a check must say whether each exists.

    Args:
        folder: to which the paths are relative.
        content: paths of lists, annotations and masks, whose content counts.
        images: paths of images.
    """

    folder: Path
    content: tuple[str, ...]
    images: tuple[str, ...]


def is_hidden(name: str) -> bool:
    """Return whether a file or folder is passed over: its name begins with a dot, or another program left it."""
    return name.startswith(".") or name in LITTER


def walk(folder: Path) -> list[tuple[str, list[str]]]:
    """Return (subfolder, sorted names of its files) for ``folder``, which is '', and all folders below it, sorted.

    Links to folders are entered, and what is hidden is passed over.

    Raises:
        ValueError: a folder cannot be listed, or a link leads to a folder above it.
    """
    above = {*Path(folder).absolute().parents, *Path(os.path.realpath(folder)).parents}
    return sorted(_walk(folder, "", frozenset(map(_identity, above))))


def _identity(folder: Path) -> tuple[int, int] | None:
    try:
        about = os.stat(folder)
    except OSError:
        return None
    return about.st_dev, about.st_ino


def _walk(top: Path, subfolder: str, above: frozenset) -> Iterator[tuple[str, list[str]]]:
    place = top / subfolder
    try:
        with os.scandir(place) as listing:
            entries = [(entry.name, _is_folder(entry)) for entry in listing if not is_hidden(entry.name)]
    except OSError as error:
        raise unlisted(place, error) from None
    identity = _identity(place)
    if identity in above:
        raise ValueError(f"The link {place} leads to a folder above it, so it would be read without end; remove the link.")
    yield subfolder, sorted(name for name, is_folder in entries if not is_folder)
    for name, is_folder in entries:
        if is_folder:
            yield from _walk(top, os.path.join(subfolder, name), above | {identity})


def _is_folder(entry: os.DirEntry) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def unlisted(place: str | Path, error: OSError) -> ValueError:
    """Return the error for a folder that cannot be listed."""
    return ValueError(f"The folder {place} cannot be listed ({error.strerror}); correct that and try again.")


def oddity(path: str | Path) -> str:
    """Return what keeps ``path`` from being read as a file, such as 'it is a pipe'; empty for a file with content.

    Opening a pipe or a device could wait or read without end, so this only asks the file system.
    """
    try:
        about = os.stat(path)
    except OSError as error:
        return "there is no such file" if isinstance(error, FileNotFoundError) else str(error.strerror)
    except ValueError:
        return "its name holds a null character"
    if not stat.S_ISREG(about.st_mode):
        return "it is " + next((name for is_kind, name in KINDS.items() if is_kind(about.st_mode)), "no file")
    return "" if about.st_size else "it is empty"


def first_odd(paths: Iterable[str | Path]) -> tuple[str | Path, str] | None:
    """Return the first path that is no file with content, and why; None if all are."""
    return next(((path, reason) for path in paths if (reason := oddity(path))), None)


def other_suffix(path: Path) -> str | None:
    """Return the name of a file beside the missing ``path`` that differs from it only in its suffix, or in the suffix's case."""
    try:
        names = sorted(os.listdir(path.parent))
    except OSError:
        return None
    return next((name for name in names if os.path.splitext(name)[0] == path.stem and not is_hidden(name)), None)


NamedPaths = Iterable[tuple[str, str | Path]]  # (name, path) of images


def shared_images(training: NamedPaths, testing: NamedPaths) -> list[str]:
    """Return the names of the images to test on that are also trained on.

    Two images are compared if they have one name. They are the same if they are one file, or two of the same content.
    """
    testing = list(testing)
    by_name: dict[str, list] = {name: [] for name, _ in testing}  # of the training images only those that may be shared
    for name, path in training:
        if name in by_name:
            by_name[name].append(path)
    return [name for name, path in testing if any(_is_same(path, other) for other in by_name[name])]


def check_overlap(training: NamedPaths, testing: NamedPaths) -> list[str]:
    """Return a sentence if some images to test on are trained on, see ``shared_images``.

    Raises:
        ValueError: all of them are.
    """
    testing = list(testing)
    shared = shared_images(training, testing)
    if not shared:
        return []
    if len(shared) == len(testing):
        raise ValueError(
            f"Each of the {len(testing):,} images to test on is also trained on, such as {shared[0]}; test on others, since the "
            "figures would say nothing of new images."
        )
    return [f"Images to test on that are also trained on ({len(shared):,} of {len(testing):,}): {', '.join(shared[:5])}."]


def _is_same(first: str | Path, second: str | Path) -> bool:
    try:
        about, other = os.stat(first), os.stat(second)
        if os.path.samestat(about, other):
            return True
        if about.st_size != other.st_size or oddity(first) or oddity(second):
            return False
        with open(first, "rb") as file, open(second, "rb") as other_file:
            while block := file.read(1 << 14):
                if block != other_file.read(1 << 14):
                    return False
        return True
    except OSError:  # what is missing is refused elsewhere
        return False
