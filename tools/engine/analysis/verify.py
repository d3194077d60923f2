"""Verify a study's table: compute every figure again from the per-image results of its runs.

Reads results.csv, study.json and details.json of a study's folder, and for each run record.json, key.json and the per-image
results, where study.json places it. Needs neither torch nor mmengine.
"""

import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

from backbones.common.files import read_json
from tools.engine.analysis.bootstrap import image_variances
from tools.engine.analysis.breakdowns import collect_details, run_folders
from tools.engine.analysis.gains import comparisons, pairs_of
from tools.engine.analysis.results import Results, load_results
from tools.engine.analysis.row_faults import origin_of, row_faults, run_label
from tools.engine.config import part_of
from tools.engine.run_folder import CONTENT, read_record
from tools.engine.study_folder.files import DETAILS, GAINS, STUDY, load_json
from tools.engine.study_folder.schema import GainsSchema

TOLERANCE = 1e-9  # relative: sums may be taken in another order on another machine
BROKEN = (ValueError, IndexError, TypeError, OSError, EOFError, BadZipFile, zlib.error)  # of numpy on a damaged file


@dataclass
class Findings:
    """Collect what ``verify`` finds, as counts of figures and as sentences.

    computed: figures computed again from per-image results; recorded: figures that no image gives (seconds), compared with the
    record; empty: figures of runs that diverged; beside: other values computed again; worst: the
    largest relative difference that was tolerated; differ: what is wrong; lacking: what could not be verified; unverified: the
    number of runs that could not be verified.
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
        """Return the lines to print, the verdict last."""
        return [
            *(f"differs: {text}" for text in self.differ),
            *(f"not verifiable: {text}" for text in self.lacking),
            f"runs: {self.runs}, of which not verifiable: {self.unverified}",
            f"figures of results.csv computed again from per-image results: {self.computed}",
            f"figures of results.csv compared with the record they were taken from (seconds and sizes): {self.recorded}",
            f"figures of results.csv that are empty, since their run diverged: {self.empty}",
            f"values of records, {DETAILS}, {STUDY} and {GAINS} computed again: {self.beside}",
            f"largest relative difference that passed: {self.worst:.1e} (allowed: {TOLERANCE:.0e})",
            f"results.csv {self._verdict()}",
        ]

    def _verdict(self) -> str:
        if self.differ:
            return "differs"
        return "holds where it could be verified" if self.lacking else "holds"


@dataclass(frozen=True)
class _Runs:
    """Hold a study's runs by key: their folders, their records, and the parts of records recomputed from per-image results.

    ``recomputed`` has None for a run that diverged or cannot be verified.
    """

    folders: Mapping[str, Path]
    records: Mapping[str, dict]
    recomputed: Mapping[str, dict | None]


def verify(folder: str | Path) -> Findings:
    """Compare every figure of a study's results.csv with the per-image results of its run, and its other files with all of them.

    details.json, the image variances of study.json, and the intervals, p and verdicts of gains.json are computed again.

    A figure that no image gives is compared with the record. What a row says beside its figure (task, network, split, status,
    seed, recipe) must agree with the record and the card of the run.

    Args:
        folder: of the study: work_dirs/STUDY-SCALE.

    Raises:
        ValueError: results.csv or study.json is missing or cannot be read, a row is there twice, or no run lies where study.json
            says.
    """
    results = load_results(Path(folder))
    folders = run_folders(results, Path(folder))
    keys = list(dict.fromkeys(row["run"] for row in results.rows))
    findings = Findings(runs=len(keys))
    records = {key: record for key in keys if (record := _record(folders.get(key), key, findings))}
    if not records:
        raise ValueError(
            f"None of the {len(keys)} runs of {folder} lies where its study.json says (work_dirs/runs/KEY, seen from there), so "
            "nothing can be verified. Copy the runs too, or verify where they are."
        )
    faults: list[str] = []
    recomputed: dict[str, dict | None] = {}
    for key, record in records.items():
        rows = [row for row in results.rows if row["run"] == key]
        parts = recomputed[key] = _recompute(folders[key], record, findings)
        faults += dict.fromkeys(fault for row in rows for fault in row_faults(row, record, results))
        faults += _origin_faults(rows, record, results, _Runs(folders, records, {}), findings)
        _check_figures(rows, record, parts, findings)
        if parts:
            _compare(f"record.json of run {key}", {name: record.get(name) for name in parts}, parts, findings)
    verified = sum(record["status"] != "done" or recomputed[key] is not None for key, record in records.items())
    findings.unverified = len(keys) - verified
    findings.differ += faults
    if not faults:  # with faulty rows the means are of other runs
        runs = _Runs(folders, records, recomputed)
        if (path := Path(folder) / DETAILS).is_file():
            _check_details(path, results, runs, findings)
        if not findings.differ:  # all that follows rests on the same files
            images = _check_images(results, runs, findings)
            if (path := Path(folder) / GAINS).is_file():
                _check_gains(path, results, runs, images, findings)
    return findings


def _origin_faults(rows: list[dict], record: dict, results: Results, runs: "_Runs", findings: Findings) -> list[str]:
    """Return how the card of a transfer contradicts its rows; note in ``findings`` if that cannot be told."""
    if record["node"] == "pretrain":
        return []
    faults: dict[str, None] = {}
    for row in {(r["recipe"], r["pretrain_seed"]): r for r in rows}.values():
        fault, unknown = origin_of(row, record, results, runs.records, runs.folders)
        if fault:
            faults[f"recipe of {run_label(row)}: {fault}"] = None
        if unknown:
            findings.lacking.append(f"recipe of {run_label(row)}: {unknown}")
    return list(faults)


def _check_images(results: Results, runs: "_Runs", findings: Findings) -> list[dict] | None:
    """Compare the image variances of study.json with those of the per-image results; return the latter.

    Return None if a run of a column lacks its per-image results, since the draws are over the images of all of them.
    """
    study = results.study
    files = {
        key: (runs.folders[key] / record["per_image"], record) for key, record in runs.records.items() if runs.recomputed[key]
    }
    done = {row["run"] for row in results.rows if row["status"] == "done"}
    if missing := len(done - files.keys()):
        findings.lacking.append(f"{STUDY}, images: {missing} runs cannot be verified, so neither can intervals and p")
        return None
    pairs = pairs_of(study["recipes"], study.get("reference") or study["recipes"][0], study.get("parents", {}))
    try:
        fresh = image_variances(results.rows, files, study["metrics"], pairs)
    except ValueError as error:
        findings.differ.append(f"{STUDY}, images: {error}")
        return None
    stored, computed = ({_place(entry): entry for entry in entries} for entries in (study.get("images", ()), fresh))
    for place in {**computed, **stored}:
        _compare(f"{STUDY}, images of {', '.join(place)}", stored.get(place), computed.get(place), findings)
    return fresh


def _place(entry: Mapping) -> tuple[str, ...]:
    """Return what identifies an image variance or a gain."""
    return tuple(entry[name] for name in ("recipe", "base", "metric", "network", "protocol", "split"))


def _check_gains(path: Path, results: Results, runs: "_Runs", images: list[dict] | None, findings: Findings) -> None:
    """Compare the intervals, p and verdicts that a report wrote with those of figures and variances that were computed again."""
    if images is None:
        return
    try:
        stored = load_json(path, GainsSchema)
        rows = [row | _figure(row, runs.recomputed[row["run"]]) for row in results.rows]
        fresh = comparisons(Results(results.study | {"images": images}, rows), stored["margins"])
    except ValueError as error:
        findings.differ.append(str(error))
        return
    for name in ("gains", "correlations"):
        sides = [{(*_place(entry),): entry for entry in content[name]} for content in (stored, fresh)]
        for place in {**sides[1], **sides[0]}:
            _compare(f"{GAINS}, {', '.join(place)}", sides[0].get(place), sides[1].get(place), findings)


def _figure(row: Mapping[str, str], recomputed: Mapping | None) -> dict[str, str]:
    """Return the value of a row as its per-image results give it; nothing for a row that no image gives."""
    figures = recomputed["metrics"] if recomputed else {}
    return {"value": repr(figures[row["metric"]])} if row["metric"] in figures else {}


def _record(folder: Path | None, key: str, findings: Findings) -> dict | None:
    """Return the record of a run; None, with a finding, if it is missing, damaged or that of another run."""
    try:
        record = read_record(folder) if folder else None
    except (ValueError, OSError) as error:
        findings.differ.append(f"run {key}: {folder}/record.json cannot be read ({error})")
        return None
    if record is None:
        findings.lacking.append(f"run {key}: no record.json in {folder or 'study.json'}")
    elif record.get("key") != key:
        findings.differ.append(f"run {key}: the record in {folder} is that of run {record.get('key')}")
        return None
    return record


def _recompute(folder: Path, record: dict, findings: Findings) -> dict | None:
    """Return the parts of the record that the per-image results of a finished run give; None if that is not possible."""
    if record["status"] != "done":
        return None
    name = f"run {record['key']} ({record['task']}, seed {record['seed']})"
    if (module := part_of(record["task"], "breakdowns")) is None:
        findings.lacking.append(f"{name}: the task has no {record['task']}/breakdowns.py")
        return None
    if not (folder / record["per_image"]).is_file():
        findings.lacking.append(f"{name}: no {record['per_image']} in {folder}")
        return None
    try:
        path = folder / CONTENT
        content = read_json(path) if path.is_file() else {}
        return module.recompute(folder, record, content.get("config", {}))
    except KeyError as error:  # the modules read a file's arrays in a way that says ValueError
        findings.lacking.append(f"{name}: its record has no {error.args[0]}, as those of older versions")
        return None
    except BROKEN as error:
        findings.differ.append(f"{name}: {folder / record['per_image']} gives no figures ({type(error).__name__}: {error})")
        return None


def _check_figures(rows: list[dict], record: dict, recomputed: dict | None, findings: Findings) -> None:
    """Compare each value of a run's rows with its source, and check that no figure is missing."""
    record_figures, done = recorded(record), record["status"] == "done"
    figures = recomputed["metrics"] if recomputed else {}
    for row in rows:
        metric, value = row["metric"], row["value"]
        where = f"{metric} of {run_label(row)}"
        if metric in record_figures:
            source = "record.json"
            findings.recorded += _same(f"{where} in results.csv", _number(value), source, record_figures[metric], findings)
        elif not done:
            findings.empty += value == ""
            if value != "":
                findings.differ.append(f"{where}: {value} in results.csv, but the run's status is {record['status']}")
        elif metric in figures:
            source = record["per_image"]
            findings.computed += _same(f"{where} in results.csv", _number(value), source, figures[metric], findings)
        elif recomputed or metric not in record["metrics"]:
            findings.differ.append(f"{where}: {value or 'nothing'} in results.csv, but the run has no such figure")
    for metric in figures:
        if metric not in (row["metric"] for row in rows):
            findings.differ.append(
                f"{metric} of {run_label(rows[0])}: {record['per_image']} gives it, but results.csv has no row for it"
            )


