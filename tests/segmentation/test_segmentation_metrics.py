"""Test pixAcc and mIoU against plain numpy and mmseg, boundaries, per-image counts, and the segmenter's masks."""

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import ConfigDict
from mmengine.structures import BaseDataElement, PixelData

import backbones.mmcv_ops  # noqa: F401
from segmentation.metrics import (
    CLASSES,
    boundary_band,
    class_ious,
    confusion,
    count,
    figures,
    frequent_and_rare,
    join,
    load,
    mean_accuracy,
    mean_iou,
    per_class,
    pixel_accuracy,
)

SIZES = [(2, 2), (3, 2), (12, 5), (150, 22), (150, 150)]  # number of classes, and how many of them occur in the truth


def random_masks(rng: np.random.Generator, classes: int, occurring: int) -> tuple[np.ndarray, np.ndarray]:
    """Return prediction and truth, uint8 (h, w); a tenth is ignored, and the truth has the first ``occurring`` classes only."""
    shape = tuple(rng.integers(5, 40, 2))
    truth = rng.integers(occurring, size=shape)
    wrong = rng.random(shape) < 0.5
    prediction = np.where(wrong, rng.integers(classes, size=shape), truth)
    return prediction.astype(np.uint8), np.where(rng.random(shape) < 0.1, 255, truth).astype(np.uint8)


def labelled(pairs: list) -> tuple[np.ndarray, np.ndarray]:
    """Return the predictions and truths of all labelled pixels."""
    p, t = (np.concatenate([pair[i].ravel() for pair in pairs]) for i in (0, 1))
    return p[t != 255], t[t != 255]


def iou(p: np.ndarray, t: np.ndarray, c: int) -> float:
    """Return the IoU of class c in percent, 0 for an absent class."""
    union = ((p == c) | (t == c)).sum()
    return 100 * ((p == c) & (t == c)).sum() / union if union else 0.0


@pytest.mark.parametrize(("classes", "occurring"), SIZES)
def test_the_figures_agree_with_plain_numpy(classes, occurring):
    rng = np.random.default_rng(classes + occurring)
    pairs = [random_masks(rng, classes, occurring) for _ in range(5)]
    total = sum(confusion(p, t, classes) for p, t in pairs)
    p, t = labelled(pairs)
    assert total.dtype == np.int64 and total.sum() == len(t)
    assert all(total[i, j] == ((t == i) & (p == j)).sum() for i in range(min(3, classes)) for j in range(classes))
    over = {"gt": set(t), "union": set(t) | set(p), "all": range(classes)}
    for name in CLASSES:
        assert mean_iou(total, name) == pytest.approx(np.mean([iou(p, t, c) for c in over[name]]), rel=1e-12)
    accuracies = {c: 100 * (p[t == c] == c).mean() if (t == c).any() else 0.0 for c in range(classes)}
    assert mean_accuracy(total) == pytest.approx(np.mean([accuracies[c] for c in set(t)]), rel=1e-12)
    assert mean_accuracy(total, "all") == pytest.approx(np.mean(list(accuracies.values())), rel=1e-12)
    assert pixel_accuracy(total) == pytest.approx(100 * (p == t).mean(), rel=1e-12)
    if occurring == classes and len(set(t)) == classes:
        assert mean_iou(total, "gt") == mean_iou(total, "union") == mean_iou(total, "all")


@pytest.mark.parametrize("seed", range(40))
def test_miou_over_the_union_is_that_of_mmseg_before_rounding(seed):
    from mmseg.evaluation import IoUMetric

    rng = np.random.default_rng(seed)
    classes = int(rng.integers(2, 151))
    pairs = [random_masks(rng, classes, int(rng.integers(1, classes + 1))) for _ in range(4)]
    areas = [
        IoUMetric.intersect_and_union(torch.from_numpy(p.astype(np.int64)), torch.from_numpy(t), classes, 255) for p, t in pairs
    ]
    other = IoUMetric.total_area_to_metrics(*(sum(a) for a in zip(*areas, strict=True)), metrics=["mIoU"])
    total = sum(confusion(p, t, classes) for p, t in pairs)
    assert mean_iou(total, "union") == pytest.approx(100 * float(np.nanmean(other["IoU"])), rel=1e-6)  # theirs is float32
    np.testing.assert_allclose(class_ious(total), 100 * other["IoU"], rtol=1e-6)
    assert pixel_accuracy(total) == pytest.approx(100 * float(other["aAcc"]), rel=1e-6)
    assert mean_accuracy(total, "union") == pytest.approx(100 * float(np.nanmean(other["Acc"])), rel=1e-6)


