"""Add the runs of one call to the table that earlier calls of the same study have made.

A study is often run in parts: other recipes, tasks or seeds, another protocol. Each call is kept as a request in study.json, and
a table is collected from the records of all requests. So a part adds to the table and takes nothing away. A row of the earlier
table that no record gives again

- is kept, and named, while the study would still run the same run: it is only gone from work_dirs/runs, or its data is not here;
- is dropped, and named, if the study would run it otherwise today, since rows of two configs or versions must not stand together.
"""

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec

from backbones.common.dataset_checks import first_names
from backbones.common.files import sha256
from backbones.common.project import ROOT
from tools.engine.analysis.results import load_results
from tools.engine.config import task_of
from tools.engine.studies.graph import rows_of
from tools.engine.studies.node import Node
from tools.engine.studies.study import MOST_SEEDS, Study, load_study
from tools.engine.study_folder.files import STUDY, TABLE, load_curves, row_key
from tools.engine.study_folder.schema import RequestSchema

Row = dict[str, str]
CELL = ("recipe", "network", "task", "protocol", "split")  # what the seeds of one cell of a table share


@dataclass(frozen=True)
class Table:
    """Hold rows of results.csv, and the content of study.json; both empty if there is none."""

    rows: list[Row]
    study: dict

    @property
    def requests(self) -> list[RequestSchema]:
        """Return the requests that made the table; a table of an older version has one, read off its rows."""
        if not self.rows:
            return []
        if "requests" in self.study:
            return [RequestSchema(**_tuples(request)) for request in self.study["requests"]]
        seeds = [int(row["pretrain_seed"] or row["finetune_seed"]) % MOST_SEEDS for row in self.rows]
        tunings = [int(row["finetune_seed"] or 0) // MOST_SEEDS for row in self.rows]
        tasks = tuple(dict.fromkeys(row["task"] for row in self.rows))
        recipes = tuple(self.study["recipes"])
        return [RequestSchema(recipes=recipes, tasks=tasks, seeds=max(seeds) + 1, fine_tunings=max(tunings) + 1)]

    def without(self, replaced: Mapping[tuple, Row]) -> "Table":
        """Return the table without the rows whose keys are in ``replaced``."""
        return Table([row for row in self.rows if row_key(row) not in replaced], self.study)

    def images_beside(self, entries: list[dict]) -> list[dict]:
        """Return the entries with those of this table that they lack and whose recipes have a row in it."""
        places = ("recipe", "base", "metric", "network", "protocol", "split")
        present = {tuple(entry[name] for name in places) for entry in entries}
        recipes = {row["recipe"] for row in self.rows}
        old = [e for e in self.study.get("images", ()) if recipes & {e["recipe"], e["base"]}]
        return entries + [entry for entry in old if tuple(entry[name] for name in places) not in present]

    def curves(self, folder: Path) -> dict[str, list[dict]]:
        """Return the curves that stand beside this table; none if it is empty."""
        return load_curves(folder) if self.rows else {}


@dataclass(frozen=True, eq=False)
class Part:
    """Hold a request, and the runs behind its rows."""

    request: RequestSchema
    nodes: list[Node]


def earlier_table(study: Study, say: Callable[[str], None]) -> Table:
    """Return the table in a study's folder; an empty one if there is none. One that cannot be read is set aside.

    Raises:
        ValueError: the table is that of another study file.
    """
    paths = [study.folder / name for name in (TABLE, STUDY)]
    if not all(path.is_file() for path in paths):
        return Table([], {})
    try:
        results = load_results(study.folder)
    except ValueError as error:
        for path in paths:
            os.replace(path, path.with_name(f"{path.name}.unreadable"))
        say(f"The earlier table is set aside as {TABLE}.unreadable and collected anew: {error}")
        return Table([], {})
    file, digest = results.study.get("file"), results.study.get("file_sha256")
    if file and file != str(study.path).removeprefix(f"{ROOT}/") and digest != sha256(study.path):
        raise ValueError(
            f"{study.folder} holds the table of {file}, and {study.path} is another study of the same name; give one of them "
            "another name, or remove the folder."
        )
    return Table(results.rows, results.study)


def parts_of(study: Study, earlier: Table) -> tuple[list[Part], list[str]]:
    """Return the parts of all requests, this call's last, and why an earlier request cannot be resolved any more.

    Raises:
        ValueError: this call's request cannot be resolved.
    """
    own = RequestSchema(
        recipes=study.recipes,
        tasks=study.tasks,
        seeds=study.seeds,
        fine_tunings=study.fine_tunings,
        teachers=dict(study.teachers or {}),
        tune_lr=study.tune_lr,
        protocol=study.protocol,
        processes=study.processes,
    )
    parts, faults = [], []
    for request in earlier.requests:
        if not _contains(own, request):
            try:
                parts.append(Part(request, list(rows_of(_study_of(study, request)))))
            except ValueError as error:
                faults.append(str(error))
    return [*parts, Part(own, list(rows_of(study)))], faults


def _tuples(request: dict) -> dict:
    """Return a request of study.json with its lists as tuples."""
    return {name: tuple(value) if isinstance(value, list) else value for name, value in request.items()}


def _contains(one: RequestSchema, other: RequestSchema) -> bool:
    """Return True if each run of the ``other`` request is one of the first."""
    return (
        set(one.recipes) >= set(other.recipes)
        and set(one.tasks) >= set(other.tasks)
        and one.seeds >= other.seeds
        and one.fine_tunings >= other.fine_tunings
        and one.tune_lr >= other.tune_lr
        and (one.teachers, one.protocol, one.processes) == (other.teachers, other.protocol, other.processes)
    )


def _study_of(study: Study, request: RequestSchema) -> Study:
    """Return the study of an earlier request."""
    options = msgspec.structs.asdict(request) | {"recipes": list(request.recipes), "tasks": list(request.tasks)}
    return replace(load_study(str(study.path), study.scale, **options), protocol=request.protocol)  # not that of its file


def whole_study(study: Study, parts: list[Part], kept: list[Row]) -> Study:
    """Return the study with the recipes and tasks of all parts, recipes in the order of its file."""
    wanted = {name for part in parts for name in part.request.recipes} | {row["recipe"] for row in kept}
    tasks = {name for part in parts for name in part.request.tasks} | {row["task"] for row in kept}
    recipes = [name for name in study.file.recipes if name in wanted]
    recipes += [name for name in study.catalogue if name in wanted and name not in recipes]
    all_tasks = [name for name in study.file.configs or ("classification",) if name in tasks]
    return replace(load_study(str(study.path), study.scale, recipes, study.seeds, tasks=all_tasks), protocol=None)


def merged(tables: Iterable[list[Row]]) -> tuple[list[Row], dict[tuple, Row]]:
    """Return the rows of several requests, each cell and seed once, and those that a later request replaced.

    If a later request gives other runs for a cell (such as with another teacher), the cell is that request's alone.
    """
    rows: dict[tuple, Row] = {}
    replaced: dict[tuple, Row] = {}
    for table in tables:
        new = {row_key(row): row for row in table}
        changed = {_cell(row) for key, row in new.items() if key in rows and rows[key]["run"] != row["run"]}
        replaced |= {key: row for key, row in rows.items() if _cell(row) in changed}
        rows = {key: row for key, row in rows.items() if _cell(row) not in changed} | new
    return list(rows.values()), replaced


def _cell(row: Row) -> tuple[str, ...]:
    return tuple(row[name] for name in CELL)


def sort_out(earlier: Table, rows: list[Row], nodes: list[Node], study: Study, faults: list[str]) -> tuple[list[Row], list[str]]:
    """Return the earlier rows that stay though no record gives them again, and a remark on each set that is kept or dropped."""
    present, keys = {row_key(row) for row in rows}, {node.key: node for node in nodes}
    absent = {task for task in {node.task for node in nodes} if _lacks_data(task, nodes)}
    sets: dict[tuple[str, str], list[Row]] = {}
    for row in earlier.rows:
        if row_key(row) not in present:
            sets.setdefault(_fate(row, keys, absent, study, faults), []).append(row)
    kept = [row for (verb, _), members in sets.items() if verb == "kept" for row in members]
    return kept, [remark_on(verb, members, reason) for (verb, reason), members in sets.items()]


def _fate(row: Row, keys: dict[str, Node], absent: set[str], study: Study, faults: list[str]) -> tuple[str, str]:
    """Return ('kept' or 'dropped', why) of an earlier row that no record gives again."""
    if row["recipe"] not in study.catalogue or row["task"] not in (study.file.configs or ("classification",)):
        return "dropped", "the study has no such recipe or task any more"
    if faults:
        return "kept", f"an earlier call cannot be repeated, so nobody can tell whether they are current ({faults[0]})"
    if row["task"] in absent:
        return "kept", "their data is not here, so nobody can tell whether they are current"
    if row["run"] in keys and not keys[row["run"]].record:
        return "kept", "their runs are gone from work_dirs/runs or damaged, so they cannot be verified"
    if row["run"] in keys:
        return "dropped", "the records of their runs have no such figures"
    return "dropped", "the study would run them otherwise today (its files, the data or RESULT_VERSION changed); run them again"


def _lacks_data(task: str, nodes: list[Node]) -> bool:
    """Return True if a data folder of a task is missing, so that the keys of its runs are provisional."""
    plans = {id(node.plan): node.plan for node in nodes if node.task == task}
    upstream = {id(node.above.plan): node.above.plan for node in nodes if node.task == task and node.above}
    return any(not folder.is_dir() for plan in (plans | upstream).values() for folder in task_of(plan).data_folders(plan))


def remark_on(verb: str, rows: list[Row], reason: str) -> str:
    """Return a sentence about earlier rows: '8 rows of an earlier table are kept (smooth, detection, ...): ...'."""
    names = list(dict.fromkeys(f"{row['recipe']}, {row['task']}, run {row['run']}" for row in rows))
    return f"{len(rows)} rows of an earlier table are {verb} ({first_names(names)}): {reason}."
