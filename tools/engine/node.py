"""One run of a study, and how far it is."""

import json
import time
from dataclasses import dataclass, field
from pathlib import Path

from tools.engine.config import RUNS, Options, load, plan_of, task_of
from tools.engine.record import PROGRESS, read_record


@dataclass
class Node:
    """One run of a study: a pretraining (``above``: its teacher), or a transfer of the card of ``above`` (None: from scratch).

    ``grid`` has the runs that tune the learning rate of a transfer, and ``note`` is what sets its row apart from the shared one.
    ``card`` is the folder of a card that no run has written, of published weights.
    """

    key: str
    recipe: str
    network: str
    task: str
    config: str
    options: Options
    above: "Node | None" = None
    grid: "list[Node]" = field(default_factory=list)
    note: str = ""
    card: str = ""

    @property
    def folder(self) -> Path:
        return RUNS / self.key

    @property
    def name(self) -> str:
        name = " ".join(part for part in (self.task, self.network, self.recipe, f"seed {self.options.seed}") if part)
        factor = "" if self.options.lr_factor is None else f", lr x{self.options.lr_factor:g}"
        return name + factor + ", held out" * self.options.hold_out

    @property
    def record(self) -> dict | None:
        return read_record(self.folder)

    @property
    def expected_seconds(self) -> float:
        """What the run is expected to take here: the ``seconds`` of its config."""
        return float(load(self.config).get("seconds", 60))

    @property
    def pretrain(self) -> bool:
        return task_of({"task": self.task}).STAGE == "pretrain"

    @property
    def plan(self):
        """To be read only: the config of a pretraining with its tricks, or of a transfer with its protocol and without its card.

        It may be another seed's.
        """
        return plan_of(self.config, self.options).cfg

    def state(self, job=None) -> str:
        """'done', 'diverged', 'failed', 'running 40 %' or 'waiting'; with its job, 'queued (job 12)' or 'running 40 % (job 12)'.

        ``job``: of the run, while it is in the queue of Slurm, with ``id`` and ``state``.
        """
        if record := self.record:
            return record["status"]
        if job:
            word = f"running {100 * self.progress():.0f} %" if job.state == "RUNNING" else "queued"
            return f"{word} (job {job.id})"
        if (self.folder / "failed.txt").is_file():
            return "failed"
        if progress := self.progress():
            return f"running {100 * progress:.0f} %"
        return "waiting"

    def progress(self) -> float:
        """Part of the updates done, 0..1, as the run last wrote it; 0 when nothing was written in the last minute."""
        try:
            written = json.loads((self.folder / PROGRESS).read_text())
        except (OSError, ValueError):
            return 0.0
        if time.time() - written["time"] > 60:
            return 0.0
        return 0.95 * written["done"] / written["total"] if written["phase"] == "train" else 0.95
