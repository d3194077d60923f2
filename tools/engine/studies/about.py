"""Describe a study for its report: the content of study.json."""

import os
import shlex
from pathlib import Path

from backbones.common.files import sha256
from backbones.common.project import ROOT
from tools.engine.config import Options, resolve, task_of
from tools.engine.run_folder import SHEET, read_content
from tools.engine.studies.commands import EXPECT, command
from tools.engine.studies.lr_search import describe
from tools.engine.studies.node import Node
from tools.engine.studies.study import Study

Runs = list[tuple[Node, dict]]  # the finished runs behind the rows of a study, with their records


def about(study: Study, runs: Runs) -> dict:
    """Return the content of study.json, but for the image variances and what concerns earlier calls."""
    return {
        "name": study.name,
        "scale": study.scale,
        "file": str(study.path).removeprefix(f"{ROOT}/"),
        "file_sha256": sha256(study.path),
        "recipes": list(study.recipes),
        "labels": {name: row.label for name, row in study.catalogue.items()},
        "reference": study.file.reference,
        "metrics": list(study.file.metrics),
        "decisive": {task: task_of({"task": task}).METRICS[0] for task in dict.fromkeys(node.task for node, _ in runs)},
        "parents": {name: bases for name in study.recipes if (bases := _parents(study, name))},
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
    """Return the tricks of a recipe, or the description of published weights or of a card."""
    card = study.catalogue[recipe].weights
    return f"{card.source}: {card.about}" if card else study.tricks(recipe, "")


def _parents(study: Study, recipe: str) -> list[str]:
    """Return the recipes of this study with which ``recipe`` is compared: its parent, and its ``also``."""
    row = study.catalogue[recipe]
    return [name for name in (row.parent, row.also) if name in study.recipes]


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
