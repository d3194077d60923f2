"""Estimate the time that a running study still takes, from earlier runs and from the pace of its own."""

from collections.abc import Sequence
from statistics import fmean

from tools.engine.planning.cost import Costs, elapsed, past_runs
from tools.engine.run_folder import Progress
from tools.engine.studies.node import Node
from tools.engine.studies.study import Study

STEADY = 0.1  # part of a run after which its own pace counts as much as what was expected of it


class TimeLeft:
    """Estimate the time left of runs and of their study, and learn from each run of the study that finishes.

    A run is expected to take as long as the finished runs of its row in this study did. Before the first of them, it is expected
    to take what ``Costs`` estimates (from earlier runs in work_dirs, else from its config), times how much longer than that the
    runs of its task in this study have taken, or those of all tasks if there are none.

    Args:
        costs: estimates of all runs of the study.
    """

    def __init__(self, costs: Costs):
        self.costs = costs
        self.expected: dict[str, float | None] = {}  # seconds by key, as expected before the study
        self.took: dict[str, list[float]] = {}  # seconds of the finished runs of this study, by the identity of their row
        self.paces: dict[str, tuple[str, float, float]] = {}  # task, seconds taken and seconds expected of them, by key

    def finished(self, node: Node, seconds: float) -> None:
        """Learn that a run of the study took ``seconds``, with its earlier starts."""
        self.took.setdefault(self.costs.identity(node), []).append(seconds)
        self._note_pace(node, seconds, 1.0)

    def of_run(self, node: Node, progress: Progress | None = None) -> float | None:
        """Return the seconds left of a run; None if nothing is known about it.

        Args:
            node: the run.
            progress: how far it is; None if it has not trained yet.
        """
        whole = progress.whole if progress else None
        if whole is None:
            return self._expected_now(node)
        self._note_pace(node, progress.seconds, progress.part)
        expected = self._expected_now(node)
        if expected is not None:
            weight = progress.part / (progress.part + STEADY)
            whole = weight * whole + (1 - weight) * expected
        return (1 - progress.part) * whole

    def of_study(self, waiting: Sequence[Node], running: Sequence[tuple[Node, Progress | None]], jobs: int) -> float | None:
        """Return the seconds until all runs have ended; None if nothing is known about any of them.

        A run of which nothing is known counts like the mean of the others.

        Args:
            waiting: the runs that have not started, in their order.
            running: the runs that go on, with how far they are.
            jobs: number of runs at once.
        """
        left = {node.key: self.of_run(node, progress) for node, progress in running}
        left |= {node.key: self.of_run(node) for node in waiting}
        estimates = [seconds for seconds in left.values() if seconds is not None]
        if left and not estimates:
            return None
        seconds = {key: fmean(estimates) if value is None else value for key, value in left.items()}
        return elapsed([*(node for node, _ in running), *waiting], seconds, max(jobs, len(running)))

    def _expected_before(self, node: Node) -> float | None:
        """Return how long a run was expected to take before the study started."""
        if node.key not in self.expected:
            estimate = self.costs.of(node)
            self.expected[node.key] = estimate.seconds / node.options.processes if estimate else None
        return self.expected[node.key]

    def _expected_now(self, node: Node) -> float | None:
        """Return how long a run is expected to take, by what the study has taken so far."""
        if seconds := self.took.get(self.costs.identity(node)):
            return fmean(seconds)
        before = self._expected_before(node)
        paces = [pace for pace in self.paces.values() if pace[0] == node.task] or list(self.paces.values())
        if before is None or not paces:
            return before
        return before * sum(taken for _, taken, _ in paces) / sum(expected for *_, expected in paces)

    def _note_pace(self, node: Node, seconds: float, part: float) -> None:
        """Note that a part of a run has taken ``seconds``, once that part says something about the whole."""
        before = self._expected_before(node)
        if before and part >= STEADY:
            self.paces[node.key] = node.task, seconds, part * before


def time_left_of(study: Study) -> TimeLeft:
    """Return the estimates of a study, from all finished runs."""
    return TimeLeft(Costs(study, past_runs()))
