"""Write the synthetic datasets in three layouts: an ImageNet-style folder, Pascal VOC 2007 and ADE20K.

``tools.engine.toy_data.scenes`` draws the images; this module has their random keys, annotations and files.
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

VERSION = 4  # raise it whenever a pixel (see scenes) or a file name changes
SPLITS = (  # append only: the index in this tuple is part of every image's random key
    *("imagenet/train", "imagenet/val", "voc/train", "voc/val", "voc/test"),
    *("ade/training", "ade/validation"),
)
CLASS_STRIDE = 100_000  # image index in the ImageNet-style folder = class index * CLASS_STRIDE + number in the class
DIFFICULT_VISIBLE = 0.4  # an object is difficult if a smaller share of its area is visible
DIFFICULT_SIDE = 12  # px; an object is difficult if a side of its box is shorter
TOPS = ("imagenet", "VOCdevkit", "ADEChallengeData2016")
ADE_STEMS = {"training": "train", "validation": "val"}
SUFFIXES = (".jpg", ".png", ".xml", ".txt")


@dataclass(frozen=True)
class ToySizes:
    """Hold the number of images in each split; for the ImageNet-style folder, in each class of the split."""

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
    """Hold the visible part of an object as VOC annotates it: 1-based inclusive pixel box and two flags."""

    label: int
    xmin: int
    ymin: int
    xmax: int
    ymax: int
    truncated: bool
    difficult: bool


def image_rng(seed: int, split: str, index: int) -> np.random.Generator:
    """Return the random generator of one image, which depends only on the three arguments."""
    key = np.array([seed, (SPLITS.index(split) << 32) | index], dtype=np.uint64)
    return np.random.Generator(np.random.Philox(key=key))


def boxes(scene: Scene) -> list[Box]:
    """Return the VOC boxes of the visible parts of the scene's objects, in drawing order."""
    visible = []
    for i, thing in enumerate(scene.things):
        mask = scene.owner == i
        seen = bounds(mask)
        tiny = min(seen[2] - seen[0], seen[3] - seen[1]) < DIFFICULT_SIDE
        difficult = tiny or bool(mask.sum() < DIFFICULT_VISIBLE * thing.area)
        truncated = seen != thing.extent
        # VOC readers need xmin < xmax, so a sliver one pixel wide (very rare) has no box.
        if seen[2] - seen[0] > 1 and seen[3] - seen[1] > 1:
            visible.append(Box(thing.label, seen[0] + 1, seen[1] + 1, seen[2], seen[3], truncated, difficult))
    return visible


def ade_mask(scene: Scene) -> np.ndarray:
    """Return the class id (h, w) uint8 in 0..150 of what is visible at each pixel, 0 for unlabelled."""
    ids = np.array([ADE_IDS[CLASSES[thing.label]] for thing in scene.things], np.uint8)
    return np.where(scene.owner >= 0, ids[scene.owner], scene.ground)


def _write(path: Path, image: np.ndarray) -> None:
    """Write uint8 (h, w, 3) RGB as JPEG of quality 90, or (h, w) as one-channel PNG."""
    path.parent.mkdir(parents=True, exist_ok=True)
    flags = [cv2.IMWRITE_JPEG_QUALITY, 90] if path.suffix == ".jpg" else []
    success, data = cv2.imencode(path.suffix, image[..., ::-1] if image.ndim == 3 else image, flags)
    assert success, path
    path.write_bytes(data.tobytes())


def _voc_xml(stem: str, image: np.ndarray, objects: list[Box]) -> str:
    h, w = image.shape[:2]
    elements = "".join(
        f"\t<object>\n\t\t<name>{CLASSES[b.label]}</name>\n\t\t<pose>Unspecified</pose>\n"
        f"\t\t<truncated>{b.truncated:d}</truncated>\n\t\t<difficult>{b.difficult:d}</difficult>\n"
        f"\t\t<bndbox>\n\t\t\t<xmin>{b.xmin}</xmin>\n\t\t\t<ymin>{b.ymin}</ymin>\n"
        f"\t\t\t<xmax>{b.xmax}</xmax>\n\t\t\t<ymax>{b.ymax}</ymax>\n\t\t</bndbox>\n\t</object>\n"
        for b in objects
    )
    return (
        f"<annotation>\n\t<folder>VOC2007</folder>\n\t<filename>{stem}.jpg</filename>\n"
        # the database is part of the files, whose sizes toy.json hashes: another name needs another VERSION
        "\t<source>\n\t\t<database>made-image world</database>\n\t</source>\n"
        f"\t<size>\n\t\t<width>{w}</width>\n\t\t<height>{h}</height>\n\t\t<depth>3</depth>\n\t</size>\n"
        f"\t<segmented>0</segmented>\n{elements}</annotation>\n"
    )


@dataclass(frozen=True)
class _Job:
    root: Path
    seed: int
    split: str
    index: int
    stem: str


def _write_image(job: _Job) -> tuple[_Job, list[Box]]:
    """Draw and write one image with its annotation and return the job with the VOC boxes, which other layouts do not have."""
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
        image, visible = finish(rng, scene.image), boxes(scene)
        _write(top / "JPEGImages" / f"{job.stem}.jpg", image)
        (top / "Annotations").mkdir(exist_ok=True)
        (top / "Annotations" / f"{job.stem}.xml").write_text(_voc_xml(job.stem, image, visible))
        return job, visible
    return job, []


