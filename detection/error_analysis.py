"""Classify the false alarms and the misses of a detector by kind, in the manner of TIDE; needs numpy only.

Source: Bolya et al., TIDE: A General Toolbox for Identifying Object Detection Errors, ECCV 2020, arXiv 2008.08115, section
2.2 and 2.3. Hits and ignored detections follow the VOC devkit (``metrics.match``), not COCO. ``count_errors`` counts the errors,
and ``lost_map`` weighs them by the AP that fixing them would give.
"""

from collections.abc import Sequence

import numpy as np

from detection.metrics import Boxes, best_pairs, check_labels, class_aps, iou_of, match, pairs

OUTCOMES = ("hit", "ignored", "classification", "localisation", "both", "duplicate", "background")
KINDS = OUTCOMES[2:]  # kinds of false alarms


def outcomes(
    detections: Boxes, truth: Boxes, score: float = 0.05, foreground: float = 0.5, background: float = 0.1
) -> tuple[np.ndarray, np.ndarray]:
    """Classify each detection, and tell which true boxes are missed.

    A true box counts unless it is difficult. Let own be the largest IoU of a false alarm with a counting box of its image and
    class, and other the largest IoU with a counting box of its image and another class. The kind of the false alarm is the
    first that applies, in the order of the authors' program:

    - localisation: background <= own < foreground;
    - classification: other >= foreground;
    - duplicate: own >= foreground (a better detection has the box);
    - both: background <= other < foreground;
    - background: own and other < background.

    A counting box is missed unless it is hit or an error points to it. A localisation error points to the box of its own IoU,
    a classification error to the box of its other IoU. A box beside that one with a smaller IoU is missed, and so is a box
    that only a duplicate or a both touches.

    Difficult boxes are ignored: they are never missed, a detection of their class on them is no false alarm, and own and
    other do not see them.

    Args:
        detections: detections of all classes, in any order; of equal scores the earlier ranks first.
        truth: true boxes of all classes, with ``difficult``.
        score: smallest score of a detection that is classified. For its AP a detector keeps up to 100 boxes an image. Nearly
            all of these are background with a low score, which would hide the other kinds. 0.05 is what mmdet's own
            Faster-RCNN configs keep (ours: 0.01); it is a convention, so compare counts only at equal ``score``.
        foreground: smallest IoU of a hit.
        background: smallest IoU that is more than background.

    Returns:
        int8 (n,): index in ``OUTCOMES`` for each detection, -1 below ``score``. bool (m,): which true boxes are missed.

    Raises:
        ValueError: not 0 < background < foreground.
    """
    outcome, _, missed = _judged(detections, truth, score, foreground, background)
    return outcome, missed


