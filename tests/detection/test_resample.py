"""Test figures on resampled images against figures on duplicated images, and the variance that follows."""

import itertools
import math
from functools import partial
from pathlib import Path

import numpy as np
import pytest

import classification.bootstrap
import detection.bootstrap
import segmentation.bootstrap
from classification.metrics import topk
from detection.metrics import IOUS, Boxes, mean_ap
from segmentation.metrics import CLASSES, Counts, figures
from tools.engine.analysis.bootstrap import draw, image_variance, resample, resample_of, variance
from tools.engine.analysis.differences import ImageVariance

# --- resampled test images ----------------------------------------------------------------------------------


def made_boxes(rng, images: int, classes: int = 4) -> tuple[Boxes, Boxes]:
    """Draw detections near true boxes and elsewhere, with many tied scores, difficult boxes and an image without a box."""

    def random_images(low, high):
        return np.sort(np.repeat(np.arange(images), rng.integers(low, high, images))).astype(np.int32)

    image = random_images(0, 4)
    corner = rng.integers(0, 30, (len(image), 2))
    box = np.concatenate([corner, corner + rng.integers(8, 20, (len(image), 2))], 1).astype(np.float32)
    truth = Boxes(image, box, rng.integers(0, classes, len(image)).astype(np.int16), difficult=rng.random(len(image)) < 0.25)
    near = rng.integers(0, len(image), 3 * len(image))
    detections = Boxes(
        np.concatenate([image[near], far := random_images(0, 5)]),
        np.concatenate([box[near] + rng.integers(-3, 4, (len(near), 4)), rng.integers(0, 50, (len(far), 4))]).astype(np.float32),
        np.concatenate([truth.label[near], rng.integers(0, classes, len(far))]).astype(np.int16),
        score=np.round(rng.random(len(near) + len(far)), 1).astype(np.float32),
    )
    return detections.take(np.argsort(detections.image, kind="stable")), truth


def duplicated(boxes: Boxes, weights: np.ndarray) -> Boxes:
    """Repeat image i weights[i] times, as new images; a copy follows its original."""
    rows = np.repeat(np.arange(len(boxes.image)), weights[boxes.image])
    first = np.flatnonzero(np.diff(rows, prepend=-1))
    copy = np.arange(len(rows)) - np.repeat(first, np.diff(first, append=len(rows)))
    copies = boxes.take(rows)
    copies.image = (np.cumsum(weights) - weights)[copies.image] + copy
    return copies


def save_boxes(path: Path, detections: Boxes, truth: Boxes) -> Path:
    parts = {f"{part}_{k}": v for part, boxes in (("det", detections), ("gt", truth)) for k, v in vars(boxes).items()}
    np.savez(path, **{k: v for k, v in parts.items() if v is not None})
    return path


AVERAGE_PRECISIONS = {"mAP": ("11-point", 0.5), "mAP_area": ("area", 0.5), "mAP_50_95": ("area", IOUS)}


@pytest.mark.parametrize("seed", range(6))
def test_resampled_map_is_that_of_duplicated_images(tmp_path, seed):
    rng = np.random.default_rng(seed)
    images = (3, 8, 40)[seed % 3]
    while True:
        detections, truth = made_boxes(rng, images)
        if len(truth.image) > truth.difficult.sum():
            break
    path = save_boxes(tmp_path / "detections.npz", detections, truth)
    weights = np.concatenate([np.ones((1, images), int), rng.integers(0, 3, (5, images)), draw(images, 150, seed)])
    weights[1] = 0  # no image at all
    absent = 0
    for metric, (kind, iou) in AVERAGE_PRECISIONS.items():
        resampled = detection.bootstrap.resampled(path, weights, metric)
        assert resampled.dtype == np.float64 and resampled.shape == (len(weights),)
        assert resampled[0] == pytest.approx(mean_ap(detections, truth, 4, kind, iou), abs=1e-10) and np.isnan(resampled[1])
        for row, value in zip(weights[:40], resampled, strict=False):
            copies, true_copies = (duplicated(boxes, row) for boxes in (detections, truth))
            counting = np.unique(true_copies.label[~true_copies.difficult])
            absent += len(counting) < 4
            if len(counting):
                assert value == pytest.approx(mean_ap(copies, true_copies, 4, kind, iou), abs=1e-9)
            else:
                assert np.isnan(value)
    assert absent  # classes are absent from a replicate


def test_resampled_map_at_another_iou(tmp_path):
    detections, truth = made_boxes(np.random.default_rng(9), 12)
    weights = np.ones((1, 12), int)
    path = save_boxes(tmp_path / "detections.npz", detections, truth)
    resampled = detection.bootstrap.resampled(path, weights, "mAP_area", iou=0.75)
    assert resampled == pytest.approx(mean_ap(detections, truth, 4, "area", 0.75), abs=1e-10)


