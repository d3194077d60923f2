"""Writes the made-image world in three layouts: an ImageNet-style folder, Pascal VOC 2007 and ADE20K.

The pictures are drawn by tools.engine.toy_data.scenes; here are their random keys, annotations and files.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, fields
from multiprocessing import get_context
from pathlib import Path

import cv2
import numpy as np

from tools.engine.toy_data.scenes import (
    ADE_IDS,
    CLASSES,
    STUFF,
    Scene,
    ade_scene,
    bounds,
    finish,
    folder_scene,
    voc_scene,
)

__all__ = [
    "ADE_IDS",
    "CLASSES",
    "SPLITS",
    "STUFF",
    "VERSION",
    "Box",
    "ToySizes",
    "ade_mask",
    "boxes",
    "image_rng",
    "make_toy",
]

VERSION = 3  # raise it whenever a pixel (toy_draw) or a file name changes
SPLITS = (  # the place in this tuple is part of every image's random key: only ever append
    *("imagenet/train", "imagenet/val", "voc/train", "voc/val", "voc/test"),
    *("ade/training", "ade/validation"),
)
CLASS_STRIDE = 100_000  # image index in the folder set = class index * CLASS_STRIDE + number in the class
DIFFICULT_VISIBLE = 0.4  # of its area: less seen makes an object difficult
DIFFICULT_SIDE = 12  # px; so does a shorter side
TOPS = ("imagenet", "VOCdevkit", "ADEChallengeData2016")
ADE_STEMS = {"training": "train", "validation": "val"}
SUFFIXES = (".jpg", ".png", ".xml", ".txt")


@dataclass(frozen=True)
class ToySizes:
    """Number of images in each split; for the folder set, in each class of the split."""

    imagenet_train: int = 225
    imagenet_val: int = 50
    voc_train: int = 120
    voc_val: int = 60
    voc_test: int = 150
    ade_training: int = 200
    ade_validation: int = 80


DEFAULT_SIZES = ToySizes()


@dataclass(frozen=True)
class Box:
    """What is seen of an object: 1-based inclusive pixel box and the two flags, as VOC has them."""

    label: int
    xmin: int
    ymin: int
    xmax: int
    ymax: int
    truncated: bool
    difficult: bool


def image_rng(seed: int, split: str, index: int) -> np.random.Generator:
    """The random stream of one image: a function of its three arguments and of nothing else."""
    key = np.array([seed, (SPLITS.index(split) << 32) | index], dtype=np.uint64)
    return np.random.Generator(np.random.Philox(key=key))


def boxes(scene: Scene) -> list[Box]:
    """The VOC boxes of what is seen of the scene's objects, in drawing order."""
    found = []
    for i, thing in enumerate(scene.things):
        mask = scene.owner == i
        seen = bounds(mask)
        tiny = min(seen[2] - seen[0], seen[3] - seen[1]) < DIFFICULT_SIDE
        difficult = tiny or bool(mask.sum() < DIFFICULT_VISIBLE * thing.area)
        truncated = seen != thing.extent
        # VOC readers need xmin < xmax, so a sliver one pixel wide (rare indeed) has no box.
        if seen[2] - seen[0] > 1 and seen[3] - seen[1] > 1:
            found.append(Box(thing.label, seen[0] + 1, seen[1] + 1, seen[2], seen[3], truncated, difficult))
    return found


def ade_mask(scene: Scene) -> np.ndarray:
    """Class ids (h, w) uint8 in 0..150 of what is seen, 0 where unlabelled."""
    ids = np.array([ADE_IDS[CLASSES[thing.label]] for thing in scene.things], np.uint8)
    return np.where(scene.owner >= 0, ids[scene.owner], scene.ground)


def _write(path: Path, image: np.ndarray) -> None:
    """Writes uint8 (h, w, 3) RGB as JPEG of quality 90, or (h, w) as one-channel PNG."""
    path.parent.mkdir(parents=True, exist_ok=True)
    flags = [cv2.IMWRITE_JPEG_QUALITY, 90] if path.suffix == ".jpg" else []
    done, data = cv2.imencode(path.suffix, image[..., ::-1] if image.ndim == 3 else image, flags)
    assert done, path
    path.write_bytes(data.tobytes())


