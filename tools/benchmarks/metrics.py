"""Time the metrics: AP of a set as large as VOC07 test, and an image of ADE20K from logits to its confusion matrix."""

from collections.abc import Iterator
from functools import partial

import cv2
import numpy as np
import torch

import backbones.mmcv_ops  # noqa: F401  (mmseg cannot be imported without it where mmcv is not compiled)
from segmentation.metrics import confusion, mean_iou
from tools.benchmarks import boxes
from tools.benchmarks.child import called
from tools.benchmarks.rounds import Comparison, Contender, Settings, same
from tools.engine.training.acceleration import keep_freed_memory

CLASSES, SIZE, STRIDE, SHOWN = 150, (512, 683), 8, 12  # of ADE20K, its usual image, the logits; classes in an image
IGNORED = 255
HERE = "tools.benchmarks.metrics"


def comparisons(settings: Settings) -> Iterator[Comparison]:
    """Compare AP at one IoU and at ten, the matrix of an image of ADE20K, and the way from its logits to the matrix.

    The logits are those of a confident network, then noise. Freed memory is reused as in our runs, and also for the rivals, since
    all share a process.
    """
    keep_freed_memory()
    yield from boxes.comparisons()
    yield matrix()
    for sure in (True, False):
        yield image(sure)


# --- synthetic images ---------------------------------------------------------------------------------------