def test_the_three_means_differ_by_a_stray_pixel():
    matrix = confusion(np.array([[0, 0, 2, 1]]), np.array([[0, 0, 0, 1]], np.uint8), 4)
    assert class_ious(matrix)[:3].tolist() == pytest.approx([100 * 2 / 3, 100.0, 0.0]) and np.isnan(class_ious(matrix)[3])
    sums = 200 / 3 + 100
    assert [mean_iou(matrix, name) for name in CLASSES] == pytest.approx([sums / 2, sums / 3, sums / 4])
    assert per_class(matrix, "abcd") == {"a": pytest.approx(200 / 3), "b": 100.0, "c": None, "d": None}


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: confusion(np.array([[3]]), np.array([[0]], np.uint8), 3), "A prediction is 3; the 3 classes are 0 to 2"),
        (lambda: confusion(np.array([[-1, 2]]), np.array([[0, 0]], np.uint8), 3), "A prediction is -1; the 3 classes are 0 to 2"),
        (lambda: evaluated([(np.array([[256]]), np.array([[0]], np.uint8))], 3), "A prediction is 256"),  # 0 in 8 bits
        (lambda: confusion(np.zeros((2, 3)), np.zeros((3, 2), np.uint8), 3), "both must have the same shape"),
        (lambda: mean_iou(np.eye(2, dtype=int), "some"), "The classes of mIoU are 'some'; allowed: gt, union, all"),
        (lambda: mean_iou(np.zeros((2, 2), int)), "No pixel of the ground truth is labelled"),
        (lambda: figures(np.zeros((2, 2, 2), int)), "No pixel of the ground truth is labelled"),
        (lambda: boundary_band(np.zeros((2, 2), np.uint8), 0), "The width of the band is 0; give a whole number"),
        (lambda: boundary_band(np.zeros((2, 2), np.uint8), 1.5), "The width of the band is 1.5"),
    ],
)
def test_wrong_arguments_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize("width", [1, 2, 3])
@pytest.mark.parametrize("seed", range(5))
def test_the_band_agrees_with_a_loop(width, seed):
    rng = np.random.default_rng(seed)
    truth = np.kron(rng.choice([0, 1, 149, 255], (4, 5)), np.ones((4, 3), int)).astype(np.uint8)
    expected = np.zeros(truth.shape, bool)
    for y, x in np.ndindex(truth.shape):
        near = truth[max(0, y - width) : y + width + 1, max(0, x - width) : x + width + 1]
        expected[y, x] = truth[y, x] != 255 and bool(((near != truth[y, x]) & (near != 255)).any())
    band = boundary_band(truth, width)
    assert np.array_equal(band, expected) and 0 < band.sum() < band.size


def test_band_and_interior_add_up_to_the_whole():
    rng = np.random.default_rng(3)
    p, t = random_masks(rng, 9, 7)
    both = confusion(p, t, 9, boundary_band(t, 1))
    band = boundary_band(t, 1)
    assert np.array_equal(both.sum(0), confusion(p, t, 9))
    assert np.array_equal(both[1], confusion(p[band], t[band], 9))


