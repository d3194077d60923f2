"""Break the results of a detector down by class and kind of error, and recompute its record; needs numpy only."""

from pathlib import Path

from detection.error_analysis import count_errors, lost_map
from detection.metrics import IOUS, load, mean_ap, per_class

LOST = (
    "Points of mAP gained by fixing the errors of one kind alone (TIDE, arXiv 2008.08115). classification: on an object of "
    "another class; localisation: on an object, but with an IoU below 0.5; both: both at once; duplicate: on an object that has "
    "a better detection; background: on no object; missed: objects that no hit, localisation or classification error points "
    "to. The points of the kinds do not add up."
)
ERRORS = (
    "Errors among detections with a score of at least 0.05, summed over the test images. A detector that finds more makes more "
    "errors of every kind; the table of the mAP lost shows their cost."
)


def details(folder: Path, record: dict) -> dict[str, dict]:
    """Return the tables of a run for the report: AP by class, mAP lost by kind of error, and counts of errors.

    The mAP lost is empty for a run whose detections.npz is gone.
    """
    path, names = folder / record["per_image"], record.get("per_class", {})
    lost = lost_map(*load(path), len(names)) if path.is_file() else {}
    aps = {name: scores["AP"] for name, scores in names.items()}
    about = "11-point AP in percent; the mean over the classes is mAP. A class without an object that counts has no AP."
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
    """Recompute ``metrics``, ``per_class`` and ``errors`` of a record from the per-image results.

    Args:
        folder: folder of the run.
        record: record of the run; its ``per_class`` names the classes.
        cfg: config of the run as key.json has it; only the evaluator's ``iou`` is used (default: 0.5).

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
