"""What a running study shows: a bar and the time left on a terminal, plain lines elsewhere."""

import time

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from tools.engine.studies.node import Node


class Screen:
    """Shows the running node, and the time left for all of them.

    The estimate starts from what each config says a run takes, and is scaled by how long the finished runs took.

    Args:
        nodes: all runs of the study, done or not.
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
        self.started = self.said = time.time()
        self.current = ""

    def __enter__(self) -> "Screen":
        self.bar.start()
        self.log(f"{len(self.waiting)} runs to do, about {_minutes(self.total)}")
        return self

    def __exit__(self, *_) -> None:
        self.bar.stop()

    def watch(self, node: Node, part: float) -> None:
        """Shows that ``node`` has done ``part`` (0..1) of its work."""
        if node.key != self.current:
            self.waiting.pop(self.current, None)
            self.current = node.key
        done = self.total - sum(self.waiting.values()) + part * self.waiting.get(node.key, 0)
        left = f"about {_minutes(self._left(done))} left"
        self.bar.update(self.id, completed=done, description=node.name, left=left)
        if not self.console.is_terminal and time.time() - self.said > 30:
            self.said = time.time()
            self.console.print(f"  {node.name}: {100 * part:.0f} %, {left}", highlight=False)

    def _left(self, done: float) -> float:
        """Seconds left: the expected ones, times how much slower or faster than expected the work done so far was."""
        ratio = (time.time() - self.started) / done if done > 0.1 * self.total else 1.0
        return ratio * (self.total - done)

    def log(self, line: str) -> None:
        self.console.print(line, highlight=False, soft_wrap=True)


def _minutes(seconds: float) -> str:
    return f"{seconds / 60:.0f} min" if seconds >= 90 else f"{seconds:.0f} s"
