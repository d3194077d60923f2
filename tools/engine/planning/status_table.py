"""Show how far a study is: a line for each run, the number in each state, and how long the rest takes."""

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from tools.engine.analysis.curves import against_published
from tools.engine.planning.cost import Costs, amount, elapsed
from tools.engine.runs.facts import first_figure
from tools.engine.runs.lines import in_columns
from tools.engine.studies.node import Node

HEAD = ("key", "state", "metric", "run")


def status_lines(costs: Costs, queue: Mapping[str, Any], jobs: int, columns: int) -> Iterator[str]:
    """Yield the lines of the table and of its totals.

    Args:
        costs: of the study.
        queue: jobs in Slurm's queue by the keys of their runs.
        jobs: number of runs at once.
        columns: width of the terminal.
    """
    study = costs.study
    states = {node.key: node.state(queue.get(node.key)) for node in costs.nodes}
    rows = [(node.key, states[node.key], first_figure(node.record), _name(node, study.scale)) for node in costs.nodes]
    yield from in_columns(rows, HEAD, columns)
    counts = Counter(state.split()[0].rstrip(",") for state in states.values())
    yield ""
    yield f"{study.name} at scale {study.scale}: {', '.join(f'{number} {kind}' for kind, number in counts.items())}."
    yield from _time_left(costs, jobs)


def _name(node: Node, scale: str) -> str:
    """Return the name of a run, with the fault of its record or how its curve compares with the published one."""
    note = node.fault or against_published(node, scale)
    return f"{node.name} ({note})" if note else node.name


def _time_left(costs: Costs, jobs: int) -> Iterator[str]:
    """Yield a sentence on how long the runs that are not done take, by the estimates of ``plan``."""
    left = {node.key: (1 - node.progress()) * estimate.seconds for node in costs.left if (estimate := costs.of(node))}
    if not costs.left:
        return
    known = [node for node in costs.left if node.key in left]
    scale = costs.study.scale
    seconds = sum(left.values()) if scale == "paper" else elapsed(known, left, jobs)
    at_once = f" with {jobs} runs at once" if jobs > 1 and scale != "paper" else ""
    unknown = f", without {len(costs.left) - len(known)} of unknown cost" if len(known) < len(costs.left) else ""
    if known:
        yield f"{len(costs.left)} to do: about {amount(seconds, scale)} left{at_once}{unknown}."
    else:
        yield f"{len(costs.left)} to do; nothing is known that tells how long they take."
