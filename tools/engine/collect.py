"""From records to one tidy table: results.csv, and study.json with what the report says beside the numbers."""

import csv
import io
import os
from pathlib import Path

from backbones.files import write_json, write_text
from tools.engine.config import Options, resolve, task_of
from tools.engine.show import SHEET
from tools.engine.study import Node, Study, rows_of
from tools.engine.tuning import describe

COLUMNS = (
    *("study", "scale", "recipe", "network", "task", "protocol", "split", "metric"),
    *("pretrain_seed", "finetune_seed", "value", "status", "run"),
)


def collect(study: Study) -> Path:
    """Writes the study's results.csv and study.json from the records of its runs, and returns their folder.

    Values are percent, unrounded. A run that diverged has an empty value and its status; one that has not run has no row.
    """
    nodes = [node for node in rows_of(study) if node.record]
    rows = [row for node in nodes for row in _rows(study, node)]
    if not rows:
        raise ValueError(f"No run of {study.name} at scale {study.scale} has finished; start it with tools/study.py run.")
    table = io.StringIO()
    writer = csv.DictWriter(table, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(study.folder / "results.csv", table.getvalue())
    write_json(study.folder / "study.json", _about(study, nodes))
    return study.folder


def _rows(study: Study, node: Node) -> list[dict]:
    record = node.record
    pretrain = record["node"] == "pretrain"
    above = node.above.options.seed if node.above else ""
    common = {
        "study": study.name,
        "scale": study.scale,
        "recipe": node.recipe,
        "network": record["network"],
        "task": record["task"],
        "protocol": ", ".join(part for part in (record["protocol"]["name"], node.note) if part),
        "split": record["split"],
        "pretrain_seed": record["seed"] if pretrain else above,
        "finetune_seed": "" if pretrain else record["seed"],
        "status": record["status"],
        "run": node.key,
    }
    values = dict(record["metrics"])
    if record["status"] != "done":
        values = dict.fromkeys(task_of(record).METRICS, "")
    values["seconds"] = record["seconds"]["total"]
    return [common | {"metric": metric, "value": value} for metric, value in values.items()]


def _about(study: Study, nodes: list[Node]) -> dict:
    records = {node.key: node.record for node in nodes}
    kept = ("backbone", "transfer", "precision", "machine", "certificate", "speed", "size")
    sheets = {node.key: Path(os.path.relpath(node.folder / SHEET, study.folder)).as_posix() for node in nodes}
    return {
        "name": study.name,
        "scale": study.scale,
        "recipes": study.recipes,
        "labels": {name: study.label(name) for name in study.catalogue.recipes},
        "reference": study.data.reference,
        "metrics": list(study.data.metrics),
        "margin": study.data.margin,
        "published": published_of(study),
        "tricks": {name: study.tricks(name, "") for name in study.recipes},
        "left_out": {n: list(study.catalogue.without[n]) for n in study.networks() if n in study.catalogue.without},
        "differences": {name: diff for name in study.recipes if (diff := _difference(study, name))},
        "tuning": [found for node in nodes if (found := describe(node))],
        "protocols": {record["task"]: record["protocol"] for record in records.values()},
        "runs": {key: {name: record.get(name) for name in kept} | {"pictures": sheets[key]} for key, record in records.items()},
    }


def published_of(study: Study) -> dict:
    """The published numbers that a study names: the source, and values with their recipe, network (or None) and metric.

    Raises:
        ValueError: the study names a row or column that the paper's table has not.
    """
    from classification.tricks.declare import PUBLISHED, cell, published

    values = []
    for table, wanted in study.data.published.items():
        for item in wanted:
            try:
                value = cell(table, item["row"], item["column"])
            except (KeyError, ValueError):
                raise ValueError(f"{study.name}: {table} has no {item['row']!r}, {item['column']!r}; see {PUBLISHED}.") from None
            if value is not None:
                values.append(
                    {"recipe": item["recipe"], "network": item.get("network"), "metric": item["metric"], "value": value}
                )
    tables = ", ".join(table.replace("table", "Table ") for table in study.data.published)
    return {"source": f"{tables} of {published()['source']}", "values": values}


def _difference(study: Study, recipe: str) -> dict | None:
    """The keys in which the resolved pretraining config of a recipe differs from its parent's: [parent's, own]."""
    from classification.tricks import difference, flatten

    parent, network = study.catalogue.recipes[recipe]["parent"], next(iter(study.networks()))
    if not parent:
        return None
    path = study.networks()[network]["config"].format(scale=study.scale)
    pair = [Options(tricks=study.tricks(name, network, "CARD")) for name in (parent, recipe)]
    old, new = (flatten(resolve(path, options)) for options in pair)
    keys = [key for key in difference(old, new) if not key.startswith("tricks")]
    return {"parent": parent, "keys": {key: [str(old.get(key, "-")), str(new.get(key, "-"))] for key in keys}}
