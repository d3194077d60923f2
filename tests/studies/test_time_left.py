"""Test the time left of runs and of their study against figures worked out by hand."""

from types import SimpleNamespace

import pytest

from tools.engine.planning.remaining import TimeLeft
from tools.engine.run_folder import Progress


def node(key: str, task: str = "classification", row: str = "", above=None, processes: int = 1) -> SimpleNamespace:
    return SimpleNamespace(key=key, task=task, row=row or key, above=above, options=SimpleNamespace(processes=processes))


def time_left(**seconds: float | None) -> TimeLeft:
    """Return the estimates of runs that were expected to take ``seconds``, by key."""
    estimates = {key: None if value is None else SimpleNamespace(seconds=value) for key, value in seconds.items()}
    return TimeLeft(SimpleNamespace(of=lambda node: estimates[node.key], identity=lambda node: node.row))


def trained(part: float, seconds: float) -> Progress:
    """Return the progress of a run that has done ``part`` of its work, all of it training, in ``seconds``."""
    return Progress("train", done=round(1000 * part / 0.95), total=1000, saved=0, updates=1000, seconds=seconds)


def test_before_anything_has_run_the_estimates_count():
    left = time_left(a=60.0, b=30.0)
    assert left.of_run(node("a")) == 60 and left.of_run(node("b", processes=2)) == 15
    assert left.of_study([node("a"), node("b")], [], 1) == 75


def test_a_run_is_expected_to_take_as_long_as_those_of_its_row_did():
    left = time_left(a=60.0, b=60.0)
    left.finished(node("a", row="smooth"), 90.0)
    assert left.of_run(node("b", row="smooth")) == 90
    left.finished(node("a", row="smooth"), 110.0)
    assert left.of_run(node("b", row="smooth")) == 100


def test_what_the_runs_of_a_task_took_scales_the_others_of_that_task():
    left = time_left(a=60.0, b=40.0, c=40.0)
    left.finished(node("a"), 120.0)
    assert left.of_run(node("b")) == 80 and left.of_run(node("c", "detection")) == 80  # none of detection has run
    left.finished(node("b", "detection"), 20.0)
    assert left.of_run(node("c", "detection")) == 20


def test_the_pace_of_a_running_run_soon_outweighs_what_was_expected():
    left = time_left(a=60.0)
    run = node("a")
    assert left.of_run(run, trained(0.0, 2.0)) == 60
    # at 5 % the 300 s of its own pace count a third
    assert left.of_run(run, trained(0.05, 15.0)) == pytest.approx(0.95 * (300 / 3 + 60 * 2 / 3), rel=0.01)
    assert left.of_run(run, trained(0.5, 150.0)) == pytest.approx(0.5 * 300, rel=0.01)
    assert left.of_run(run, Progress("test", 40, 40, 1000, 1000, seconds=300.0)) == pytest.approx(0)


def test_a_running_run_scales_those_that_wait():
    left = time_left(a=60.0, b=60.0)
    left.of_run(node("a"), trained(0.05, 15.0))
    assert left.of_run(node("b")) == 60  # too early
    left.of_run(node("a"), trained(0.5, 150.0))
    assert left.of_run(node("b")) == pytest.approx(300, rel=0.01)


def test_a_study_ends_with_the_last_of_the_runs_that_go_on_at_once():
    left = time_left(a=60.0, b=60.0, c=60.0)
    above = node("a")
    runs = [(above, trained(0.5, 30.0))]
    waiting = [node("b", above=above), node("c")]
    assert left.of_study(waiting, runs, 1) == pytest.approx(150, rel=0.01)
    assert left.of_study(waiting, runs, 2) == pytest.approx(90, rel=0.01)  # c beside a, then b beside c
    assert left.of_study([], [], 2) == 0


def test_a_run_of_unknown_length_counts_like_the_others():
    left = time_left(a=60.0, b=None)
    assert left.of_run(node("b")) is None
    assert left.of_study([node("a"), node("b")], [], 1) == 120
    assert left.of_study([node("b")], [], 1) is None
    assert left.of_run(node("b"), trained(0.5, 10.0)) == pytest.approx(10, rel=0.01)
