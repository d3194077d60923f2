"""Boxes of each kind of detection error, and a plain loop that finds them."""

from tests.helpers.average_precision import devkit_iou, devkit_match

SQUARE = [0.0, 0.0, 9.0, 9.0]
FOUR_TENTHS = [0.0, 0.0, 9.0, 3.0]
LESS = [0.0, 0.0, 8.0, 0.0]  # IoU 0.09
AWAY = [50.0, 50.0, 59.0, 59.0]


def loop(predicted: list, truth: list, score: float, foreground: float, background: float) -> tuple[list, list]:
    """Compute ``outcomes`` of (image, box, label, score) and (image, box, label, difficult), one detection after another."""
    scored = [k for k, d in enumerate(predicted) if d[3] >= score]
    matches = dict(zip(scored, devkit_match([predicted[k] for k in scored], truth, foreground), strict=True))
    result, missed = [None] * len(predicted), [not t[3] for t in truth]
    for k in scored:
        (own_iou, own_box), (other_iou, other_box) = (0.0, None), (0.0, None)
        for i, (image, box, label, difficult) in enumerate(truth):
            if image == predicted[k][0] and not difficult:
                iou = devkit_iou(predicted[k][1], box)
                if label == predicted[k][2] and iou > own_iou:
                    own_iou, own_box = iou, i
                if label != predicted[k][2] and iou > other_iou:
                    other_iou, other_box = iou, i
        if matches[k] == -1:
            result[k] = "ignored"
        elif matches[k] == 1:
            result[k], missed[own_box] = "hit", False
        elif background <= own_iou < foreground:
            result[k], missed[own_box] = "localisation", False
        elif other_iou >= foreground:
            result[k], missed[other_box] = "classification", False
        elif own_iou >= foreground:
            result[k] = "duplicate"
        elif other_iou >= background:
            result[k] = "both"
        else:
            result[k] = "background"
    return result, missed
