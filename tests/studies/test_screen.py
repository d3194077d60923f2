"""Test what a running study shows, on terminals of 60 and 80 columns and in a file."""

import io
from dataclasses import asdict

import pytest
from rich.console import Console

from backbones.common.files import write_json, write_text
from tests.helpers.finished import finish
from tests.helpers.graph import DEMO
from tools.engine.launching.events import DONE, EARLIER, FAILED, SKIPPED, STOPPED_RUN
from tools.engine.launching.gains import GainsSoFar
from tools.engine.launching.screen import Screen
from tools.engine.run_folder import PROGRESS, Progress
from tools.engine.studies.graph import rows_of
from tools.engine.studies.study import load_study


class FixedEstimates:
    """Estimate a minute for each run, and keep what was learnt and for which runs the study was last estimated."""

    def __init__(self):
        self.learnt, self.waiting = {}, []

    def finished(self, node, seconds: float) -> None:
        self.learnt[node.key] = seconds

    def of_run(self, node, progress=None) -> float:
        return 60.0 * (1 - (progress.part if progress else 0))

    def of_study(self, waiting, running, jobs: int) -> float:
        self.waiting = [node.name for node in waiting]
        return 60.0 * len(waiting) + sum(self.of_run(*pair) for pair in running)


@pytest.fixture
def show(tmp_path, monkeypatch):
    """Return a function that gives a screen of the demo, its runs by name, and a function that returns what was printed."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DATA_ROOT", str(tmp_path / "nowhere"))

    def make(width: int = 80, terminal: bool = True, seeds: int = 1) -> tuple[Screen, dict, io.StringIO]:
        study = load_study(DEMO, "toy", ["scratch", "b_standard", "smooth"], seeds)
        console = Console(file=io.StringIO(), width=width, height=40, force_terminal=terminal, color_system=None)
        screen = Screen(study, rows_of(study), FixedEstimates(), console=console)
        return screen, {node.name: node for node in screen.nodes.values()}, console.file

    return make


def note(node, progress: Progress) -> None:
    node.folder.mkdir(parents=True, exist_ok=True)
    write_json(node.folder / PROGRESS, asdict(progress))


def drawn(screen: Screen) -> list[str]:
    """Return the lines of a screen's table."""
    with screen.console.capture() as capture:
        screen.console.print(screen.table())
    return [line.rstrip() for line in capture.get().splitlines()]


@pytest.mark.parametrize("width", [60, 80])
def test_the_table_has_the_runs_their_figures_and_the_time_left(show, width):
    screen, nodes, _ = show(width)
    rows = ("classification b_standard", "segmentation scratch", "detection scratch")
    first, second, third = (nodes[f"{row} seed 0"] for row in rows)
    note(first, Progress("train", 1312, 4800, 0, 4800, loss=2.31449, images_per_second=1234.5))
    note(second, Progress("test", 3, 10, 480, 480, loss=0.5, images_per_second=55.1))
    finish([third])
    screen.started(first)
    screen.started(second)
    screen.started(nodes["classification smooth seed 0"])
    screen.ended(third, DONE)
    head, bar, headings, *lines = drawn(screen)
    assert head.startswith("demo at scale toy: 1 of 8 runs done") and head.endswith("6 min left") and len(head) == width
    assert headings.split() == ["run", "iteration", "loss", "img/s", "left"]
    assert lines[0].split()[-5:] == ["1312/4800", "2.314", "1234", "44", "s"]
    assert lines[1].split()[-4:] == ["test", "3/10", "2", "s"] and lines[2].split()[-3:] == ["starting", "60", "s"]
    assert all(len(line) <= width for line in (head, bar, headings, *lines)) and len(lines) == 3
    names = {80: (first.name, second.name), 60: ("cla. b_standard seed 0", "seg. scratch seed 0")}[width]
    assert lines[0].startswith(f"{names[0]}  ") and lines[1].startswith(f"{names[1]}  ")


@pytest.mark.parametrize("width", [60, 80])
def test_a_result_has_its_gain_and_a_failure_its_whole_path_in_a_line(show, width):
    screen, nodes, out = show(width)
    reference, smooth = (nodes[f"detection {name} seed 0"] for name in ("b_standard", "smooth"))
    finish([reference], 30.0)
    screen.ended(reference, DONE)
    finish([smooth], 48.25)
    screen.ended(smooth, DONE)
    screen.ended(nodes["classification smooth seed 0"], FAILED)
    lines = out.getvalue().splitlines()
    assert lines[0].startswith("[1/8] detection b_standard seed 0: 30 s, mAP 30.00") and max(map(len, lines)) <= width
    assert "      smooth over b_standard: +18.25 mAP (n=1)" in lines
    log = str(nodes["classification smooth seed 0"].log)
    assert any(line.split()[-1] == log for line in lines) and len(log) > 20
    assert screen.estimates.learnt == {reference.key: 30.0, smooth.key: 30.0}