def test_resampled_map_without_detections_is_zero(tmp_path):
    detections, truth = made_boxes(np.random.default_rng(9), 12)
    path = save_boxes(tmp_path / "detections.npz", detections.take(np.zeros(0, int)), truth)
    assert detection.bootstrap.resampled(path, np.ones((1, 12), int), "mAP") == 0


def made_counts(rng, images: int, classes: int, missing: int | None = None) -> Counts:
    """Draw confusion counts; class ``missing`` is predicted but never true."""
    matrices = rng.poisson(rng.choice([0.05, 2.0], (images, 2, classes, classes))) * rng.integers(1, 300)
    matrices[0] = 0  # an image without a labelled pixel
    if missing is not None:
        matrices[:, :, missing] = 0  # not in the ground truth, but predicted
    image, region, truth, predicted = np.nonzero(matrices)
    columns = image.astype(np.int32), region.astype(np.int8), truth.astype(np.int16), predicted.astype(np.int16)
    return Counts(*columns, matrices[matrices > 0].astype(np.int64), np.array(images))


@pytest.mark.parametrize("classes", CLASSES)
@pytest.mark.parametrize("seed", range(3))
def test_resampled_miou_is_that_of_duplicated_images(tmp_path, classes, seed):
    rng = np.random.default_rng(seed)
    images = (3, 6, 20)[seed]
    counts = made_counts(rng, images, 5, missing=2)
    np.savez(path := tmp_path / "confusion.npz", **vars(counts))
    weights = np.concatenate([np.ones((1, images), np.uint16), draw(images, 40, seed), np.zeros((1, images), np.uint16)])
    weights[1:, -1] = 0
    weights[-1, 0] = 5  # an image without a labelled pixel, five times
    for metric in segmentation.bootstrap.METRICS:
        resampled = segmentation.bootstrap.resampled(path, weights, metric, classes, num_classes=5)
        assert resampled.dtype == np.float64 and np.isnan(resampled[-1])
        for row, value in zip(weights[:-1], resampled, strict=False):
            total = sum(w * counts.matrix(5, counts.image == i) for i, w in enumerate(row.tolist()))
            expected = figures(total, classes).get(metric, np.nan) if total.any() else np.nan
            assert value == pytest.approx(expected, abs=1e-9, nan_ok=True)


def test_resampled_accuracy_is_that_of_duplicated_images(tmp_path):
    rng = np.random.default_rng(0)
    ranks = rng.integers(0, 12, 50).astype(np.uint16)
    np.savez(path := tmp_path / "ranks.npz", rank=ranks, label=ranks)
    weights = np.concatenate([np.ones((1, 50), int), rng.integers(0, 4, (20, 50))])
    for k in (1, 5):
        resampled = classification.bootstrap.resampled(path, weights, f"top{k}")
        assert resampled.tolist() == [topk(np.repeat(ranks, row), k) for row in weights]


def save_ranks(folder: Path, *hits: np.ndarray) -> list[Path]:
    folder.mkdir()
    for i, right in enumerate(hits):
        np.savez(folder / f"{i}.npz", rank=np.where(right, 0, 7).astype(np.uint16), label=np.zeros(len(right), np.uint16))
    return [folder / f"{i}.npz" for i in range(len(hits))]


def test_image_variance_of_top1_is_that_of_paired_proportions(tmp_path):
    rng, images, replicates = np.random.default_rng(0), 500, 3000
    a = rng.random(images) < 0.7
    b = np.where(rng.random(images) < 0.8, a, ~a)
    (path_a,), (path_b,) = save_ranks(tmp_path / "a", a), save_ranks(tmp_path / "b", b)
    result = image_variance([path_a], [path_b], "classification", "top1", replicates)
    only_a, only_b = np.mean(a & ~b), np.mean(b & ~a)
    assert result.total == pytest.approx(
        1e4 * (only_a + only_b - (only_a - only_b) ** 2) / images, rel=4 * math.sqrt(2 / replicates)
    )
    assert result.common == result.total  # one pretraining a side cannot separate them
    assert image_variance([path_a], [path_a], "classification", "top1", 50) == ImageVariance(0.0, 0.0)
    assert result == image_variance([path_a], [path_b], "classification", "top1", replicates)
    assert result != image_variance([path_a], [path_b], "classification", "top1", replicates, seed=1)


