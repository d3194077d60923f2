"""Say what happens to the runs of a study: the events that launchers report, and their words."""

from tools.engine.config import task_of
from tools.engine.run_folder import read_progress
from tools.engine.studies.node import Node

# how a run ends for its launcher: EARLIER is done before this launcher came to it, SKIPPED has an upstream run that is not done
DONE, EARLIER, STOPPED_RUN, SKIPPED, FAILED = "done", "done earlier", "stopped", "skipped", "failed"


class Events:
    """Receive what happens to the runs of a study, perhaps from several threads; this class ignores it."""

    def started(self, node: Node) -> None:
        """Receive a run whose process has started."""

    def watch(self, node: Node) -> None:
        """Receive a run that goes on; on this machine about five times a second."""

    def ended(self, node: Node, outcome: str) -> None:
        """Receive a run that is over for its launcher, and its outcome: DONE, EARLIER, STOPPED_RUN, SKIPPED or FAILED."""

    def log(self, line: str) -> None:
        """Receive a line about the study."""


IGNORED = Events()


def outcome_line(node: Node, outcome: str) -> str:
    """Return what became of a run, as a sentence that follows its name."""
    if outcome == EARLIER:
        return f"done earlier ({node.folder})"
    words = {DONE: result, STOPPED_RUN: stopped, SKIPPED: left_out, FAILED: lambda node: f"failed, see {node.log}"}
    return words[outcome](node)


def was_stopped(node: Node) -> bool:
    """Return whether a signal stopped the last start of a node."""
    progress = read_progress(node.folder)
    return bool(progress and progress.stopped)


def stopped(node: Node) -> str:
    """Return where a run that a signal stopped goes on."""
    progress = read_progress(node.folder)
    if progress and progress.saved:
        return f"saved at update {progress.saved} of {progress.updates}; the same command goes on"
    return "stopped before its first checkpoint; the same command starts it again"


def left_out(node: Node) -> str:
    """Return why a node is skipped once its upstream run has ended; empty if it can run."""
    status = (node.above.record or {}).get("status", "not finished") if node.above else "done"
    return "" if status == "done" else f"skipped because upstream run {node.above.name} has {status}"


def result(node: Node) -> str:
    """Return the seconds of a run that has finished, and its metrics or its status."""
    metrics, record = task_of(node.plan).METRICS, node.record
    figures = ", ".join(f"{name} {value:.2f}" for name, value in record["metrics"].items() if name in metrics)
    return f"{record['seconds']['total']:.0f} s, {figures or record['status']}"
