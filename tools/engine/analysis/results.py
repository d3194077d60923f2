"""What a study's folder holds, read back: results.csv and study.json. Missing is never 0."""

import csv
import io
from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from math import isfinite
from pathlib import Path

from backbones.common.files import read_json
from tools.engine.analysis.statistics import Spread, group_means, spread

NEEDED = (
    "recipe",
    "network",
    "task",
    "protocol",
    "split",
    "metric",
    "pretrain_seed",
    "finetune_seed",
    "value",
    "status",
    "run",
)
DASH, SCRATCH = "—", "scratch"
HEADINGS = {
    "top1": "top-1",
    "top5": "top-5",
    "flops_g": "mult-adds, G",
    "params_m": "parameters, M",
    "min_per_epoch": "min/epoch",
}


@dataclass(frozen=True)
class Column:
    """What may share a column: one metric on one split, by one network and one protocol."""

    metric: str
    network: str = ""
    protocol: str = ""
    split: str = ""


@dataclass(frozen=True)
class Cell:
    """The values of a recipe in a column (percent): ``groups`` has those of each pretraining's fine-tunings, and from scratch
    each run is a group. ``diverged`` counts the runs without a value."""

    groups: list[list[float]]
    diverged: int = 0

    @property
    def ran(self) -> bool:
        return bool(self.groups or self.diverged)

    @property
    def points(self) -> list[float]:
        """The independent values: the mean of each group."""
        return group_means(self.groups)

    @property
    def spread(self) -> Spread | None:
        return spread(self.points) if self.points else None

    @property
    def parts(self) -> tuple[str, str]:
        """('71.20', '± 0.31 (n=3)'): the mean, then the sample standard deviation and n."""
        gone = f"{self.diverged} diverged" if self.diverged > 1 or self.points else "diverged"
        if not self.points:
            return DASH, f"({gone})" if self.diverged else ""
        notes = [
            f"n={len(self.points)}",
            *[gone] * bool(self.diverged),
        ]
        std = "" if self.spread.std is None else f"± {self.spread.std:.2f} "
        return f"{self.spread.mean:.2f}", f"{std}({', '.join(notes)})"

    def __str__(self) -> str:
        return " ".join(self.parts).strip()


