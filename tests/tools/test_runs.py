"""Test the command that lists, shows and removes runs."""

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from backbones.common.project import ROOT, RUNS
from tests.helpers.inputs.calls import answer
from tools.engine.run_folder import locked
from tools.engine.runs.facts import all_runs, unused_runs
from tools.engine.runs.lines import in_columns

TEACHER, PRETRAINED, DETECTOR, LONELY = "aa0000000000", "bb0000000000", "cc0000000000", "dd0000000000"
FAILED, STOPPED, RUNNING = "ee0000000000", "ff0000000000", "ab0000000000"
METRICS = {"classification": {"top5": 90.0, "top1": 71.234}, "detection": {"mAP_area": 1.0, "mAP": 27.218}}


def make_run(key: str, task: str, upstream: str | None = None, finished: bool = True, tricks: tuple = ()) -> Path:
    """Write the files of a run that ``runs`` reads, and a large file beside them."""
    folder = RUNS / key
    folder.mkdir(parents=True)
    config = {"task": task, "scale": "toy", "network": "resnet50", "randomness": {"seed": 3}, "tricks": [[t, {}] for t in tricks]}
    (folder / "key.json").write_text(json.dumps({"config": config, "upstream": upstream}))
    (folder / "config.py").write_text("")
    (folder / "epoch_1.pth").write_bytes(b"0" * 1_000_000)
    if finished:
        record = {"status": "done", "key": key, "metrics": METRICS[task], "seed": 3, "task": task, "scale": "toy"}
        record |= {"network": "resnet50", "tricks": config["tricks"], "seconds": {"total": 61.0}, "remarks": ["A remark."]}
        (folder / "record.json").write_text(json.dumps(record))
    else:
        progress = {"phase": "train", "done": 4, "total": 10, "saved": 4, "updates": 10, "stopped": True, "pid": 1}
        (folder / "progress.json").write_text(json.dumps(progress))
    return folder


def make_table(study: str, runs: dict[str, str]) -> None:
    """Write a table that names runs with their recipes."""
    folder = Path("work_dirs") / study
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "results.csv").write_text("recipe,run\n" + "".join(f"{recipe},{run}\n" for run, recipe in runs.items()))


@pytest.fixture(autouse=True)
def work(tmp_path, monkeypatch):
    """Enter a folder with a run of each kind."""
    monkeypatch.chdir(tmp_path)
    make_run(TEACHER, "classification", tricks=("cosine",))
    make_run(PRETRAINED, "classification", TEACHER, tricks=("cosine", "distillation"))
    make_run(DETECTOR, "detection", PRETRAINED)
    make_run(LONELY, "detection", "scratch")
    (make_run(FAILED, "detection", "scratch", finished=False) / "failed.txt").write_text("No space left.")
    make_run(STOPPED, "detection", LONELY, finished=False)
    make_table("demo-toy", {DETECTOR: "smooth"})
    return tmp_path


def runs(*args: str):
    return answer("runs", args, {})


def test_the_list_has_a_line_for_each_run_and_totals():
    lines = runs("list").out.splitlines()
    assert lines[0].split() == ["key", "state", "metric", "age", "run"] and len(lines) == 8
    rows = {line.split()[0]: re.sub(r"\d+ (s|min) ", "0 s ", " ".join(line.split()[1:])) for line in lines[1:-1]}
    assert rows[DETECTOR] == "done mAP 27.22 0 s toy detection resnet50 smooth seed 3"
    assert rows[PRETRAINED] == "done top1 71.23 0 s toy classification resnet50 cosine+distillation seed 3"
    assert rows[STOPPED] == "stopped, 38 % 0 s toy detection resnet50 scratch seed 3"
    assert rows[FAILED] == "failed 0 s toy detection resnet50 scratch seed 3"
    assert lines[-1] == "6 runs (4 done, 1 stopped, 1 failed), 0.01 GB."


def test_the_list_takes_a_task_a_state_and_a_scale():
    assert runs("list", "--task", "classification").out.count("seed 3") == 2
    assert runs("list", "--state", "stopped").out.count("seed 3") == 1
    assert "runs in work_dirs/runs fits these options." in runs("list", "--scale", "paper").out


def test_the_last_run_to_change_comes_first():
    os.utime(RUNS / TEACHER / "record.json", (time.time() + 60,) * 2)
    os.utime(RUNS / LONELY / "record.json", (time.time() - 3 * 86400,) * 2)
    lines = runs("list", "--state", "done").out.splitlines()
    assert lines[1].startswith(TEACHER) and lines[4].startswith(LONELY) and " 3.0 days " in lines[4]


def test_a_damaged_record_is_listed_and_named():
    (RUNS / LONELY / "record.json").write_text("{")
    assert "1 unreadable" in runs("list").out
    assert "record.json is not JSON" in runs("show", "dd").out


def test_odd_files_of_one_run_or_study_do_not_stop_the_list():
    (RUNS / LONELY / "key.json").write_text('{"config": [1]}')
    Path("work_dirs/demo-toy/results.csv").write_bytes(b"recipe,run\n\0\xff," + DETECTOR.encode() + b"\n")
    assert (
        runs("list").status == 0 and runs("show", "dd").status == 0 and DETECTOR not in {r.key for r in unused_runs(all_runs())}
    )


