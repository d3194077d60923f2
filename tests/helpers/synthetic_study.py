"""Write a synthetic study with per-image results; plain loops fill its records, not the project's metrics."""

import csv
import json
from pathlib import Path

import numpy as np

from backbones.common.files import write_json, write_npz
from detection.error_analysis import OUTCOMES
from detection.metrics import IOUS
from tests.helpers.average_precision import as_boxes, devkit_ap, devkit_match
from tests.helpers.errors import loop

COLUMNS = (
    *("study", "scale", "recipe", "network", "task", "protocol", "split", "metric"),
    *("pretrain_seed", "finetune_seed", "value", "status", "run"),
)
TRICKS = {"b_standard": [["resnet_b", {}]], "smooth": [["resnet_b", {}], ["label_smoothing", {}]]}
RECIPES, SEEDS = tuple(TRICKS), 2
ANIMALS, STUFF = ("cat", "dog", "emu"), ("sky", "sea", "ice", "oak", "elm")
NODES = {  # task: node, network, split, file
    "classification": ("pretrain", "resnet50", "val", "ranks.npz"),
    "detection": ("transfer", "faster_rcnn", "test", "detections.npz"),
    "segmentation": ("transfer", "fcn", "validation", "confusion.npz"),
}


def classify(folder: Path, rng: np.random.Generator) -> dict:
    """Write ranks.npz and the card of a run, and return its part of the record."""
    ranks, labels = rng.integers(0, 7, 60).astype(np.uint16), np.arange(60, dtype=np.uint16) % len(ANIMALS)
    write_npz(folder / "ranks.npz", rank=ranks, label=labels)
    write_json(folder / "card/card.json", {"source": {"class_names": list(ANIMALS)}})
    tops = {f"top{k}": 100 * sum(rank < k for rank in ranks.tolist()) / 60 for k in (1, 5)}
    return {"metrics": tops, "card": f"sha of {folder.name}", "size": {"parameters": 123, "multiply_adds": 456}}


def made_boxes(rng: np.random.Generator, images: int = 12, objects: np.random.Generator | None = None) -> tuple[list, list]:
    """Draw (image, box, label, score) of detections, many near an object, and (image, box, label, difficult) of objects.

    Args:
        objects: draws the objects (default: ``rng``), so that several runs may have the same.
    """

    def box(rng: np.random.Generator = rng) -> list[float]:
        x, y, wide, high = rng.integers((0, 0, 8, 8), (60, 60, 40, 40)).tolist()
        return [float(x), float(y), float(x + wide), float(y + high)]

    true = objects or rng
    truth = [(i, box(true), k % 3, bool(true.random() < 0.15)) for i in range(images) for k in range(int(true.integers(1, 5)))]
    detections = []
    for image, corners, label, _ in truth:
        for _ in range(int(rng.integers(0, 4))):
            near = [float(side) for side in np.array(corners) + rng.integers(-6, 7, 4)]
            near_label = int(label if rng.random() < 0.7 else rng.integers(3))
            detections.append((image, near, near_label, float(np.float32(rng.random()))))
    detections += [(int(rng.integers(images)), box(), int(rng.integers(3)), float(np.float32(rng.random()))) for _ in range(10)]
    return sorted(detections, key=lambda row: row[0]), truth


def detect(folder: Path, rng: np.random.Generator) -> dict:
    """Write detections.npz of a run, and return its part of the record."""
    detections, truth = made_boxes(rng, objects=np.random.default_rng(7))
    parts = {"det_": as_boxes(detections, "score"), "gt_": as_boxes(truth, "difficult")}
    arrays = {prefix + name: array for prefix, part in parts.items() for name, array in vars(part).items() if array is not None}
    write_npz(folder / "detections.npz", **arrays)
    aps = {
        (kind, iou): [devkit_ap(detections, truth, c, kind, iou) for c in range(3)]
        for kind in ("11-point", "area")
        for iou in IOUS
    }
    metrics = {"mAP": np.mean(aps["11-point", 0.5]), "mAP_area": np.mean(aps["area", 0.5])}
    metrics["mAP_50_95"] = np.mean([aps["area", iou] for iou in IOUS])
    kinds, missed = loop(detections, truth, 0.05, 0.5, 0.1)
    errors = {"objects": sum(not t[3] for t in truth), "detections": sum(k is not None for k in kinds)}
    errors |= {kind: kinds.count(kind) for kind in OUTCOMES} | {"missed": sum(missed)}
    per_class = {n: {"AP": aps["11-point", 0.5][i], "AP_area": aps["area", 0.5][i]} for i, n in enumerate(ANIMALS)}
    assert devkit_match(detections, truth, 0.5).count(1) > 3  # else the study would test nothing
    return {"metrics": {k: float(v) for k, v in metrics.items()}, "per_class": per_class, "errors": errors}


