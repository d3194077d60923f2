"""What a classifier's per-image results say beyond the record, and the record's figures computed from them again; numpy only."""

import json
from pathlib import Path

import numpy as np

from backbones.common.files import read_npz
from classification.metrics import topk

MOST = 50  # classes: of more there is no table


def details(folder: Path, record: dict) -> dict[str, dict]:
    """Top-1 of each class, with the names that the run's card has; nothing without a card, or for more than 50 classes."""
    card = folder / "card/card.json"
    names = json.loads(card.read_text())["source"].get("class_names", []) if card.is_file() else []
    if not 0 < len(names) <= MOST:
        return {}
    ranks, labels = _load(folder / record["per_image"])
    own = {name: ranks[labels == i] for i, name in enumerate(names)}
    return {
        "per_class": {
            "title": "Top-1 of each class",
            "note": "Percent of the images of a class whose first guess is right.",
            "digits": 2,
            "gains": True,
            "values": {name: topk(found, 1) if len(found) else None for name, found in own.items()},
        }
    }


def recompute(folder: Path, record: dict, cfg: dict) -> dict:
    """The parts of a record that per-image results give: ``metrics``.

    Raises:
        ValueError: ranks.npz lacks an array, or has no image.
    """
    ranks, _ = _load(folder / record["per_image"])
    if not len(ranks):
        raise ValueError(f"{folder / record['per_image']} has no image; test the run again to write the file anew.")
    return {"metrics": {"top1": topk(ranks, 1), "top5": topk(ranks, 5)}}


def _load(path: Path) -> tuple[np.ndarray, np.ndarray]:
    saved = read_npz(path)
    if missing := {"rank", "label"} - set(saved):
        raise ValueError(f"{path} has no array {min(missing)}; test the run again to write the file anew.")
    return saved["rank"], saved["label"]