def test_show_says_what_a_run_rests_on_and_what_rests_on_it():
    said = runs("show", "bb").out
    for line in (f"rests on  {TEACHER}", f"used by   {DETECTOR}", "tricks    cosine distillation", "seconds   61", "A remark."):
        assert line in said
    assert f"again     python tools/train.py work_dirs/runs/{PRETRAINED}/config.py" in said
    assert "tables    demo-toy" in runs("show", "cc").out


def test_what_no_table_and_no_kept_run_needs_is_unused():
    assert unused_runs(all_runs()) == []  # the stopped run rests on the one that no table names
    assert runs("rm", STOPPED, "--yes").status == 0
    assert [run.key for run in unused_runs(all_runs())] == [LONELY]
    make_table("demo-toy", {})
    assert {run.key for run in unused_runs(all_runs())} == {TEACHER, PRETRAINED, DETECTOR, LONELY}


def test_a_key_in_a_damaged_table_or_in_study_json_counts_as_named():
    make_table("demo-toy", {})
    Path("work_dirs/other-toy").mkdir()
    Path("work_dirs/other-toy/study.json").write_text(f'{{"tuning": ["{DETECTOR}"')
    assert {run.key for run in unused_runs(all_runs())} == set()


def test_removing_what_failed_leaves_the_rest():
    logs = Path("work_dirs/logs")
    logs.mkdir()
    (logs / f"{FAILED}.txt").touch()
    given = runs("rm", "--failed", "--yes")
    assert given.status == 0 and "Removed 1 run." in given.out
    assert not (RUNS / FAILED).exists() and list(logs.iterdir()) == [] and len(list(RUNS.iterdir())) == 5


def test_removing_says_what_it_breaks():
    said = runs("rm", "bb", "cc", "--yes").out
    assert f"{DETECTOR} is in the table of demo-toy." in said and "wrote the card" not in said
    assert not (RUNS / PRETRAINED).exists() and not (RUNS / DETECTOR).exists()
    assert f"{LONELY} wrote the card of {STOPPED}." in runs("rm", "dd", "--yes").out


def test_a_run_that_is_going_on_is_not_removed(work):
    code = "import sys; from pathlib import Path; from tools.engine.run_folder import locked\n"
    code += "with locked(Path(sys.argv[1])): print('held', flush=True); input()"
    line = [sys.executable, "-c", code, str(work / RUNS / STOPPED)]
    holder = subprocess.Popen(line, cwd=ROOT, stdin=-1, stdout=-1, text=True)
    assert holder.stdout.readline() == "held\n"
    given, unused = runs("rm", STOPPED, "--yes"), runs("rm", "--unused", "--yes")
    holder.communicate("\n")
    assert unused.status == 2 and f"1 run still going on ({STOPPED}), and a study names its runs only at its end" in unused.err
    assert given.status == 2 and "is being run by a process" in given.err and (RUNS / STOPPED).is_dir()


def test_nothing_is_removed_where_nobody_can_be_asked(monkeypatch):
    monkeypatch.setattr(sys, "stdin", open(os.devnull))
    given = runs("rm", "--failed")
    assert given.status == 2 and "give --yes" in given.err and (RUNS / FAILED).is_dir()


@pytest.mark.parametrize(("said", "status", "is_left"), [("y", 0, False), ("yes", 0, False), ("", 1, True), ("no", 1, True)])
def test_the_answer_to_the_question_decides(monkeypatch, said, status, is_left):
    monkeypatch.setattr("builtins.input", lambda question: said)
    monkeypatch.setattr(sys, "stdin", type("Terminal", (), {"isatty": lambda self: True})())
    given = runs("rm", "--failed")
    assert given.status == status and (RUNS / FAILED).is_dir() is is_left
    assert is_left is ("Nothing was removed." in given.out)


def test_a_folder_elsewhere_is_not_removed(work):
    outside = make_run("work_dirs_elsewhere", "detection").rename(work / "mine")
    given = runs("rm", str(outside), "--yes")
    assert given.status == 2 and "is no run of work_dirs/runs" in given.err and outside.is_dir()


def test_a_linked_run_loses_its_link_alone(work):
    (RUNS / LONELY).rename(work / "disk")
    (RUNS / LONELY).symlink_to(work / "disk")
    assert runs("rm", LONELY, "--yes").status == 0
    assert not (RUNS / LONELY).is_symlink() and (work / "disk/record.json").is_file()


def test_a_removed_run_can_be_run_again():
    runs("rm", LONELY, "--yes")
    (RUNS / LONELY).mkdir()
    with locked(RUNS / LONELY):
        pass


def test_runs_are_listed_without_torch_and_mmengine():
    code = "import sys; sys.argv = ['runs.py', 'list']; sys.path.insert(0, {root!r}); from tools.runs import runs\nruns()\n"
    code += "print(sorted({name.split('.')[0] for name in sys.modules} & {'torch', 'mmengine', 'mmdet', 'mmseg'}))"
    done = subprocess.run([sys.executable, "-c", code.replace("{root!r}", repr(str(ROOT)))], capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "[]", done.stderr


def test_a_table_fits_the_terminal_or_takes_two_lines_a_run():
    rows = [("0123456789ab", "done", "a long name of a run"), ("0123456789ac", "stopped, 40 %", "b")]
    assert in_columns(rows, ("key", "state", "run"), 80) == [
        "key           state          run",
        "0123456789ab  done           a long name of a run",
        "0123456789ac  stopped, 40 %  b",
    ]
    assert in_columns(rows, ("key", "state", "run"), 40)[2:6] == [
        "0123456789ab  done",
        "  a long name of a run",
        "0123456789ac  stopped, 40 %",
        "  b",
    ]
