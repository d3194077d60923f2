"""Show how far a running study is: a table of its runs and the time left on a terminal, a line for each event elsewhere."""

import textwrap
import threading
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from tools.engine.launching.events import DONE, EARLIER, FAILED, SKIPPED, Events, outcome_line
from tools.engine.launching.gains import GainsSoFar
from tools.engine.run_folder import Progress, read_progress
from tools.engine.studies.graph import runs_behind
from tools.engine.studies.node import Node, brief_names
from tools.engine.studies.study import Study
from tools.engine.wording import WHOLE_WORDS, counted, duration, number, shortened

HEADINGS = ("run", "iteration", "loss", "img/s", "left")
GAP = 2  # spaces between two columns
LEAST = 12  # characters of a name, however narrow the terminal is
READ = 0.5  # seconds between two readings of a run's progress
UNSEEN = 60  # seconds after which a run that its launcher no longer watches is not shown, as after a preemption


class Estimates(Protocol):
    """Estimate the time that runs and their study still take; see ``planning.remaining.TimeLeft``."""

    def finished(self, node: Node, seconds: float) -> None: ...

    def of_run(self, node: Node, progress: Progress | None = None) -> float | None: ...

    def of_study(self, waiting: Sequence[Node], running: Sequence[tuple[Node, Progress | None]], jobs: int) -> float | None: ...


@dataclass
class Running:
    """Hold a run that goes on, how far it was when last read, and when it was last read and last watched."""

    node: Node
    progress: Progress | None
    read: float
    watched: float


