"""Read the training curves of runs, and compare them with published ones."""

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from backbones.common.project import ROOT
from tools.engine.analysis.results import heading_of
from tools.engine.run_folder import CURVE, read_curve

PUBLISHED = ROOT / "configs/studies/published_curves.json"
MOST = 100  # training lines of a run in a study's folder; those of evaluations are all kept
NOT_MEASURED = ("update", "epoch", "lr")  # the position of a line, and the learning rate


@dataclass(frozen=True)
class PublishedCurve:
    """Hold a metric (percent) of one published run after each of ``epochs``; ``differs`` says how that run differs from ours."""

    name: str
    source: str
    differs: str
    metric: str
    epochs: tuple[int, ...]
    values: tuple[float, ...]


def measured(lines: Iterable[Mapping]) -> list[str]:
    """Return the keys that the lines of a curve measure: 'loss', and the evaluated metrics."""
    return list(dict.fromkeys(key for line in lines for key in line if key not in NOT_MEASURED))


def thin(lines: list[dict], most: int = MOST) -> list[dict]:
    """Merge neighbours so that at most ``most`` training lines remain; the loss of a line is the mean over its updates.

    All evaluations are kept. Numbers get six significant digits; NaN and infinity become None, since JSON has neither.

    >>> thin([dict(update=1, epoch=0.5, loss=2.0), dict(update=2, epoch=1.0, loss=4.0)], most=1)
    [{'update': 2, 'epoch': 1.0, 'loss': 3.0}]
    """
    training = [line for line in lines if "loss" in line]
    starts = [0, *(line["update"] for line in training)]
    step, thinned = max(1, -(-len(training) // most)), []
    for first in range(0, len(training), step):
        group = training[first : first + step]
        updates = [line["update"] - start for line, start in zip(group, starts[first:], strict=False)]
        loss = sum(line["loss"] * n for line, n in zip(group, updates, strict=True)) / max(sum(updates), 1)
        thinned.append(group[-1] | {"loss": loss})
    thinned += [line for line in lines if "loss" not in line]
    return [{key: _short(value) for key, value in line.items()} for line in sorted(thinned, key=lambda line: line["update"])]


def _short(value: float) -> float | None:
    """Return a number with six significant digits, an integer unchanged, and None for NaN and infinity."""
    if not math.isfinite(value):
        return None
    return value if isinstance(value, int) else float(f"{value:.6g}")


def collect_curves(nodes: Iterable[Any]) -> dict[str, list[dict]]:
    """Return the thinned curves of a study's runs by key; a run without a curve is left out."""
    curves = {node.key: thin(read_curve(node.folder / CURVE)) for node in nodes}
    return {key: lines for key, lines in curves.items() if lines}


@cache
def _published() -> dict:
    """Read the file of published curves once."""
    return json.loads(PUBLISHED.read_text())


def published_curve(recipe: str, config: str | None, network: str, metric: str) -> PublishedCurve | None:
    """Return the published curve of a run with the same tricks on the same data, or None.

    Args:
        config: path of our run's config, as a study names it. It identifies the data: ResNet-50 is also pretrained on Places365.
        network: as records name it.
    """
    data = _published()
    for row in data["rows"]:
        curve = data[row["task"]][row["curve"]]
        if (row["recipe"], row["config"], row["network"]) == (recipe, config, network) and metric in curve:
            values = tuple(curve[metric])
            return PublishedCurve(row["name"], data["source"], row["differs"], metric, tuple(range(1, len(values) + 1)), values)
    return None


def distance(lines: Iterable[Mapping], published: PublishedCurve) -> tuple[int, float] | None:
    """Return (epoch, our value minus the published one, in points) at the last epoch with both values, or None."""
    published_values = dict(zip(published.epochs, published.values, strict=True))
    last = None
    for line in lines:
        value, epoch = line.get(published.metric), round(line["epoch"])
        if value is not None and math.isfinite(value) and abs(line["epoch"] - epoch) < 1e-6 and epoch in published_values:
            last = epoch, value - published_values[epoch]
    return last


def against_published(node: Any, scale: str) -> str:
    """Describe how far a run is from the published one at the same epoch.

    Return '' at scales other than paper, and where no published curve has an epoch in common with the run.
    """
    if scale != "paper" or not (lines := read_curve(node.folder / CURVE)):
        return ""
    for metric in measured(lines):
        published = published_curve(node.recipe, node.config, node.plan.network, metric)
        if published and (difference := distance(lines, published)):
            epoch, points = difference
            return f"{heading_of(metric)} {points:+.2f} against {published.name} at epoch {epoch}"
    return ""
