"""Checks a study's table against what its runs left: every figure is computed again from the per-image results.

Reads results.csv, study.json and details.json of a study's folder, and of each run record.json, key.json and the per-image
results, where study.json places it. Needs neither torch nor mmengine.
"""

import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from zipfile import BadZipFile

from backbones.common.files import read_json
from tools.engine.analysis.breakdowns import DETAILS, collect_details, run_folders
from tools.engine.analysis.results import SCRATCH, Results, load_results, seed_of
from tools.engine.config import part_of
from tools.engine.run_folder import CONTENT, read_record

TOLERANCE = 1e-9  # relative: sums may be taken in another order on another machine
BROKEN = (ValueError, IndexError, TypeError, OSError, EOFError, BadZipFile, zlib.error)  # of numpy on a damaged file


@dataclass
class Findings:
    """What ``verify`` found, in counts of figures and in sentences.

    computed: figures that came out of per-image results again; recorded: those that no image gives (seconds), as the record has
    them; empty: those of runs that diverged; beside: values of records and of details.json computed again; worst: the largest
    relative difference that was tolerated; differ: what does not hold; lacking: what could not be verified; unverified: runs
    of which that is so.
    """

    runs: int = 0
    unverified: int = 0
    computed: int = 0
    recorded: int = 0
    empty: int = 0
    beside: int = 0
    worst: float = 0.0
    differ: list[str] = field(default_factory=list)
    lacking: list[str] = field(default_factory=list)

    def lines(self) -> list[str]:
        """What to print, the verdict last."""
        verdict = "differs" if self.differ else "holds, as far as it could be verified" if self.lacking else "holds"
        return [
            *(f"differs: {text}" for text in self.differ),
            *(f"not verifiable: {text}" for text in self.lacking),
            f"runs: {self.runs}, of which not verifiable: {self.unverified}",
            f"figures of results.csv computed again from per-image results: {self.computed}",
            f"figures of results.csv compared with the record they were taken from (seconds and sizes): {self.recorded}",
            f"figures of results.csv that are empty, since their run diverged: {self.empty}",
            f"values of records and of {DETAILS} computed again: {self.beside}",
            f"largest relative difference that passed: {self.worst:.1e} (allowed: {TOLERANCE:.0e})",
            f"results.csv {verdict}",
        ]


def verify(folder: str | Path) -> Findings:
    """Compares every figure of a study's results.csv with the per-image results of its run, and its details with them.

    A figure that no image gives is compared with the record. What a row says beside its figure (task, network, split, status,
    seed, recipe) must be what the record and the card of the run say.

    Args:
        folder: of the study: work_dirs/STUDY-SCALE.

    Raises:
        ValueError: the folder lacks results.csv or study.json, or not one run lies where study.json says.
    """
    results = load_results(Path(folder))
    places = run_folders(results, Path(folder))
    findings, known = Findings(), {}
    keys = list(dict.fromkeys(row["run"] for row in results.rows))
    findings.runs = len(keys)
    records = {key: record for key in keys if (record := _record(places.get(key), key, findings))}
    if not records:
        raise ValueError(
            f"None of the {len(keys)} runs of {folder} lies where its study.json says (work_dirs/runs/KEY, seen from there), so "
            "nothing can be verified; copy the runs too, or verify where they are."
        )
    faults: list[str] = []
    for key, record in records.items():
        rows = [row for row in results.rows if row["run"] == key]
        known[key] = _recompute(places[key], record, findings)
        faults += dict.fromkeys(fault for row in rows for fault in _row_faults(row, record, results, records))
        _check_figures(rows, record, known[key], findings)
        if known[key]:
            _compare(f"record.json of run {key}", {name: record.get(name) for name in known[key]}, known[key], findings)
    findings.unverified = len(keys) - sum(record["status"] != "done" or known[key] is not None for key, record in records.items())
    findings.differ += faults
    if (path := Path(folder) / DETAILS).is_file() and not faults:  # else the means are of other rows
        _check_details(path, results, places, records, known, findings)
    return findings


