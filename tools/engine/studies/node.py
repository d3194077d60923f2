"""One run of a study, and how far it is."""

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tools.engine.config import Options, Resolved, RunKey
from tools.engine.run_folder import PROGRESS, RUNS, failure_of, log_of, read_record


@dataclass(frozen=True)
class Node:
    """One run of a study: a pretraining (``above``: its teacher), or a transfer of the card of ``above`` (None: from scratch).

    Args:
        run_key: of the run.
        recipe, network: of the row.
        config: path of the config.
        options: what is asked of it, with the seed.
        resolved: the config, which may be shared by several seeds: it may have a placeholder for the seed.
        above: the run on which this one rests.
        grid: the runs that tune the learning rate of a transfer.
        note: what sets its row apart from the shared one.
        card: the folder of a card that no run has written, of published weights.
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
        """The resolved config, to be read only; it may have a placeholder for the seed."""
        return self.resolved.cfg

    @property
    def task(self) -> str:
        return self.plan.task

    @property
    def folder(self) -> Path:
        return RUNS / self.key

    @property
    def log(self) -> Path:
        """The output of the run."""
        return log_of(self.folder)

    @property
    def failure(self) -> Path:
        """The last words of a run that failed, while it is not tried again."""
        return failure_of(self.folder)

    @property
    def name(self) -> str:
        name = " ".join(part for part in (self.task, self.network, self.recipe, f"seed {self.options.seed}") if part)
        factor = "" if self.options.lr_factor is None else f", lr x{self.options.lr_factor:g}"
        return name + factor + (", held out" if self.options.hold_out else "")

    @property
    def record(self) -> dict | None:
        return read_record(self.folder)

    @property
    def expected_seconds(self) -> float:
        """What the run is expected to take here: the ``seconds`` of its config."""
        return float(self.resolved.origin.values.get("seconds") or 60)

    @property
    def pretrain(self) -> bool:
        return self.resolved.pretrains

    def state(self, job=None) -> str:
        """Return 'done', 'diverged', 'failed', 'running 40 %' or 'waiting'.

        With its ``job`` (``id`` and ``state``), while it is in the queue of Slurm: 'queued (job 12)' or 'running 40 % (job 12)'.
        """
        if record := self.record:
            return record["status"]
        if job:
            word = f"running {100 * self.progress():.0f} %" if job.state == "RUNNING" else "queued"
            return f"{word} (job {job.id})"
        if self.failure.is_file():
            return "failed"
        if progress := self.progress():
            return f"running {100 * progress:.0f} %"
        return "waiting"

    def progress(self) -> float:
        """Return the part of the updates done, 0..1, as the run last wrote it; 0 when nothing was written in the last minute."""
        try:
            written = json.loads((self.folder / PROGRESS).read_text())
        except (OSError, ValueError):
            return 0.0
        if time.time() - written["time"] > 60:
            return 0.0
        return 0.95 * written["done"] / written["total"] if written["phase"] == "train" else 0.95
