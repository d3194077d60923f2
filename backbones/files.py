"""Files written whole or not at all: beside the target, synced, then renamed."""

import hashlib
import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any


@contextmanager
def atomic(path: str | Path, mode: str = "w") -> Iterator[IO]:
    """Opens a temporary file beside ``path``; renames it to ``path`` when the block ends well, removes it otherwise."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, part = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, mode) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.chmod(part, 0o644)  # mkstemp makes it readable for the owner alone
        os.replace(part, path)
    except BaseException:
        os.unlink(part)
        raise


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
