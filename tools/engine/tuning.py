"""The learning rate of each transfer of a study, found on images held out from training: see ``backbones.tuning``."""

from dataclasses import replace

from backbones.tuning import GRID
from tools.engine.config import load, task_of
from tools.engine.study import Node, key_below

TUNED = "tuned lr"  # what the protocol's name ends in, in a row whose learning rate was tuned


def grid_of(node: Node) -> list[Node]:
    """A run for each learning rate of the grid, of the same card and seed, tested on the held-out images."""
    found = [replace(node, options=replace(node.options, lr_factor=factor, hold_out=True)) for factor in GRID]
    return [replace(run, key=key_below(run)) for run in found]


def tuned(node: Node, grid: list[Node]) -> Node | None:
    """The transfer at the best learning rate of a finished grid; it is the shared one's own run where that is the best."""
    factor = best(scores(grid))
    if factor is None:
        return None
    run = replace(node, options=replace(node.options, lr_factor=factor), note=TUNED, grid=[])
    return replace(run, key=key_below(run))


def scores(grid: list[Node]) -> dict[float, float | None] | None:
    """{factor: the task's first metric on the held-out images, in percent, or None if it diverged}; None while any is to do."""
    records = {run.options.lr_factor: run.record for run in grid}
    if not all(records.values()):
        return None
    (metric, *_) = task_of(load(grid[0].config)).METRICS
    return {factor: record["metrics"].get(metric) for factor, record in records.items()}


def best(values: dict[float, float | None] | None) -> float | None:
    """The factor of the highest value, of equal ones that nearest to 1; None where there is no value."""
    known = {factor: value for factor, value in (values or {}).items() if value is not None}
    return max(known, key=lambda factor: (known[factor], -abs(factor - 1))) if known else None


def describe(node: Node) -> dict | None:
    """For study.json: what was tried for a transfer, and which was the best, with whether that is at the edge of the grid."""
    values = scores(node.grid) if node.grid else None
    if (factor := best(values)) is None:
        return None
    return {
        "recipe": node.recipe,
        "task": node.task,
        "seed": node.options.seed,
        "metric": task_of(load(node.config)).METRICS[0],
        "values": {f"{f:g}": value for f, value in values.items()},
        "best": factor,
        "edge": factor in (min(GRID), max(GRID)),
    }
