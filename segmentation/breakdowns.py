"""Break a segmenter's results down by class and region, and recompute its record from per-image results; numpy only."""

from pathlib import Path

from segmentation.metrics import figures, load, per_class

PARTS = (
    "Percent. boundary: the labelled pixels within 3 px of another class; interior: the others; each is measured separately. "
    "frequent and rare: the halves of the classes with more and with fewer true pixels."
)


def details(folder: Path, record: dict) -> dict[str, dict]:
    """Return the IoU of each class, and the figures of boundaries and interiors, and of frequent and rare classes."""
    parts = {name: value for name, value in record["metrics"].items() if name.startswith(("mIoU", "pixAcc"))}
    return {
        "per_class": {
            "title": "IoU of each class",
            "note": "IoU in percent. A class without true pixels has none.",
            "digits": 2,
            "gains": True,
            "values": record.get("per_class", {}),
        },
        "parts": {"title": "Boundaries, and rare classes", "note": PARTS, "digits": 2, "gains": True, "values": parts},
    }


def recompute(folder: Path, record: dict, cfg: dict) -> dict:
    """Recompute the parts of a record that follow from per-image results: ``metrics`` and ``per_class``.

    Args:
        folder: folder of the run.
        record: record of the run; its ``per_class`` gives the names of the classes.
        cfg: config of the run, from key.json. ``classes`` of its evaluator selects the classes over which mIoU is the mean; the
            default is ``metric_classes`` of the record's protocol.

    Raises:
        ValueError: confusion.npz lacks an array, or has no labelled pixel.
    """
    names = list(record["per_class"])
    regions = load(folder / record["per_image"]).matrix(len(names))
    classes = cfg.get("test_evaluator", {}).get("classes") or record["protocol"]["metric_classes"]
    return {"metrics": figures(regions, classes), "per_class": per_class(regions.sum(0), names)}
