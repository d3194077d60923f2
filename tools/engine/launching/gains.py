"""Compare the finished runs of a study that goes on with those of its reference, without a verdict."""

from collections.abc import Iterable, Iterator
from statistics import fmean

from tools.engine.config import task_of
from tools.engine.studies.node import Node

Cell = tuple[str, str, str, object, object]  # what two compared rows have in common but for the seed


class GainsSoFar:
    """Give the gains over the reference that a finished run changes.

    A gain is the mean difference in the first metric of a task over the seeds of which both runs are done.

    Args:
        rows: see ``rows_of``.
        reference: the recipe with which the others are compared.
    """

    def __init__(self, rows: Iterable[Node], reference: str):
        self.reference = reference
        self.runs: dict[tuple[Cell, str, int], Node] = {}  # by cell, recipe and seed
        for node in rows:
            self.runs[cell_of(node), node.recipe, node.options.seed] = node

    def of(self, finished: Node) -> Iterator[str]:
        """Yield a phrase for each gain that ``finished`` changes, as 'smooth over b_standard: +18.34 mAP (n=1)'."""
        changed = {(cell, recipe, seed) for (cell, recipe, seed), node in self.runs.items() if node.key == finished.key}
        for cell, recipe in dict.fromkeys((cell, recipe) for cell, recipe, _ in self.runs):
            seeds = {seed for of_cell, of_recipe, seed in changed if of_cell == cell and of_recipe in (recipe, self.reference)}
            if recipe == self.reference or not seeds:
                continue
            if seeds & set(differences := self._differences(cell, recipe)):
                metric = task_of({"task": finished.task}).METRICS[0]
                mean = fmean(differences.values())
                yield f"{recipe} over {self.reference}: {mean:+.2f} {metric} (n={len(differences)})"

    def _differences(self, cell: Cell, recipe: str) -> dict[int, float]:
        """Return the difference to the reference by seed, for the seeds of which both runs are done."""
        values = {
            (of_recipe, seed): value
            for (of_cell, of_recipe, seed), node in self.runs.items()
            if of_cell == cell and of_recipe in (recipe, self.reference) and (value := value_of(node)) is not None
        }
        seeds = sorted(seed for of_recipe, seed in values if of_recipe == recipe and (self.reference, seed) in values)
        return {seed: values[recipe, seed] - values[self.reference, seed] for seed in seeds}


def cell_of(node: Node) -> Cell:
    """Return the task, network, note, protocol and learning rate of a row."""
    return node.task, node.network, node.note, node.options.protocol, node.options.lr_factor


def value_of(node: Node) -> float | None:
    """Return the first metric of a run's task; None if the run has not finished, diverged, or lacks it."""
    record = node.record or {}
    return record.get("metrics", {}).get(task_of(node.plan).METRICS[0])
