"""Find where a row of results.csv contradicts the record of its run, or the card that the run used."""

from collections.abc import Iterator, Mapping
from pathlib import Path

from tools.engine.analysis.results import SCRATCH, Results, seed_of
from tools.engine.run_folder import read_record


def row_faults(row: Mapping[str, str], record: dict, results: Results) -> Iterator[str]:
    """Yield a sentence for each of task, network, split, status, protocol, seed and tricks in which a row contradicts its run."""
    label, pretrain = run_label(row), record["node"] == "pretrain"
    expected = {name: str(record[name]) for name in ("task", "network", "split", "status")}
    expected["pretrain_seed" if pretrain else "finetune_seed"] = str(record["seed"])
    for name, value in expected.items():
        if row[name] != value:
            yield f"{name} of {label}: {row[name]!r} in results.csv, {value!r} in record.json"
    if not row["protocol"].startswith(record["protocol"]["name"] or ""):
        yield f"protocol of {label}: {row['protocol']!r} in results.csv, {record['protocol']['name']!r} in record.json"
    if pretrain and (fault := _tricks_fault(row, record, results)):
        yield f"recipe of {label}: {fault}"


def _tricks_fault(row: Mapping[str, str], record: Mapping, results: Results) -> str:
    """Compare the tricks of a pretraining with those of its recipe, except tricks that its network omits; '' if they agree."""
    tricks = results.study.get("tricks", {}).get(row["recipe"])
    if not isinstance(tricks, list):
        return ""
    run_names = {name for name, _ in record["tricks"]}
    recipe_names = {name for name, _ in tricks} - set(results.study.get("left_out", {}).get(record["network"], ()))
    if recipe_names != run_names:
        recipe_text, run_text = (", ".join(sorted(names)) or "none" for names in (recipe_names, run_names))
        return f"the recipe has the tricks {recipe_text}, the run {run_text}"
    return ""


def origin_of(
    row: Mapping[str, str], record: dict, results: Results, records: Mapping[str, dict], folders: Mapping[str, Path]
) -> tuple[str, str]:
    """Return how the card of a transfer contradicts its row, and why that cannot be told; '' where neither holds.

    The card of a transfer must be that of a pretraining of its row's recipe and seed: one of the table's, or the run beside it
    that its record names. A row from scratch has no card, and published weights come from no pretraining of ours.
    """
    if (record["backbone"] == SCRATCH) != (row["recipe"] == SCRATCH):
        return f"the run's backbone is {record['backbone']}", ""
    if row["recipe"] == SCRATCH or not row["pretrain_seed"]:
        return "", ""
    card = (record.get("certificate") or {}).get("card")
    if not card:
        return "", "" if record["status"] == "diverged" else "its record has no certificate of a card"
    sources = {key for key, other in records.items() if other.get("card") == card}
    origins = {(r["recipe"], r["pretrain_seed"]) for r in results.rows if r["run"] in sources}
    if origins and (row["recipe"], row["pretrain_seed"]) not in origins:
        return f"its card is that of {', '.join(f'{recipe}, seed {seed}' for recipe, seed in sorted(origins))}", ""
    if origins:
        return "", ""
    return _origin_beside(row, record, card, results, records, folders)


def _origin_beside(
    row: Mapping[str, str], record: Mapping, card: str, results: Results, records: Mapping, folders: Mapping[str, Path]
) -> tuple[str, str]:
    """Return what ``origin_of`` does for a card that no pretraining of the table wrote."""
    runs_of_seed = {r["run"] for r in results.rows if not r["finetune_seed"] and _row_seed(r) == _row_seed(row)}
    if runs_of_seed and runs_of_seed <= records.keys():
        return "its card is that of no pretraining of this study", ""
    folder = folders[row["run"]].parent / Path(record["backbone"] or "").parent.name
    try:
        above = read_record(folder)
    except ValueError as error:
        return "", str(error)
    if above is None or above.get("card") != card:
        return "", "the pretraining that wrote its card is not there"
    if fault := _tricks_fault(row, above, results):
        return fault, ""
    if str(above["seed"]) != row["pretrain_seed"]:
        return f"its card is of seed {above['seed']}", ""
    return "", ""


def _row_seed(row: Mapping[str, str]) -> tuple[str, str]:
    return row["recipe"], row["pretrain_seed"]


def run_label(row: Mapping[str, str]) -> str:
    """Return recipe, task, seed and run of a row, for a sentence."""
    return f"{row['recipe']}, {row['task']}, seed {seed_of(row) or row['finetune_seed']}, run {row['run']}"
