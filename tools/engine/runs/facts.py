"""Read what is known of each run: from its record, from the content of its key, and from the tables of studies."""

import csv
import re
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from backbones.common.project import RUNS, SCRATCH, WORK
from tools.engine.config import task_of
from tools.engine.run_folder import CONTENT, PROGRESS, RECORD, is_locked, read_content, read_record, unfinished_state
from tools.engine.study_folder.files import STUDY, TABLE
from tools.engine.wording import duration

KEY = re.compile(r"\b[0-9a-f]{12}\b")
STATES = ("done", "diverged", "running", "stopped", "failed", "waiting", "unreadable")
FINISHED = ("done", "diverged")
MOST_TRICKS = 3  # that a name lists
IDLE = 0.0  # the time of a folder without any file that tells one


@dataclass(frozen=True)
class RunFacts:
    """Hold what is known of a run.

    Args:
        folder: of the run.
        record: of a finished run; empty otherwise.
        content: what its key is the hash of; empty if it was not kept.
        fault: a sentence on a file that cannot be read; empty otherwise.
        tables: the folders of studies whose table names it, each with the recipe there ('' if another file there names it).
        above: the run on whose card it rests, where that is known.
    """

    folder: Path
    record: dict[str, Any]
    content: dict[str, Any]
    fault: str
    tables: dict[str, str]
    above: "RunFacts | None" = None

    @property
    def key(self) -> str:
        return self.folder.name

    @property
    def config(self) -> dict[str, Any]:
        """Return the resolved config without what its key does not depend on; empty if it was not kept."""
        config = self.content.get("config")
        return config if isinstance(config, dict) else {}

    @cached_property
    def state(self) -> str:
        """Return the state in words, such as 'done' or 'stopped, 40 %'; its first word is one of ``STATES``."""
        if self.fault:
            return "unreadable"
        return self.record["status"] if self.record else unfinished_state(self.folder)

    @property
    def kind(self) -> str:
        """Return the state as one of ``STATES``."""
        return self.state.partition(" ")[0].rstrip(",")

    @property
    def is_running(self) -> bool:
        return is_locked(self.folder)

    @cached_property
    def changed(self) -> float:
        """Return the time at which it finished or last wrote how far it is."""
        for name in (RECORD, PROGRESS, CONTENT, ""):
            with suppress(OSError):
                return (self.folder / name).stat().st_mtime
        return IDLE

    def fact(self, name: str) -> Any:
        """Return a fact of the record, or of the config of a run that has not finished; '' if neither has it."""
        return self.record.get(name, self.config.get(name, ""))

    @property
    def seed(self) -> Any:
        return self.record.get("seed", self.config.get("randomness", {}).get("seed", ""))

    @property
    def upstream(self) -> str:
        """Return the key of the run on whose card it rests, as its backbone or its teacher; '' if it rests on none."""
        keys = KEY.findall(str(self.content.get("upstream", ""))) or KEY.findall(str(self.record.get("backbone", "")))
        return keys[-1] if keys else ""

    @property
    def recipe(self) -> str:
        """Return the recipe in a table that names it, else the tricks of its pretraining or 'scratch'; '' if none is known."""
        if recipe := next((recipe for recipe in self.tables.values() if recipe), ""):
            return recipe
        names = [name for name, _ in self.fact("tricks") or ()]
        tricks = "+".join(names if len(names) <= MOST_TRICKS else [*names[:2], f"{len(names) - 2} more"])
        if not tricks and self.content.get("upstream") == SCRATCH:
            return SCRATCH
        return tricks or (self.above.recipe if self.above else "")

    @property
    def name(self) -> str:
        """Return what was run: scale, task, network, recipe or tricks, and seed."""
        parts = (self.fact("scale"), self.fact("task"), self.fact("network"), self.recipe, f"seed {self.seed}")
        return " ".join(str(part) for part in parts if part)

    @property
    def age(self) -> str:
        """Return how long ago it changed."""
        return duration(max(time.time() - self.changed, 0))

    @cached_property
    def size(self) -> int:
        """Return the bytes of all its files."""
        return sum(path.lstat().st_size for path in self.folder.rglob("*") if path.is_file())


def first_figure(record: Mapping[str, Any] | None) -> str:
    """Return the figure of a finished run that decides its task, as text: 'mAP 27.22'; '' without one."""
    figures = (record or {}).get("metrics", {})
    if not record or record["status"] != "done" or not figures:
        return ""
    name = next(iter(figures))
    with suppress(ValueError):  # a record of a task that is not here
        name = next((metric for metric in task_of(record).METRICS if metric in figures), name)
    return f"{name} {figures[name]:.2f}"


def read_run(folder: Path, tables: dict[str, str] | None = None) -> RunFacts:
    """Return what is known of the run in ``folder``; ``tables`` name it, see ``RunFacts``."""
    record, content, fault = {}, {}, ""
    try:
        record = read_record(folder) or {}
        content = read_content(folder) or {}
    except ValueError as error:
        fault = str(error)
    return RunFacts(Path(folder), record, content, fault, tables or {})


def all_runs() -> list[RunFacts]:
    """Return all runs of work_dirs/runs, the last one to change first."""
    tables = tables_by_run()
    folders = [path for path in RUNS.glob("*") if path.is_dir() and not path.name.startswith(".")]
    runs = {folder.name: read_run(folder, tables.get(folder.name)) for folder in folders}
    related = [replace(run, above=runs.get(run.upstream)) for run in runs.values()]
    return sorted(related, key=lambda run: run.changed, reverse=True)


def tables_by_run() -> dict[str, dict[str, str]]:
    """Return, by the key of a run, the folders of studies that name it with its recipe there.

    A study's folder names a run if the key stands anywhere in its results.csv or study.json, even if these are damaged.
    """
    named: dict[str, dict[str, str]] = {}
    for path in sorted((*WORK.glob(f"*/{TABLE}"), *WORK.glob(f"*/{STUDY}"))):
        text = path.read_text(encoding="utf-8", errors="replace")
        for key in set(KEY.findall(text)):
            named.setdefault(key, {}).setdefault(path.parent.name, "")
        if path.name == TABLE:
            with suppress(csv.Error):
                for row in csv.DictReader(text.splitlines()):
                    if row.get("run") in named:
                        named[row["run"]][path.parent.name] = row.get("recipe") or ""
    return named


def unused_runs(runs: Iterable[RunFacts]) -> list[RunFacts]:
    """Return the finished runs that no table names, no process runs, and on which no other run rests that is kept."""
    runs = list(runs)
    by_key = {run.key: run for run in runs}
    kept: set[str] = set()
    waiting = [run.key for run in runs if run.tables or run.kind not in FINISHED or run.is_running]
    while waiting:
        key = waiting.pop()
        if key in by_key and key not in kept:
            kept.add(key)
            waiting.append(by_key[key].upstream)
    return [run for run in runs if run.key not in kept]


def runs_on(run: RunFacts, runs: Iterable[RunFacts]) -> list[RunFacts]:
    """Return the runs that rest on the card of ``run``."""
    return [other for other in runs if other.upstream == run.key]
