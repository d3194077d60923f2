"""Files written whole or not at all: beside the target, synced, then renamed."""

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

PART = ".part"  # ends the name of whatever is being written; a kill leaves it, and ``remove_parts`` takes it away


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """A file beside ``path`` to write to: synced and renamed to ``path`` when the block ends well, removed otherwise.

    Each writer has its own, so that of two at once one wins, whole.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=PART, dir=path.parent)
    os.close(handle)
    try:
        yield Path(name)
        sync(name)
        os.chmod(name, 0o644)  # mkstemp makes it readable for the owner alone
        os.replace(name, path)
    except BaseException:
        os.unlink(name)
        raise
    with suppress(OSError):  # some file systems cannot; the file is whole under either name
        sync(path.parent)


@contextmanager
def atomic(path: str | Path, mode: str = "w") -> Iterator[IO]:
    """Opens a file that becomes ``path`` when the block ends well, see ``atomic_path``."""
    with atomic_path(path) as part, open(part, mode, encoding=None if "b" in mode else "utf-8") as file:
        yield file


@contextmanager
def atomic_folder(path: str | Path) -> Iterator[Path]:
    """A folder beside ``path`` to fill: synced and renamed to ``path`` as a whole when the block ends well, removed otherwise.

    One that is there is set aside first, so that for a moment there is none: a kill then leaves it as ``.NAME.*.part``.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    part, old = (Path(tempfile.mkdtemp(prefix=f".{path.name}.", suffix=PART, dir=path.parent)) for _ in range(2))
    try:
        part.chmod(0o755)  # mkdtemp makes it readable for the owner alone
        yield part
        for file in (*part.rglob("*"), part):
            sync(file)
        if path.exists():
            os.replace(path, old)
        os.replace(part, path)
    except BaseException:
        if not path.exists() and any(old.iterdir()):
            os.replace(old, path)
        raise
    finally:
        for folder in (part, old):
            shutil.rmtree(folder, ignore_errors=True)
    with suppress(OSError):
        sync(path.parent)


def sync(path: str | Path) -> None:
    """Has the system write a file, or the names in a folder, to the disk now."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def remove_parts(folder: str | Path) -> list[str]:
    """Removes what killed processes left half written in ``folder``, to which nobody else may be writing; returns the names."""
    found = sorted(Path(folder).glob(f".*{PART}"))
    for path in found:
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    return [path.name for path in found]


def sha256(path: str | Path) -> str:
    """Of a file, in hexadecimal."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def write_text(path: str | Path, text: str) -> None:
    with atomic(path) as file:
        file.write(text)


def write_json(path: str | Path, value: Any) -> None:
    """Raises ValueError for NaN and infinities: they are not JSON, and no result."""
    write_text(path, json.dumps(value, indent=1, allow_nan=False) + "\n")


def read_json(path: str | Path) -> Any:
    """What a JSON file holds.

    Raises:
        ValueError: it is not JSON, or nested too deep; names the file.
    """
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except RecursionError:
        raise ValueError(f"{path} is nested too deep to be a file of this project; remove it.") from None
    except ValueError as error:
        raise ValueError(f"{path} is not JSON ({error}); remove it, or bring the whole file back.") from None


def read_npz(path: str | Path) -> dict[str, Any]:
    """The numpy arrays of an npz file, by name. No pickled object is loaded, since that would run its code.

    Raises:
        ValueError: it is no npz of plain arrays; names the file.
    """
    import numpy as np

    try:
        with np.load(path, allow_pickle=False) as saved:
            return {name: saved[name] for name in saved.files}
    except FileNotFoundError:
        raise
    except Exception as error:  # damaged bytes make numpy and zlib raise anything
        what = "Python objects, which would run code" if "allow_pickle" in str(error) else str(error).splitlines()[0]
        raise ValueError(f"{path} is no file of plain arrays ({what}); test the run again to write the file anew.") from None


def write_npz(path: str | Path, **arrays) -> None:
    import numpy as np

    with atomic(path, "wb") as file:
        np.savez_compressed(file, **arrays)


def missing_folder(path: str | Path, expected: str) -> str:
    """One sentence on a folder or file that is not there: what was expected, what is there instead, what to do."""
    path = Path(path)
    there = next(p for p in path.absolute().parents if p.is_dir())
    found = ", ".join(sorted(p.name for p in there.iterdir() if p.name[0] != ".")[:6]) or "nothing"
    return (
        f"{path} does not exist; it should hold {expected}. {there} holds {found}. Put the data there, or set DATA_ROOT to "
        "the folder that has it (the made data of scale toy: python tools/prepare_data.py toy)."
    )
