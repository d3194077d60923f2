"""Tune the learning rate of each transfer of a study on images held out from training; see ``backbones.transfer.holdout``."""

from dataclasses import replace

from backbones.card_facts import CardFacts
from backbones.transfer.holdout import GRID
from tools.engine.config import task_of
from tools.engine.studies.graph import transfer_node
from tools.engine.studies.node import Node

TUNED = "tuned lr"  # appended to the protocol's name in rows with a tuned learning rate


def grid_of(node: Node, card: CardFacts | None) -> list[Node]:
    """Return one run per learning rate of the grid, with the same card and seed, tested on the held-out images."""
    return [_tuned_node(node, card, lr_factor=factor, hold_out=True) for factor in GRID]


def tuned(node: Node, card: CardFacts | None) -> Node | None:
    """Return the transfer at the best learning rate of its finished grid, or None; at factor 1 it has the key of ``node``."""
    factor = best(scores(node.grid))
    return None if factor is None else _tuned_node(node, card, TUNED, lr_factor=factor)


def _tuned_node(node: Node, card: CardFacts | None, note: str = "", **changes) -> Node:
    options = replace(node.options, **changes)
    return transfer_node(node.recipe, node.network, node.config, options, card, node.above, note)


def scores(grid: tuple[Node, ...]) -> dict[float, float | None] | None:
    """Return the task's first metric on held-out images by factor, None for a diverged run; None until all have finished."""
    records = {run.options.lr_factor: run.record for run in grid}
    if not all(records.values()):
        return None
    metric = task_of(grid[0].plan).METRICS[0]
    return {factor: record["metrics"].get(metric) for factor, record in records.items()}


def best(values: dict[float, float | None] | None) -> float | None:
    """Return the factor of the highest value, on a tie the one nearest to 1; None without any value."""
    scored = {factor: value for factor, value in (values or {}).items() if value is not None}
    return max(scored, key=lambda factor: (scored[factor], -abs(factor - 1))) if scored else None


def describe(node: Node) -> dict | None:
    """Return the grid of a transfer for study.json: its values, the best factor, and whether that is an edge of the grid."""
    values = scores(node.grid) if node.grid else None
    if (factor := best(values)) is None:
        return None
    return {
        "recipe": node.recipe,
        "task": node.task,
        "seed": node.options.seed,
        "metric": task_of(node.plan).METRICS[0],
        "values": {f"{f:g}": value for f, value in values.items()},
        "best": factor,
        "edge": factor in (min(GRID), max(GRID)),
    }
