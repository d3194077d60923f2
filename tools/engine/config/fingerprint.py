"""Identify the data of a run: lists, annotations and masks by their content, images by their names and sizes."""

import hashlib
import json
import os
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from backbones.common.data_files import DataFiles, walk
from backbones.common.fact_cache import is_quick
from backbones.common.files import write_json
from tools.engine.config.content_hashes import (
    SETTLED,
    ContentHashes,
    cache_file,
    clear_cache,
    content_hash,
    file_facts,
    read_cache,
    write_cache,
)
from tools.engine.config.tasks import task_of

MISSING = "missing"  # instead of a fingerprint, where a folder of the data does not exist
LARGE = 100_000  # images above which a dataset of images alone is read again only if the times of its folders have changed
DIGESTS = ".content.json"  # beside the data: digests of all content by fingerprint, as prepare_data.py check wrote them

_memo: dict[str, str] = {}  # fingerprints that this process has already


def data_fingerprint(cfg) -> str:
    """Return the sha256 that stands for the data of a resolved config; read once a process.

    Inside ``quickly`` no data is read: it counts as missing.

    Raises:
        ValueError: a folder or a file cannot be read, or a link leads to a folder above it.
    """
    if is_quick():
        return MISSING
    request = _request(cfg)
    if request not in _memo:
        _memo[request] = _fingerprint(cfg, request)
    return _memo[request]


def forget() -> None:
    """Forget the fingerprints of this process."""
    _memo.clear()


def rescan() -> None:
    """Forget all fingerprints and cached facts, so that all data is read again."""
    forget()
    clear_cache()


def write_digests(configs: Iterable, folder: Path, workers: int) -> list[str]:
    """Write a digest of all content that each config reads, images too, into the folder of the data, and return the digests.

    Raises:
        ValueError: a file cannot be read.
    """
    contents: dict[str, str] = {}
    digests = {data_fingerprint(cfg): _content_digest(task_of(cfg).data_files(cfg), contents, workers) for cfg in configs}
    write_json(folder / DIGESTS, read_cache(folder / DIGESTS) | digests)
    return list(digests.values())


def read_digest(folder: str | Path, fingerprint: str) -> str | None:
    """Return the digest of all content that was written for data with this fingerprint, or None if none was."""
    return read_cache(Path(folder) / DIGESTS).get(fingerprint)


def _content_digest(parts: list[DataFiles], contents: dict[str, str], workers: int) -> str:
    """Return the digest of all content of ``parts``; ``contents`` collects the sha256 of each file by its path."""
    digest = hashlib.sha256()
    for part in parts:
        paths = {name: os.path.join(part.folder, name) for name in sorted({*part.content, *part.images})}
        unread = [path for path in paths.values() if path not in contents]
        with ThreadPoolExecutor(workers) as pool:
            contents |= zip(unread, pool.map(content_hash, unread), strict=True)
        _add(digest, ((name, contents[path]) for name, path in paths.items()))
    return digest.hexdigest()


def _request(cfg) -> str:
    """Return a text that stands for the files that a config reads: its datasets without their pipelines, and their folders."""
    loaders = [cfg[name] for name in ("train_dataloader", "test_dataloader") if name in cfg]
    folders = [os.path.abspath(folder) for folder in task_of(cfg).data_folders(cfg)]
    return json.dumps(
        [cfg.task, [_without_pipelines(loader.dataset) for loader in loaders], folders], sort_keys=True, default=str
    )


def _without_pipelines(value: Any) -> Any:
    if hasattr(value, "items"):
        return {key: _without_pipelines(item) for key, item in value.items() if key != "pipeline"}
    return [_without_pipelines(item) for item in value] if isinstance(value, list | tuple) else value


def _fingerprint(cfg, request: str) -> str:
    task = task_of(cfg)
    folders = task.data_folders(cfg)
    if not all(map(os.path.isdir, folders)):
        return MISSING
    cache = cache_file("folders", request)
    if unchanged := _unchanged(cache):
        return unchanged
    began = time.time_ns()
    parts = task.data_files(cfg)
    digest = hashlib.sha256()
    for part in parts:
        _add(digest, _facts(part))
    fingerprint = digest.hexdigest()
    if sum(len(part.images) for part in parts) > LARGE and not any(part.content for part in parts):
        _keep(cache, fingerprint, folders, began)
    return fingerprint


def _facts(part: DataFiles) -> Iterator[tuple[str, str]]:
    """Yield the name of each file of a dataset and what counts of it: the sha256 of its content, or the size of an image."""
    hashes, prefix = ContentHashes(part.folder), os.path.join(part.folder, "")
    for name in sorted(set(part.content)):
        yield name, hashes.of(name)
    hashes.save()
    for name in sorted(set(part.images)):
        about = file_facts(prefix + name)
        yield name, str(about.st_size) if about else "-"


def _add(digest, facts: Iterable[tuple[str, str]]) -> None:
    """Add the files of a dataset, as pairs of name and fact, to a digest. A name may hold bytes that are no text."""
    text = "".join(f"{name}\0{fact}\0" for name, fact in facts)
    digest.update(f"{text}\0".encode(errors="surrogateescape"))


def _unchanged(cache: Path) -> str | None:
    """Return a cached fingerprint if none of the folders has other times than before."""
    saved = read_cache(cache)
    folders = saved.get("folders")
    if not isinstance(folders, dict) or any(_times(folder) != times for folder, times in folders.items()):
        return None
    return saved.get("fingerprint")


def _keep(cache: Path, fingerprint: str, folders: list[Path], began: int) -> None:
    """Cache a fingerprint with the times of all folders, unless one of them changed just before the data was read."""
    places = [os.path.join(os.path.abspath(folder), below) for folder in folders for below, _ in walk(folder)]
    times = {place: _times(place) for place in places}
    if all(facts and began - max(facts[:2]) > SETTLED for facts in times.values()):
        write_cache(cache, {"fingerprint": fingerprint, "folders": times})


def _times(folder: str) -> list[int] | None:
    """Return the times and the inode of a folder; they change when a file in it is added, removed or renamed."""
    try:
        about = os.stat(folder)
    except OSError:
        return None
    return [about.st_mtime_ns, about.st_ctime_ns, about.st_ino]
