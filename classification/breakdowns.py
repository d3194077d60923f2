"""Break a classifier's per-image results down by class, and recompute the record's metrics from them; numpy only."""

import json
from pathlib import Path

import numpy as np

from backbones.common.files import read_npz
from classification.metrics import topk

MOST = 50  # a table of more classes would be too long to read


def details(folder: Path, record: dict) -> dict[str, dict]:
    """Return the top-1 of each class, named as in the run's card.

    The result is empty if the run has no card, or more than 50 classes.
    """
    card = folder / "card/card.json"
    names = json.loads(card.read_text())["source"].get("class_names", []) if card.is_file() else []
    if not 0 < len(names) <= MOST:
        return {}
    ranks, labels = _load(folder / record["per_image"])
    ranks_by_class = {name: ranks[labels == i] for i, name in enumerate(names)}
    return {
        "per_class": {
            "title": "Top-1 of each class",
            "note": "Percent of the images of a class that are classified correctly.",
            "digits": 2,
            "gains": True,
            "values": {name: topk(ranks, 1) if len(ranks) else None for name, ranks in ranks_by_class.items()},
        }
    }


def recompute(folder: Path, record: dict, cfg: dict) -> dict:
    """Recompute the parts of a record that follow from per-image results: ``metrics``.

    Raises:
        ValueError: ranks.npz lacks an array, or has no image.
    """
    ranks, _ = _load(folder / record["per_image"])
    if not len(ranks):
        raise ValueError(f"{folder / record['per_image']} has no image; test the run again to rewrite the file.")
    return {"metrics": {"top1": topk(ranks, 1), "top5": topk(ranks, 5)}}


def _load(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Read the ranks and labels of a run."""
    saved = read_npz(path)
    if missing := {"rank", "label"} - set(saved):
        raise ValueError(f"{path} has no array {min(missing)}; test the run again to rewrite the file.")
    return saved["rank"], saved["label"]
