"""Collect a study's tables of classes, kinds of errors and parts of images for details.json, without torch or mmengine.

A task that has such tables exports them in ``<task>/breakdowns.py``:

- ``details(folder, record)``: {name: table} of a finished run. A table has ``title``, ``note``, ``digits`` (decimals),
  ``gains`` (True if more is better, so that a difference is a gain) and ``values``, {row: number or None}.
- ``recompute(folder, record, cfg)``: the parts of the record that the per-image results give, for ``--verify``.

The first table with gains decides which recipe is the best, so its mean should be a headline figure.
"""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from statistics import fmean

from tools.engine.analysis.results import Results, seed_of
from tools.engine.analysis.statistics import spread
from tools.engine.config import part_of
from tools.engine.run_folder import read_record

PLACE = ("task", "network", "protocol", "split")  # what a table is of; all recipes share it


def collect_details(
    rows: Iterable[Mapping], folders: Mapping[str, Path], read: Callable[[Path], dict | None] = read_record
) -> dict:
    """Collect the tables of all finished runs for details.json, as mean and sample standard deviation over pretrainings.

    Fine-tunings of one pretraining are averaged first.

    Args:
        rows: of results.csv.
        folders: of the runs, by key; a run without one is left out.
        read: returns the record of a folder.

    Returns:
        {"tables": [{*PLACE, "name", "title", "note", "digits", "gains", "recipes": {recipe: {"n": pretrainings, "values":
        {row: [mean, std]}}}}]}, with None for a mean or deviation that has no number.
    """
    entries: dict[tuple, dict] = {}
    tables: dict[str, dict] = {}
    for row in {_run_of(row): row for row in rows if row["status"] == "done" and row["run"] in folders}.values():
        if row["run"] not in tables:
            tables[row["run"]] = _tables_of(row["task"], Path(folders[row["run"]]), read)
        for name, table in tables[row["run"]].items():
            place = tuple(row[key] for key in PLACE)
            header = {key: table[key] for key in ("title", "note", "digits", "gains")}
            entry = entries.setdefault(
                (*place, name), {**dict(zip(PLACE, place, strict=True)), "name": name, **header, "recipes": {}}
            )
            seeds = entry["recipes"].setdefault(row["recipe"], {})
            seeds.setdefault(_seed(row), []).append(table["values"])
    for entry in entries.values():
        entry["recipes"] = {recipe: _over_seeds(list(seeds.values())) for recipe, seeds in entry["recipes"].items()}
    return {"tables": [entry for entry in entries.values() if any(side["values"] for side in entry["recipes"].values())]}


def _tables_of(task: str, folder: Path, read: Callable[[Path], dict | None]) -> dict:
    """Return the tables of a run; none if its task has no breakdowns, or the run no record."""
    module, record = part_of(task, "breakdowns"), read(folder)
    return module.details(folder, record) if module and record else {}


def _run_of(row: Mapping) -> tuple:
    """Return what identifies a run in a table; a run that several recipes or protocols share counts for each."""
    return *(row[key] for key in PLACE), row["recipe"], row["run"]


def _seed(row: Mapping) -> str:
    """Return the independent seed of a row whose seeds may be numbers."""
    return seed_of({key: str(row[key]) for key in ("pretrain_seed", "finetune_seed")})


def _over_seeds(groups: list[list[dict]]) -> dict:
    """Return the number of pretrainings, and mean and deviation of each row of a table over them."""
    names = dict.fromkeys(name for group in groups for values in group for name in values)
    return {"n": len(groups), "values": {name: _mean_std(groups, name) for name in names}}


def _mean_std(groups: list[list[dict]], name: str) -> list[float | None]:
    """Return [mean, sample standard deviation] of a table's row over pretrainings; None for what has no number."""
    numbers = [[values[name] for values in group if values.get(name) is not None] for group in groups]
    means = [fmean(values) for values in numbers if values]
    if not means:
        return [None, None]
    summary = spread(means)
    return [summary.mean, summary.std]


def run_folders(results: Results, folder: Path) -> dict[str, Path]:
    """Return the folders of a study's runs by key, as study.json places them; they need not exist."""
    runs = results.study.get("runs", {})
    return {key: (Path(folder) / run["pictures"]).resolve().parent for key, run in runs.items() if run.get("pictures")}
