"""Measure how seconds and memory grow with images, their size, the runs of a study and the rows of its table.

Each figure comes from new processes: the fewest seconds of two repeats, and the peak memory with all imports. The exponent is
the slope between the last two sizes on logarithmic axes: 1 means that twice the size takes twice the seconds.
"""

import sys
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from math import log
from pathlib import Path

import numpy as np

from tools.benchmarks.child import ROOT, called, ran
from tools.benchmarks.made_study import ROWS_A_SEED, RUNS_A_SEED, write_study
from tools.benchmarks.rounds import Settings

HERE = "tools.benchmarks.growth"
IMAGES, SIDES, SIDE = (100, 400, 1600), (160, 320, 640), 160
PREDICTED = (300, 1200, 4800)  # images of a detections file
MASKS, MASK = (10, 40, 160), 256
PLAN_SEEDS, REPORT_SEEDS = (1, 9, 91), (5, 10, 95)
STUDY, RECIPES = "configs/studies/transfer.py", ("scratch", "b_standard", "cosine", "smooth")  # 11 runs a seed
REPEATS = 2


def comparisons(settings: Settings) -> Iterator[dict]:
    """Yield one table each for images, their size, the runs of a study and the rows of a report."""
    with tempfile.TemporaryDirectory() as folder:
        for make in (by_images, by_size, by_runs, by_rows):
            yield make(Path(folder))


def by_images(folder: Path) -> dict:
    places = {n: fill(folder / f"images{n}", n, SIDE) for n in IMAGES}
    files = {n: detections_file(folder / f"found{n}", n) for n in PREDICTED}
    rows = []
    for name, function in (("manifest", "manifest_of"), ("check", "check_of"), ("data set, one pass of a loader", "pass_of")):
        rows += series(name, {n: partial(called, HERE, function, str(place)) for n, place in places.items()})
    for name, function in (
        ("mAP at 10 IoUs", "ap_of"),
        ("record again", "details_of"),
        ("resampled 1,000 times", "resampling_of"),
    ):
        rows += series(f"detections: {name}", {n: partial(called, HERE, function, str(file)) for n, file in files.items()})
    rows += series("masks to mIoU", {n: partial(called, HERE, "iou_of", n, MASK) for n in MASKS})
    notes = [f"JPEG files of {SIDE} px, one process; 40 detections an image; masks of {MASK} px and 150 classes"]
    return growth("Growth with images", "images", rows, notes)


def by_size(folder: Path) -> dict:
    places = {side: fill(folder / f"side{side}", IMAGES[0], side) for side in SIDES}
    rows = []
    for name, function in (("check", "check_of"), ("data set, one pass of a loader", "pass_of")):
        rows += series(name, {side: partial(called, HERE, function, str(place)) for side, place in places.items()})
    rows += series("masks to mIoU", {side: partial(called, HERE, "iou_of", MASKS[0], side) for side in SIDES})
    return growth("Growth with the side of an image", "px", rows, ["Pixels grow by the square, so that 2 is linear in them."])


def by_runs(folder: Path) -> dict:
    rows = []
    for command in ("plan", "status"):
        line = [sys.executable, str(ROOT / "tools/study.py"), command, str(ROOT / STUDY), "--scale", "toy", "--recipes", *RECIPES]
        seeds = {11 * n: partial(ran, [*line, "--seeds", str(n)], folder) for n in PLAN_SEEDS}
        rows += series(f"study {command}", seeds)
    notes = ["The whole command, imports included; no run of the study is finished."]
    return growth("Growth with the runs of a study", "runs", rows, notes)


def by_rows(folder: Path) -> dict:
    places = {n * ROWS_A_SEED: write_study(folder / f"study{n}", n) for n in REPORT_SEEDS}
    line = [sys.executable, str(ROOT / "tools/report.py")]
    rows = series("report", {n: partial(ran, [*line, str(place)]) for n, place in places.items()})
    records = ", ".join(f"{n * RUNS_A_SEED:,}" for n in REPORT_SEEDS)
    return growth(
        "Growth with the rows of results.csv",
        "rows",
        rows,
        [f"The whole command, of {records} records; figures and page included."],
    )