def _voc_xml(stem: str, image: np.ndarray, found: list[Box]) -> str:
    h, w = image.shape[:2]
    objects = "".join(
        f"\t<object>\n\t\t<name>{CLASSES[b.label]}</name>\n\t\t<pose>Unspecified</pose>\n"
        f"\t\t<truncated>{b.truncated:d}</truncated>\n\t\t<difficult>{b.difficult:d}</difficult>\n"
        f"\t\t<bndbox>\n\t\t\t<xmin>{b.xmin}</xmin>\n\t\t\t<ymin>{b.ymin}</ymin>\n"
        f"\t\t\t<xmax>{b.xmax}</xmax>\n\t\t\t<ymax>{b.ymax}</ymax>\n\t\t</bndbox>\n\t</object>\n"
        for b in found
    )
    return (
        f"<annotation>\n\t<folder>VOC2007</folder>\n\t<filename>{stem}.jpg</filename>\n"
        "\t<source>\n\t\t<database>made-image world</database>\n\t</source>\n"
        f"\t<size>\n\t\t<width>{w}</width>\n\t\t<height>{h}</height>\n\t\t<depth>3</depth>\n\t</size>\n"
        f"\t<segmented>0</segmented>\n{objects}</annotation>\n"
    )


@dataclass(frozen=True)
class _Job:
    root: Path
    seed: int
    split: str
    index: int
    stem: str


def _make_one(job: _Job) -> tuple[_Job, list[Box]]:
    """Draws and writes one image with its annotation; the boxes are empty but for VOC."""
    rng, kind = image_rng(job.seed, job.split, job.index), job.split.split("/")[0]
    if kind == "imagenet":
        label = job.index // CLASS_STRIDE
        image = finish(rng, folder_scene(rng, label).image)
        _write(job.root / job.split / CLASSES[label] / f"{job.stem}.jpg", image)
    elif kind == "ade":
        scene, part = ade_scene(rng), job.split.split("/")[1]
        top = job.root / TOPS[2]
        _write(top / "images" / part / f"{job.stem}.jpg", finish(rng, scene.image))
        _write(top / "annotations" / part / f"{job.stem}.png", ade_mask(scene))
    else:
        scene, top = voc_scene(rng), job.root / TOPS[1] / "VOC2007"
        image, found = finish(rng, scene.image), boxes(scene)
        _write(top / "JPEGImages" / f"{job.stem}.jpg", image)
        (top / "Annotations").mkdir(exist_ok=True)
        (top / "Annotations" / f"{job.stem}.xml").write_text(_voc_xml(job.stem, image, found))
        return job, found
    return job, []


def _jobs(root: Path, seed: int, sizes: ToySizes) -> list[_Job]:
    jobs, voc_id = [], 0
    for split in SPLITS:
        kind, part = split.split("/")
        for i in range(getattr(sizes, f"{kind}_{part}")):
            if kind == "imagenet":
                for label, name in enumerate(CLASSES):
                    jobs.append(_Job(root, seed, split, label * CLASS_STRIDE + i, f"{name}_{i + 1:05d}"))
                continue
            voc_id += kind == "voc"  # one run of numbers through the three VOC splits
            stem = f"{voc_id:06d}" if kind == "voc" else f"ADE_{ADE_STEMS[part]}_{i + 1:08d}"
            jobs.append(_Job(root, seed, split, i, stem))
    return jobs


def _write_voc_lists(root: Path, made: list[tuple[_Job, list[Box]]]) -> None:
    """Writes ImageSets/Main: <set>.txt, and <class>_<set>.txt with 1, 0 (only difficult) or -1 an id."""
    folder = root / TOPS[1] / "VOC2007" / "ImageSets" / "Main"
    folder.mkdir(parents=True)
    for name, parts in {
        "train": ["train"],
        "val": ["val"],
        "trainval": ["train", "val"],
        "test": ["test"],
    }.items():
        rows = [(job.stem, found) for job, found in made if job.split in [f"voc/{p}" for p in parts]]
        (folder / f"{name}.txt").write_text("".join(f"{stem}\n" for stem, _ in rows))
        for label, cls in enumerate(CLASSES):
            flags = [[not b.difficult for b in found if b.label == label] for _, found in rows]
            lines = [f"{stem} {int(any(easy)) if easy else -1:2d}\n" for (stem, _), easy in zip(rows, flags, strict=True)]
            (folder / f"{cls}_{name}.txt").write_text("".join(lines))


