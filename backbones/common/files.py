"""Read files, and write them atomically: to a temporary file beside the target, synced, then renamed."""

import difflib
import hashlib
import json
import os
import re
import secrets
import shutil
import zipfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from backbones.common.project import data_root

INFLATED, RATIO = 1 << 30, 100  # an archive may unpack to this many bytes, or to this many times its own size if that is more
PART = ".part"  # suffix of temporary files and folders; a killed process leaves them, ``remove_parts`` deletes them
MAGIC = (0x1950A86A20F9469CFC6C).to_bytes(10, "little")  # begins the pickles of torch 0.1.10 to 1.5
OTHER_KINDS = (  # how a file begins that is no file of weights, and what to do
    (rb"version https://git-lfs", "is a pointer of Git LFS and not the file itself; run git lfs pull in its clone"),
    (rb"\s*<(!DOCTYPE|html|\?xml)", "is a web page, as a failed download leaves it; download the file itself"),
    (rb"\x89HDF", "is an HDF5 file, as Keras writes it; give a .safetensors or torch file"),
    (rb"\x1f\x8b|BZh|\xfd7zXZ", "is compressed; unpack it, and give the file of weights in it"),
    (rb"\Z", "is empty; download or copy it again"),
)


class MissingData(ValueError):
    """Say that data is missing; ``lines`` describe what was expected, for people."""

    def __init__(self, sentence: str, lines: Iterable[str] = ()):
        super().__init__(sentence)
        self.lines = tuple(lines)


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Yield a temporary file beside ``path``; sync it and rename it to ``path`` after the block, or remove it after an error.

    Each writer has its own temporary file, so of two concurrent writers one wins as a whole.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = _part_of(path)
    os.close(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666))  # less the umask, as for any new file
    try:
        yield part
        sync(part)
        os.replace(part, path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    with suppress(OSError):  # some file systems cannot sync a folder; the file is complete under either name
        sync(path.parent)


@contextmanager
def atomic(path: str | Path, mode: str = "w") -> Iterator[IO]:
    """Open a file that becomes ``path`` after the block, see ``atomic_path``."""
    with atomic_path(path) as part, open(part, mode, encoding=None if "b" in mode else "utf-8") as file:
        yield file


@contextmanager
def atomic_folder(path: str | Path) -> Iterator[Path]:
    """Yield a temporary folder beside ``path``; sync it and rename it to ``path`` after the block, or remove it after an error.

    An existing folder is first renamed, so for a moment none exists; a process killed then leaves it as ``.NAME.*.part``.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    part, old = _part_of(path), _part_of(path)
    try:
        part.mkdir()
        old.mkdir()
        yield part
        for file in (*part.rglob("*"), part):
            sync(file)
        if path.exists():
            os.replace(path, old)
        os.replace(part, path)
    except BaseException:
        if not path.exists() and old.is_dir() and any(old.iterdir()):
            os.replace(old, path)
        raise
    finally:
        for folder in (part, old):
            shutil.rmtree(folder, ignore_errors=True)
    with suppress(OSError):
        sync(path.parent)


def _part_of(path: Path) -> Path:
    """Return a new name for a temporary file or folder beside ``path``."""
    return path.with_name(f".{path.name}.{secrets.token_hex(8)}{PART}")


def sync(path: str | Path) -> None:
    """Force a file, or the names in a folder, to disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def remove_parts(folder: str | Path) -> list[str]:
    """Delete the temporary files of killed processes in ``folder``, and return their names. Nobody else may write there."""
    parts = sorted(Path(folder).glob(f".*{PART}"))
    for path in parts:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()
    return [path.name for path in parts]


def sha256(path: str | Path) -> str:
    """Return the hexadecimal sha256 of a file."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def write_text(path: str | Path, text: str) -> None:
    """Write a text file atomically."""
    with atomic(path) as file:
        file.write(text)


def write_json(path: str | Path, value: Any) -> None:
    """Write a JSON file atomically; raise ValueError for NaN and infinities, which are not JSON."""
    write_text(path, json.dumps(value, indent=1, allow_nan=False) + "\n")


def read_json(path: str | Path) -> Any:
    """Return the content of a JSON file.

    Raises:
        ValueError: the file is not JSON, or is nested too deep; names the file.
    """
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except RecursionError:
        raise ValueError(f"{path} is nested too deep to be a file of this project; remove it.") from None
    except ValueError as error:
        raise ValueError(f"{path} is not JSON ({error}); remove it, or bring the whole file back.") from None


def zip_entries(path: str | Path) -> list[zipfile.ZipInfo]:
    """Return the directory of a zip archive; nothing if the file is none.

    Raises:
        ValueError: the directory is damaged.
    """
    try:
        if not zipfile.is_zipfile(path):
            return []
        with zipfile.ZipFile(path) as archive:
            return archive.infolist()
    except Exception as error:  # damaged bytes make zipfile raise any error
        raise ValueError(f"{path} is damaged, or cut short ({error}); download or copy it again.") from None


def check_archive(path: str | Path) -> None:
    """Check, without unpacking anything, that a path can be opened, and that a zip archive does not inflate without end.

    Raises:
        ValueError: the path is a folder, a pipe or a device, or the archive is damaged or would unpack to far more than it holds.
    """
    path = Path(path)
    if path.exists() and not path.is_file():  # opening a pipe would wait for ever
        raise ValueError(f"{path} is a {'folder' if path.is_dir() else 'pipe or a device'} and no file; give a file.")
    unpacked = sum(entry.file_size for entry in zip_entries(path))
    if unpacked > max(INFLATED, RATIO * (size := path.stat().st_size)):
        raise ValueError(
            f"{path} has {size:,} bytes and would unpack to {unpacked:,}, which no file of this kind does; it is not read. "
            "Get it anew from its source."
        )


def weights_kind(path: Path) -> str:
    """Return the format of a file of weights: 'safetensors', 'torch', 'tar' or 'pickle'.

    Raises:
        ValueError: it is missing or of another format; says which, if that can be told.
    """
    if not path.exists():
        near = difflib.get_close_matches(path.name, [p.name for p in path.absolute().parent.glob("*.*")], cutoff=0.5)
        hint = f"; nearest: {', '.join(near)}" if near else ""
        raise ValueError(f"There is no file {path}{hint}; give the path of a .safetensors or torch file, or timm:NAME.")
    check_archive(path)
    with open(path, "rb") as file:
        head = file.read(512)
    if head.startswith(b"PK"):
        _check_zip(path)
        return "torch"
    if head.startswith(b"\x80"):
        return "torch" if MAGIC in head[:32] else "pickle"
    if head[8:9] == b"{":
        return "safetensors"
    if head[257:262] == b"ustar":
        return "tar"
    for pattern, words in OTHER_KINDS:
        if re.match(pattern, head, re.IGNORECASE):
            raise ValueError(f"{path} {words}.")
    start = head.split(b"\n")[0].decode("latin1")[:40].strip()
    raise ValueError(f"{path} is no file of weights (it starts with {start!r}); give a .safetensors or torch file.")


def _check_zip(path: Path) -> None:
    """Raise ValueError if a zip archive is a program or another archive than torch.save writes."""
    entries = [entry.filename for entry in zip_entries(path)]
    if not entries:
        return  # it is cut short, as torch says when it reads it
    names = {name.partition("/")[2] or name: name for name in entries}
    if "constants.pkl" in names:
        raise ValueError(
            f"{path} is a TorchScript program and no state dict; save its weights with torch.save(torch.jit.load("
            f"{path.name!r}).state_dict(), 'weights.pth') if you trust it, which runs it, and import that file."
        )
    if "data.pkl" not in names:
        first = ", ".join(sorted(names.values())[:3])
        raise ValueError(f"{path} is a zip archive that torch.save has not written (it holds {first}); give a file of weights.")


def read_npz(path: str | Path) -> dict[str, Any]:
    """Return the numpy arrays of an npz file, by name. Pickled objects are refused, since loading them would run their code.

    Raises:
        ValueError: the file is no npz of plain arrays; names the file.
    """
    import numpy as np

    try:
        check_archive(path)
        with np.load(path, allow_pickle=False) as saved:
            return {name: saved[name] for name in saved.files}
    except FileNotFoundError:
        raise
    except Exception as error:  # damaged bytes make numpy and zlib raise any error
        reason = "Python objects, which would run code" if "allow_pickle" in str(error) else str(error).splitlines()[0]
        raise ValueError(f"{path} is no file of plain arrays ({reason}); test the run again to write the file anew.") from None


def write_npz(path: str | Path, **arrays) -> None:
    """Write numpy arrays to a compressed npz file, atomically."""
    import numpy as np

    with atomic(path, "wb") as file:
        np.savez_compressed(file, **arrays)


def missing_folder(path: str | Path, expected: str) -> str:
    """Return the error message for a missing folder or file: the expected content, what its parent holds, and the remedy."""
    parent = next(p for p in Path(path).absolute().parents if os.path.isdir(p))
    try:
        names = sorted(name for name in os.listdir(parent) if name[0] != ".")
        content = f"{parent} holds {', '.join(names[:6]) or 'nothing'}"
    except OSError as error:
        content = f"{parent} cannot be listed ({error.strerror})"
    if not os.path.isdir(root := data_root()) and Path(path).absolute().is_relative_to(Path(root).absolute()):
        content = f"There is no folder {root}"  # what lies beside it is no data
    state = "does not exist"
    if os.path.lexists(path):
        state = "is no folder" if os.path.exists(path) else "is a link that leads nowhere"
    return (
        f"{path} {state}; it should hold {expected}. {content}. Put the data there, or set DATA_ROOT to "
        "the folder that has it (python tools/prepare_data.py toy makes the toy data, subset --for mini that of scale mini)."
    )
