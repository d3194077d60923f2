"""Training curves: what a run wrote while it trained, and published ones to hold beside it."""

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from backbones.common.project import ROOT
from tools.engine.analysis.results import heading_of
from tools.engine.run_folder import CURVE, read_curve

CURVES = "curves.json"  # in a study's folder: those of its runs, thinned
PUBLISHED = ROOT / "configs/studies/published_curves.json"
MOST = 100  # training lines of a run in a study's folder; those of evaluations are kept as well
NOT_MEASURED = ("update", "epoch", "lr")  # of a line: where it stands


@dataclass(frozen=True)
class PublishedCurve:
    """A metric (percent) after each of ``epochs``, of one published run; ``differs`` says how that run is not ours."""

    name: str
    source: str
    differs: str
    metric: str
    epochs: tuple[int, ...]
    values: tuple[float, ...]


def measured(lines: Iterable[Mapping]) -> list[str]:
    """What the lines of a curve hold: 'loss', and the metrics that were evaluated."""
    return list(dict.fromkeys(key for line in lines for key in line if key not in NOT_MEASURED))


def thin(lines: list[dict], most: int = MOST) -> list[dict]:
    """The same curve with at most ``most`` training lines: neighbours become one, its loss their mean over updates.

    Evaluations are all kept. Numbers have six significant digits; one that is not finite becomes None, since JSON has no such.

    >>> thin([dict(update=1, epoch=0.5, loss=2.0), dict(update=2, epoch=1.0, loss=4.0)], most=1)
    [{'update': 2, 'epoch': 1.0, 'loss': 3.0}]
    """
    training = [line for line in lines if "loss" in line]
    starts = [0, *(line["update"] for line in training)]
    step, kept = max(1, -(-len(training) // most)), []
    for first in range(0, len(training), step):
        group = training[first : first + step]
        updates = [line["update"] - start for line, start in zip(group, starts[first:], strict=False)]
        loss = sum(line["loss"] * n for line, n in zip(group, updates, strict=True)) / max(sum(updates), 1)
        kept.append(group[-1] | {"loss": loss})
    kept += [line for line in lines if "loss" not in line]
    return [{key: _short(value) for key, value in line.items()} for line in sorted(kept, key=lambda line: line["update"])]


def _short(value: float) -> float | None:
    return None if not math.isfinite(value) else value if isinstance(value, int) else float(f"{value:.6g}")


def collect_curves(nodes: Iterable[Any]) -> dict[str, list[dict]]:
    """The thinned curves of a study's runs by their keys; a run without one is left out."""
    found = {node.key: thin(read_curve(node.folder / CURVE)) for node in nodes}
    return {key: lines for key, lines in found.items() if lines}


def load_curves(folder: Path) -> dict[str, list[dict]]:
    """What ``collect_curves`` found, from a study's folder; empty where it holds none.

    Raises:
        ValueError: the file is no JSON.
    """
    path = Path(folder) / CURVES
    if not path.is_file():
        return {}
    try:
        return json.loads(path.read_text())
    except ValueError as error:
        raise ValueError(f"{path} cannot be read ({error}); make it again with tools/collect.py.") from None


@cache
def _published() -> dict:
    return json.loads(PUBLISHED.read_text())


def published_curve(recipe: str, config: str | None, network: str, metric: str) -> PublishedCurve | None:
    """The published curve of a recipe, where one was trained with the same tricks, on the same data; else None.

    Args:
        config: of our run, as a study names it: its data decides, and ResNet-50 is pretrained on Places365, too.
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
    """(epoch, own minus published, in points) at the last epoch after which both were evaluated; None where there is none."""
    theirs, both = dict(zip(published.epochs, published.values, strict=True)), None
    for line in lines:
        value, epoch = line.get(published.metric), round(line["epoch"])
        if value is not None and math.isfinite(value) and abs(line["epoch"] - epoch) < 1e-6 and epoch in theirs:
            both = epoch, value - theirs[epoch]
    return both


def against_published(node: Any, scale: str) -> str:
    """How far a run is from the published one at the same epoch, in words; '' at scales other than paper, and where none is."""
    if scale != "paper" or not (lines := read_curve(node.folder / CURVE)):
        return ""
    for metric in measured(lines):
        published = published_curve(node.recipe, node.config, node.plan.network, metric)
        if published and (found := distance(lines, published)):
            epoch, points = found
            return f"{heading_of(metric)} {points:+.2f} against {published.name} at epoch {epoch}"
    return ""