def _judged(
    detections: Boxes, truth: Boxes, score: float, foreground: float, background: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return ``outcomes``, and between its two arrays the true box that each detection points to.

    That box, int64 (n,), is an index in ``truth`` for a hit, a localisation or a classification error, else -1.
    """
    if not 0 < background < foreground:
        raise ValueError(f"The IoUs are background {background} and foreground {foreground}; give 0 < background < foreground.")
    scored, counting = np.flatnonzero(detections.score >= score), np.flatnonzero(~truth.difficult.astype(bool))
    predicted, true = detections.take(scored), truth.take(counting)
    i, j = pairs(predicted.image, true.image)
    iou = iou_of(predicted.box.T[:, i], true.box.T[:, j])
    same = predicted.label[i] == true.label[j]
    own_box, own_iou = best_pairs(i[same], j[same], iou[same], len(scored))
    other_box, other_iou = best_pairs(i[~same], j[~same], iou[~same], len(scored))
    matches = match(predicted, truth, foreground)
    rules = {
        "hit": matches == 1,
        "ignored": matches == -1,
        "localisation": (own_iou >= background) & (own_iou < foreground),
        "classification": other_iou >= foreground,
        "duplicate": own_iou >= foreground,
        "both": other_iou >= background,
    }
    codes = np.select(list(rules.values()), [OUTCOMES.index(kind) for kind in rules], OUTCOMES.index("background"))
    by_own = np.isin(codes, [OUTCOMES.index("hit"), OUTCOMES.index("localisation")])
    by_other = codes == OUTCOMES.index("classification")
    outcome, target = np.full(len(detections.image), -1, np.int8), np.full(len(detections.image), -1)
    outcome[scored] = codes
    target[scored[by_own]], target[scored[by_other]] = counting[own_box[by_own]], counting[other_box[by_other]]
    missed = ~truth.difficult.astype(bool)
    missed[target[target >= 0]] = False
    return outcome, target, missed


def count_errors(detections: Boxes, truth: Boxes, names: Sequence[str], **options: float) -> dict[str, dict]:
    """Count the errors of each kind, ready for JSON.

    A false alarm counts for its predicted class, a missed box for its true class.

    Args:
        detections, truth: boxes of a whole dataset, as ``metrics.load`` reads them from a run's ``detections.npz``.
        names: names of the classes, by label.
        options: score, foreground and background of ``outcomes``.

    Returns:
        {"total": counts, "per_class": {name: counts}} with counts {"objects", "detections", *OUTCOMES, "missed": int}.
        objects are the boxes that count; detections are those classified, the sum of ``OUTCOMES``.

    Raises:
        ValueError: ``outcomes`` refuses its options, or a label has no name.
    """
    check_labels(detections, truth, len(names))
    outcome, missed = outcomes(detections, truth, **options)
    columns = {
        "objects": truth.label[~truth.difficult.astype(bool)],
        "detections": detections.label[outcome >= 0],
        **{kind: detections.label[outcome == code] for code, kind in enumerate(OUTCOMES)},
        "missed": truth.label[missed],
    }
    table = {kind: np.bincount(labels, minlength=len(names)).tolist() for kind, labels in columns.items()}
    return {
        "total": {kind: sum(counts) for kind, counts in table.items()},
        "per_class": {name: {kind: counts[i] for kind, counts in table.items()} for i, name in enumerate(names)},
    }


def lost_map(
    detections: Boxes, truth: Boxes, classes: int, foreground: float = 0.5, background: float = 0.1
) -> dict[str, float | None]:
    """Return the points of mAP (11-point) that a detector loses by the errors of each kind and by missed boxes.

    The points are mAP after fixing the errors of one kind, minus mAP. A fixed localisation error gets the box that it points
    to, and a fixed classification error the class of that box. It is removed instead if the box has a hit, or was given to an
    error of a higher score. Errors of the other kinds are fixed by removing them, and missed boxes by no longer counting them.
    All detections take part, whatever their score. The points do not add up to 100 - mAP, because fixing one kind changes
    what the others cost.

    Args:
        detections, truth: boxes of a whole dataset; coordinates in pixels.
        classes: number of classes.
        foreground, background: IoUs of ``outcomes``.

    Returns:
        {kind: points}; the mean over the classes that have a box that counts, before and after the fix; None without one.

    Source: section 2.3 of the paper.
    """
    outcome, target, missed = _judged(detections, truth, -np.inf, foreground, background)

    def aps(predicted: Boxes, true: Boxes) -> np.ndarray:
        return class_aps(predicted, true, classes, "11-point", foreground)

    base = aps(detections, truth)
    fixed = {kind: aps(_fixed(detections, truth, outcome, target, kind), truth) for kind in KINDS}
    fixed["missed"] = aps(detections, truth.take(~missed))
    gains = {kind: (values - base)[~np.isnan(values - base)] for kind, values in fixed.items()}
    return {kind: float(gain.mean()) if len(gain) else None for kind, gain in gains.items()}


def _fixed(detections: Boxes, truth: Boxes, outcome: np.ndarray, target: np.ndarray, kind: str) -> Boxes:
    """Return the detections with the errors of a kind corrected or removed."""
    wrong = np.flatnonzero(outcome == OUTCOMES.index(kind))
    remaining = outcome != OUTCOMES.index(kind)
    box, label = detections.box.copy(), detections.label.copy()
    if kind in ("localisation", "classification"):
        hit = target[outcome == OUTCOMES.index("hit")]
        wrong = wrong[np.argsort(-detections.score[wrong], kind="stable")]
        _, first = np.unique(target[wrong], return_index=True)
        corrected = wrong[first]
        corrected = corrected[~np.isin(target[corrected], hit)]
        box[corrected], label[corrected] = truth.box[target[corrected]], truth.label[target[corrected]]
        remaining[corrected] = True
    return Boxes(detections.image, box, label, detections.score).take(remaining)