@dataclass(frozen=True)
class Results:
    """The two files of a study's folder: ``rows`` of results.csv as text, ``study`` as study.json has it."""

    study: dict
    rows: list[dict[str, str]]

    @property
    def reference(self) -> str:
        """The recipe that gains are shown over: the study's own where it has run, else the first one."""
        named = self.study.get("reference")
        return named if any(row["recipe"] == named for row in self.rows) else self.study["recipes"][0]

    @cached_property
    def columns(self) -> list[Column]:
        """Those of the study's metrics in their order; a metric without a row keeps an empty column."""
        seen = dict.fromkeys(column_of(row) for row in self.rows)
        return [c for m in self.study["metrics"] for c in ([c for c in seen if c.metric == m] or [Column(m)])]

    @cached_property
    def tasks(self) -> dict[str, list[str]]:
        """The headings of each task's metrics, both in the order of the study's metrics."""
        pairs = dict.fromkeys((row["metric"], row["task"]) for row in self.rows)
        tasks = {task: [] for wanted in self.study["metrics"] for metric, task in pairs if metric == wanted}
        for wanted in self.study["metrics"]:
            for task in (task for metric, task in pairs if metric == wanted):
                tasks[task].append(heading_of(wanted))
        return tasks | {task: [] for _, task in pairs if task not in tasks}

    def label(self, recipe: str) -> str:
        return self.study.get("labels", {}).get(recipe, recipe)

    def heading(self, column: Column) -> str:
        """The metric, and where several columns have it, whatever tells them apart."""
        twins = [c for c in self.columns if c.metric == column.metric]
        apart = [f for f in ("network", "protocol", "split") if len({getattr(c, f) for c in twins}) > 1]
        more = ", ".join(getattr(column, f) or DASH for f in apart)
        return heading_of(column.metric) + (f" ({more})" if more else "")

    @cached_property
    def runs(self) -> list[dict[str, str]]:
        """A row of each run; one that several recipes share has one for each."""
        return list({(row["recipe"], row["run"]): row for row in self.rows}.values())

    def rows_of(self, recipe: str) -> list[dict[str, str]]:
        return self._by_recipe.get(recipe, [])

    def cell(self, recipe: str, column: Column) -> Cell:
        return self._cells.get((recipe, column), Cell([]))

    @cached_property
    def _by_recipe(self) -> dict[str, list[dict[str, str]]]:
        found: dict[str, list[dict[str, str]]] = {}
        for row in self.rows:
            found.setdefault(row["recipe"], []).append(row)
        return found

    @cached_property
    def _cells(self) -> dict[tuple[str, Column], Cell]:
        groups: dict[tuple[str, Column], dict[str, list[float]]] = {}
        diverged: Counter = Counter()
        for row in self.rows:
            place = row["recipe"], column_of(row)
            seeds = groups.setdefault(place, {})
            diverged[place] += row["status"] == "diverged"
            if row["status"] != "diverged" and row["value"]:
                seeds.setdefault(seed_of(row), []).append(float(row["value"]))
        return {place: Cell(list(seeds.values()), diverged[place]) for place, seeds in groups.items()}

    def task_of(self, column: Column) -> str:
        """The task that a column is measured by; '' where nothing was measured."""
        return self._tasks.get(column, "")

    @cached_property
    def _tasks(self) -> dict[Column, str]:
        found: dict[Column, str] = {}
        for row in self.rows:
            found.setdefault(column_of(row), row["task"])
        return found

    def seeds(self, recipe: str) -> int:
        return len({seed_of(row) for row in self.rows_of(recipe)})

    def seconds(self, recipe: str) -> dict[str, dict[str, float]]:
        """{task: {run: seconds}}; a run that diverged cost its time too."""
        found: dict[str, dict[str, float]] = {}
        for row in self.rows_of(recipe):
            if row["metric"] == "seconds" and row["value"]:
                found.setdefault(row["task"], {})[row["run"]] = float(row["value"])
        return found

    def seconds_per_seed(self, recipe: str) -> float | None:
        """The seconds of all its runs over its seeds; None without a run."""
        total = sum(value for runs in self.seconds(recipe).values() for value in runs.values())
        return total / self.seeds(recipe) if total else None


def heading_of(metric: str) -> str:
    return HEADINGS.get(metric, metric)


def column_of(row: dict[str, str]) -> Column:
    return Column(row["metric"], row["network"], row["protocol"], row["split"])


def seed_of(row: dict[str, str]) -> str:
    """What makes a run independent of the others: its pretraining's seed or, with no pretraining, its own."""
    return row["pretrain_seed"] or row["finetune_seed"]


def load_results(folder: Path) -> Results:
    """Reads a study's folder.

    Raises:
        ValueError: a file or column is missing, a value is no finite number, or the two files disagree.
    """
    table = _there(Path(folder), "results.csv").read_text(encoding="utf-8")
    reader, study = csv.DictReader(io.StringIO(table, newline="")), read_json(_there(Path(folder), "study.json"))
    if lacking := [name for name in NEEDED if name not in (reader.fieldnames or ())]:
        raise ValueError(f"{folder}/results.csv lacks the columns {', '.join(lacking)}; make it with tools/collect.py.")
    rows = list(reader)
    for row in rows:
        _check(row, study["recipes"], folder)
    return Results(study, rows)


def _there(folder: Path, name: str) -> Path:
    path = folder / name
    if not path.is_file():
        raise ValueError(
            f"{path} does not exist; a study's folder (work_dirs/STUDY-SCALE) has results.csv, study.json; "
            "python tools/collect.py configs/studies/STUDY.py --scale SCALE makes them from the runs."
        )
    return path


def _check(row: dict[str, str], recipes: list[str], folder: Path) -> None:
    where = f"{folder}/results.csv, {row['metric']} of {row['recipe']}"
    if row["recipe"] not in recipes:
        raise ValueError(f"{where}: study.json does not have this recipe; make both again with tools/collect.py.")
    try:
        good = not row["value"] or isfinite(float(row["value"]))
    except ValueError:
        good = False
    if not good:
        raise ValueError(f"{where}: the value is {row['value']!r}; it must be a number, or empty for a run that diverged.")
