"""Collect the records of a study into results.csv, a tidy table, and the other data of its report into JSON files."""

from collections.abc import Callable, Iterable
from pathlib import Path

import msgspec

from backbones.common.files import write_json
from tools.engine.analysis.bootstrap import image_variances
from tools.engine.analysis.breakdowns import collect_details
from tools.engine.analysis.curves import collect_curves
from tools.engine.analysis.gains import pairs_of
from tools.engine.config import task_of
from tools.engine.run_folder import RECORD, missing_fields, read_content
from tools.engine.studies.about import Runs, about
from tools.engine.studies.merging import Part, Row, Table, earlier_table, merged, parts_of, remark_on, sort_out, whole_study
from tools.engine.studies.node import Node
from tools.engine.studies.study import Study
from tools.engine.study_folder.files import CURVES, DETAILS, STUDY, TABLE, write_table


def collect(study: Study, say: Callable[[str], None] = print) -> Path:
    """Write the study's results.csv, study.json, details.json and curves.json from its finished runs, and return their folder.

    Values are unrounded percentages, and seconds. A diverged run has its status and empty values; a run that has not finished
    or whose files are damaged (see ``fault_of``), has no row. Rows that earlier calls with other recipes, tasks, seeds or
    options collected stay, see ``merging``.

    Args:
        say: is given a sentence for each set of earlier rows that is kept without its run, or dropped.

    Raises:
        ValueError: no run has finished, or the folder holds the table of another study file of this name.
    """
    earlier = earlier_table(study, say)
    parts, faults = parts_of(study, earlier)
    finished = _finished(parts, say)
    if not finished[-1]:
        raise ValueError(f"No run of {study.name} at scale {study.scale} has finished; start it with tools/study.py run.")
    tables = [[row for node, record in runs for row in _rows(study, node, record)] for runs in finished]
    rows, replaced = merged(tables)
    earlier = earlier.without(replaced)
    kept, remarks = sort_out(earlier, rows, [node for part in parts for node in part.nodes], study, faults)
    if replaced:
        remarks.append(remark_on("replaced", list(replaced.values()), "a later call runs them otherwise"))
    for remark in remarks:
        say(remark)
    shown = {row["run"] for row in rows}
    runs = {(node.key, node.recipe, node.note): (node, record) for part in finished for node, record in part}
    whole = whole_study(study, parts, kept)
    content = about(whole, [run for run in runs.values() if run[0].key in shown])
    content |= {"requests": [msgspec.to_builtins(part.request) for part in parts], "remarks": remarks}
    _write(study.folder, Table(rows + kept, content), Table(kept, earlier.study), [run for run in runs.values()])
    return study.folder


def _finished(parts: Iterable[Part], say: Callable[[str], None]) -> list[Runs]:
    """Return the finished runs of each part; name those whose files are damaged."""
    faults = {node.key: fault for part in parts for node in part.nodes if (fault := fault_of(node))}
    for fault in dict.fromkeys(faults.values()):
        say(f"left out: {fault}")
    return [[(node, record) for node in part.nodes if (record := node.record) and node.key not in faults] for part in parts]


def fault_of(node: Node) -> str:
    """Return a sentence that names the file of a finished run that cannot be collected and its fault; empty otherwise."""
    if node.fault:
        return node.fault
    try:
        read_content(node.folder)
    except ValueError as error:
        return str(error)
    missing = missing_fields(node.record) if node.record else []
    return f"{node.folder / RECORD} lacks {', '.join(missing)}; bring the whole file back, or remove it." if missing else ""


def _rows(study: Study, node: Node, record: dict) -> list[Row]:
    """Return the lines of results.csv of a run, one for each metric and one for its seconds, as text."""
    pretrain = record["node"] == "pretrain"
    upstream_seed = node.above.options.seed if node.above else ""
    common = {
        "study": study.name,
        "scale": study.scale,
        "recipe": node.recipe,
        "network": record["network"],
        "task": record["task"],
        "protocol": _protocol(node, record),
        "split": record["split"],
        "metric": "",
        "pretrain_seed": record["seed"] if pretrain else upstream_seed,
        "finetune_seed": "" if pretrain else record["seed"],
        "value": "",
        "status": record["status"],
        "run": node.key,
    }
    values = dict(record["metrics"])
    if record["status"] != "done":
        values = dict.fromkeys(task_of(record).METRICS, "")
    values["seconds"] = record["seconds"]["total"]
    rows = [common | {"metric": metric, "value": value} for metric, value in values.items()]
    return [{name: str(cell) for name, cell in row.items()} for row in rows]


def _protocol(node: Node, record: dict) -> str:
    """Return the name of a run's protocol, with the node's note."""
    return ", ".join(part for part in (record["protocol"].get("name"), node.note) if part)


def _per_image(node: Node, record: dict) -> Path | None:
    """Return the file with the per-image results of a finished run; None if it was removed or the run diverged."""
    path = node.folder / record.get("per_image", "")
    return path if record["status"] == "done" and path.is_file() else None


def _write(folder: Path, table: Table, kept: Table, runs: Runs) -> None:
    """Write the files of a study; what runs that are gone have left in the earlier files stays."""
    study, rows = table.study, table.rows
    files = {node.key: (path, record) for node, record in runs if (path := _per_image(node, record))}
    pairs = pairs_of(study["recipes"], study["reference"], study["parents"])
    study["images"] = kept.images_beside(image_variances(rows, files, study["metrics"], pairs))
    gone = {row["run"] for row in kept.rows}
    study["runs"] |= {key: run for key, run in kept.study.get("runs", {}).items() if key in gone}
    study["protocols"] = {task: p for task, p in kept.study.get("protocols", {}).items() if gone} | study["protocols"]
    curves = {key: lines for key, lines in kept.curves(folder).items() if key in gone}
    write_table(folder / TABLE, rows)
    write_json(folder / STUDY, study)
    write_json(folder / DETAILS, collect_details(rows, {key: path.parent for key, (path, _) in files.items()}))
    write_json(folder / CURVES, curves | collect_curves({node.key: node for node, _ in runs}.values()))