def _record(place: Path | None, key: str, findings: Findings) -> dict | None:
    try:
        record = read_record(place) if place else None
    except (ValueError, OSError) as error:
        findings.differ.append(f"run {key}: {place}/record.json cannot be read ({error})")
        return None
    if record is None:
        findings.lacking.append(f"run {key}: no record.json in {place or 'study.json'}")
    elif record.get("key") != key:
        findings.differ.append(f"run {key}: the record in {place} is that of run {record.get('key')}")
        return None
    return record


def _recompute(place: Path, record: dict, findings: Findings) -> dict | None:
    """What the per-image results of a run that is done give; None where they cannot."""
    if record["status"] != "done":
        return None
    name = f"run {record['key']} ({record['task']}, seed {record['seed']})"
    if (module := part_of(record["task"], "breakdowns")) is None:
        findings.lacking.append(f"{name}: the task has no {record['task']}/breakdowns.py")
        return None
    if not (place / record["per_image"]).is_file():
        findings.lacking.append(f"{name}: no {record['per_image']} in {place}")
        return None
    try:
        path = place / CONTENT
        content = read_json(path) if path.is_file() else {}
        return module.recompute(place, record, content.get("config", {}))
    except KeyError as error:  # the modules read a file's arrays in a way that says ValueError
        findings.lacking.append(f"{name}: its record has no {error.args[0]}, as those of older versions")
        return None
    except BROKEN as error:
        findings.differ.append(f"{name}: {place / record['per_image']} gives no figures ({type(error).__name__}: {error})")
        return None


def _check_figures(rows: list[dict], record: dict, found: dict | None, findings: Findings) -> None:
    """Each value of a run's rows against its source, and that no figure is missing."""
    taken, done = recorded(record), record["status"] == "done"
    for row in rows:
        metric, value = row["metric"], row["value"]
        where = f"{metric} of {_whose(row)}"
        if metric in taken:
            findings.recorded += _same(f"{where} in results.csv", _number(value), "record.json", taken[metric], findings)
        elif not done:
            findings.empty += value == ""
            if value != "":
                findings.differ.append(f"{where}: {value} in results.csv, but the run's status is {record['status']}")
        elif found and metric in found["metrics"]:
            source = record["per_image"]
            findings.computed += _same(f"{where} in results.csv", _number(value), source, found["metrics"][metric], findings)
        elif found or metric not in record["metrics"]:
            findings.differ.append(f"{where}: {value or 'nothing'} in results.csv, and no such figure in what the run left")
    for metric in (found or {"metrics": {}})["metrics"]:
        if metric not in (row["metric"] for row in rows):
            findings.differ.append(f"{metric} of {_whose(rows[0])}: {record['per_image']} gives it, and results.csv has no row")


def recorded(record: dict) -> dict[str, float]:
    """The figures of a record that no image gives, by the names that they have in results.csv."""
    found = {"seconds": record["seconds"]["total"], **(record.get("size") or {}), **(record.get("speed") or {})}
    return found | {name: record[name] for name in ("updates", "epochs", "peak_memory_gb") if record.get(name) is not None}


def _row_faults(row: dict, record: dict, results: Results, records: dict[str, dict]) -> Iterator[str]:
    """Where a row says another task, network, split, status, protocol, seed or origin than its run."""
    whose, pretrain = _whose(row), record["node"] == "pretrain"
    said = {name: str(record[name]) for name in ("task", "network", "split", "status")}
    said["pretrain_seed" if pretrain else "finetune_seed"] = str(record["seed"])
    for name, here in said.items():
        if row[name] != here:
            yield f"{name} of {whose}: {row[name]!r} in results.csv, {here!r} in record.json"
    if not row["protocol"].startswith(record["protocol"]["name"]):
        yield f"protocol of {whose}: {row['protocol']!r} in results.csv, {record['protocol']['name']!r} in record.json"
    fault = _tricks_fault(row, record, results) if pretrain else _origin_fault(row, record, results, records)
    if fault:
        yield f"recipe of {whose}: {fault}"


