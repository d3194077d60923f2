"""Run a study from its checks to its last run, here or on Slurm."""

import argparse
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from tools.engine.launching import fork_server
from tools.engine.launching.events import was_stopped
from tools.engine.launching.local import Share, run_study, slots_of
from tools.engine.launching.screen import Screen
from tools.engine.launching.slurm import refuse_queued, run_on_slurm, settings_of
from tools.engine.stopping import STOPPED
from tools.engine.studies.arguments import jobs_of
from tools.engine.studies.graph import check, nodes_of, rows_of
from tools.engine.studies.node import Node
from tools.engine.studies.published_weights import Weights, make_cards
from tools.engine.studies.study import Study


@dataclass(frozen=True)
class Outcome:
    """Hold how the runs of a study ended: those that failed, and the exit status of the study."""

    failed: list[Node]
    status: int

    @contextmanager
    def told_after(self) -> Iterator[None]:
        """Print the runs that failed after the block, which reports on the others, even if there are none and it raises."""
        try:
            yield
        finally:
            for node in self.failed:
                print(f"failed: {node.name} ({node.log})\n{node.failure.read_text()}", file=sys.stderr)


def launch(study: Study, args: argparse.Namespace, time_left: Callable[[Study], Any]) -> Outcome:
    """Run what has not finished; the status is 1 if a run failed, and 75 if one was stopped.

    Args:
        study: see ``load_study``.
        args: the options of ``tools/study.py run``.
        time_left: returns the ``planning.remaining.TimeLeft`` of a study, once its cards are made.
    """
    from tools.engine.training.visualizers import refuse_missing, visualizer  # here for load time

    slurm = settings_of(args)
    if not slurm and args.gpus:
        slots_of(args.jobs or 1, args.gpus)  # refuse too many GPUs before anything runs
    elif not slurm and args.processes == 1:
        fork_server.start()
    if args.vis:
        visualizer(args.vis)  # refuse an unknown name before anything runs
        refuse_missing(args.vis)
    refuse_damaged(study)
    check(study)
    make_cards([row for row in study.needed_cards() if isinstance(row, Weights)], print)
    nodes = nodes_of(study)
    if not slurm:
        refuse_queued(nodes, print)
    jobs = 1 if slurm else jobs_of(args, nodes)
    with Screen(study, rows_of(study), time_left(study), jobs) as screen:
        if slurm:
            failed = run_on_slurm(study, screen, slurm, args.retry)
        else:
            failed = run_study(study, screen, Share(jobs, args.gpus, args.retry))
    if failed:
        return Outcome(failed, 1)
    return Outcome([], STOPPED if any(was_stopped(node) and not node.record for node in nodes) else 0)


def refuse_damaged(study: Study) -> None:
    """Raise ValueError if the record of a run of the study is damaged: it is neither used nor replaced unasked."""
    for node in nodes_of(study):
        if node.fault:
            raise ValueError(node.fault)