class Screen(Events):
    """Show the runs of a study while they go on, and each result with the gain over the study's reference so far.

    Args:
        study: see ``load_study``.
        rows: its rows, see ``rows_of``.
        estimates: of the time left.
        jobs: number of runs at once.
        console: where to show it (default: standard output).
    """

    def __init__(self, study: Study, rows: Iterable[Node], estimates: Estimates, jobs: int = 1, console: Console | None = None):
        rows = list(rows)
        self.title = f"{study.name} at scale {study.scale}"
        self.nodes = {node.key: node for node in runs_behind(rows)}
        self.outcomes = {key: EARLIER for key, node in self.nodes.items() if node.record}
        self.running: dict[str, Running] = {}
        self.gains = GainsSoFar(rows, study.file.reference)
        self.estimates, self.jobs = estimates, jobs
        self.console = console or Console()
        self.lock = threading.RLock()
        self.live = Live(get_renderable=self.table, console=self.console, transient=True, refresh_per_second=2)

    def __enter__(self) -> "Screen":
        to_do = len(self.nodes) - len(self.outcomes)
        left = self.left()  # first here, since the first estimate may load torch
        text = f"{self.title}: {counted(len(self.nodes), 'run')}, {len(self.outcomes)} done, {to_do} to do"
        self.log(f"{text}, about {duration(left)}" if left else text)
        if self.console.is_terminal:
            self.live.start()
            self.console.show_cursor(True)  # a kill would leave it hidden
        return self

    def __exit__(self, *_) -> None:
        if self.console.is_terminal:
            self.live.stop()

    # ---- events

    def started(self, node: Node) -> None:
        self.watch(node)
        if not self.console.is_terminal:
            self._say(node, f"started ({node.folder})")

    def watch(self, node: Node) -> None:
        now = time.monotonic()
        with self.lock:
            run = self.running.get(node.key)
            if run and now - run.read < READ:
                run.watched = now
            else:
                self.nodes.setdefault(node.key, node)
                self.running[node.key] = Running(node, read_progress(node.folder), now, now)

    def ended(self, node: Node, outcome: str) -> None:
        with self.lock:
            known = self.outcomes.get(node.key) == outcome == EARLIER
            self.nodes.setdefault(node.key, node)
            self.running.pop(node.key, None)
            self.outcomes[node.key] = outcome
            gains = []
            if outcome == DONE:
                self.estimates.finished(node, node.record["seconds"]["total"])
                gains = list(self.gains.of(node))
        if not known:
            self._say(node, outcome_line(node, outcome), gains)

    def log(self, line: str) -> None:
        """Print a line as it is; a terminal breaks it wherever it ends."""
        self.console.print(line, markup=False, highlight=False, soft_wrap=True)

    def _say(self, node: Node, text: str, more: Sequence[str] = ()) -> None:
        """Print a line about a run: how many are done, its name, ``text`` and ``more``, each in its own line on a terminal."""
        count = f"[{self.done()}/{len(self.nodes)}]"
        if not self.console.is_terminal:
            left = self.left()
            self.log("; ".join((f"{count} {node.name}: {text}", *more)) + (f"; about {duration(left)} left" if left else ""))
            return
        indent = " " * (len(count) + 1)
        for first, part in ((f"{count} ", f"{node.name}: {text}"), *((indent, part) for part in more)):
            # a path or a key that is longer than the line stays whole
            self.log(textwrap.fill(part, self.console.width, initial_indent=first, subsequent_indent=indent, **WHOLE_WORDS))

    # ---- state

    def done(self) -> int:
        """Return the number of runs that are done."""
        with self.lock:
            return sum(outcome in (DONE, EARLIER) for outcome in self.outcomes.values())

    def left(self) -> float | None:
        """Return the estimated seconds until all runs have ended; None if nothing is known about them."""
        with self.lock:
            running = [(run.node, run.progress) for run in self.running.values()]
            open_nodes = [node for key, node in self.nodes.items() if key not in self.outcomes and key not in self.running]
            waiting = [node for node in open_nodes if not self._is_blocked(node)]
            return self.estimates.of_study(waiting, running, self.jobs)

    def _is_blocked(self, node: Node) -> bool:
        """Return whether an upstream run has ended and is not done, so that this one cannot run."""
        above = node.above
        while above:
            if self.outcomes.get(above.key, DONE) not in (DONE, EARLIER):
                return True
            above = above.above
        return False

    def table(self) -> RenderableType:
        """Return the line of the study, a bar, and a line for each run that goes on."""
        with self.lock:
            runs = [run for run in self.running.values() if time.monotonic() - run.watched < UNSEEN]
            left, done = self.left(), self.done()
            failed = sum(outcome in (FAILED, SKIPPED) for outcome in self.outcomes.values())
            lines = [HEADINGS, *(("", *self._cells(run)) for run in runs)]
            parts = done + sum(run.progress.part for run in runs if run.progress)
        state = f": {done} of {len(self.nodes)} runs done" + (f", {failed} failed or skipped" if failed else "")
        end = f"{duration(left)} left" if left else ""
        width = self.console.width
        title = shortened(self.title, max(width - len(state) - len(end) - GAP, LEAST)) + state
        head = Text(title + " " * max(width - len(title) - len(end), GAP) + end)
        bar = Table.grid(expand=True)  # in which a bar ends with a line break
        bar.add_row(ProgressBar(total=len(self.nodes), completed=parts))
        return Group(head, bar, self._grid(runs, lines)) if runs else Group(head, bar)

    def _grid(self, runs: Sequence[Running], lines: Sequence[Sequence[str]]) -> Table:
        """Return the table of the running runs; only their names are shortened to fit."""
        columns = list(zip(*lines, strict=True))[1:]
        others = sum(max(map(len, column)) + GAP for column in columns)
        names = brief_names(self.nodes.values(), max(self.console.width - others, LEAST))
        grid = Table.grid(padding=(0, GAP, 0, 0), pad_edge=False)
        grid.add_column(no_wrap=True)
        for _ in columns:
            grid.add_column(no_wrap=True, justify="right")
        grid.add_row(*lines[0], style="dim")
        for run, (_, *cells) in zip(runs, lines[1:], strict=True):
            grid.add_row(Text(names[run.node.key]), *cells)
        return grid

    def _cells(self, run: Running) -> list[str]:
        """Return the cells of a run after its name."""
        progress, left = run.progress, self.estimates.of_run(run.node, run.progress)
        time_left = "" if left is None else duration(left)
        if progress is None:
            return ["starting", "", "", time_left]
        place = f"{progress.done}/{progress.total}"
        if progress.phase == "test":
            return [f"test {place}", "", "", time_left]
        figures = ["" if value is None else number(value) for value in (progress.loss, progress.images_per_second)]
        return [place, *figures, time_left]