def figures_by_hand(regions: np.ndarray, over: str) -> dict[str, float]:
    """Compute all figures of int64 (2, classes, classes), in percent."""

    def iou(m, c) -> float:
        return 100 * m[c, c] / (m[c].sum() + m[:, c].sum() - m[c, c]) if m[c].sum() + m[:, c].sum() else 0.0

    def mean(m) -> float:
        averaged = {"gt": m.sum(1) > 0, "union": (m.sum(1) > 0) | (m.sum(0) > 0), "all": np.ones(len(m), bool)}[over]
        return sum(iou(m, c) for c in np.flatnonzero(averaged)) / averaged.sum()

    whole = regions[0] + regions[1]
    true = whole.sum(1)
    order = sorted(np.flatnonzero(true), key=lambda c: -true[c])
    half = -(-len(order) // 2)
    counted = range(len(true)) if over == "all" else np.flatnonzero(true)
    figures = {"mAcc": np.mean([100 * whole[c, c] / true[c] if true[c] else 0.0 for c in counted])}
    for name, matrix in (("", whole), ("_interior", regions[0]), ("_boundary", regions[1])):
        figures |= {f"pixAcc{name}": 100 * np.trace(matrix) / matrix.sum(), f"mIoU{name}": mean(matrix)}
    halves = {"mIoU_frequent": order[:half], "mIoU_rare": order[half:]}
    figures |= {name: np.mean([iou(whole, c) for c in part]) for name, part in halves.items()}
    return {name: float(value) for name, value in figures.items()}


def segment(folder: Path, rng: np.random.Generator, over: str = "gt") -> dict:
    """Write confusion.npz of a run, and return its part of the record; ``over``: the classes that mIoU averages."""
    fixed = np.random.default_rng(7)  # all runs have the same true pixels
    images = fixed.integers(1, 400, (4, 2, 5, 5)) * (fixed.random((4, 2, 5, 5)) < 0.6)
    images[:, :, 4] = 0  # elms are predicted, but none is in the ground truth
    images[:, :, :, 3] = images[:, :, 3, 3, None] * np.eye(5, dtype=int)[3]  # oaks are predicted right, or not at all
    images[:, :, 3, 3] += 5
    others = [0, 1, 2, 4]
    for row in (images[place] for place in np.ndindex(4, 2, 3)):  # by image, region and true class
        row[others] = rng.permutation(row[others])
    image, *cell = np.nonzero(images)
    arrays = dict(zip(("image", "region", "truth", "found"), (image, *cell), strict=True))
    write_npz(folder / "confusion.npz", **arrays, pixels=images[images > 0], images=np.array(4))
    regions = images.sum(0)
    whole = regions.sum(0)
    union = [whole[c].sum() + whole[:, c].sum() - whole[c, c] for c in range(5)]
    per_class = {n: float(100 * whole[c, c] / union[c]) if whole[c].sum() else None for c, n in enumerate(STUFF)}
    return {"metrics": figures_by_hand(regions, over), "per_class": per_class}


def made_study(root: Path, over: str = "gt", diverged: tuple[str, ...] = ()) -> Path:
    """Write a study of two recipes, two seeds and three tasks with its runs under ``root``, and return its folder."""
    rng, rows, runs = np.random.default_rng(len(over)), [], {}
    for recipe in RECIPES:
        for seed in range(SEEDS):
            for task, (node, network, split, file) in NODES.items():
                key = f"{task}-{recipe}-{seed}"
                folder = root / "runs" / key
                folder.mkdir(parents=True)
                protocol = {"name": f"{task}_p"} | ({"metric_classes": over} if task == "segmentation" else {})
                record = dict(key=key, node=node, task=task, network=network, scale="toy", status="done", seed=seed, split=split)
                record |= dict(tricks=TRICKS[recipe], protocol=protocol)
                record |= dict(backbone=None if node == "pretrain" else "card", per_image=file, metrics={})
                record |= dict(seconds={"train": 1.0, "test": 0.5, "total": 1.5 + seed}, updates=40, peak_memory_gb=0.5)
                if key in diverged:
                    record["status"] = "diverged"
                else:
                    measure = {"classification": classify, "detection": detect, "segmentation": segment}[task]
                    record |= measure(folder, rng, over) if task == "segmentation" else measure(folder, rng)
                if node == "transfer":
                    record["certificate"] = {"card": f"sha of classification-{recipe}-{seed}"}
                write_json(folder / "record.json", record)
                write_json(folder / "key.json", {"config": {"test_evaluator": {"type": "any"}}})
                runs[key] = {"pictures": f"../runs/{key}/pictures.png"}
                common = dict(study="made", scale="toy", recipe=recipe, network=network, task=task, protocol=protocol["name"])
                common |= dict(split=split, pretrain_seed=seed, finetune_seed="" if node == "pretrain" else seed)
                common |= dict(status=record["status"], run=key)
                values = record["metrics"] or {"mAP": "", "mAP_area": ""}
                values = {**values, "seconds": record["seconds"]["total"]}
                rows += [common | {"metric": metric, "value": value} for metric, value in values.items()]
    study = dict(name="made", scale="toy", recipes=list(RECIPES), labels={"smooth": "+ smooth"}, reference="b_standard")
    study |= dict(metrics=["top1", "mAP", "pixAcc", "mIoU"], tricks=TRICKS, runs=runs)
    write_json(root / "made-toy/study.json", study)
    write_rows(root / "made-toy", rows)
    return root / "made-toy"


def read_rows(folder: Path) -> list[dict]:
    with open(folder / "results.csv", newline="") as file:
        return list(csv.DictReader(file))


def write_rows(folder: Path, rows: list[dict]) -> None:
    with open(folder / "results.csv", "w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def change_json(path: Path, *keys, value) -> None:
    """Set one value of a JSON file."""
    content = json.loads(path.read_text())
    inner = content
    for key in keys[:-1]:
        inner = inner[key]
    inner[keys[-1]] = value
    path.write_text(json.dumps(content))