def _inventory(root: Path) -> tuple[str, int]:
    """sha256 of the sorted (path, size) of the world's files, and their bytes; caches beside them pass."""
    files = [p for top in TOPS for p in (root / top).rglob("*") if p.suffix in SUFFIXES]
    rows = sorted((p.relative_to(root).as_posix(), p.stat().st_size) for p in files)
    text = "".join(f"{path} {size}\n" for path, size in rows)
    return hashlib.sha256(text.encode()).hexdigest(), sum(size for _, size in rows)


def _existing(root: Path, seed: int, sizes: ToySizes) -> dict | None:
    """The note of the world at `root`, None where there is nothing; ValueError if it is something else."""
    if not root.exists() or (root.is_dir() and not any(root.iterdir())):
        return None
    try:
        note = json.loads((root / "toy.json").read_text())
        wanted = {"seed": seed, "version": VERSION, "sizes": asdict(sizes)}
        same = all(note[k] == v for k, v in wanted.items()) and note["sha256"] == _inventory(root)[0]
    except (OSError, ValueError, KeyError, TypeError):
        same = False
    if not same:
        raise ValueError(
            f"{root} exists but is not a complete made-image world of seed {seed}, version {VERSION} and "
            "these sizes: name a new or empty folder, or remove this one and run again."
        )
    return note


def _check(root: Path, seed: int, sizes: ToySizes, processes: int) -> None:
    if not (isinstance(seed, int) and 0 <= seed < 2**64):
        raise ValueError(f"The seed of the made-image world is {seed!r}: give a whole number from 0 to 2**64 - 1.")
    if processes < 1:
        raise ValueError(f"The number of processes for {root} is {processes}: give 1 or more.")
    for f in fields(sizes):
        if not 1 <= getattr(sizes, f.name) < CLASS_STRIDE:
            raise ValueError(f"The size {f.name} is {getattr(sizes, f.name)}: give 1 to {CLASS_STRIDE - 1} images.")


def _run(jobs: list[_Job], processes: int, progress: Callable[[int, int], None] | None) -> list:
    made = []

    def collect(results: Iterable) -> list:
        for result in results:
            made.append(result)
            if progress and (len(made) % 200 == 0 or len(made) == len(jobs)):
                progress(len(made), len(jobs))
        return made

    if processes == 1:
        return collect(map(_make_one, jobs))
    # Spawned, not forked: a fork of a process that has OpenCV or torch threads can hang.
    with ProcessPoolExecutor(processes, get_context("spawn"), cv2.setNumThreads, (1,)) as pool:
        return collect(pool.map(_make_one, jobs, chunksize=32))


def make_toy(
    root: Path,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
    *,
    sizes: ToySizes = DEFAULT_SIZES,
    processes: int = 2,
) -> dict:
    """Makes the world under `root`, or finds it there, and returns its note (toy.json) and `seconds`.

    The note has seed, version, sizes, counts (images a split), classes, ade_ids, bytes and sha256; `reused`
    tells whether it was there before. The files depend on seed and sizes, never on `processes`.
    `progress(done, total)` is called every 200 images. With more than one process, a script that calls
    this must guard its main code by `if __name__ == "__main__"`."""
    start, root = time.perf_counter(), Path(root)
    _check(root, seed, sizes, processes)
    note = _existing(root, seed, sizes)
    if note is not None:
        return {**note, "reused": True, "seconds": time.perf_counter() - start}
    part = root.with_name(f".{root.name}.partial-{os.getpid()}")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    try:
        jobs = _jobs(part, seed, sizes)
        _write_voc_lists(part, _run(jobs, processes, progress))
        sha256, size = _inventory(part)
        counts = {split: sum(job.split == split for job in jobs) for split in SPLITS}
        note = {"seed": seed, "version": VERSION, "sizes": asdict(sizes), "counts": counts}
        note |= {"classes": list(CLASSES), "ade_ids": ADE_IDS, "bytes": size, "sha256": sha256}
        (part / "toy.json").write_text(json.dumps(note, indent=2) + "\n")
        part.rename(root)
    finally:  # after the rename there is nothing left to remove
        shutil.rmtree(part, ignore_errors=True)
    return {**note, "reused": False, "seconds": time.perf_counter() - start}
