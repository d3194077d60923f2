"""What a segmenter's record says beyond its figures, and the record computed again from the per-image results; numpy only."""

from pathlib import Path

from segmentation.metrics import figures, load, per_class

PARTS = (
    "Percent. boundary: the labelled pixels within 3 px of another class; interior: the others; each of the two is measured on "
    "its own. frequent and rare: the halves of the classes with more and with fewer true pixels."
)


def details(folder: Path, record: dict) -> dict[str, dict]:
    """IoU of each class, and the figures of boundaries and interiors, frequent and rare classes."""
    parts = {name: value for name, value in record["metrics"].items() if name.startswith(("mIoU", "pixAcc"))}
    about = "IoU in percent. A class that the ground truth lacks has none."
    return {
        "per_class": {
            "title": "IoU of each class",
            "note": about,
            "digits": 2,
            "gains": True,
            "values": record.get("per_class", {}),
        },
        "parts": {"title": "Boundaries, and rare classes", "note": PARTS, "digits": 2, "gains": True, "values": parts},
    }


def recompute(folder: Path, record: dict, cfg: dict) -> dict:
    """The parts of a record that per-image results give: ``metrics`` and ``per_class``.

    Args:
        folder: of the run.
        record: of it; the names of the classes are those of its ``per_class``.
        cfg: the run's config as key.json has it; ``classes`` of its evaluator says over which mIoU is the mean, else the
            record's protocol does.

    Raises:
        ValueError: confusion.npz lacks an array, or no pixel in it is labelled.
    """
    names = list(record["per_class"])
    regions = load(folder / record["per_image"]).matrix(len(names))
    over = cfg.get("test_evaluator", {}).get("classes") or record["protocol"]["metric_classes"]
    return {"metrics": figures(regions, over), "per_class": per_class(regions.sum(0), names)}
