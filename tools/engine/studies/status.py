"""Say which runs a study has and how far they are, for scripts."""

from collections.abc import Mapping
from typing import Any

from tools.engine.studies.graph import missing_data, nodes_of
from tools.engine.studies.node import Node
from tools.engine.studies.study import Study


def study_facts(study: Study, jobs: Mapping[str, Any]) -> dict[str, Any]:
    """Return the runs of a study as plain values, as ``tools/study.py status --json`` prints them.

    Args:
        study: see ``load_study``.
        jobs: jobs in Slurm's queue by the keys of their runs.
    """
    nodes = nodes_of(study)
    return {
        "study": study.name,
        "scale": study.scale,
        "missing_data": missing_data(nodes),
        "runs": [run_facts(node, jobs.get(node.key)) for node in nodes],
    }


def run_facts(node: Node, job: Any = None) -> dict[str, Any]:
    """Return a run of a study as plain values; ``metrics`` are empty unless it is done."""
    record = node.record or {}
    upstream = node.above.options.seed if node.above else None
    return {
        "name": node.name,
        "key": node.key,
        "task": node.task,
        "recipe": node.recipe,
        "network": node.network or node.plan.network,
        "pretrain_seed": node.options.seed if node.pretrain else upstream,
        "finetune_seed": None if node.pretrain else node.options.seed,
        "upstream": node.above.key if node.above else None,
        "state": node.state(job),
        "folder": str(node.folder),
        "metrics": record["metrics"] if record.get("status") == "done" else {},
    }
