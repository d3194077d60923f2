"""Read a study's folder: results.csv and study.json. A missing value is never 0."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from tools.engine.analysis.statistics import Spread, group_means, spread
from tools.engine.study_folder.files import STUDY, TABLE, load_json, read_table
from tools.engine.study_folder.names import how_to_make
from tools.engine.study_folder.schema import StudyFileSchema

DASH, SCRATCH = "—", "scratch"
PUBLISHED = "published"  # names the published numbers: in the head of a column, and as one of two scales
HEADINGS = {
    "top1": "top-1",
    "top5": "top-5",
    "flops_g": "mult-adds, G",
    "params_m": "parameters, M",
    "min_per_epoch": "min/epoch",
}


@dataclass(frozen=True)
class Column:
    """Identify the values that may share a column: one metric on one split, by one network and one protocol."""

    metric: str
    network: str = ""
    protocol: str = ""
    split: str = ""


@dataclass(frozen=True)
class Cell:
    """Hold the values of a recipe in a column (percent).

    ``runs`` has for each independent seed (see ``seed_of``), in ascending order, the values of its runs by fine-tuning seed.
    ``diverged`` counts the runs without a value.
    """

    runs: Mapping[str, Mapping[str, float]]
    diverged: int = 0

    @property
    def ran(self) -> bool:
        """Return True if a run finished or diverged."""
        return bool(self.runs or self.diverged)

    @property
    def seeds(self) -> tuple[str, ...]:
        """Return the independent seeds that have a value."""
        return tuple(self.runs)

    @property
    def design(self) -> dict[str, set[str]]:
        """Return the fine-tuning seeds of each independent seed; two cells of one design can be paired."""
        return {seed: set(values) for seed, values in self.runs.items()}

    @property
    def groups(self) -> list[list[float]]:
        """Return a list for each independent seed with the values of its runs."""
        return [list(values.values()) for values in self.runs.values()]

    @property
    def points(self) -> list[float]:
        """Return the independent values: the mean of each group."""
        return group_means(self.groups)

    @property
    def spread(self) -> Spread | None:
        """Return mean, deviation and interval of the points; None without a point."""
        return spread(self.points) if self.points else None

    @property
    def parts(self) -> tuple[str, str]:
        """Return ('71.20', '± 0.31 (n=3)'): the mean, then the sample standard deviation and n."""
        summary = self.spread
        diverged = f"{self.diverged} diverged" if self.diverged > 1 or summary else "diverged"
        if summary is None:
            return DASH, f"({diverged})" if self.diverged else ""
        notes = [f"n={summary.n}"]
        if self.diverged:
            notes.append(diverged)
        std = "" if summary.std is None else f"± {summary.std:.2f} "
        return f"{summary.mean:.2f}", f"{std}({', '.join(notes)})"

    def __str__(self) -> str:
        return " ".join(self.parts).strip()


@dataclass(frozen=True)
class Results:
    """Hold the two files of a study's folder: ``rows`` of results.csv as text, ``study`` as parsed from study.json."""

    study: dict
    rows: list[dict[str, str]]

    @property
    def reference(self) -> str:
        """Return the recipe that gains are computed over: the study's reference if it has run, else the first recipe."""
        reference = self.study.get("reference")
        if reference is not None and any(row["recipe"] == reference for row in self.rows):
            return reference
        return self.study["recipes"][0]

    @cached_property
    def columns(self) -> list[Column]:
        """Return the columns of the study's metrics in their order; a metric without a row keeps an empty column."""
        distinct = dict.fromkeys(column_of(row) for row in self.rows)
        columns = []
        for metric in self.study["metrics"]:
            columns += [c for c in distinct if c.metric == metric] or [Column(metric)]
        return columns

    @cached_property
    def tasks(self) -> dict[str, list[str]]:
        """Return the headings of each task's metrics, tasks and headings in the order of the study's metrics.

        A task without such a metric comes last, with no heading.
        """
        pairs = dict.fromkeys((row["metric"], row["task"]) for row in self.rows)
        headings: dict[str, list[str]] = {}
        for study_metric in self.study["metrics"]:
            for metric, task in pairs:
                if metric == study_metric:
                    headings.setdefault(task, []).append(heading_of(metric))
        for _, task in pairs:
            headings.setdefault(task, [])
        return headings

    def label(self, recipe: str) -> str:
        """Return the label of a recipe; its name if study.json has no label."""
        return self.study.get("labels", {}).get(recipe, recipe)

    def heading(self, column: Column) -> str:
        """Return the metric and, if several columns have it, the fields that distinguish them."""
        twins = [c for c in self.columns if c.metric == column.metric]
        distinct = [f for f in ("network", "protocol", "split") if len({getattr(c, f) for c in twins}) > 1]
        suffix = ", ".join(getattr(column, f) or DASH for f in distinct)
        return heading_of(column.metric) + (f" ({suffix})" if suffix else "")

    @cached_property
    def runs(self) -> list[dict[str, str]]:
        """Return one row for each run; a run that several recipes share has one for each."""
        return list({(row["recipe"], row["run"]): row for row in self.rows}.values())

    def rows_of(self, recipe: str) -> list[dict[str, str]]:
        """Return the rows of a recipe, in order; none if it has not run."""
        return self._by_recipe.get(recipe, [])

    def cell(self, recipe: str, column: Column) -> Cell:
        """Return the values of a recipe in a column; an empty cell if it has none."""
        return self._cells.get((recipe, column), Cell({}))

    @cached_property
    def _by_recipe(self) -> dict[str, list[dict[str, str]]]:
        by_recipe: dict[str, list[dict[str, str]]] = {}
        for row in self.rows:
            by_recipe.setdefault(row["recipe"], []).append(row)
        return by_recipe

    @cached_property
    def _cells(self) -> dict[tuple[str, Column], Cell]:
        runs: dict[tuple[str, Column], dict[str, dict[str, float]]] = {}
        diverged: Counter = Counter()
        for row in self.rows:
            place = row["recipe"], column_of(row)
            seeds = runs.setdefault(place, {})
            diverged[place] += row["status"] == "diverged"
            if row["status"] != "diverged" and row["value"]:
                seeds.setdefault(seed_of(row), {})[row["finetune_seed"]] = float(row["value"])
        ordered = {place: {s: seeds[s] for s in sorted(seeds, key=seed_order)} for place, seeds in runs.items()}
        return {place: Cell(seeds, diverged[place]) for place, seeds in ordered.items()}

    def lost(self, recipe: str, column: Column) -> tuple[set[str], set[str]]:
        """Return the seeds of a recipe in a column that diverged, and those that are missing though another recipe has them.

        A transfer is lost to divergence too if the pretraining of its recipe and seed diverged. A seed whose fine-tunings
        diverged in part counts as diverged.
        """
        expected = {seed for (_, other), cell in self._cells.items() if other == column for seed in cell.seeds}
        absent = expected - set(self.cell(recipe, column).seeds)
        rows = [row for row in self.rows_of(recipe) if row["status"] == "diverged"]
        diverged = {seed_of(row) for row in rows if column_of(row) == column}
        diverged |= {seed for row in rows if not row["finetune_seed"] and (seed := seed_of(row)) in absent}
        return diverged, absent - diverged

    def task_of(self, column: Column) -> str:
        """Return the task that a column is measured by; '' where nothing was measured."""
        return self._tasks.get(column, "")

    @cached_property
    def _tasks(self) -> dict[Column, str]:
        tasks: dict[Column, str] = {}
        for row in self.rows:
            tasks.setdefault(column_of(row), row["task"])
        return tasks

    def seeds(self, recipe: str) -> int:
        """Return the number of seeds of a recipe, see ``seed_of``."""
        return len({seed_of(row) for row in self.rows_of(recipe)})

    def seconds(self, recipe: str) -> dict[str, dict[str, float]]:
        """Return {task: {run: seconds}} of a recipe; a run that diverged counts too."""
        seconds: dict[str, dict[str, float]] = {}
        for row in self.rows_of(recipe):
            if row["metric"] == "seconds" and row["value"]:
                seconds.setdefault(row["task"], {})[row["run"]] = float(row["value"])
        return seconds

    def seconds_per_seed(self, recipe: str) -> float | None:
        """Return the seconds of all runs of a recipe, divided by its number of seeds; None without a run."""
        total = sum(value for runs in self.seconds(recipe).values() for value in runs.values())
        return total / self.seeds(recipe) if total else None


