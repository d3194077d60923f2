"""Collect the records of a study into results.csv, a tidy table, and the other data of its report into JSON files."""

import csv
import io
import os
import shlex
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path

from backbones.common.files import write_json, write_text
from backbones.common.project import ROOT
from tools.engine.analysis.bootstrap import resample, variance
from tools.engine.analysis.breakdowns import DETAILS, collect_details
from tools.engine.analysis.curves import CURVES, collect_curves
from tools.engine.analysis.gains import pairs_of
from tools.engine.config import Options, part_of, resolve, task_of
from tools.engine.run_folder import RECORD, SHEET, missing_fields, read_content
from tools.engine.studies.commands import EXPECT, command
from tools.engine.studies.graph import rows_of
from tools.engine.studies.lr_search import describe
from tools.engine.studies.node import Node
from tools.engine.studies.study import Study

COLUMNS = (
    *("study", "scale", "recipe", "network", "task", "protocol", "split", "metric"),
    *("pretrain_seed", "finetune_seed", "value", "status", "run"),
)

Runs = list[tuple[Node, dict]]  # the finished runs behind the rows of a study, with their records


def collect(study: Study) -> Path:
    """Write the study's results.csv, study.json, details.json and curves.json from its finished runs, and return their folder.

    Values are unrounded percentages, and seconds. A diverged run has its status and empty values; a run that has not finished,
    or whose files are damaged (see ``fault_of``), has no row.

    Raises:
        ValueError: no run has finished.
    """
    runs = [(node, record) for node in rows_of(study) if (record := node.record) and not fault_of(node)]
    rows = [row for node, record in runs for row in _rows(study, node, record)]
    if not rows:
        raise ValueError(f"No run of {study.name} at scale {study.scale} has finished; start it with tools/study.py run.")
    table = io.StringIO()
    writer = csv.DictWriter(table, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(study.folder / "results.csv", table.getvalue())
    write_json(study.folder / "study.json", _about(study, runs))
    write_json(study.folder / DETAILS, collect_details(rows, {n.key: n.folder for n, record in runs if _per_image(n, record)}))
    write_json(study.folder / CURVES, collect_curves(node for node, _ in runs))
    return study.folder


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


def _rows(study: Study, node: Node, record: dict) -> list[dict]:
    """Return the lines of results.csv of a run, one for each metric and one for its seconds."""
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
        "pretrain_seed": record["seed"] if pretrain else upstream_seed,
        "finetune_seed": "" if pretrain else record["seed"],
        "status": record["status"],
        "run": node.key,
    }
    values = dict(record["metrics"])
    if record["status"] != "done":
        values = dict.fromkeys(task_of(record).METRICS, "")
    values["seconds"] = record["seconds"]["total"]
    return [common | {"metric": metric, "value": value} for metric, value in values.items()]


def _protocol(node: Node, record: dict) -> str:
    """Return the name of a run's protocol, with the node's note."""
    return ", ".join(part for part in (record["protocol"]["name"], node.note) if part)


def _about(study: Study, runs: Runs) -> dict:
    """Return the content of study.json."""
    parents = {name: bases for name in study.recipes if (bases := _parents(study, name))}
    return {
        "name": study.name,
        "scale": study.scale,
        "recipes": list(study.recipes),
        "labels": {name: row.label for name, row in study.catalogue.items()},
        "reference": study.file.reference,
        "metrics": list(study.file.metrics),
        "decisive": {task: task_of({"task": task}).METRICS[0] for task in dict.fromkeys(node.task for node, _ in runs)},
        "parents": parents,
        "images": images(runs, study.file.metrics, pairs_of(study.recipes, study.file.reference, parents)),
        "published": published_of(study),
        "tricks": {name: _made_by(study, name) for name in study.recipes},
        "left_out": {n.name: list(study.without[n.name]) for n in study.networks if n.name in study.without},
        "differences": {name: diff for name in study.recipes if (diff := _difference(study, name))},
        "tuning": [grid for node, _ in runs if (grid := describe(node))],
        "protocols": {record["task"]: record["protocol"] for _, record in runs},
        "runs": {node.key: _run(study, node, record) for node, record in runs},
    }


def _run(study: Study, node: Node, record: dict) -> dict:
    """Return what the report shows of a run besides its metrics: facts of its record, its data, and its command line."""
    facts = (
        "backbone",
        "transfer",
        "precision",
        "machine",
        "certificate",
        "speed",
        "size",
        "epochs",
        "peak_memory_gb",
        "remarks",
    )
    return {name: record.get(name) for name in (*facts, "versions", "commit")} | {
        "config": node.config,
        "pictures": Path(os.path.relpath(node.folder / SHEET, study.folder)).as_posix(),
        "data": (read_content(node.folder) or {}).get("data"),
        "command": _command(node, record),
    }


