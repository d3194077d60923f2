"""Represent one run of a study and its progress."""

import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tools.engine.config import Options, Resolved, RunKey
from tools.engine.run_folder import RUNS, failure_of, log_of, read_progress, read_record, unfinished_state
from tools.engine.wording import shortened

FORMS = 3  # of a run's name, from the longest to the shortest


@dataclass(frozen=True)
class Node:
    """Represent one run of a study: a pretraining, or a transfer of the card of an upstream run or from scratch.

    Args:
        run_key: key of the run.
        recipe, network: recipe and network of its row.
        config: path of the config.
        options: options of the run, with its seed.
        resolved: resolved config. Several seeds may share it, so its seed may be a placeholder.
        above: upstream run: the teacher of a pretraining, or the pretraining of a transfer; None for a transfer from scratch.
        grid: runs that tune the learning rate of a transfer.
        note: addition to the protocol's name that distinguishes its row, such as a tuned learning rate.
        card: folder of the card of published weights, which no run of a study writes.
    """

    run_key: RunKey
    recipe: str
    network: str
    config: str
    options: Options
    resolved: Resolved
    above: "Node | None" = None
    grid: "tuple[Node, ...]" = ()
    note: str = ""
    card: str = ""

    @property
    def key(self) -> str:
        return self.run_key.name

    @property
    def plan(self) -> Any:
        """Return the resolved config, which must not be changed; its seed may be a placeholder."""
        return self.resolved.cfg

    @property
    def task(self) -> str:
        return self.plan.task

    @property
    def folder(self) -> Path:
        return RUNS / self.key

    @property
    def log(self) -> Path:
        """Return the file with the output of the run."""
        return log_of(self.folder)

    @property
    def failure(self) -> Path:
        """Return the file with the last lines of a failed run, which a retry removes."""
        return failure_of(self.folder)

    @property
    def name(self) -> str:
        return self.brief_name(0)

    def brief_name(self, form: int, width: int = sys.maxsize) -> str:
        """Return the name of the run in a form of ``FORMS``: 0 is the whole name; from 1 the task and from 2 the seed is short.

        A name of more than ``width`` characters loses the middle of what stands before its seed.
        """
        task = self.task if form < 1 else f"{self.task[:3]}."
        words = " ".join(part for part in (task, self.network, self.recipe) if part)
        factor = "" if self.options.lr_factor is None else f", lr x{self.options.lr_factor:g}"
        seed = f"seed {self.options.seed}" if form < 2 else f"s{self.options.seed}"
        end = f" {seed}{factor}" + (", held out" if self.options.hold_out else "")
        return shortened(words, max(width - len(end), 8)) + end

    @property
    def record(self) -> dict | None:
        """Return the record of the run, or None if it has not finished or the record has a fault; see ``fault``."""
        try:
            return self._read_record()
        except ValueError:
            return None

    def _read_record(self) -> dict | None:
        record = read_record(self.folder)
        if record and record.get("key", self.key) != self.key:
            raise ValueError(f"{self.folder} holds the record of the run {record['key']}; move that folder away.")
        return record

    @property
    def fault(self) -> str:
        """Return a sentence that names the record and its fault if it cannot be read or is another run's; empty otherwise."""
        try:
            self._read_record()
        except ValueError as error:
            return str(error)
        return ""

    @property
    def pretrain(self) -> bool:
        return self.resolved.pretrains

    def state(self, job=None) -> str:
        """Return 'done', 'diverged', 'unreadable', 'running 40 %', 'failed', 'stopped, 40 %' or 'waiting'.

        With its ``job`` (``id`` and ``state``) in Slurm's queue, return 'queued (job 12)' or 'running 40 % (job 12)'.
        """
        if self.fault:
            return "unreadable"
        if record := self.record:
            return record["status"]
        if job:
            state = f"running {100 * self.progress():.0f} %" if job.state == "RUNNING" else "queued"
            return f"{state} (job {job.id})"
        return unfinished_state(self.folder)

    def progress(self) -> float:
        """Return the part of the run that is done, 0..1, as the run last wrote it."""
        progress = read_progress(self.folder)
        return progress.part if progress else 0.0


def brief_names(nodes: Iterable[Node], width: int) -> dict[str, str]:
    """Return the names of runs by key, all in the longest form in which each of them has at most ``width`` characters."""
    nodes = list(nodes)
    for form in range(FORMS):
        names = {node.key: node.brief_name(form) for node in nodes}
        if all(len(name) <= width for name in names.values()):
            return names
    return {node.key: node.brief_name(FORMS - 1, width) for node in nodes}