def heading_of(metric: str) -> str:
    """Return the name of a metric in tables."""
    return HEADINGS.get(metric, metric)


def column_of(row: dict[str, str]) -> Column:
    """Return the column that a row of results.csv belongs to."""
    return Column(row["metric"], row["network"], row["protocol"], row["split"])


def seed_of(row: Mapping[str, str]) -> str:
    """Return the seed that makes a run independent of others: its pretraining's or, without a pretraining, its own."""
    return row["pretrain_seed"] or row["finetune_seed"]


def seed_order(seed: str) -> tuple[int, str]:
    """Return the sort key of a seed: numbers as text, in ascending order."""
    return len(seed), seed


def published_value(results: Results, recipe: str, column: Column) -> float | None:
    """Return the published number of a recipe in a column, or None."""
    for item in (results.study.get("published") or {}).get("values", ()):
        if (item["recipe"], item["metric"]) == (recipe, column.metric) and item["network"] in (None, column.network):
            return item["value"]
    return None


def published_gain(results: Results, recipe: str, base: str, column: Column) -> float | None:
    """Return the published difference of two recipes in a column, in points, or None."""
    a, b = (published_value(results, r, column) for r in (recipe, base))
    return None if a is None or b is None else a - b


def load_results(folder: Path) -> Results:
    """Read a study's folder.

    Raises:
        ValueError: a file is missing or is not what ``study_folder.schema`` declares, or the two files disagree.
    """
    rows = read_table(_required_file(Path(folder), TABLE))
    study = load_json(_required_file(Path(folder), STUDY), StudyFileSchema)
    for row in rows:
        if row["recipe"] not in study["recipes"]:
            raise ValueError(
                f"{folder}/{TABLE}, {row['metric']} of {row['recipe']:.80}: study.json does not have this recipe; make both "
                "files again with tools/collect.py."
            )
    return Results(study, rows)


def _required_file(folder: Path, name: str) -> Path:
    """Return the path of a file in a study's folder.

    Raises:
        ValueError: the file does not exist; says how to make it.
    """
    path = folder / name
    if not path.is_file():
        raise ValueError(f"{path} does not exist; make it with {how_to_make(folder)}.")
    return path