def _tricks_fault(row: dict, record: dict, results: Results) -> str:
    """A pretraining has the tricks of its recipe, but for those that its network goes without."""
    wanted = results.study.get("tricks", {}).get(row["recipe"])
    if wanted is None:
        return ""
    here = {name for name, _ in record["tricks"]}
    there = {name for name, _ in wanted}
    if there - here - {name for names in results.study.get("left_out", {}).values() for name in names} or here - there:
        return f"the recipe has the tricks {', '.join(sorted(there)) or 'none'}, the run {', '.join(sorted(here)) or 'none'}"
    return ""


def _origin_fault(row: dict, record: dict, results: Results, records: dict[str, dict]) -> str:
    """A transfer took the card of a pretraining of its row's recipe and seed; from scratch it took none."""
    if (record["backbone"] == SCRATCH) != (row["recipe"] == SCRATCH):
        return f"the run's backbone is {record['backbone']}"
    card = (record.get("certificate") or {}).get("card")
    sources = {key for key, other in records.items() if card and other.get("card") == card}
    wanted = {(r["recipe"], r["pretrain_seed"]) for r in results.rows if r["run"] in sources}
    if wanted and (row["recipe"], row["pretrain_seed"]) not in wanted:
        return f"its card is that of {', '.join(f'{recipe}, seed {seed}' for recipe, seed in sorted(wanted))}"
    return ""


def _check_details(path: Path, results: Results, places: dict, records: dict, known: dict, findings: Findings) -> None:
    """details.json against the same means over records whose parts were computed again."""
    done = {row["run"] for row in results.rows if row["status"] == "done"}
    if missing := [key for key in done if not known.get(key)]:
        findings.lacking.append(f"{DETAILS}: it is a mean over runs of which {len(missing)} cannot be verified")
        return
    again = {places[key]: records[key] | known[key] for key in done}
    fresh = collect_details(results.rows, {key: places[key] for key in done}, lambda place: again[Path(place)])
    try:
        kept = read_json(path)
    except ValueError as error:
        findings.differ.append(f"{DETAILS} is not JSON ({error})")
        return
    _compare(DETAILS, kept, fresh, findings)


def _compare(where: str, kept, fresh, findings: Findings) -> None:
    """Two trees of JSON, value by value."""
    if isinstance(fresh, dict) and isinstance(kept, dict):
        for name in {**fresh, **kept}:
            _compare(f"{where}, {name}", kept.get(name), fresh.get(name), findings)
    elif isinstance(fresh, list) and isinstance(kept, list) and len(fresh) == len(kept):
        for i, pair in enumerate(zip(kept, fresh, strict=True)):
            _compare(f"{where}, {i}", *pair, findings)
    else:
        findings.beside += _same(where, kept, "the per-image results", fresh, findings)


def _same(where: str, kept, source: str, fresh, findings: Findings) -> bool:
    """Whether two values are equal, numbers within the tolerance; notes what was found."""
    if _is_number(kept) and _is_number(fresh):
        relative = abs(kept - fresh) / max(abs(kept), abs(fresh)) if kept != fresh else 0.0
        if relative <= TOLERANCE:  # not of NaN
            findings.worst = max(findings.worst, relative)
            return True
        findings.differ.append(f"{where}: {kept!r}, from {source}: {fresh!r}")
        return False
    if kept != fresh:
        findings.differ.append(f"{where}: {_shown(kept)}, from {source}: {_shown(fresh)}")
    return kept == fresh


def _is_number(value) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _shown(value) -> str:
    return "nothing" if value is None else f"{value!r:.80}"


def _number(text: str) -> float | None:
    return float(text) if text else None


def _whose(row: dict) -> str:
    return f"{row['recipe']}, {row['task']}, seed {seed_of(row) or row['finetune_seed']}, run {row['run']}"