def _command(node: Node, record: dict) -> str:
    """Return the command line that repeats a run from the project's folder; on CPUs the number of threads affects the result."""
    arguments = [argument.removeprefix(f"{ROOT}/") for argument in command(node)[1:] if argument not in (EXPECT, node.key)]
    machine = record.get("machine", {})
    threads = f"OMP_NUM_THREADS={machine['threads']} " if machine.get("device") == "cpu" and "threads" in machine else ""
    return threads + shlex.join(["python", *arguments])


def _made_by(study: Study, recipe: str) -> list | str | None:
    """Return the tricks of a recipe, or the description of published weights."""
    card = study.catalogue[recipe].weights
    return f"{card.source}: {card.about}" if card else study.tricks(recipe, "")


def _parents(study: Study, recipe: str) -> list[str]:
    """Return the recipes of this study with which ``recipe`` is compared: its parent, and its ``also``."""
    row = study.catalogue[recipe]
    return [name for name in (row.parent, row.also) if name in study.recipes]


def _per_image(node: Node, record: dict) -> Path | None:
    """Return the file with the per-image results of a finished run; None if it was removed or the run diverged."""
    path = node.folder / record.get("per_image", "")
    return path if record["status"] == "done" and path.is_file() else None


def images(runs: Runs, metrics: Iterable[str], pairs: list[tuple[str, str]]) -> list[dict]:
    """Return how much each difference varies with the test images, one entry for each pair and column that can be resampled."""
    columns: dict[tuple, tuple[dict, dict]] = {}  # the first record of a column, and {recipe: {seed: files}}
    for node, record in runs:
        if path := _per_image(node, record):
            column = node.task, record["network"], _protocol(node, record), record["split"]
            seed = node.above.options.seed if node.above else node.options.seed
            columns.setdefault(column, (record, {}))[1].setdefault(node.recipe, {}).setdefault(seed, []).append(path)
    variances = []
    for (task, *places), (record, sides) in columns.items():
        names = dict(zip(("network", "protocol", "split"), places, strict=True))
        covered = [pair for pair in pairs if sides.keys() >= set(pair)]
        module = part_of(task, "bootstrap")  # None for a task whose intervals are over seeds alone
        for metric in [m for m in metrics if covered and module and m in module.METRICS]:
            paths = {recipe: list(groups.values()) for recipe, groups in sides.items()}
            values = resample(paths, task, metric, **module.facts(record))
            for recipe, base in covered:
                pair = {"recipe": recipe, "base": base, "metric": metric}
                variances.append(pair | names | asdict(variance(values[recipe], values[base])))
    return variances


def published_of(study: Study) -> dict:
    """Return the published numbers that a study names: their source, and values with recipe, network (or None) and metric.

    Without a named row, the row of the paper's table is the recipe's label.

    Raises:
        ValueError: the study names a row or column that the paper's table does not have.
    """
    from classification.tricks.declare import PUBLISHED, cell, published

    values = []
    for table, items in study.file.published.items():
        for item in items:
            row = item.row or (study.catalogue[item.recipe].label if item.recipe in study.catalogue else item.recipe)
            try:
                value = cell(table, row, item.column)
            except (KeyError, ValueError):
                raise ValueError(f"{study.name}: {table} has no {row!r}, {item.column!r}; see {PUBLISHED}.") from None
            if value is not None:
                values.append({"recipe": item.recipe, "network": item.network, "metric": item.metric, "value": value})
    cards = [card for name in study.file.cards if (card := study.catalogue[name].weights).top1 is not None]
    values += [{"recipe": card.name, "network": None, "metric": "top1", "value": card.top1} for card in cards]
    tables = ", ".join(table.replace("table", "Table ") for table in study.file.published)
    sources = [f"{tables} of {published()['source']}"] if tables else []
    sources += [study.file.published_source] if cards else []
    modules = {task: task_of({"task": task}) for task in (study.file.configs or ("classification",))}
    protocols = {task: name for task, module in modules.items() if (name := getattr(module, "PUBLISHED_PROTOCOL", None))}
    return {"source": "; ".join(sources), "values": values, "protocols": protocols}


def _difference(study: Study, recipe: str) -> dict | None:
    """Return the keys in which the resolved pretraining config of a recipe differs from its parent's: [parent's, own]."""
    from classification.tricks import difference, flatten

    parent, network = study.catalogue[recipe].parent, study.networks[0]
    if not parent:
        return None
    path = network.config.format(scale=study.scale)
    pair = [Options(tricks=study.tricks(name, network.name, "CARD") or []) for name in (parent, recipe)]
    old, new = (flatten(resolve(path, options).cfg) for options in pair)
    keys = [key for key in difference(old, new) if not key.startswith("tricks")]
    return {"parent": parent, "keys": {key: [str(old.get(key, "-")), str(new.get(key, "-"))] for key in keys}}
