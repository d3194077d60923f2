"""Show how far a study is: a line for each run, the number in each state, and how long the rest takes."""

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from tools.engine.analysis.curves import against_published
from tools.engine.planning.cost import Costs, amount
from tools.engine.planning.plan import key_lines
from tools.engine.planning.remaining import TimeLeft
from tools.engine.run_folder import read_progress
from tools.engine.runs.facts import first_figure
from tools.engine.runs.lines import folded, in_columns
from tools.engine.studies.node import Node
from tools.engine.wording import duration

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
    yield from (folded(line, columns) for line in (*_time_left(costs, states, jobs), *key_lines(costs)))


def _name(node: Node, scale: str) -> str:
    """Return the name of a run, with the fault of its record or how its curve compares with the published one."""
    note = node.fault or against_published(node, scale)
    return f"{node.name} ({note})" if note else node.name


def _time_left(costs: Costs, states: Mapping[str, str], jobs: int) -> Iterator[str]:
    """Yield a sentence on how long the runs that are not done take."""
    if not costs.left:
        return
    scale, number = costs.study.scale, f"{len(costs.left)} to do"
    if scale == "paper":
        known = [estimate.seconds for node in costs.left if (estimate := costs.of(node))]
        yield f"{number}: about {amount(sum(known), scale)} left." if known else f"{number}; nothing tells how long that takes."
        return
    time_left = TimeLeft(costs)
    for node in costs.nodes:
        if node.record:
            time_left.finished(node, node.record["seconds"]["total"])
    running = [node for node in costs.left if states[node.key].startswith("running")]
    waiting = [node for node in costs.left if node not in running]
    seconds = time_left.of_study(waiting, [(node, read_progress(node.folder)) for node in running], jobs)
    if seconds is None:
        yield f"{number}; nothing tells how long that takes."
    else:
        yield f"{number}: about {duration(seconds)} left{f' with {jobs} runs at once' if jobs > 1 else ''}."
