"""What a detector does wrong: false alarms and misses told apart by kind, in the manner of TIDE; numpy only.

Source: Bolya et al., TIDE: A General Toolbox for Identifying Object Detection Errors, ECCV 2020, arXiv 2008.08115, section
2.2 and 2.3. Hits and ignored detections are those of the VOC devkit (``metrics.match``) and not COCO's. Errors are counted
(``count_errors``), and weighed by the AP that mending them would give (``lost_map``).
"""

from collections.abc import Sequence

import numpy as np

from detection.metrics import Boxes, best_pairs, check_labels, class_aps, iou_of, match, pairs

OUTCOMES = ("hit", "ignored", "classification", "localisation", "both", "duplicate", "background")
KINDS = OUTCOMES[2:]  # of false alarms


def outcomes(
    detections: Boxes, truth: Boxes, score: float = 0.05, foreground: float = 0.5, background: float = 0.1
) -> tuple[np.ndarray, np.ndarray]:
    """What became of each detection and of each true box.

    Own and other are the largest IoUs of a false alarm with the counting boxes of its image of its own class and of other
    classes. Its kind is the first that applies, in the order of the authors' program:

    - localisation: background <= own < foreground;
    - classification: other >= foreground;
    - duplicate: own >= foreground (a better detection took the box);
    - both: background <= other < foreground;
    - background: own and other < background.

    Missed is a counting box that was not hit and to which no error points: it is neither the box of the largest own IoU of
    a localisation error nor that of the largest other IoU of a classification error. A box beside it with a smaller IoU is
    missed, and so is one that only a duplicate or a both touches.

    Difficult boxes are ignored: they are not missed, a detection on one of its class is no false alarm, and as own or other
    they do not exist.

    Args:
        detections: of all classes, in any order; of equal scores the earlier stands first.
        truth: of all classes, with ``difficult``.
        score: smallest score of a detection that is looked at. For its AP a detector keeps up to 100 boxes an image, nearly
            all of them background with a low score, which would hide the other kinds. 0.05 is what mmdet's own Faster-RCNN
            configs keep (ours: 0.01); it is a convention, so compare counts only at equal ``score``.
        foreground: smallest IoU of a hit.
        background: smallest IoU that is more than background.

    Returns:
        int8 (n,): index in ``OUTCOMES`` for each detection, -1 below ``score``. bool (m,): which true boxes are missed.

    Raises:
        ValueError: not 0 < background < foreground.
    """
    every, _, missed = _judged(detections, truth, score, foreground, background)
    return every, missed


def _judged(
    detections: Boxes, truth: Boxes, score: float, foreground: float, background: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """``outcomes``, and between the two the true box, int64 (n,), of a hit, a localisation or a classification error, else -1."""
    if not 0 < background < foreground:
        raise ValueError(f"The IoUs are background {background} and foreground {foreground}; give 0 < background < foreground.")
    seen, counting = np.flatnonzero(detections.score >= score), np.flatnonzero(~truth.difficult.astype(bool))
    found, true = detections.take(seen), truth.take(counting)
    i, j = pairs(found.image, true.image)
    iou = iou_of(found.box.T[:, i], true.box.T[:, j])
    same = found.label[i] == true.label[j]
    (own_box, own), (other_box, other) = (best_pairs(i[w], j[w], iou[w], len(seen)) for w in (same, ~same))
    matches = match(found, truth, foreground)
    rules = {
        "hit": matches == 1,
        "ignored": matches == -1,
        "localisation": (own >= background) & (own < foreground),
        "classification": other >= foreground,
        "duplicate": own >= foreground,
        "both": other >= background,
    }
    outcome = np.select(list(rules.values()), [OUTCOMES.index(kind) for kind in rules], OUTCOMES.index("background"))
    by_own = np.isin(outcome, [OUTCOMES.index("hit"), OUTCOMES.index("localisation")])
    by_other = outcome == OUTCOMES.index("classification")
    every, target = np.full(len(detections.image), -1, np.int8), np.full(len(detections.image), -1)
    every[seen] = outcome
    target[seen[by_own]], target[seen[by_other]] = counting[own_box[by_own]], counting[other_box[by_other]]
    missed = ~truth.difficult.astype(bool)
    missed[target[target >= 0]] = False
    return every, target, missed


def count_errors(detections: Boxes, truth: Boxes, names: Sequence[str], **options: float) -> dict[str, dict]:
    """How many of each kind there are, ready for JSON.

    A false alarm belongs to the class that it was given, a missed box to its own.

    Args:
        detections, truth: all of a data set, as ``metrics.load`` reads them from a run's ``detections.npz``.
        names: of the classes, by label.
        options: score, foreground and background of ``outcomes``.

    Returns:
        {"total": counts, "per_class": {name: counts}} with counts {"objects", "detections", *OUTCOMES, "missed": int}.
        objects are the boxes that count; detections those looked at, the sum of ``OUTCOMES``.

    Raises:
        ValueError: of ``outcomes``, or a label without a name.
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
    """The points of mAP (11-point) that a detector loses by errors of each kind, and by what it missed.

    That is mAP with the errors of one kind mended, minus mAP. A localisation error gets the box that it points to, and a
    classification error the class of its box; where the box has a hit, or has been given to one of a higher score, it is taken
    away, as errors of the other kinds are. Missed boxes no longer count. All detections are looked at, whatever their score.
    The parts do not add up to 100 - mAP: mending one kind changes what the others cost.

    Args:
        detections, truth: of a data set; coordinates in pixels.
        classes: how many there are.
        foreground, background: of ``outcomes``.

    Returns:
        {kind: points}; the mean over the classes that have a box that counts, after mending too, None without one.

    Source: section 2.3 of the paper.
    """
    every, target, missed = _judged(detections, truth, -np.inf, foreground, background)

    def aps(found: Boxes, true: Boxes) -> np.ndarray:
        return class_aps(found, true, classes, "11-point", foreground)

    base = aps(detections, truth)
    fixed = {kind: aps(_mended(detections, truth, every, target, kind), truth) for kind in KINDS}
    fixed["missed"] = aps(detections, truth.take(~missed))
    gains = {kind: (found - base)[~np.isnan(found - base)] for kind, found in fixed.items()}
    return {kind: float(found.mean()) if len(found) else None for kind, found in gains.items()}


def _mended(detections: Boxes, truth: Boxes, every: np.ndarray, target: np.ndarray, kind: str) -> Boxes:
    """The detections with the errors of a kind mended or taken away."""
    wrong = np.flatnonzero(every == OUTCOMES.index(kind))
    kept = every != OUTCOMES.index(kind)
    box, label = detections.box.copy(), detections.label.copy()
    if kind in ("localisation", "classification"):
        hit = target[every == OUTCOMES.index("hit")]
        wrong = wrong[np.argsort(-detections.score[wrong], kind="stable")]
        _, first = np.unique(target[wrong], return_index=True)
        first = wrong[first]
        first = first[~np.isin(target[first], hit)]
        box[first], label[first], kept[first] = truth.box[target[first]], truth.label[target[first]], True
    return Boxes(detections.image, box, label, detections.score).take(kept)
