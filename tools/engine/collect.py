"""From records to one tidy table: results.csv, and study.json with what the report says beside the numbers."""

import csv
import io
from pathlib import Path

from backbones.files import write_json, write_text
from tools.engine.config import Options, resolve, task_of
from tools.engine.study import Node, Study, rows_of

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
        "protocol": record["protocol"]["name"],
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
    return {
        "name": study.name,
        "scale": study.scale,
        "recipes": study.recipes,
        "labels": {name: recipe["label"] for name, recipe in study.catalogue.items()},
        "reference": study.data.reference,
        "metrics": list(study.data.metrics),
        "margin": study.data.margin,
        "published": study.data.published,
        "tricks": {name: _tricks(study, name) for name in study.recipes},
        "differences": {name: diff for name in study.recipes if (diff := _difference(study, name))},
        "protocols": {record["task"]: record["protocol"] for record in records.values()},
        "runs": {
            key: {name: record.get(name) for name in ("backbone", "transfer", "precision", "machine", "certificate")}
            for key, record in records.items()
        },
    }


def _tricks(study: Study, recipe: str) -> list[list] | None:
    tricks = study.catalogue[recipe]["tricks"]
    return None if tricks is None else [[name, {}] for name in tricks]


def _difference(study: Study, recipe: str) -> dict | None:
    """The keys in which the resolved pretraining config of a recipe differs from its parent's: [parent's, own]."""
    from classification.tricks import difference, flatten

    parent = study.catalogue[recipe]["parent"]
    if not parent:
        return None
    path = study.data.configs["classification"].format(scale=study.scale)
    old, new = (flatten(resolve(path, Options(tricks=list(study.catalogue[name]["tricks"])))) for name in (parent, recipe))
    keys = [key for key in difference(old, new) if not key.startswith("tricks")]
    return {"parent": parent, "keys": {key: [str(old.get(key, "-")), str(new.get(key, "-"))] for key in keys}}
