"""Run a study with fake runs."""

import sys

from tools.engine.launching.events import Events, outcome_line
from tools.engine.launching.local import Share, run_study
from tools.engine.studies.graph import nodes_of
from tools.engine.studies.study import load_study

DEMO = "configs/studies/demo.py"
FAKE = """
import json, os, pathlib, sys, time
folder = pathlib.Path(sys.argv[1])
folder.mkdir(parents=True, exist_ok=True)
tries = folder / "tries"
tries.write_text(tries.read_text() + "x" if tries.exists() else "x")
(folder / "env").write_text(json.dumps({k: os.environ.get(k) for k in ("CUDA_VISIBLE_DEVICES", "OMP_NUM_THREADS")}))
start = time.time()
time.sleep(1.0)
if len(tries.read_text()) <= int(sys.argv[2]):
    raise SystemExit("not yet")
record = dict(status="done", metrics={}, seconds=dict(total=1), start=start, end=time.time())
(folder / "record.json").write_text(json.dumps(record))
"""


class Lines(Events):
    """Keep the outcome of each run and each line about the study in ``lines``, and the names of started runs in ``begun``."""

    def __init__(self, lines: list[str]):
        self.lines = lines
        self.begun: list[str] = []

    def started(self, node) -> None:
        self.begun.append(node.name)

    def ended(self, node, outcome: str) -> None:
        self.log(f"{node.name}: {outcome_line(node, outcome)}")

    def log(self, line: str) -> None:
        self.lines.append(line)


def run_fakes(monkeypatch, failures=None, **options) -> tuple[list, list[str], list]:
    """Run a study whose runs only write a record; return its nodes, its log, and the nodes that failed."""
    study = load_study(DEMO, "toy", ["scratch", "b_standard", "smooth"])
    counts = failures or {}
    monkeypatch.setattr(
        "tools.engine.launching.local.command",
        lambda node: [sys.executable, "-c", FAKE, str(node.folder), str(counts.get(node.name, 0))],
    )
    lines = []
    failed = run_study(study, Lines(lines), Share(**options))
    return nodes_of(study), lines, failed
