"""What a study says beyond its figures: classes, kinds of errors, parts of images; from details.json, without torch or mmengine.

A task that has such tables exports them in ``<task>/details.py``:

- ``details(folder, record)``: {name: table} of a finished run. A table has ``title``, ``note``, ``digits`` (decimals),
  ``gains`` (whether more is better, so that a difference is a gain) and ``values``, {row: number or None}.
- ``recompute(folder, record, cfg)``: the parts of the record that the per-image results give, for ``tools.engine.analysis.verify``.

The first table with gains is the one by which the best recipe is chosen, so its mean should be a headline figure.
"""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from statistics import fmean

from tools.engine.analysis.statistics import spread
from tools.engine.config import part_of
from tools.engine.training.record import read_record
from tools.engine.reporting.document import Table
from tools.engine.analysis.results import DASH, SCRATCH, Results, seed_of

DETAILS = "details.json"  # in a study's folder
LONG, SHOWN = 25, 5  # from how many rows on a table is preceded by a short one, of so many gains and so many losses
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
            module, record = part_of(row["task"], "details"), read(Path(folders[row["run"]]))
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


def detail_tables(details: dict, results: Results) -> list[Table]:
    """The tables of details.json, recipes as columns; of one with gains the last column is the best recipe's over the reference.

    Before one of more than 25 rows comes a short one, with the largest gains and losses of the best recipe.
    """
    best: dict[tuple, str | None] = {}
    tables = []
    for entry in details["tables"]:
        place = tuple(entry[key] for key in PLACE)
        if entry["gains"] and place not in best:
            best[place] = _best(entry, results.reference)
        winner = best.get(place) if entry["gains"] else None
        title = _title(entry, details["tables"])
        shown = _rows(entry)
        if len(shown) > LONG and winner and (extremes := _extremes(entry, winner, results.reference)):
            tables.append(_table(f"{title}: largest gains and losses", entry, extremes, winner, results))
        tables.append(_table(title, entry, shown, winner, results))
    return tables


def _rows(entry: dict) -> list[str]:
    """Those of a table in which any recipe has a number: most of 150 classes are in no image of a small test set."""
    cells = [pair for side in entry["recipes"].values() for pair in side["values"].items()]
    return list(dict.fromkeys(name for name, (mean, _) in cells if mean is not None))


def _title(entry: dict, entries: list[dict]) -> str:
    """The title and, where several tables share it, what tells them apart."""
    twins = [other for other in entries if other["title"] == entry["title"]]
    apart = [entry[key] for key in PLACE if len({other[key] for other in twins}) > 1]
    return entry["title"] + (f" ({', '.join(part or DASH for part in apart)})" if apart else "")


def _gain(entry: dict, recipe: str, reference: str, name: str) -> float | None:
    own, base = (entry["recipes"].get(side, {"values": {}})["values"].get(name, [None])[0] for side in (recipe, reference))
    return None if own is None or base is None else own - base


def _gains(entry: dict, recipe: str, reference: str) -> dict[str, float]:
    names = entry["recipes"].get(recipe, {"values": {}})["values"]
    gains = {name: _gain(entry, recipe, reference, name) for name in names}
    return {name: gain for name, gain in gains.items() if gain is not None}


def _best(entry: dict, reference: str) -> str | None:
    """The recipe with the largest mean gain over the reference; neither that nor 'scratch'."""
    gains = {recipe: _gains(entry, recipe, reference) for recipe in entry["recipes"] if recipe not in (reference, SCRATCH)}
    means = {recipe: fmean(found.values()) for recipe, found in gains.items() if found}
    return max(means, key=means.get) if means else None


def _extremes(entry: dict, winner: str, reference: str) -> list[str]:
    """The rows of the largest gains, then those of the largest losses, each from the larger on; no row twice."""
    gains = _gains(entry, winner, reference)
    order = sorted(gains, key=gains.get, reverse=True)
    up = [name for name in order[:SHOWN] if gains[name] > 0]
    return up + [name for name in order[: -SHOWN - 1 : -1] if gains[name] < 0]


def _table(title: str, entry: dict, names: list[str], winner: str | None, results: Results) -> Table:
    recipes = [recipe for recipe in results.study["recipes"] if recipe in entry["recipes"]]
    header = ["", *(f"{results.label(recipe)} (n={entry['recipes'][recipe]['n']})" for recipe in recipes)]
    rows = [[name, *(_cell(entry, recipe, name) for recipe in recipes)] for name in names]
    note = f"{entry['note']} Mean ± sample standard deviation over n pretrainings."
    if empty := len({name for side in entry["recipes"].values() for name in side["values"]}) - len(_rows(entry)):
        note += f" Rows without a number in any column are left out: {empty}."
    if winner:
        header.append(f"{results.label(winner)} over {results.label(results.reference)}")
        for row in rows:
            gain = _gain(entry, winner, results.reference, row[0])
            row.append(DASH if gain is None else f"{gain:+.{entry['digits']}f}")
        note += (
            " Last column: points gained by the recipe with the largest mean gain. No test is made of single rows: among many, "
            "some differ by chance."
        )
    return Table(title, "l" + "r" * (len(header) - 1), header, rows, note)


def _cell(entry: dict, recipe: str, name: str) -> str:
    mean, std = entry["recipes"][recipe]["values"].get(name, [None, None])
    if mean is None:
        return DASH
    return f"{mean:.{entry['digits']}f}" + ("" if std is None else f" ± {std:.{entry['digits']}f}")