def test_chance_of_single_pretrainings_is_separated_from_what_they_share(tmp_path):
    # image i is right with probability p_i(side), independently for each run: common = var_i(p_a - p_b) / images,
    # and the rest of total is the mean over images of sum(p * (1 - p)) / (n * images)
    rng, images, n = np.random.default_rng(3), 4000, 3
    p = rng.uniform(0.2, 1.0, (2, images))
    sides = [save_ranks(tmp_path / name, *(rng.random((n, images)) < row)) for name, row in zip("ab", p, strict=True)]
    result = image_variance(*sides, "classification", "top1", replicates=2000)
    common = 1e4 * np.var(p[0] - p[1]) / images
    single = 1e4 * (p * (1 - p)).mean(1).sum() / (n * images)
    assert result.common == pytest.approx(common, rel=0.15) and result.total == pytest.approx(common + single, rel=0.15)


def test_runs_of_a_pretraining_are_averaged_first(tmp_path):
    rng = np.random.default_rng(0)
    paths = save_ranks(tmp_path / "runs", *(rng.random((4, 60)) < 0.5))
    samples = resample({"flat": paths, "nested": [paths[:3], paths[3]]}, "classification", "top5", replicates=20)
    assert samples["flat"].shape == (4, 20) and samples["nested"].shape == (2, 20)
    assert samples["nested"][0] == pytest.approx(samples["flat"][:3].mean(0))
    assert (samples["nested"][1] == samples["flat"][3]).all()
    assert variance(samples["nested"], samples["flat"]) == image_variance(
        [paths[:3], paths[3]], paths, "classification", "top5", replicates=20
    )


def test_draws_are_with_replacement_and_repeatable():
    weights = draw(50, 400, seed=3)
    assert (weights.sum(1) == 50).all() and (weights == draw(50, 400, seed=3)).all() and (weights[0] != weights[1]).any()
    assert weights.var() == pytest.approx(1 - 1 / 50, rel=0.05) and weights.mean(0).std() < 0.1


def test_every_task_can_be_resampled(tmp_path):
    rng = np.random.default_rng(0)
    boxes = save_boxes(tmp_path / "detections.npz", *made_boxes(rng, 30))
    np.savez(pixels := tmp_path / "confusion.npz", **vars(made_counts(rng, 10, 3)))
    for task, path, metric, facts in (
        ("detection", boxes, "mAP", {"iou": 0.5}),
        ("segmentation", pixels, "mIoU", {"classes": "all", "num_classes": 3}),
    ):
        sample = resample({"x": [path, path]}, task, metric, 20, **facts)["x"]
        assert np.ptp(sample, axis=0).max() == 0 < sample[0].std()


def test_a_replicate_without_objects_is_left_out():
    a, b = np.array([[1.0, np.nan, 3.0, 5.0]]), np.array([[0.0, 0.0, 0.0, np.nan]])
    assert variance(a, b).total == 2
    with pytest.raises(ValueError, match="Fewer than 2 replicates"):
        variance(a[:, :2], b[:, :2])


def test_unknown_tasks_metrics_and_sizes_are_refused(tmp_path):
    rng = np.random.default_rng(0)
    (ranks,), (fewer,) = save_ranks(tmp_path / "a", rng.random(9) < 0.5), save_ranks(tmp_path / "b", rng.random(8) < 0.5)
    boxes, other = (save_boxes(tmp_path / f"{name}.npz", *made_boxes(rng, 9)) for name in "ab")
    np.savez(pixels := tmp_path / "c.npz", **vars(made_counts(rng, 9, 3)))
    for paths, task in (([ranks, fewer], "classification"), ([boxes, other], "detection")):
        with pytest.raises(ValueError, match=f"{paths[1]} were measured on different images"):
            image_variance(paths[:1], paths[1:], task, "mAP", 10)
    with pytest.raises(ValueError, match="backbones cannot be resampled .* classification, detection, segmentation"):
        resample_of("backbones")
    with pytest.raises(ValueError, match="replicates is 1"):
        image_variance([ranks], [ranks], "classification", "top1", replicates=1)
    modules = (classification.bootstrap, ranks), (detection.bootstrap, boxes), (segmentation.bootstrap, pixels)
    for (module, path), weights in itertools.product(modules, (np.ones((2, 9), int), np.ones((2, 4), int))):
        sound = {"classification": "top1", "detection": "mAP", "segmentation": "mIoU"}[module.__name__.split(".")[0]]
        with pytest.raises(ValueError, match="The metric seconds cannot be resampled"):
            module.resampled(path, weights, "seconds")
        if weights.shape[1] < 9:
            with pytest.raises(ValueError, match="images (and the weights|but the weights have) 4;"):
                module.resampled(path, weights, sound)
    segment = partial(segmentation.bootstrap.resampled, pixels, np.ones((1, 9), int), "mIoU")
    with pytest.raises(ValueError, match="'some'"):
        segment("some")
    for number in (None, 2):
        with pytest.raises(ValueError, match=f"num_classes is {number}"):
            segment("all", num_classes=number)
    np.savez(ranks, rank=np.zeros(9))
    with pytest.raises(ValueError, match="has no array label"):
        classification.bootstrap.image_set(ranks)
