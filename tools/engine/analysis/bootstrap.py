"""Estimate how much a difference of two recipes varies with the test images: a paired bootstrap over per-image files of runs."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from types import ModuleType

import numpy as np

from tools.engine.analysis.differences import ImageVariance
from tools.engine.analysis.results import seed_of, seed_order
from tools.engine.config import having, part_of

# the per-image files of a recipe: for each pretraining, one run's file or those of its fine-tunings
Paths = Sequence[str | Path | Sequence[str | Path]]


def image_variance(
    paths_a: Paths, paths_b: Paths, task: str, metric: str, replicates: int = 1000, seed: int = 0, **facts
) -> ImageVariance:
    """Return the variance of mean(a) - mean(b) over test images, from replicates in which both sides have the same images.

    A replicate draws as many images as the test set has, with replacement, and measures every run on them; a side's figure is the
    mean over its pretrainings. See ``variance`` for the two numbers. The six parameters name one measurement: two sides,
    what to measure on them, and how to draw.

    Args:
        paths_a, paths_b: ranks.npz, detections.npz or confusion.npz of the runs, one file a run; grouped by pretraining where a
            pretraining has several runs.
        task: the package that measured them, which has a module ``bootstrap``.
        metric: such as top1, mAP or mIoU.
        replicates: the number of draws; the variance is known to a relative error of sqrt(2 / replicates).
        seed: of the draws.
        facts: keyword arguments of ``<task>.bootstrap.resampled``, such as ``classes`` of mIoU.

    Raises:
        ValueError: a task that cannot be resampled, an unknown metric, or runs measured on different images.
    """
    samples = resample({"a": paths_a, "b": paths_b}, task, metric, replicates, seed, **facts)
    return variance(samples["a"], samples["b"])


def image_variances(
    rows: Iterable[Mapping[str, str]],
    runs: Mapping[str, tuple[Path, dict]],
    metrics: Iterable[str],
    pairs: Sequence[tuple[str, str]],
) -> list[dict]:
    """Return how much each difference varies with the test images: an entry for each pair and column that can be resampled.

    Args:
        rows: of results.csv.
        runs: the per-image file and the record of each finished run that has one, by key.
        metrics: of the study.
        pairs: (recipe, the one that it is compared with).
    """
    columns: dict[tuple[str, ...], dict[str, dict[str, dict[str, str]]]] = {}  # {column: {recipe: {seed: {fine-tuning: run}}}}
    for row in rows:
        if row["run"] in runs and row["status"] == "done":
            sides = columns.setdefault(tuple(row[name] for name in ("task", "network", "protocol", "split")), {})
            sides.setdefault(row["recipe"], {}).setdefault(seed_of(row), {})[row["finetune_seed"]] = row["run"]
    entries = []
    for (task, network, protocol, split), sides in columns.items():
        place = {"network": network, "protocol": protocol, "split": split}
        covered = [pair for pair in pairs if sides.keys() >= set(pair)]
        module = part_of(task, "bootstrap")  # None for a task whose intervals are over seeds alone
        if covered and module:
            for metric in (m for m in metrics if m in module.METRICS):
                entries += [entry | place for entry in _entries(sides, runs, task, metric, covered)]
    return entries


def _entries(sides: Mapping, runs: Mapping, task: str, metric: str, pairs: Sequence[tuple[str, str]]) -> Iterator[dict]:
    """Yield the entry of each pair in one metric of one column."""
    keys = {recipe: [list(seeds[s].values()) for s in sorted(seeds, key=seed_order)] for recipe, seeds in sides.items()}
    paths = {recipe: [[runs[key][0] for key in group] for group in groups] for recipe, groups in keys.items()}
    module, first = resample_of(task), next(iter(keys.values()))[0][0]
    values = resample(paths, task, metric, **module.facts(runs[first][1]))
    count = _images([path for groups in paths.values() for group in groups for path in group], module)
    designs = {recipe: {seed: set(tunings) for seed, tunings in seeds.items()} for recipe, seeds in sides.items()}
    for recipe, base in pairs:
        paired = designs[recipe] == designs[base]
        part = variance(values[recipe], values[base], paired)
        yield {"recipe": recipe, "base": base, "metric": metric} | asdict(part) | {"count": count}


def resample(
    sides: Mapping[str, Paths], task: str, metric: str, replicates: int = 1000, seed: int = 0, **facts
) -> dict[str, np.ndarray]:
    """Return {name: float64 (pretrainings, replicates)} of the metric, all on the same draws, for ``variance`` of any two.

    Arguments and errors are those of ``image_variance``; one call for the recipes of a table measures each run once.
    """
    if replicates < 2:
        raise ValueError(f"replicates is {replicates}; a variance needs 2 or more, and 1000 know it to 4 %.")
    module = resample_of(task)
    groups = {name: [_listed(group) for group in paths] for name, paths in sides.items()}
    images = _images([path for paths in groups.values() for group in paths for path in group], module)
    weights = draw(images, replicates, seed)
    return {
        name: np.stack([np.mean([module.resampled(path, weights, metric, **facts) for path in group], axis=0) for group in paths])
        for name, paths in groups.items()
    }


def variance(a: np.ndarray, b: np.ndarray, paired: bool = False) -> ImageVariance:
    """Return the variance over replicates of mean(a) - mean(b), and the part of it that all pretrainings of a side share.

    total = var(mean(a) - mean(b)). Part of it is the chance of each single pretraining (which of the images near its decision
    boundary it gets right), divided by n. The spread between pretrainings on the one set of images contains that part too, so a
    sum of both would count it twice. So for either side

        own = sum_k var(a_k - mean(a)) / (n * (n - 1)),  common = max(0, total - own_a - own_b).

    A side with one pretraining cannot separate the two; its ``own`` is 0. Of pairs the same holds with the differences of pairs
    as a single side: what is right by chance in both runs of a pair cancels.

    Args:
        a, b: float64 (pretrainings, replicates). A replicate in which a figure is NaN, because none of its images has an
            object, is left out.
        paired: True if row k of both sides has the same seed.

    Source: for means of an array crossed by runs and images, Owen, The pigeonhole bootstrap, Ann. Appl. Stat. 1, 2007.
    """
    finite = ~np.isnan(a).any(0) & ~np.isnan(b).any(0)
    if np.count_nonzero(finite) < 2:
        raise ValueError("Fewer than 2 replicates have a figure; the test set has too few images with objects.")
    a, b = a[:, finite], b[:, finite]
    total = float(np.var(a.mean(0) - b.mean(0), ddof=1))
    common = max(0.0, total - _single_variance(a) - _single_variance(b))
    return ImageVariance(total, common, max(0.0, total - _single_variance(a - b)) if paired else None)


def _single_variance(side: np.ndarray) -> float:
    """Return the part of a side's variance that its pretrainings do not share: ``own`` of ``variance``."""
    n = len(side)
    return float(np.var(side - side.mean(0), axis=1, ddof=1).sum() / (n * (n - 1))) if n > 1 else 0.0


