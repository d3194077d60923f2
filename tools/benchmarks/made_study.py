"""Write the folder of a synthetic study with any number of seeds, as tools/collect.py does, to time a report."""

from pathlib import Path

import numpy as np

from backbones.common.files import write_json
from tools.engine.study_folder.files import write_table

RECIPES = ("b_standard", "d_efficient", "cosine", "smooth", "distill", "mixup", "mixup_distill")
TASKS = {
    "classification": ("top1", "top5"),
    "detection": ("mAP", "mAP_area", "mAP_50_95"),
    "segmentation": ("pixAcc", "mIoU", "mAcc", "mIoU_interior", "mIoU_boundary", "mIoU_frequent", "mIoU_rare"),
}
CLASSES = {"detection": 20, "segmentation": 150}
HEADLINES = {"top1": "classification", "mAP": "detection", "pixAcc": "segmentation", "mIoU": "segmentation"}
ROWS_A_SEED = len(RECIPES) * (sum(map(len, TASKS.values())) + len(TASKS))  # each run also has a row for its seconds
RUNS_A_SEED = len(RECIPES) * len(TASKS)
EVALUATIONS, UPDATES = 8, 60  # lines of a curve, as many as tools/collect.py writes at scale toy


def write_study(folder: Path, seeds: int) -> Path:
    """Write results.csv, study.json, details.json and curves.json for seven recipes, each through three tasks with ``seeds``."""
    rng = np.random.default_rng(0)
    folder.mkdir(parents=True)
    runs = [(recipe, task, seed) for seed in range(seeds) for recipe in RECIPES for task in TASKS]
    write_table(folder / "results.csv", (row for run in runs for row in rows_of(*run, rng)))
    write_json(folder / "study.json", about(runs))
    write_json(folder / "details.json", {"tables": [table(task, number, seeds, rng) for task, number in CLASSES.items()]})
    write_json(folder / "curves.json", {key_of(*run): curve(rng) for run in runs})
    return folder


def key_of(recipe: str, task: str, seed: int) -> str:
    return f"{task}-{recipe}-{seed}"


def rows_of(recipe: str, task: str, seed: int, rng: np.random.Generator) -> list[dict]:
    common = dict(study="made", scale="toy", recipe=recipe, network=task, task=task, protocol="made", split="val", status="done")
    common |= dict(pretrain_seed=seed, finetune_seed="" if task == "classification" else seed, run=key_of(recipe, task, seed))
    level = 60 + RECIPES.index(recipe) / 2
    values = {metric: level + rng.normal() for metric in TASKS[task]} | {"seconds": 30 + rng.random()}
    return [common | dict(metric=metric, value=repr(float(value))) for metric, value in values.items()]


def about(runs: list[tuple[str, str, int]]) -> dict:
    """Return study.json: the facts of each run, and the variance over test images for each pair that a report compares."""
    parents = {recipe: [RECIPES[i]] for i, recipe in enumerate(RECIPES[1:])}
    pairs = dict.fromkeys([(r, base) for r in RECIPES[1:] for base in (RECIPES[0], *parents[r])])
    place = dict(protocol="made", split="val", total=0.2, common=0.1)
    run = dict(
        backbone="work_dirs/card",
        transfer="finetune",
        precision="float32",
        certificate={"max_abs_difference": 1e-6},
        machine={"device": "cpu", "threads": 2},
        versions={"torch": "2"},
        speed={"images_per_second": 100.0, "minutes_per_epoch": 0.1},
        size={"parameters": 10**6, "multiply_adds": 10**8},
        epochs=8,
        peak_memory_gb=0.5,
    )
    return dict(
        name="made",
        scale="toy",
        recipes=list(RECIPES),
        labels={},
        reference=RECIPES[0],
        metrics=list(HEADLINES),
        parents=parents,
        images=[dict(recipe=r, base=b, metric=m, network=task, **place) for r, b in pairs for m, task in HEADLINES.items()],
        tricks={recipe: [["cosine", {}]] for recipe in RECIPES},
        protocols={task: {"name": "made", "epochs": 8} for task in CLASSES},
        runs={
            key_of(*r): run | dict(command=f"python tools/train.py {key_of(*r)}", pictures=f"../runs/{key_of(*r)}/pictures.png")
            for r in runs
        },
    )


def table(task: str, classes: int, seeds: int, rng: np.random.Generator) -> dict:
    """Return a table of details.json: a figure per class and recipe."""
    values = {
        recipe: {"n": seeds, "values": {f"class {c}": rng.uniform((40, 0), (60, 2)).tolist() for c in range(classes)}}
        for recipe in RECIPES
    }
    place = dict(task=task, network=task, protocol="made", split="val", name="per_class", title=f"Classes of {task}")
    return place | dict(note="Made.", digits=2, gains=True, recipes=values)


def curve(rng: np.random.Generator) -> list[dict]:
    """Return the lines of a run's curve: losses, and evaluations between them."""
    losses = [dict(update=u, epoch=u * EVALUATIONS / UPDATES, loss=3 / u + rng.random() / 10) for u in range(1, UPDATES + 1)]
    scores = [dict(update=UPDATES * e // EVALUATIONS, epoch=e, score=50 + e) for e in range(1, EVALUATIONS + 1)]
    return sorted(losses + scores, key=lambda line: line["update"])