def _jobs(root: Path, seed: int, sizes: ToySizes) -> list[_Job]:
    """Return a job for each image of all splits."""
    jobs, voc_id = [], 0
    for split in SPLITS:
        kind, part = split.split("/")
        for i in range(getattr(sizes, f"{kind}_{part}")):
            if kind == "imagenet":
                for label, name in enumerate(CLASSES):
                    jobs.append(_Job(root, seed, split, label * CLASS_STRIDE + i, f"{name}_{i + 1:05d}"))
                continue
            if kind == "voc":
                voc_id += 1  # numbers run through the three VOC splits
            stem = f"{voc_id:06d}" if kind == "voc" else f"ADE_{ADE_STEMS[part]}_{i + 1:08d}"
            jobs.append(_Job(root, seed, split, i, stem))
    return jobs


def _write_voc_lists(root: Path, images: list[tuple[_Job, list[Box]]]) -> None:
    """Write ImageSets/Main: <set>.txt, and <class>_<set>.txt with 1, 0 (only difficult) or -1 for each id."""
    folder = root / TOPS[1] / "VOC2007" / "ImageSets" / "Main"
    folder.mkdir(parents=True)
    for name, parts in {"train": ["train"], "val": ["val"], "trainval": ["train", "val"], "test": ["test"]}.items():
        rows = [(job.stem, visible) for job, visible in images if job.split in [f"voc/{p}" for p in parts]]
        (folder / f"{name}.txt").write_text("".join(f"{stem}\n" for stem, _ in rows))
        for label, cls in enumerate(CLASSES):
            flags = [[not b.difficult for b in visible if b.label == label] for _, visible in rows]
            lines = [f"{stem} {int(any(easy)) if easy else -1:2d}\n" for (stem, _), easy in zip(rows, flags, strict=True)]
            (folder / f"{cls}_{name}.txt").write_text("".join(lines))


def _inventory(root: Path) -> tuple[str, int]:
    """Return the sha256 of the sorted (path, size) of the datasets' files, and their bytes. Ignore others, such as caches."""
    files = [p for top in TOPS for p in (root / top).rglob("*") if p.suffix in SUFFIXES]
    rows = sorted((p.relative_to(root).as_posix(), p.stat().st_size) for p in files)
    text = "".join(f"{path} {size}\n" for path, size in rows)
    return hashlib.sha256(text.encode()).hexdigest(), sum(size for _, size in rows)


def _existing(root: Path, seed: int, sizes: ToySizes) -> dict | None:
    """Return the content of toy.json at `root`, or None if `root` is missing or empty.

    Raises:
        ValueError: `root` holds anything other than complete datasets of this seed, version and sizes.
    """
    if not root.exists() or (root.is_dir() and not any(root.iterdir())):
        return None
    try:
        note = json.loads((root / "toy.json").read_text())
        expected = {"seed": seed, "version": VERSION, "sizes": asdict(sizes)}
        same = all(note[k] == v for k, v in expected.items()) and note["sha256"] == _inventory(root)[0]
    except (OSError, ValueError, KeyError, TypeError):
        same = False
    if not same:
        raise ValueError(
            f"{root} exists but does not hold complete synthetic datasets of seed {seed}, version {VERSION} and these sizes. "
            "Give a new or empty folder, or remove this one and run again."
        )
    return note


def _check(root: Path, seed: int, sizes: ToySizes, processes: int) -> None:
    """Check the arguments of ``make_toy``.

    Raises:
        ValueError: an argument is out of range.
    """
    if not (isinstance(seed, int) and 0 <= seed < 2**64):
        raise ValueError(f"The seed of the synthetic datasets is {seed!r}; give a whole number from 0 to 2**64 - 1.")
    if processes < 1:
        raise ValueError(f"The number of processes for {root} is {processes}; give 1 or more.")
    for f in fields(sizes):
        if not 1 <= getattr(sizes, f.name) < CLASS_STRIDE:
            raise ValueError(f"The size {f.name} is {getattr(sizes, f.name)}; give 1 to {CLASS_STRIDE - 1} images.")


def _run(jobs: list[_Job], processes: int, progress: Callable[[int, int], None] | None) -> list:
    """Run the jobs in one process or several and return their results in order."""
    images = []

    def collect(results: Iterable) -> list:
        for result in results:
            images.append(result)
            if progress and (len(images) % 200 == 0 or len(images) == len(jobs)):
                progress(len(images), len(jobs))
        return images

    if processes == 1:
        return collect(map(_write_image, jobs))
    # Spawn, not fork: a fork of a process with OpenCV or torch threads can hang.
    with ProcessPoolExecutor(processes, get_context("spawn"), cv2.setNumThreads, (1,)) as pool:
        return collect(pool.map(_write_image, jobs, chunksize=32))


def make_toy(
    root: Path,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
    *,
    sizes: ToySizes = DEFAULT_SIZES,
    processes: int = 2,
) -> dict:
    """Generate the datasets under `root`, or reuse complete ones, and return the content of toy.json with `seconds` and `reused`.

    toy.json has seed, version, sizes, counts (images in each split), classes, ade_ids, bytes and sha256; `reused` is True if the
    datasets existed before. The files depend on seed and sizes, never on `processes`. `progress(done, total)` is called every
    200 images. With more than one process, a script that calls this function must guard its main code by
    `if __name__ == "__main__"`.

    Raises:
        ValueError: an argument is out of range, or `root` holds anything other than these datasets.
    """
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