def recorded(record: dict) -> dict[str, float]:
    """Return the figures of a record that no image gives, by their names in results.csv."""
    figures = {"seconds": record["seconds"]["total"], **(record.get("size") or {}), **(record.get("speed") or {})}
    return figures | {name: record[name] for name in ("updates", "epochs", "peak_memory_gb") if record.get(name) is not None}


def _check_details(path: Path, results: Results, runs: _Runs, findings: Findings) -> None:
    """Compare details.json with the same means over records whose parts were computed again."""
    done = {row["run"] for row in results.rows if row["status"] == "done"}
    parts = {key: values for key in done if (values := runs.recomputed.get(key))}
    if missing := len(done) - len(parts):
        findings.lacking.append(f"{DETAILS}: it is a mean over runs of which {missing} cannot be verified")
        return
    records = {runs.folders[key]: runs.records[key] | parts[key] for key in done}
    fresh = collect_details(results.rows, {key: runs.folders[key] for key in done}, lambda folder: records[Path(folder)])
    try:
        stored = read_json(path)
    except ValueError as error:
        findings.differ.append(f"{DETAILS} is not JSON ({error})")
        return
    _compare(DETAILS, stored, fresh, findings)


def _compare(where: str, stored: Any, fresh: Any, findings: Findings) -> None:
    """Compare two trees of JSON, value by value."""
    if isinstance(fresh, dict) and isinstance(stored, dict):
        for name in {**fresh, **stored}:
            _compare(f"{where}, {name}", stored.get(name), fresh.get(name), findings)
    elif isinstance(fresh, list) and isinstance(stored, list) and len(fresh) == len(stored):
        for i, (stored_item, fresh_item) in enumerate(zip(stored, fresh, strict=True)):
            _compare(f"{where}, {i}", stored_item, fresh_item, findings)
    else:
        findings.beside += _same(where, stored, "the per-image results", fresh, findings)


def _same(where: str, stored: Any, source: str, fresh: Any, findings: Findings) -> bool:
    """Return True if two values are equal, numbers within the tolerance; note the result in ``findings``."""
    if _is_number(stored) and _is_number(fresh):
        relative = abs(stored - fresh) / max(abs(stored), abs(fresh)) if stored != fresh else 0.0
        if relative <= TOLERANCE:  # false for NaN
            findings.worst = max(findings.worst, relative)
            return True
        findings.differ.append(f"{where}: {stored!r}, from {source}: {fresh!r}")
        return False
    if stored != fresh:
        findings.differ.append(f"{where}: {_shown(stored)}, from {source}: {_shown(fresh)}")
    return stored == fresh


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _shown(value: Any) -> str:
    """Return a value as text of at most 80 characters."""
    return "nothing" if value is None else f"{value!r:.80}"


def _number(text: str) -> float | None:
    """Return a value of results.csv as a number; None for an empty one."""
    return float(text) if text else None
