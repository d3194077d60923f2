"""Build the tables of details.json: classes, kinds of errors and parts of images."""

from collections.abc import Sequence
from statistics import fmean, median

from tools.engine.analysis.breakdowns import PLACE
from tools.engine.analysis.results import DASH, SCRATCH, Results
from tools.engine.reporting.answer.wording import signed
from tools.engine.reporting.document import Table

ADE_CLASSES = 150
LONG, SHOWN = 25, 5  # a table of more rows follows a short one, which has so many gains and so many losses


def detail_tables(details: dict, results: Results) -> list[Table]:
    """Return the tables of details.json with recipes as columns.

    Where higher is better, the last column is the gain of the best recipe over the reference. Before such a table of more than
    25 rows comes a short one, with the largest gains and losses of the best recipe.
    """
    best: dict[tuple, str | None] = {}
    tables = []
    for entry in (_named(entry, results) for entry in details["tables"]):
        place = tuple(entry[key] for key in PLACE)
        if entry["gains"] and place not in best:
            best[place] = _best(entry, results.reference)
        winner = best.get(place) if entry["gains"] else None
        title = _title(entry, details["tables"])
        names = _rows(entry)
        if len(names) > LONG and winner and (extremes := _extremes(entry, winner, results.reference)):
            tables.append(_table(f"{title}: largest gains and losses", entry, extremes, winner, results))
        tables.append(_table(title, entry, names, winner, results))
    return tables


def _named(entry: dict, results: Results) -> dict:
    """Return a table of ADE20K's classes in which the synthetic ones have their own names; they only share its ids."""
    if (results.study.get("scale"), entry["task"], entry["name"]) != ("toy", "segmentation", "per_class"):
        return entry
    from tools.engine.toy_data.scenes import ADE_IDS  # takes OpenCV

    def renamed(values: dict) -> dict:
        names = list(values)
        own = {names[number - 1]: name for name, number in ADE_IDS.items()} if len(names) == ADE_CLASSES else {}
        return {own.get(name, name): value for name, value in values.items()}

    recipes = {recipe: side | {"values": renamed(side["values"])} for recipe, side in entry["recipes"].items()}
    return entry | {"recipes": recipes}


def _digits(entry: dict) -> int:
    """Return the decimals of a table: one at most where seeds spread by a point or more."""
    spreads = [std for side in entry["recipes"].values() for _, std in side["values"].values() if std is not None]
    return min(entry["digits"], 1) if spreads and median(spreads) >= 1 else entry["digits"]


def _rows(entry: dict) -> list[str]:
    """Return the rows for which any recipe has a number. Most of 150 classes are in no image of a small test set."""
    cells = [pair for side in entry["recipes"].values() for pair in side["values"].items()]
    return list(dict.fromkeys(name for name, (mean, _) in cells if mean is not None))


def _title(entry: dict, entries: list[dict]) -> str:
    """Return the title. If several tables share it, add what distinguishes them."""
    twins = [other for other in entries if other["title"] == entry["title"]]
    distinct = [entry[key] for key in PLACE if len({other[key] for other in twins}) > 1]
    if not distinct:
        return entry["title"]
    return f"{entry['title']} ({', '.join(part or DASH for part in distinct)})"


def _gain(entry: dict, recipe: str, reference: str, name: str) -> float | None:
    sides = (entry["recipes"].get(side, {"values": {}}) for side in (recipe, reference))
    mean, base = (side["values"].get(name, [None])[0] for side in sides)
    return None if mean is None or base is None else mean - base


def _gains(entry: dict, recipe: str, reference: str) -> dict[str, float]:
    names = entry["recipes"].get(recipe, {"values": {}})["values"]
    gains = {name: _gain(entry, recipe, reference, name) for name in names}
    return {name: gain for name, gain in gains.items() if gain is not None}


def _best(entry: dict, reference: str) -> str | None:
    """Return the recipe with the largest mean gain over the reference, other than the reference and 'scratch'."""
    gains = {recipe: _gains(entry, recipe, reference) for recipe in entry["recipes"] if recipe not in (reference, SCRATCH)}
    means = {recipe: fmean(by_row.values()) for recipe, by_row in gains.items() if by_row}
    return max(means, key=means.get) if means else None


def _extremes(entry: dict, winner: str, reference: str) -> list[str]:
    """Return the rows of the largest gains, then those of the largest losses, each from the largest down. No row comes twice."""
    gains = _gains(entry, winner, reference)
    order = sorted(gains, key=gains.get, reverse=True)
    gained = [name for name in order[:SHOWN] if gains[name] > 0]
    return gained + [name for name in order[: -SHOWN - 1 : -1] if gains[name] < 0]


def _table(title: str, entry: dict, names: list[str], winner: str | None, results: Results) -> Table:
    recipes, digits = [recipe for recipe in results.study["recipes"] if recipe in entry["recipes"]], _digits(entry)
    header = ["", *(f"{results.label(recipe)} (n={entry['recipes'][recipe]['n']})" for recipe in recipes)]
    rows = [[name, *(_cell(entry["recipes"][recipe]["values"].get(name), digits) for recipe in recipes)] for name in names]
    note = f"{entry['note']} Mean ± sample standard deviation over n pretrainings."
    if empty := len({name for side in entry["recipes"].values() for name in side["values"]}) - len(_rows(entry)):
        note += f" Rows without a number in any column are left out: {empty}."
    if winner:
        header.append(f"{results.label(winner)} over {results.label(results.reference)}")
        for row in rows:
            gain = _gain(entry, winner, results.reference, row[0])
            row.append(DASH if gain is None else signed(gain, digits))
        note += (
            " Last column: points gained by the recipe with the largest mean gain. Single rows are not tested: among many rows, "
            "some differ by chance."
        )
    return Table(title, "l" + "r" * (len(header) - 1), header, rows, note)


def _cell(value: Sequence[float | None] | None, digits: int) -> str:
    """Return a mean and a standard deviation as text."""
    mean, std = value or (None, None)
    if mean is None:
        return DASH
    return f"{mean:.{digits}f}" + ("" if std is None else f" ± {std:.{digits}f}")