def made_image(sure: bool, size: tuple[int, int] = SIZE, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Return logits float32 (1, 150, h, w) at stride 8, and the true classes int64 (1, H, W), 255 ignored.

    With ``sure`` the logits look like those of a trained network: 12 classes have large regions, each far above the others in its
    region, and classes that are not in the image are far below. Otherwise they are noise, in which every class wins somewhere.
    """
    rng = np.random.default_rng(seed)
    high, wide = (-(-side // STRIDE) for side in size)
    shown = rng.choice(CLASSES, SHOWN, replace=False)
    regions, logits = rng.choice(shown, (5, 7)), rng.normal(0, 1, (CLASSES, high, wide)).astype(np.float32)
    if sure:
        logits[np.setdiff1d(np.arange(CLASSES), shown)] -= 8
        coarse = (np.arange(CLASSES)[:, None, None] == regions).astype(np.float32)
        logits += np.stack([cv2.resize(plane, (wide, high), interpolation=cv2.INTER_LINEAR) for plane in 12 * coarse])
    truth = cv2.resize(regions.astype(np.uint8), size[::-1], interpolation=cv2.INTER_NEAREST)
    truth[rng.random(size) < 0.07] = IGNORED
    inputs = torch.from_numpy(logits)[None].contiguous(memory_format=torch.channels_last)
    return inputs, torch.from_numpy(truth.astype(np.int64))[None]


def segmenter(kind: type, logits: torch.Tensor):
    """Build a segmenter of class ``kind`` whose network returns ``logits``."""
    from mmengine.config import ConfigDict
    from mmengine.registry import init_default_scope

    init_default_scope("mmseg")
    backbone = dict(type="backbones.ResNet", depth=18, base_channels=8, output_stride=STRIDE)
    head = dict(type="FCNHead", in_index=3, in_channels=64, channels=8, num_classes=CLASSES, align_corners=False)
    net = kind(backbone=backbone, decode_head=head, test_cfg=ConfigDict(mode="whole")).eval().to(logits.device)
    net.extract_feat = lambda inputs: (logits,)
    net.decode_head.forward = lambda features: features[0]
    return net


def tested(net, metric, truth: torch.Tensor) -> tuple:
    """Test one image as a runner does, from its logits on; return the result of ``metric`` and the mask int64 (1, H, W)."""
    from mmengine.structures import PixelData
    from mmseg.structures import SegDataSample

    sample, size = SegDataSample(gt_sem_seg=PixelData(data=truth)), tuple(truth.shape[1:])
    sample.set_metainfo(dict(ori_shape=size, img_shape=size, pad_shape=size))
    with torch.no_grad():
        (sample,) = net.predict(truth.new_empty((1, 3, *size), dtype=torch.uint8), [sample])
    metric.process({}, [sample.to_dict()])
    return metric.results.pop(), sample.pred_sem_seg.data


def ours_and_mmseg(logits: torch.Tensor) -> dict:
    """Return {name: (segmenter, metric)} of ours and of mmseg."""
    from mmseg.evaluation import IoUMetric
    from mmseg.models import EncoderDecoder

    from segmentation.evaluator import PixelAccuracyAndIoU
    from segmentation.model import FCN

    sides = {"ours": (FCN, PixelAccuracyAndIoU(prefix="")), "mmseg": (EncoderDecoder, IoUMetric(IGNORED, prefix=""))}
    for _, metric in sides.values():
        metric.dataset_meta = {"classes": [str(c) for c in range(CLASSES)]}
    return {name: (segmenter(kind, logits), metric) for name, (kind, metric) in sides.items()}


# --- comparisons --------------------------------------------------------------------------------------------


def matrix() -> Comparison:
    """Compare counting the pixels of each class in two masks of one image."""
    from mmseg.evaluation import IoUMetric

    logits, truth = made_image(True)
    predicted = tested(*ours_and_mmseg(logits)["ours"], truth)[1]
    masks = predicted[0], truth[0]

    def ours() -> np.ndarray:
        return confusion(predicted[0].numpy(), truth[0].numpy().astype(np.uint8), CLASSES)

    def theirs() -> tuple[torch.Tensor, ...]:
        return IoUMetric.intersect_and_union(*masks, CLASSES, IGNORED)

    return Comparison(
        f"confusion of two masks of {SIZE[0]}x{SIZE[1]}, {CLASSES} classes",
        "images",
        [Contender("ours", ours), Contender("mmseg", theirs)],
        {"mmseg": 5},
        equal_areas(ours(), theirs()),
        ["Ours computes the whole matrix; mmseg only intersection and areas of each class."],
    )


def equal_areas(matrix: np.ndarray, areas: tuple) -> list[str]:
    """Return a line each on equal areas and equal mIoU (over classes in truth or prediction, before mmseg rounds).

    Raises:
        ValueError: they differ.
    """
    from mmseg.evaluation import IoUMetric

    intersect, _, predicted, truth = (area.numpy() for area in areas)
    sides = ((np.diag(matrix), intersect), (matrix.sum(0), predicted), (matrix.sum(1), truth))
    ious = IoUMetric.total_area_to_metrics(*areas, ["mIoU"])["IoU"]
    return [
        same("classes whose pixels differ", float(sum(int((a != b).sum()) for a, b in sides)), 0),
        same("mIoU, %", mean_iou(matrix, "union"), 100 * float(np.nanmean(ious)), boxes.FLOAT32),
    ]


def image(sure: bool) -> Comparison:
    """Compare the way from the logits of a network to the result of its metric for the image."""
    from segmentation.model import contenders

    logits, truth = made_image(sure)
    sides = ours_and_mmseg(logits)
    ours, mask = tested(*sides["ours"], truth)
    areas, rival_mask = tested(*sides["mmseg"], truth)
    counts = ours[0]
    regions = np.zeros((2, CLASSES, CLASSES), np.int64)
    regions[tuple(counts[:3])] = counts[3]
    equal = [same("pixels of the masks that differ", float((mask != rival_mask).sum()), 0), *equal_areas(regions.sum(0), areas)]
    memory = {name: called(HERE, "memory_of", name, sure)[1] - called(HERE, "memory_of", "", sure)[1] for name in sides}
    kind = "of a sure network" if sure else "of noise"
    return Comparison(
        f"logits {kind} to confusion, {SIZE[0]}x{SIZE[1]}, {CLASSES} classes",
        "images",
        [Contender(name, partial(tested, *side, truth)) for name, side in sides.items()],
        {"mmseg": 1.5} if sure else {},
        equal,
        [
            f"{len(contenders(logits))} of {CLASSES} classes can win a pixel, and only these are resized in ours.",
            "Both run in a process that reuses freed memory, as our runs do; without it mmseg is several times slower.",
            "Ours also finds the band around boundaries and counts it separately; mmseg does not.",
            "Peak memory for the image: " + ", ".join(f"{n} {mb:.0f} MB" for n, mb in memory.items()) + ".",
        ],
    )


def memory_of(name: str, sure: bool):
    """Prepare ``image`` in a new process, and return as its work one image by side ``name``; '' returns no work."""
    logits, truth = made_image(sure)
    sides = ours_and_mmseg(logits)
    return partial(tested, *sides[name], truth) if name else lambda: None
