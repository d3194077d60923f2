"""Write a synthetic study with known figures, for the tests of reports."""

import csv
import json
import re
from pathlib import Path

from tools.engine.analysis.results import Column

ROOT = Path(__file__).parents[2]
COLUMNS = (
    *("study", "scale", "recipe", "network", "task", "protocol", "split", "metric"),
    *("pretrain_seed", "finetune_seed", "value", "status", "run"),
)
TASKS = {"classification": ("top1",), "detection": ("mAP",), "segmentation": ("pixAcc", "mIoU")}
MAP = Column("mAP", "detection_net", "p", "val")
ONE = {"top1": 1.0, "mAP": 1.0, "pixAcc": 1.0, "mIoU": 1.0}  # margins
VALUES = {  # recipe -> metric -> a value a seed
    "scratch": {"mAP": [20.1, 21.3, 19.9], "pixAcc": [50.2, 50.9, 51.0], "mIoU": [11.0, 11.4, 10.7]},
    "b_standard": {
        "top1": [70.123, 71.456, 70.9],
        "mAP": [60.11, 61.27, 60.5],
        "pixAcc": [70.0, 70.1, 70.2],
        "mIoU": [30.3, 31.9, 29.4],
    },
    "smooth": {
        "top1": [73.4, 73.9, 74.4],
        "mAP": [64.9, 65.3, 64.2],
        "pixAcc": [70.2, 70.1, 70.3],
        "mIoU": [31.1, 29.6, 32.4],
    },
}


def made_rows(values=VALUES) -> list[dict]:
    """Return the rows of results.csv for ``values``, and the seconds of each run."""
    rows = []
    for recipe, by_metric in values.items():
        for task, metrics in TASKS.items():
            present = [metric for metric in metrics if metric in by_metric]
            for seed in range(max((len(by_metric[m]) for m in present), default=0)):
                common = dict(
                    study="demo",
                    scale="toy",
                    recipe=recipe,
                    network=f"{task}_net",
                    task=task,
                    protocol="p",
                    split="val",
                )
                common |= dict(status="done", run=f"{task}-{recipe}-{seed}")
                common["pretrain_seed"] = "" if recipe == "scratch" else seed
                common["finetune_seed"] = "" if task == "classification" else seed
                rows += [common | dict(metric=m, value=repr(by_metric[m][seed])) for m in present]
                rows.append(common | dict(metric="seconds", value=10.0 * (seed + 1)))
    return rows


def made_study(rows, **changes) -> dict:
    """Return study.json for ``rows``; ``changes`` replace its entries."""
    recipes = list(dict.fromkeys(row["recipe"] for row in rows))
    machine = {"cpu": "AVX2", "device": "cpu", "threads": 1}
    run = dict(backbone="scratch", transfer="finetune", precision="float32", machine=machine, certificate=None)
    return {
        "name": "demo",
        "scale": "toy",
        "recipes": recipes,
        "labels": {"b_standard": "B-standard", "smooth": "+ smooth"},
        "reference": "b_standard",
        "metrics": ["top1", "mAP", "pixAcc", "mIoU"],
        "decisive": {"classification": "top1", "detection": "mAP", "segmentation": "mIoU"},
        "tricks": {
            "scratch": None,
            "b_standard": [["resnet_b", {}]],
            "smooth": [["label_smoothing", {"eps": 0.1}]],
        },
        "differences": {"smooth": {"parent": "b_standard", "keys": {"model.head.loss.label_smoothing": ["0.0", "0.1"]}}},
        "published": {
            "source": "Tables 8 and 9",
            "values": [
                {"recipe": "b_standard", "network": None, "metric": "mAP", "value": 77.54},
                {"recipe": "smooth", "network": None, "metric": "mAP", "value": 80.71},
            ],
        },
        "protocols": {"detection": {"name": "p", "epochs": 8, "chosen": {"lr": "by trial", "nms": "by trial", "flip": "none"}}},
        "runs": {row["run"]: run for row in rows},
    } | changes


def write_study(folder: Path, rows, **changes) -> Path:
    """Write results.csv and study.json of ``rows`` to a folder, and return the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / "results.csv", "w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(rows)
    (folder / "study.json").write_text(json.dumps(made_study(rows, **changes)))
    return folder


def line(markdown: str, section: str, *cells: str) -> list[str]:
    """Return the cells of the one row of a section's table that starts with ``cells``."""
    part = re.split(r"\n#+ |\n</details>", markdown.split(f"### {section}\n", 1)[1])[0]
    rows = [[cell.strip() for cell in text.strip("|").split(" | ")] for text in part.splitlines() if text[:1] == "|"]
    (matching,) = [row for row in rows if row[: len(cells)] == list(cells)]
    return matching


def cell(markdown: str, recipe: str, metric: str, section: str = "Gains over B-standard") -> list[str]:
    """Return the lines of a cell in the table of gains: level, gain with interval, verdict with p, remarks."""
    row = line(markdown, section, recipe)
    return row[line(markdown, section, "recipe").index(metric)].split("<br>")
