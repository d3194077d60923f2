"""What a study says beyond its figures: classes, kinds of errors, parts of images; from details.json, without torch or mmengine.

A task that has such tables exports them in ``<task>/breakdowns.py``:

- ``details(folder, record)``: {name: table} of a finished run. A table has ``title``, ``note``, ``digits`` (decimals),
  ``gains`` (whether more is better, so that a difference is a gain) and ``values``, {row: number or None}.
- ``recompute(folder, record, cfg)``: the parts of the record that the per-image results give, for ``--verify``.

The first table with gains is the one by which the best recipe is chosen, so its mean should be a headline figure.
"""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from statistics import fmean

from tools.engine.analysis.results import Results, seed_of
from tools.engine.analysis.statistics import spread
from tools.engine.config import part_of
from tools.engine.run_folder import read_record

DETAILS = "details.json"  # in a study's folder
PLACE = ("task", "network", "protocol", "split")  # what a table is of; all recipes share it


def collect_details(
    rows: Iterable[Mapping], folders: Mapping[str, Path], read: Callable[[Path], dict | None] = read_record
) -> dict:
    """For details.json: the tables of all finished runs, the mean and sample standard deviation over pretrainings.

    Fine-tunings of one pretraining are averaged first.

    Args:
        rows: of results.csv.
        folders: of the runs, by key; a run without one is left out.
        read: gives the record of a folder.

    Returns:
        {"tables": [{*PLACE, "name", "title", "note", "digits", "gains", "recipes": {recipe: {"n": pretrainings, "values":
        {row: [mean, std]}}}}]}, None for what has no number.
    """
    found: dict[tuple, dict] = {}
    tables: dict[str, dict] = {}
    for row in {_run_of(row): row for row in rows if row["status"] == "done" and row["run"] in folders}.values():
        if row["run"] not in tables:
            module, record = part_of(row["task"], "breakdowns"), read(Path(folders[row["run"]]))
            tables[row["run"]] = module.details(Path(folders[row["run"]]), record) if module and record else {}
        for name, table in tables[row["run"]].items():
            place = tuple(row[key] for key in PLACE)
            about = {key: table[key] for key in ("title", "note", "digits", "gains")}
            entry = found.setdefault(
                (*place, name), {**dict(zip(PLACE, place, strict=True)), "name": name, **about, "recipes": {}}
            )
            seeds = entry["recipes"].setdefault(row["recipe"], {})
            seeds.setdefault(_seed(row), []).append(table["values"])
    for entry in found.values():
        entry["recipes"] = {recipe: _over_seeds(list(seeds.values())) for recipe, seeds in entry["recipes"].items()}
    return {"tables": [entry for entry in found.values() if any(side["values"] for side in entry["recipes"].values())]}


def _run_of(row: Mapping) -> tuple:
    """A run as a row has it: one that several recipes or protocols share is there for each."""
    return *(row[key] for key in PLACE), row["recipe"], row["run"]


def _seed(row: Mapping) -> str:
    return seed_of({key: str(row[key]) for key in ("pretrain_seed", "finetune_seed")})


def _over_seeds(groups: list[list[dict]]) -> dict:
    names = dict.fromkeys(name for group in groups for values in group for name in values)
    return {"n": len(groups), "values": {name: _mean_std(groups, name) for name in names}}


def _mean_std(groups: list[list[dict]], name: str) -> list[float | None]:
    kept = [[values[name] for values in group if values.get(name) is not None] for group in groups]
    means = [fmean(values) for values in kept if values]
    if not means:
        return [None, None]
    found = spread(means)
    return [found.mean, found.std]


def run_folders(results: Results, folder: Path) -> dict[str, Path]:
    """The folders of a study's runs by key, as study.json places them, whether or not they are there."""
    runs = results.study.get("runs", {})
    return {key: (Path(folder) / run["pictures"]).resolve().parent for key, run in runs.items() if run.get("pictures")}
