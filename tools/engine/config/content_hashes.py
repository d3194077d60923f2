"""Cache the sha256 of files in the user's cache folder, so that each is read once."""

import hashlib
import json
import os
import stat
import time
from contextlib import suppress
from pathlib import Path

import msgspec

from backbones.common.fact_cache import folder as cache_folder
from backbones.common.files import sha256, write_text

SETTLED = 2_000_000_000  # ns after a change of a file or folder until its times are trusted to show the next change
PREFIX = "data-"  # of the cached files


class ContentHashes:
    """Keep the sha256 of the files of a folder by their size, times and inode.

    A file that changed in the last seconds is read again next time, since its next change might leave it the same times.
    """

    def __init__(self, folder: Path):
        self.prefix, self.path = os.path.join(folder, ""), cache_file("content", os.path.abspath(folder))
        self.entries = read_cache(self.path)
        self.changed = False

    def of(self, name: str) -> str:
        """Return the sha256 of the file ``name``; '-' if it is no file.

        Raises:
            ValueError: the file cannot be read.
        """
        path = self.prefix + name
        about = file_facts(path)
        if about is None:
            return "-"
        facts = [about.st_size, about.st_mtime_ns, about.st_ctime_ns, about.st_ino]
        entry = self.entries.get(name)
        if isinstance(entry, list) and entry[:-1] == facts:
            return entry[-1]
        now, digest = time.time_ns(), content_hash(path)
        if now - max(about.st_mtime_ns, about.st_ctime_ns) > SETTLED:
            self.entries[name], self.changed = [*facts, digest], True
        return digest

    def save(self) -> None:
        """Write what was read, if anything was."""
        if self.changed:
            write_cache(self.path, self.entries)


def content_hash(path: str | Path) -> str:
    """Return the sha256 of a file.

    Raises:
        ValueError: it cannot be read.
    """
    try:
        return sha256(path)
    except OSError as error:
        raise ValueError(f"{path} cannot be read ({error.strerror}); correct that and try again.") from None


def hash_of(path: Path) -> str:
    """Return the sha256 of one file, from the cache if it has not changed."""
    hashes = ContentHashes(path.parent)
    digest = hashes.of(path.name)
    hashes.save()
    return digest


def file_facts(path: str) -> os.stat_result | None:
    """Return what the file system says of a file; None for what is none."""
    try:
        about = os.stat(path)
    except (OSError, ValueError):
        return None
    return about if stat.S_ISREG(about.st_mode) else None


def cache_file(kind: str, name: str) -> Path:
    """Return the path of the cached facts of ``kind`` about ``name``."""
    digest = hashlib.sha256(name.encode(errors="surrogateescape")).hexdigest()[:16]
    return cache_folder() / f"{PREFIX}{kind}-{digest}.json"


def read_cache(path: Path) -> dict:
    """Return cached facts, or {} if there are none."""
    try:
        content = msgspec.json.decode(path.read_bytes())  # ten times as fast as json: a dataset has many files
    except (OSError, msgspec.DecodeError):
        return {}
    return content if isinstance(content, dict) else {}


def write_cache(path: Path, content: dict) -> None:
    """Write facts to the cache, if it can be written."""
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, json.dumps(content, separators=(",", ":")))


def clear_cache() -> None:
    """Remove all cached facts, so that all files are read again."""
    for path in cache_folder().glob(f"{PREFIX}*.json"):
        path.unlink(missing_ok=True)