def draw(images: int, replicates: int, seed: int = 0) -> np.ndarray:
    """Draw images with replacement: uint16 (replicates, images), how often each image is drawn; a row sums to ``images``."""
    rng = np.random.default_rng(seed)
    weights = np.empty((replicates, images), np.uint16)
    for row in weights:
        row[:] = np.bincount(rng.integers(images, size=images), minlength=images)
    return weights


def resample_of(task: str) -> ModuleType:
    """Return the module ``<task>.bootstrap``, with ``image_set(path)`` and ``resampled(path, weights, metric, **facts)``.

    Raises:
        ValueError: the task has no such module.
    """
    if (module := part_of(task, "bootstrap")) is None:
        raise ValueError(f"The task {task} cannot be resampled (no {task}/bootstrap.py); those that can: {having('bootstrap')}.")
    return module


def _images(paths: Sequence[str | Path], module: ModuleType) -> int:
    """Return the number of test images, after a check that all runs have the same."""
    image_sets = [module.image_set(path) for path in paths]
    for path, (_, digest) in zip(paths, image_sets, strict=True):
        if digest != image_sets[0][1]:
            raise ValueError(f"{paths[0]} and {path} were measured on different images; only runs on the same can be paired.")
    return max(images for images, _ in image_sets)


def _listed(group: str | Path | Sequence[str | Path]) -> list[str | Path]:
    """Return the files of a group as a list; a single file is a group of one."""
    return [group] if isinstance(group, str | Path) else list(group)
