"""Show how far a running study is: a bar and the time left on a terminal, plain lines elsewhere."""

import time

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from tools.engine.studies.node import Node


class Screen:
    """Show the running node and the time left for the study.

    The estimate starts from the ``seconds`` of each config and is scaled by how long the finished runs took.

    Args:
        nodes: all nodes of the study, finished or not.
    """

    def __init__(self, nodes: list[Node]):
        self.waiting = {node.key: node.expected_seconds for node in nodes if not node.record}
        self.total = sum(self.waiting.values()) or 1.0
        self.console = Console()
        self.bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[left]}"),
            console=self.console,
            transient=True,
            disable=not self.console.is_terminal,
        )
        self.id = self.bar.add_task("starting", total=self.total, left="")
        self.started = self.last_print = time.time()
        self.current = ""

    def __enter__(self) -> "Screen":
        self.bar.start()
        self.log(f"{len(self.waiting)} runs to do, about {_minutes(self.total)}")
        return self

    def __exit__(self, *_) -> None:
        self.bar.stop()

    def watch(self, node: Node, part: float) -> None:
        """Show that ``node`` has done ``part`` (0..1) of its work."""
        if node.key != self.current:
            self.waiting.pop(self.current, None)
            self.current = node.key
        completed = self.total - sum(self.waiting.values()) + part * self.waiting.get(node.key, 0)
        remaining = f"about {_minutes(self._left(completed))} left"
        self.bar.update(self.id, completed=completed, description=node.name, left=remaining)
        if not self.console.is_terminal and time.time() - self.last_print > 30:
            self.last_print = time.time()
            self.console.print(f"  {node.name}: {100 * part:.0f} %, {remaining}", highlight=False)

    def _left(self, completed: float) -> float:
        """Return the seconds left: the expected ones, scaled by actual over expected time of the work done so far."""
        ratio = (time.time() - self.started) / completed if completed > 0.1 * self.total else 1.0
        return ratio * (self.total - completed)

    def log(self, line: str) -> None:
        """Print a line above the bar."""
        self.console.print(line, highlight=False, soft_wrap=True)


def _minutes(seconds: float) -> str:
    return f"{seconds / 60:.0f} min" if seconds >= 90 else f"{seconds:.0f} s"