def test_a_line_that_must_be_copied_is_not_broken(show):
    screen, _, out = show(60)
    command = "use --executor slurm to continue with them, or `scancel 1000 1001 1002 1003 1004 1005` to end them [x]"
    screen.log(command)
    assert out.getvalue() == f"{command}\n"


def test_a_file_gets_one_line_for_each_event_and_nothing_is_drawn_again(show):
    screen, nodes, out = show(width=40, terminal=False)
    with screen:
        node, other = nodes["segmentation scratch seed 0"], nodes["classification b_standard seed 0"]
        screen.started(node)
        for done in range(5):
            note(node, Progress("train", done, 10, 0, 10, loss=1.0))
            screen.watch(node)
        finish([node], 20.0)
        screen.ended(node, DONE)
        screen.started(other)
        write_text(other.log, "no room\n")
        screen.ended(other, FAILED)
        screen.ended(nodes["detection b_standard seed 0"], SKIPPED)
    assert out.getvalue().splitlines() == [
        "demo at scale toy: 8 runs, 0 done, 8 to do, about 8 min",
        f"[0/8] segmentation scratch seed 0: started ({node.folder}); about 8 min left",
        "[1/8] segmentation scratch seed 0: 30 s, pixAcc 20.00, mIoU 20.00, mAcc 20.00; about 7 min left",
        f"[1/8] classification b_standard seed 0: started ({other.folder}); about 7 min left",
        f"[1/8] classification b_standard seed 0: failed, see {other.log}; about 4 min left",
        "[1/8] detection b_standard seed 0: skipped because upstream run classification b_standard seed 0 has not finished; "
        "about 4 min left",
    ]


def test_what_rests_on_a_failed_run_is_no_longer_waited_for(show):
    screen, nodes, _ = show()
    screen.ended(nodes["classification smooth seed 0"], FAILED)
    screen.left()
    assert len(screen.estimates.waiting) == 5 and not any("smooth" in name for name in screen.estimates.waiting)


def test_runs_that_were_done_before_are_counted_and_not_listed(show, tmp_path):
    study = load_study(DEMO, "toy", ["scratch"])
    finish(rows_of(study))
    screen, nodes, out = show(terminal=False)
    with screen:
        screen.ended(nodes["detection scratch seed 0"], EARLIER)
        finish([nodes["classification smooth seed 0"]])  # by another process, meanwhile
        screen.ended(nodes["classification smooth seed 0"], EARLIER)
    first, second = out.getvalue().splitlines()
    assert first.startswith("demo at scale toy: 8 runs, 2 done, 6 to do")
    assert second.startswith(f"[3/8] classification smooth seed 0: done earlier ({nodes['classification smooth seed 0'].folder})")


def test_a_stopped_run_says_where_it_goes_on(show):
    screen, nodes, out = show()
    node = nodes["segmentation scratch seed 0"]
    note(node, Progress("train", 7, 10, 7, 10, stopped=True))
    screen.watch(node)
    screen.ended(node, STOPPED_RUN)
    assert "segmentation scratch seed 0: saved at update 7 of 10; the same command goes on" in " ".join(out.getvalue().split())
    assert len(drawn(screen)) == 2  # no run goes on


# ---- gains


def gains_of(study, node) -> list[str]:
    return list(GainsSoFar(rows_of(study), study.file.reference).of(node))


@pytest.fixture
def detectors(tmp_path, monkeypatch):
    """Return a study and its detectors by recipe and seed."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DATA_ROOT", str(tmp_path / "nowhere"))
    study = load_study(DEMO, "toy", ["scratch", "b_standard", "smooth"], seeds=2)
    return study, {(node.recipe, node.options.seed): node for node in rows_of(study) if node.task == "detection"}


def test_a_gain_is_the_mean_difference_over_the_seeds_of_which_both_runs_are_done(detectors):
    study, nodes = detectors
    finish([nodes["smooth", 0]], 45.0)
    assert gains_of(study, nodes["smooth", 0]) == []
    finish([nodes["b_standard", 0]], 40.0)
    assert gains_of(study, nodes["b_standard", 0]) == ["smooth over b_standard: +5.00 mAP (n=1)"]
    finish([nodes["smooth", 1]], 51.0)  # 52 with its seed
    assert gains_of(study, nodes["smooth", 1]) == []
    finish([nodes["b_standard", 1]], 42.0)  # 43 with its seed
    assert gains_of(study, nodes["b_standard", 1]) == ["smooth over b_standard: +7.00 mAP (n=2)"]
    finish([nodes["scratch", 1]], 40.0)
    assert gains_of(study, nodes["scratch", 1]) == ["scratch over b_standard: -2.00 mAP (n=1)"]


def test_a_run_that_diverged_has_no_gain(detectors):
    study, nodes = detectors
    finish([nodes["b_standard", 0]], 40.0, status="diverged", metrics={})
    finish([nodes["smooth", 0]], 45.0)
    assert gains_of(study, nodes["smooth", 0]) == [] and gains_of(study, nodes["b_standard", 0]) == []
