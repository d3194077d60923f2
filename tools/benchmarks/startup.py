"""Measure how soon the command line answers, and the overhead of a run of a study beside its training."""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median

from backbones.common.project import ROOT
from tools.benchmarks.rounds import Settings, spread

NODES, NEW = 20, 6  # number of forked runs, and of runs in a new Python
ANSWERS = {  # command line -> seconds aimed at
    "tools/study.py --help": 1.0,
    "tools/train.py --help": 1.0,
    "tools/report.py --help": 1.0,
    "tools/study.py plan configs/studies/table8.py --scale toy": 2.0,
    "tools/study.py status configs/studies/table8.py --scale toy": 2.0,
}
CONFIGS = {  # task -> its config, and the overrides that shorten it to one update
    "classification": ("configs/classification/resnet50_toy.py", {"epochs": 1}),
    "detection": ("configs/detection/faster_rcnn_fpn_toy.py", {"protocol.length.epochs": 1}),
    "segmentation": ("configs/segmentation/fcn_toy.py", {"protocol.length.epochs": 1}),
}


def comparisons(settings: Settings) -> Iterator[dict]:
    yield answers(settings)
    yield nodes(settings)


def answers(settings: Settings) -> dict:
    """Time whole command lines in seconds of wall time, each after one untimed run; the plans see an empty work folder."""
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for line, aim in ANSWERS.items():
            command = [sys.executable, *(str(ROOT / part) if "/" in part else part for part in line.split())]
            durations = [seconds(lambda command=command: called(command, folder)) for _ in range(1 + settings.rounds)]
            rows.append([line, *spread(durations[1:]).values(), f"<= {aim:g} s", durations[0]])
    notes = [
        "The first time a plan asks torch for threads, device and the size of networks. The user's cache keeps these until the "
        "networks' code, a library, the boot of the machine, its cores or a variable that torch reads changes.",
    ]
    return {
        "name": "seconds until a command line has answered",
        "columns": ["command", "median", "least", "most", "aim", "the first time"],
        "rows": rows,
        "notes": notes,
    }


def called(words: list[str], folder: str) -> None:
    subprocess.run(words, cwd=folder, check=True, capture_output=True)


def seconds(function: Callable[[], object]) -> float:
    started = time.perf_counter()
    function()
    return time.perf_counter() - started


def nodes(settings: Settings) -> dict:
    """Time whole runs of one update and a test of a few images in seconds: forked, as in a study, and in a new Python."""
    from tools.engine.launching import fork_server as warm
    from tools.engine.toy_data.writer import ToySizes, make_toy

    before = Path.cwd()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        try:
            sizes = ToySizes(2, 1, voc_train=8, voc_val=2, voc_test=2, ade_training=8, ade_validation=2)
            make_toy(Path("data/toy"), sizes=sizes, processes=1)
            fresh = [one(number) for number in range(NEW)]  # before the process that forks starts
            warm.start()
            first = one(NODES)[1]  # waits for that process
            forked = [one(number) for number in range(NODES)]
        finally:
            os.chdir(before)
    rows = []
    for how, runs in (("forked", forked), ("a new Python", fresh)):
        for task in (*CONFIGS, "all"):
            durations = [duration for name, duration in runs if task in (name, "all")]
            rows.append([task, how, len(durations), *spread(durations).values()])
    notes = [
        "Whole runs, from the launcher's call until the record is written, with one update and a test of a few images.",
        f"aim: <= 3 s. The process that forks took {max(first - median(t for _, t in forked), 0):.1f} s to be ready; a study "
        "starts it before it reads its own files.",
    ]
    columns = ["task", "how", "runs", "median s", "least", "most"]
    return {"name": f"{NODES} runs of one update", "columns": columns, "rows": rows, "notes": notes}


def one(number: int) -> tuple[str, float]:
    """Run a node of one update as a study does; return its task and the seconds.

    Raises:
        ValueError: the run failed. The message has the failure report.
    """
    from tools.engine.config import Options, RunKey, resolve
    from tools.engine.launching.local import run_node
    from tools.engine.studies.node import Node

    task = list(CONFIGS)[number % len(CONFIGS)]
    config, overrides = CONFIGS[task]
    backbone = None if task == "classification" else "scratch"
    options = Options(seed=number, overrides=overrides, backbone=backbone)
    key = RunKey(f"run-{number}-{time.time_ns()}", {})
    node = Node(key, "scratch", "", config, options, resolve(config, options))
    duration = seconds(lambda: run_node(node))
    if not node.record:
        raise ValueError(f"A run of {task} failed: {node.failure.read_text()}")
    return task, duration
