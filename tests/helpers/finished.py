"""Write the records of runs that never ran, for tests of what is done with finished runs."""

import json
from collections.abc import Iterable
from importlib import import_module

from tools.engine.studies.node import Node

METRICS = dict(
    classification=("top1", "top5"), detection=("mAP", "mAP_area", "mAP_50_95"), segmentation=("pixAcc", "mIoU", "mAcc")
)


def finish(nodes: Iterable[Node], value: float = 41.5, **changes) -> None:
    """Write record.json of each node; all its metrics are ``value`` plus its seed, and ``changes`` replace fields."""
    for node in nodes:
        record = dict(key=node.key, node="pretrain" if node.pretrain else "transfer", task=node.task, scale="toy", status="done")
        record |= dict(network="resnet50", seed=node.options.seed, split="val", tricks=[], backbone=None, transfer=None)
        record |= dict(protocol={"name": "toy"}, precision="float32", seconds={"total": 30.0}, remarks=[])
        record |= dict(per_image=import_module(f"{node.task}.task").PER_IMAGE, machine={"device": "cpu", "threads": 1})
        record |= dict(metrics=dict.fromkeys(METRICS[node.task], value + node.options.seed)) | changes
        node.folder.mkdir(parents=True, exist_ok=True)
        (node.folder / "record.json").write_text(json.dumps(record))
