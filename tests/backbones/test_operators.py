"""Test the replacement of mmcv's compiled operators, against brute force and through mmcv's own functions."""

import importlib
import importlib.machinery
import itertools

import numpy as np
import pytest
import torch

from backbones import mmcv_ops


def brute_nms(boxes: np.ndarray, scores: np.ndarray, threshold: float, offset: int) -> list[int]:
    """Apply greedy NMS box by box; a box's width is x2 - x1 + offset."""
    chosen = []
    for i in sorted(range(len(boxes)), key=lambda i: -scores[i]):
        if all(iou(boxes[i], boxes[k], offset) <= threshold for k in chosen):
            chosen.append(i)
    return chosen


def iou(a: np.ndarray, b: np.ndarray, offset: int) -> float:
    w, h = (max(0.0, min(a[2 + k], b[2 + k]) - max(a[k], b[k]) + offset) for k in (0, 1))
    area = [(x[2] - x[0] + offset) * (x[3] - x[1] + offset) for x in (a, b)]
    return w * h / (area[0] + area[1] - w * h)


def random_boxes(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return crowded boxes of 2 to 30 px and distinct scores, in random order."""
    rng = np.random.default_rng(seed)
    corner, size = rng.uniform(0, 40, (n, 2)), rng.uniform(2, 30, (n, 2))
    return np.concatenate([corner, corner + size], 1).astype(np.float32), (rng.permutation(n) / (n + 1)).astype(np.float32)


@pytest.mark.parametrize("offset", [0, 1])
@pytest.mark.parametrize("threshold", [0.1, 0.3, 0.5, 0.7])
@pytest.mark.parametrize("n", [0, 1, 2, 17, 100])
def test_nms_keeps_what_brute_force_keeps(n, threshold, offset):
    from mmcv.ops import nms

    for seed in range(3):
        boxes, scores = random_boxes(n, seed)
        expected = brute_nms(boxes.astype(float), scores, threshold, offset)
        chosen = mmcv_ops.nms(torch.from_numpy(boxes), torch.from_numpy(scores), iou_threshold=threshold, offset=offset)
        assert chosen.dtype == torch.int64 and chosen.tolist() == expected
        rows, indices = nms(torch.from_numpy(boxes), torch.from_numpy(scores), threshold, offset=offset)
        assert indices.tolist() == expected
        np.testing.assert_array_equal(rows.numpy(), np.column_stack([boxes, scores])[expected].reshape(-1, 5))
    assert n < 100 or 1 < len(expected) < n


def test_the_offset_decides_near_the_threshold():
    """Compare two boxes 9 wide: their IoU is 45 / 117 = 0.385 without and 60 / 140 = 0.43 with the additional pixel."""
    boxes, scores = torch.tensor([[0.0, 0, 9, 9], [0, 4, 9, 13]]), torch.tensor([0.5, 0.9])
    assert [mmcv_ops.nms(boxes, scores, 0.4, offset).tolist() for offset in (0, 1)] == [[1, 0], [1]]


@pytest.mark.parametrize("n", [1, 5, 60])
def test_batched_nms_keeps_classes_apart(n):
    from mmcv.ops import batched_nms

    boxes, scores = random_boxes(n, seed=4)
    labels = np.arange(n) % 3
    rows, chosen = batched_nms(
        torch.from_numpy(boxes),
        torch.from_numpy(scores),
        torch.from_numpy(labels),
        dict(type="nms", iou_threshold=0.5),
    )
    expected = []
    for label in range(3):
        members = np.flatnonzero(labels == label)
        expected += members[brute_nms(boxes[members].astype(float), scores[members], 0.5, 0)].tolist()
    assert sorted(chosen.tolist()) == sorted(expected) and rows.shape == (len(expected), 5)
    assert (np.diff(scores[chosen.numpy()]) <= 0).all()


def test_nms_does_not_change_its_input():
    boxes, scores = (torch.from_numpy(a) for a in random_boxes(9, 0))
    before = boxes.clone()
    mmcv_ops.nms(boxes, scores, 0.5, offset=1)
    assert torch.equal(boxes, before)


def bilinear(image: np.ndarray, y: float, x: float) -> np.ndarray:
    """Return the value (C,) of (C, H, W) at a point: 0 beyond one pixel outside the map, the border's value up to there."""
    _, h, w = image.shape
    if not (-1 <= y <= h and -1 <= x <= w):
        return np.zeros(len(image))
    y, x = min(max(y, 0), h - 1), min(max(x, 0), w - 1)
    y0, x0 = int(y), int(x)
    y1, x1 = min(y0 + 1, h - 1), min(x0 + 1, w - 1)
    fy, fx = y - y0, x - x0
    top = image[:, y0, x0] * (1 - fx) + image[:, y0, x1] * fx
    bottom = image[:, y1, x0] * (1 - fx) + image[:, y1, x1] * fx
    return top * (1 - fy) + bottom * fy


def brute_roi_align(maps: np.ndarray, rois: np.ndarray, size: int, scale: float, samples: int) -> np.ndarray:
    """Compute aligned RoIAlign (n, C, size, size): the mean of ``samples`` squared points in each bin."""
    out = np.zeros((len(rois), maps.shape[1], size, size))
    for n, (image, x1, y1, x2, y2) in enumerate(rois):
        x0, y0 = x1 * scale - 0.5, y1 * scale - 0.5
        bw, bh = (x2 - x1) * scale / size, (y2 - y1) * scale / size
        for i, j, a, b in itertools.product(range(size), range(size), range(samples), range(samples)):
            y, x = y0 + bh * (i + (a + 0.5) / samples), x0 + bw * (j + (b + 0.5) / samples)
            out[n, :, i, j] += bilinear(maps[int(image)], y, x) / samples**2
    return out


@pytest.mark.parametrize(("size", "scale", "samples"), [(7, 0.25, 2), (3, 0.125, 2), (2, 1.0, 3)])
def test_roi_align_samples_bilinearly(size, scale, samples):
    from mmcv.ops import RoIAlign

    rng = np.random.default_rng(size)
    maps = rng.standard_normal((2, 3, 9, 12))
    corner, extent = rng.uniform(-4, 8, (6, 2)), rng.uniform(1, 9, (6, 2))
    rois = np.column_stack([rng.integers(2, size=6), np.concatenate([corner, corner + extent], 1) / scale])
    layer = RoIAlign(size, spatial_scale=scale, sampling_ratio=samples, aligned=True, use_torchvision=True)
    pooled = layer(torch.from_numpy(maps), torch.from_numpy(rois))
    np.testing.assert_allclose(pooled.numpy(), brute_roi_align(maps, rois, size, scale, samples), atol=1e-9)


def test_roi_align_of_no_boxes_is_empty():
    from mmcv.ops import RoIAlign

    layer = RoIAlign(7, spatial_scale=0.25, sampling_ratio=0, use_torchvision=True)
    assert layer(torch.zeros(1, 3, 8, 8), torch.zeros(0, 5)).shape == (0, 3, 7, 7)


@pytest.mark.skipif(mmcv_ops.operators() == "compiled", reason="this mmcv has all operators")
@pytest.mark.parametrize("name", ["softnms", "carafe_forward", "deform_conv_forward"])
def test_a_missing_operator_raises_an_error_with_its_name(name):
    extension = importlib.import_module("mmcv._ext")
    with pytest.raises(RuntimeError, match=f"The operator '{name}' needs a compiled mmcv.*MMCV_WITH_OPS=1"):
        getattr(extension, name)(torch.zeros(1))


@pytest.mark.skipif(mmcv_ops.operators() == "compiled", reason="this mmcv has all operators")
def test_the_error_reaches_the_user_of_mmcv():
    from mmcv.ops import soft_nms

    boxes, scores = (torch.from_numpy(a) for a in random_boxes(4, 0))
    with pytest.raises(RuntimeError, match="The operator 'softnms' needs a compiled mmcv"):
        soft_nms(boxes, scores)


def test_a_second_install_changes_nothing():
    import sys

    before, kind = sys.modules.get(mmcv_ops.NAME), mmcv_ops.operators()
    mmcv_ops.install()
    assert sys.modules.get(mmcv_ops.NAME) is before and mmcv_ops.operators() == kind


def test_a_compiled_extension_is_used_as_it_is(monkeypatch):
    import sys

    monkeypatch.delitem(sys.modules, mmcv_ops.NAME)
    spec = importlib.machinery.ModuleSpec(mmcv_ops.NAME, loader=None)
    monkeypatch.setattr(mmcv_ops.PathFinder, "find_spec", lambda name, path: spec)
    assert mmcv_ops.operators() == "compiled"
    mmcv_ops.install()
    assert mmcv_ops.NAME not in sys.modules