def series(name: str, sizes: dict[int, Callable[[], tuple]]) -> list[list]:
    """Return rows [name, size, seconds, MB, exponent]; only the last has an exponent, that between the last two sizes."""
    rows = []
    for size, run in sizes.items():
        repeats = [run() for _ in range(REPEATS)]
        rows.append([name, size, *(min(values) for values in list(zip(*repeats, strict=True))[:2]), ""])
    rows[-1][-1] = exponent([row[1:3] for row in rows[-2:]])
    return rows


def exponent(points: list) -> float:
    """Return the slope of log seconds against log size between two points (size, seconds)."""
    (a, first), (b, second) = points
    return log(second / first) / log(b / a)


def growth(name: str, what: str, rows: list[list], notes: list[str]) -> dict:
    return dict(name=name, columns=["", what, "seconds", "MB", "exponent"], rows=rows, notes=notes)


# --- work, each called in a new process: the function that it returns is timed -----------------------------


def fill(root: Path, number: int, side: int) -> Path:
    """Write ``number`` JPEG files of ``side`` px to ten class folders of ``train``, copies of the same ten images."""
    import cv2

    rng = np.random.default_rng(0)
    images = [cv2.resize(rng.integers(0, 255, (side // 16, side // 16, 3), np.uint8), (side, side)) for _ in range(10)]
    files = [cv2.imencode(".jpg", image)[1].tobytes() for image in images]
    for i in range(number):
        path = root / f"train/{i % 10}/{i}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(files[i % 10])
    return root


def manifest_of(root: str) -> Callable:
    from mmengine.config import Config

    from tools.engine.config import data_fingerprint

    loader = dict(dataset=dict(root=f"{root}/train"))
    return partial(data_fingerprint, Config(dict(task="classification", train_dataloader=loader, test_dataloader=loader)))


def check_of(root: str) -> Callable:
    from classification.dataset_check import IMAGENET, check_images, scan

    def run() -> None:
        list(check_images(Path(root), "train", scan(Path(root), "train", IMAGENET), IMAGENET, 1))

    return run


def pass_of(root: str) -> Callable:
    """Return a pass of the loader of scale toy's training set, without workers; building the loader is timed with it."""
    import torch

    from tools.engine.config import resolve
    from tools.engine.training.runner import ExactRunner

    torch.set_num_threads(1)
    loader = resolve("configs/classification/resnet50_toy.py").cfg.train_dataloader.to_dict()
    loader |= dict(num_workers=0, persistent_workers=False)
    loader["dataset"]["root"] = f"{root}/train"

    def run() -> None:
        for _ in ExactRunner.build_dataloader(loader, seed=0):
            pass

    return run


def detections_file(folder: Path, images: int) -> Path:
    """Write the detections.npz of a run, with 40 detections per image."""
    from backbones.common.files import write_npz
    from detection.metrics import gather
    from tools.benchmarks.boxes import made_results

    parts = zip(("det_", "gt_"), gather(made_results(images, 40 * images)), strict=True)
    path = folder / "detections.npz"
    write_npz(path, **{k + name: array for k, part in parts for name, array in vars(part).items() if array is not None})
    return path


def ap_of(path: str) -> Callable:
    from detection.metrics import IOUS, load, mean_ap
    from tools.benchmarks.boxes import CLASSES

    return partial(mean_ap, *load(path), CLASSES, "area", IOUS)


def details_of(path: str) -> Callable:
    """Return a call that computes everything that a run's record and the report state about its detections."""
    from detection.breakdowns import details, recompute
    from tools.benchmarks.boxes import CLASSES

    place = Path(path)
    record = {"per_image": place.name, "per_class": {str(c): {"AP": 0.0} for c in range(CLASSES)}}

    def run() -> None:
        details(place.parent, record | recompute(place.parent, record, {}))

    return run


def resampling_of(path: str) -> Callable:
    from tools.engine.analysis.bootstrap import resample

    return partial(resample, {"a": [path]}, "detection", "mAP")


def iou_of(images: int, side: int) -> Callable:
    from segmentation.metrics import count, figures, join

    rng = np.random.default_rng(0)
    truth = np.kron(rng.integers(0, 150, (16, 16)), np.ones((side // 16, side // 16), int)).astype(np.uint8)
    predicted = np.where(rng.random(truth.shape) < 0.3, rng.integers(0, 150, truth.shape), truth)

    def run() -> None:
        figures(join([count(predicted, truth, 150, 3) for _ in range(images)]).matrix(150))

    return run