def test_frequent_and_rare_classes_are_halves_by_true_pixels():
    rng = np.random.default_rng(4)
    for occurring in (2, 5, 8):
        truth = rng.choice(occurring, size=4000, p=np.arange(1, occurring + 1) / sum(range(occurring + 1))).astype(np.uint8)
        prediction = np.where(rng.random(4000) < 0.4, rng.integers(8, size=4000), truth).astype(np.uint8)
        pixels = np.bincount(truth)
        order = sorted(range(occurring), key=lambda c: -pixels[c])
        half = -(-occurring // 2)
        expected = [np.mean([iou(prediction, truth, c) for c in part]) for part in (order[:half], order[half:])]
        assert frequent_and_rare(confusion(prediction, truth, 8)) == pytest.approx(expected)
    assert np.isnan(frequent_and_rare(np.diag([5, 0]))[1])
    assert "mIoU_rare" not in figures(np.stack([np.diag([5, 0]), np.zeros((2, 2), int)]))


def test_every_figure_can_be_computed_from_the_counts_of_images():
    rng = np.random.default_rng(5)
    pairs = [random_masks(rng, 150, 9) for _ in range(4)]
    pairs.insert(2, (np.zeros((5, 6), np.uint8), np.full((5, 6), 255, np.uint8)))  # an image that is ignored as a whole
    table = join([count(p, t, 150, 3) for p, t in pairs])
    assert table.image.max() == 4 and 2 not in table.image and table.images == 5
    for i, (p, t) in enumerate(pairs):
        assert np.array_equal(table.matrix(150, table.image == i).sum(0), confusion(p, t, 150))
    parts = table.matrix(150, table.image < 2), table.matrix(150, table.image >= 2)  # as of two processes
    assert figures(sum(parts)) == figures(table.matrix(150))


def evaluated(pairs: list, number: int, **options) -> dict[str, float]:
    """Return the evaluator's figures of pairs of prediction and truth with ``number`` classes."""
    from segmentation import PixelAccuracyAndIoU

    metric = PixelAccuracyAndIoU(**options)
    metric.dataset_meta = {"classes": tuple(map(str, range(number)))}
    for i, (p, t) in enumerate(pairs):
        parts = {"pred_sem_seg": torch.from_numpy(p.astype(np.int64))[None], "gt_sem_seg": torch.from_numpy(t)[None]}
        sample = BaseDataElement(**{name: PixelData(data=data) for name, data in parts.items()})
        metric.process({}, [sample.to_dict() | {"img_path": f"images/ADE_val_{i:08d}.jpg"}])
    return metric.evaluate(len(pairs))


def test_the_evaluator_adds_up_the_images_and_saves_counts_and_masks(tmp_path):
    rng = np.random.default_rng(11)
    pairs = [random_masks(rng, 6, 4) for _ in range(30)]
    values = evaluated(pairs, 6, classes="union", band=1, out_file=str(tmp_path / "confusion.npz"))
    p, t = labelled(pairs)
    assert values["mIoU"] == pytest.approx(np.mean([iou(p, t, c) for c in set(p) | set(t)]))
    assert set(values) == {
        *("pixAcc", "mIoU", "mAcc", "mIoU_frequent", "mIoU_rare"),
        *("pixAcc_interior", "mIoU_interior", "pixAcc_boundary", "mIoU_boundary"),
    }
    counts = load(tmp_path / "confusion.npz")
    assert figures(counts.matrix(6), "union") == values  # to the last digit
    masks = sorted((tmp_path / "masks").iterdir())
    chosen = np.unique(np.linspace(0, 29, 24, dtype=int))
    assert [path.stem for path in masks] == [f"ADE_val_{i:08d}" for i in chosen]
    for path, i in zip(masks, chosen, strict=True):
        assert np.array_equal(cv2.imread(str(path), cv2.IMREAD_UNCHANGED), pairs[i][0] + 1)


def test_an_evaluator_without_a_file_writes_nothing_and_refuses_wrong_options(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    evaluated([random_masks(np.random.default_rng(1), 3, 3)], 3)
    assert not list(tmp_path.iterdir())
    for options, message in ((dict(classes="some"), "allowed: gt, union, all"), (dict(band=0), "width of the band is 0")):
        with pytest.raises(ValueError, match=message):
            evaluated([], 3, **options)


# ---- the segmenter's masks against mmseg's own


def segmenter(kind, classes: int, **test_cfg):
    """Build a small segmenter of class ``kind`` in which several classes win pixels."""
    head = dict(in_channels=64, channels=8, num_classes=classes, num_convs=1, concat_input=False, align_corners=False)
    from mmengine.registry import init_default_scope

    init_default_scope("mmseg")
    torch.manual_seed(0)
    net = kind(
        backbone=dict(type="backbones.ResNet", depth=18, variant="b", base_channels=8, output_stride=8),
        decode_head=dict(type="FCNHead", in_index=3, norm_cfg=dict(type="BN"), **head),
        test_cfg=ConfigDict(mode="whole", **test_cfg),
    )
    torch.nn.init.normal_(net.decode_head.conv_seg.weight)
    with torch.no_grad():  # centre the logits, so that no class wins everywhere
        net.eval().decode_head.conv_seg.bias -= net.decode_head(net.extract_feat(torch.randn(1, 3, 64, 96))).mean((0, 2, 3))
    return net


def samples(sizes: list[tuple], height: int, width: int, **meta) -> list:
    """Return samples of images of these original sizes, for an input of height x width."""
    from mmseg.structures import SegDataSample

    data_samples = []
    for size in sizes:
        sample = SegDataSample()
        sample.set_metainfo(dict(ori_shape=size, img_shape=(height, width), pad_shape=(height, width)) | meta)
        data_samples.append(sample)
    return data_samples


@pytest.mark.parametrize(
    ("height", "width", "original", "meta"),
    [
        (64, 96, (64, 96), {}),
        (65, 97, (130, 201), {}),
        (64, 96, (31, 47), {}),
        (64, 96, (77, 90), dict(padding_size=[3, 5, 2, 8])),
        (64, 96, (77, 90), dict(img_padding_size=[0, 16, 0, 8])),
        (64, 96, (77, 90), dict(flip=True, flip_direction="horizontal")),
        (64, 96, (77, 90), dict(flip=True, flip_direction="vertical")),
    ],
)
@pytest.mark.parametrize("classes", [2, 8, 9, 150])
def test_masks_equal_those_of_mmseg(height, width, original, meta, classes):
    from mmseg.models import EncoderDecoder

    from segmentation import FCN

    ours, theirs = segmenter(FCN, classes), segmenter(EncoderDecoder, classes)
    theirs.load_state_dict(ours.state_dict())
    x = torch.randn(2, 3, height, width)
    with torch.no_grad():
        mine = ours.predict(x, samples([original] * 2, height, width, **meta))
        other = theirs.predict(x, samples([original] * 2, height, width, **meta))
    for a, b in zip(mine, other, strict=True):
        assert torch.equal(a.pred_sem_seg.data, b.pred_sem_seg.data) and "seg_logits" not in a
        assert a.pred_sem_seg.data.unique().numel() > 1


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("kind", ["any", "near ties", "ties", "few win"])
def test_masks_equal_those_of_mmseg_when_the_last_bit_decides(kind, layout):
    """Try both layouts: torch resizes channels-last, the layout in a run, by a kernel that rounds differently."""
    from mmseg.models import EncoderDecoder

    from segmentation import FCN
    from segmentation.model import contenders

    rng, skipped = np.random.default_rng(8), 0
    for classes in (2, 16, 17, 19, 20, 21, 37, 150):
        ours, theirs = segmenter(FCN, classes), segmenter(EncoderDecoder, classes)
        for _ in range(4):
            h, w = (int(side) for side in rng.integers(1, 14, 2))
            scores = torch.randn(1, classes, h, w)
            if kind == "near ties":
                doubles = torch.randint(0, classes // 2, (classes,))
                scores = scores[:, doubles] * (1 + 1e-7 * torch.randn(1, classes, h, w))
            elif kind == "ties":
                scores = scores.round()
            elif kind == "few win":
                scores -= 8 * (torch.rand(1, classes, 1, 1) > 0.2)
            scores, size = scores.contiguous(memory_format=layout), (8 * h - int(rng.integers(3)), 8 * w)
            skipped += classes - len(contenders(scores))
            (sample,) = samples([tuple(rng.integers(2, 130, 2).tolist())], *size)
            mask = ours._mask(scores, torch.Size(size), sample)
            theirs.postprocess_result(theirs.decode_head.predict_by_feat(scores, [sample.metainfo]), [sample])
            assert torch.equal(mask, sample.pred_sem_seg.data[0]), (classes, h, w, size)
    assert skipped or kind != "few win"


def test_of_equal_scores_the_first_class_wins():
    from segmentation import FCN

    net = segmenter(FCN, 20)
    scores = torch.zeros(1, 20, 5, 6)
    scores[:, [3, 11, 19]] = 1.0
    (sample,) = samples([(5, 6)], 5, 6)  # at another size, the resize may round them differently
    assert (net._mask(scores, torch.Size((5, 6)), sample) == 3).all()


def test_sliding_windows_give_the_masks_of_mmseg():
    from mmseg.models import EncoderDecoder

    from segmentation import FCN

    ours, theirs = (segmenter(kind, 5) for kind in (FCN, EncoderDecoder))
    theirs.load_state_dict(ours.state_dict())
    for net in (ours, theirs):
        net.test_cfg.update(mode="slide", crop_size=(32, 32), stride=(21, 21))
    x = torch.randn(1, 3, 64, 80)
    with torch.no_grad():
        (a,), (b,) = (net.predict(x, samples([(70, 90)], 64, 80)) for net in (ours, theirs))
    assert torch.equal(a.pred_sem_seg.data, b.pred_sem_seg.data)


def test_several_scales_decide_by_the_mean_probability():
    from torch.nn.functional import interpolate

    from segmentation import FCN

    net = segmenter(FCN, 6, scales=(0.5, 1.0, 1.5), flip=True)
    x = torch.randn(1, 3, 64, 80)
    total = 0
    with torch.no_grad():
        (sample,) = net.predict(x, samples([(70, 90)], 64, 80))
        for size in ((32, 40), (64, 80), (96, 120)):
            scaled = interpolate(x, size, mode="bilinear", align_corners=False)
            for flipped in (scaled, scaled.flip(3)):
                logits = net.decode_head(net.extract_feat(flipped))
                logits = logits if flipped is scaled else logits.flip(3)
                total = total + interpolate(logits, (64, 80), mode="bilinear", align_corners=False).softmax(1)
        expected = interpolate(total / 6, (70, 90), mode="bilinear", align_corners=False).argmax(1)
    assert torch.equal(sample.pred_sem_seg.data, expected)
