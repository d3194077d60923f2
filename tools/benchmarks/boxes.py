"""Time average precision on synthetic detections for a set as large as VOC07 test: ours, mmdet's and COCO's."""

import io
from collections.abc import Callable, Iterator
from contextlib import redirect_stdout
from functools import partial

import numpy as np

from detection.metrics import IOUS, gather, match, mean_ap, precision_recall, ranking
from tools.benchmarks.rounds import Comparison, Contender, same

CLASSES, IMAGES, DETECTIONS = 20, 4952, 196_000
FLOAT32 = 1e-6  # relative tolerance, because mmdet's precision and AP are float32


def comparisons() -> Iterator[Comparison]:
    """Compare at one IoU on all images, and at ten IoUs on a quarter of them."""
    results = made_results()
    yield voc(results)
    yield ten_ious(results[: IMAGES // 4])


def made_results(images: int = IMAGES, detections: int = DETECTIONS, seed: int = 0) -> list[tuple[np.ndarray, ...]]:
    """Return synthetic results as the evaluator collects them.

    Each image has detected boxes (n, 4), labels and scores; true boxes and labels; difficult boxes and labels. It has about three
    true boxes, a fifth of them difficult, as in VOC07 test. Two thirds of the detections lie near a true box, the nearer ones
    with higher scores; the others lie anywhere. No two scores are equal, because mmdet does not define the order of equal ones.
    """
    rng = np.random.default_rng(seed)
    owner = np.repeat(np.arange(images), 1 + rng.poisson(2, images))
    truth, label, hard = _boxes(rng, len(owner)), rng.integers(CLASSES, size=len(owner)), rng.random(len(owner)) < 0.2
    near = rng.integers(len(owner), size=detections * 2 // 3)
    shift = rng.normal(0, rng.uniform(0.02, 0.3, (len(near), 1)), (len(near), 4))
    boxes = truth[near] + shift * np.tile(truth[near, 2:] - truth[near, :2], 2)
    boxes[:, 2:] = np.maximum(boxes[:, 2:], boxes[:, :2] + 4)
    boxes = np.concatenate([boxes, _boxes(rng, detections - len(near))]).astype(np.float32)
    image = np.concatenate([owner[near], rng.integers(images, size=detections - len(near))])
    wrong = np.concatenate([rng.random(len(near)) < 0.15, np.ones(detections - len(near), bool)])
    predicted = np.where(wrong, rng.integers(CLASSES, size=detections), np.resize(label[near], detections))
    quality = np.concatenate([-np.abs(shift).sum(1), np.full(detections - len(near), -0.8)]) + rng.normal(0, 0.4, detections)
    score = np.empty(detections, np.float32)
    score[np.argsort(quality)] = (np.arange(detections) + 1) / (detections + 1)
    columns = [(image, boxes, predicted, score)]
    columns += [tuple(column[kind] for column in (owner, truth, label)) for kind in (~hard, hard)]
    return [sum(parts, ()) for parts in zip(*(_of_images(images, *column) for column in columns), strict=True)]


def _of_images(images: int, image: np.ndarray, *columns: np.ndarray) -> list[tuple[np.ndarray, ...]]:
    """Split the rows of the columns by image."""
    order = np.argsort(image, kind="stable")
    ends = np.searchsorted(image[order], np.arange(1, images))
    return list(zip(*(np.split(column[order], ends) for column in columns), strict=True))


def _boxes(rng: np.random.Generator, number: int) -> np.ndarray:
    """Return random boxes of all sizes within 500 x 375 px, float32 (number, 4)."""
    size = np.exp(rng.uniform(np.log(0.06), np.log(0.9), (number, 2))) * (500, 375)
    corner = rng.random((number, 2)) * ((500, 375) - size)
    return np.concatenate([corner, corner + size], axis=1).astype(np.float32)


def for_mmdet(results: list[tuple[np.ndarray, ...]]) -> tuple[list[list[np.ndarray]], list[dict]]:
    """Convert results to the form of mmdet's VOCMetric: for each image an (n, 5) array per class, and its annotation."""
    names = ("bboxes", "labels", "bboxes_ignore", "labels_ignore")
    detections = [
        [np.hstack([box[label == c], score[label == c, None]]) for c in range(CLASSES)] for box, label, score, *_ in results
    ]
    return detections, [dict(zip(names, truth, strict=True)) for _, _, _, *truth in results]


def ours(results: list, kind: str, iou=0.5) -> float:
    return mean_ap(*gather(results), CLASSES, kind, iou)


def theirs(found: list, annotations: list, mode: str, processes: int = 1, iou: float = 0.5):
    """Call mmdet's eval_map by VOC's rules; return mAP in 0..1 and its result for each class."""
    import backbones.mmcv_ops  # noqa: F401  (mmdet cannot be imported without it where mmcv is not compiled)

    # isort: split
    from mmdet.evaluation.functional import eval_map

    options = dict(eval_mode=mode, nproc=processes, use_legacy_coordinate=True, logger="silent")
    return eval_map(found, annotations, iou_thr=iou, **options)


def voc(results: list) -> Comparison:
    """Compare mAP by VOC2007's eleven points: ours against mmdet's with one, two and four processes."""
    converted = for_mmdet(results)
    value, classes = theirs(*converted, "11points")
    equal = [
        same("mAP (11-point), %", ours(results, "11-point"), 100 * value, FLOAT32),
        same("mAP (area), %", ours(results, "area"), 100 * theirs(*converted, "area")[0], FLOAT32),
        same("places at which precision or recall differ", curves_differ(results, classes), 0),
    ]
    rivals = [Contender(f"mmdet, nproc={n}", partial(theirs, *converted, "11points", n), len(results)) for n in (1, 2, 4)]
    return Comparison(
        f"VOC mAP (11-point) of {len(results):,} images, {sum(len(r[0]) for r in results):,} detections, {CLASSES} classes",
        "images",
        [Contender("ours", partial(ours, results, "11-point"), len(results)), *rivals],
        {rival.name: 3 for rival in rivals},
        equal,
        [
            "The aim is over the best of mmdet's three process counts. Each side starts from what its own evaluator collects per "
            "image: ours has to join it, mmdet's is already split by class.",
            "mmdet's precision and AP are float32, and its mAP is their mean: hence the relative difference above.",
        ],
    )


def curves_differ(results: list, classes: list[dict]) -> int:
    """Count the places after a hit where our and mmdet's ``precision`` (as float32) or ``recall`` differ, over all classes."""
    detections, truth = gather(results)
    order = ranking(detections)
    matches, labels = match(detections, truth)[order], detections.label[order]
    differences = 0
    for label, curve in enumerate(classes):
        precision, recall = precision_recall(matches[labels == label], int(np.sum(~truth.difficult & (truth.label == label))))
        hits = np.flatnonzero(np.diff(curve["recall"], prepend=0) > 0)
        if len(hits) != len(recall):
            return max(len(hits), len(recall))
        differences += int(np.sum(curve["recall"][hits] != recall))
        differences += int(np.sum(curve["precision"][hits] != precision.astype(np.float32)))
    return differences


def ten_ious(results: list) -> Comparison:
    """Compare the mean AP over IoU 0.50 to 0.95: ours against pycocotools, which measures COCO's AP."""
    converted = for_mmdet(results)
    means = [100 * theirs(*converted, "area", iou=iou)[0] for iou in IOUS]
    coco = coco_evaluation(results)
    contenders = [Contender("ours", partial(ours, results, "area", IOUS), len(results))]
    notes = ["COCO's AP is another figure: 101 points, sides of x2 - x1 px, and a detection may take its second best box."]
    if coco:
        contenders.append(Contender("pycocotools", coco, len(results)))
        notes.append(f"At IoU 0.5: {100 * coco()[0]:.3f} by COCO's rules, {ours(results, 'area'):.3f} by VOC's.")
    return Comparison(
        f"mAP over 10 IoU thresholds, {len(results):,} images",
        "images",
        contenders,
        {},
        [f"mean of mmdet's mAP (area) at each, %: {same('', ours(results, 'area', IOUS), float(np.mean(means)), FLOAT32)}"],
        notes,
    )


def coco_evaluation(results: list) -> Callable[[], np.ndarray] | None:
    """Return a call of pycocotools' evaluation on boxes that are already loaded; None without pycocotools.

    The call returns the AP at each IoU.
    """
    try:
        from pycocotools.cocoeval import COCOeval
    except ImportError:
        return None
    with redirect_stdout(io.StringIO()):
        data, detections = _load_coco(results)

    def run() -> np.ndarray:
        with redirect_stdout(io.StringIO()):
            evaluation = COCOeval(data, detections, "bbox")
            evaluation.params.areaRng, evaluation.params.areaRngLbl = [[0, 1e10]], ["all"]
            evaluation.params.maxDets = [100]
            evaluation.evaluate()
            evaluation.accumulate()
        precision = evaluation.eval["precision"][..., 0, 0]  # IoU, recall, class
        return np.where(precision < 0, np.nan, precision).mean(1).mean(1)

    return run


def _load_coco(results: list) -> tuple:
    """Return pycocotools' ground truth and detections; difficult boxes are crowds, which it ignores."""
    from pycocotools.coco import COCO

    truth = [box for i, r in enumerate(results) for box in _coco_boxes(i, r[3], r[4])]
    truth += [box | dict(ignore=1, iscrowd=1) for i, r in enumerate(results) for box in _coco_boxes(i, r[5], r[6])]
    detections = [box for i, r in enumerate(results) for box in _coco_boxes(i, *r[:2], score=r[2])]
    data = COCO()
    data.dataset = dict(
        images=[dict(id=i) for i in range(len(results))],
        categories=[dict(id=c) for c in range(CLASSES)],
        annotations=[box | dict(id=n) for n, box in enumerate(truth, 1)],
    )
    data.createIndex()
    return data, data.loadRes(detections)


def _coco_boxes(image: int, box: np.ndarray, label: np.ndarray, **columns: np.ndarray) -> list[dict]:
    """Return the boxes of an image as COCO's dicts, with a value of each of ``columns``."""
    sides = np.concatenate([box[:, :2], box[:, 2:] - box[:, :2]], axis=1).tolist()
    return [
        dict(image_id=image, bbox=s, category_id=int(c), area=s[2] * s[3], iscrowd=0)
        | {name: column[n].item() for name, column in columns.items()}
        for n, (s, c) in enumerate(zip(sides, label, strict=True))
    ]
