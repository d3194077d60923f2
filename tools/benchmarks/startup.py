"""Stage ``startup``: how soon the command line answers, and what a run of a study costs beside its training."""

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

NODES, NEW = 20, 6  # runs that are forked, and in a Python of their own
ANSWERS = {  # command lines, and the seconds hoped for
    "tools/study.py --help": 1.0,
    "tools/train.py --help": 1.0,
    "tools/report.py --help": 1.0,
    "tools/study.py plan configs/studies/table8.py --scale toy": 2.0,
    "tools/study.py status configs/studies/table8.py --scale toy": 2.0,
}
CONFIGS = {  # of each task the config, and what makes it a run of one update
    "classification": ("configs/classification/resnet50_toy.py", {"epochs": 1}),
    "detection": ("configs/detection/faster_rcnn_fpn_toy.py", {"protocol.length.epochs": 1}),
    "segmentation": ("configs/segmentation/fcn_toy.py", {"protocol.length.epochs": 1}),
}


def comparisons(settings: Settings) -> Iterator[dict]:
    yield answers(settings)
    yield nodes(settings)


def answers(settings: Settings) -> dict:
    """Seconds of wall time of whole command lines, each run once before it counts; the plans are those of a fresh work folder."""
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for line, aim in ANSWERS.items():
            words = [sys.executable, *(str(ROOT / word) if "/" in word else word for word in line.split())]
            taken = [seconds(lambda words=words: called(words, folder)) for _ in range(1 + settings.rounds)]
            rows.append([line, *spread(taken[1:]).values(), f"<= {aim:g} s", taken[0]])
    notes = [
        "The first time a plan asks torch for threads, device and the size of networks. These are kept in the user's cache until "
        "the networks' code, a library, the machine's start, its cores or a variable that torch reads is another.",
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
    """Seconds of wall time of whole runs of one update and a test of a few images: forked, as in a study, and in a new Python."""
    from tools.engine.launching import fork_server as warm
    from tools.engine.toy_data.writer import ToySizes, make_toy

    before, (few, fewer) = Path.cwd(), (8, 2)
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        try:
            sizes = ToySizes(2, 1, voc_train=few, voc_val=fewer, voc_test=fewer, ade_training=few, ade_validation=fewer)
            make_toy(Path("data/toy"), sizes=sizes, processes=1)
            new = [one(number) for number in range(NEW)]  # before the process that forks is there
            warm.start()
            first = one(NODES)[1]  # waits for it
            forked = [one(number) for number in range(NODES)]
        finally:
            os.chdir(before)
    rows = []
    for how, found in (("forked", forked), ("a new Python", new)):
        for task in (*CONFIGS, "all"):
            own = [taken for name, taken in found if task in (name, "all")]
            rows.append([task, how, len(own), *spread(own).values()])
    notes = [
        "Whole runs, from the launcher's call until the record is there: one update and a test of a few images are in them.",
        f"aim: <= 3 s. The process that forks took {max(first - median(t for _, t in forked), 0):.1f} s to be ready; a study "
        "starts it before it looks at its own files.",
    ]
    columns = ["task", "how", "runs", "median s", "least", "most"]
    return {"name": f"{NODES} runs of one update", "columns": columns, "rows": rows, "notes": notes}


def one(number: int) -> tuple[str, float]:
    """Runs a node of one update as a study does; its task, and the seconds.

    Raises:
        ValueError: it failed; with the end of its log.
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
    taken = seconds(lambda: run_node(node, lambda *_: None))
    if not node.record:
        raise ValueError(f"A run of {task} failed: {node.failure.read_text()}")
    return task, taken
