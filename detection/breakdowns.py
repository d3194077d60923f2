"""What a detector's record says beyond its figures, and the record computed again from the per-image results; numpy only."""

from pathlib import Path

from detection.error_analysis import count_errors, lost_map
from detection.metrics import IOUS, load, mean_ap, per_class

LOST = (
    "Points of mAP that mending errors of one kind alone would give (TIDE, arXiv 2008.08115). classification: on an object of "
    "another class; localisation: on an object, but with an IoU below 0.5; both: both; duplicate: on an object that a better "
    "detection has; background: on none; missed: objects that no hit, localisation or classification error points to. The kinds "
    "do not add up."
)
ERRORS = (
    "Counts over the test images, of detections with a score of at least 0.05. A detector that finds more makes more errors of "
    "every kind: what they cost is in the table of the mAP lost."
)


def details(folder: Path, record: dict) -> dict[str, dict]:
    """AP of each class, and the kinds of errors: what they cost, where detections.npz is there, and how many there are."""
    path, names = folder / record["per_image"], record.get("per_class", {})
    lost = lost_map(*load(path), len(names)) if path.is_file() else {}
    aps = {name: found["AP"] for name, found in names.items()}
    about = "11-point AP in percent, its mean is mAP. A class without an object that counts has none."
    return {
        "per_class": {"title": "AP of each class", "note": about, "digits": 2, "gains": True, "values": aps},
        "lost": {"title": "mAP lost by each kind of error", "note": LOST, "digits": 2, "gains": False, "values": lost},
        "errors": {
            "title": "Errors of the detectors",
            "note": ERRORS,
            "digits": 1,
            "gains": False,
            "values": record.get("errors", {}),
        },
    }


def recompute(folder: Path, record: dict, cfg: dict) -> dict:
    """The parts of a record that per-image results give: ``metrics``, ``per_class`` and ``errors``.

    Args:
        folder: of the run.
        record: of it; the names of the classes are those of its ``per_class``.
        cfg: the run's config as key.json has it; ``iou`` of its evaluator counts, 0.5 without one.

    Raises:
        ValueError: detections.npz lacks an array, or has a label without a name.
    """
    detections, truth = load(folder / record["per_image"])
    names, iou = list(record["per_class"]), cfg.get("test_evaluator", {}).get("iou", 0.5)
    kinds = {"mAP": ("11-point", iou), "mAP_area": ("area", iou), "mAP_50_95": ("area", IOUS)}
    return {
        "metrics": {name: mean_ap(detections, truth, len(names), *kind) for name, kind in kinds.items()},
        "per_class": per_class(detections, truth, names),
        "errors": count_errors(detections, truth, names)["total"],
    }
