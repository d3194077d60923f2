"""Stop and kill a toy study at random moments for some minutes, and check that it ends in the undisturbed table each time.

python tests/soak.py --minutes 30

SIGTERM, SIGHUP, SIGINT and SIGKILL go to the launcher, to the training process or to all processes of the study. After each, no
process of the study may outlive its launcher by more than the time that it takes to save; those that do are counted as orphans.
"""

import argparse
import csv
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from tests.helpers.processes import MARK, marked  # noqa: E402
from tools.engine.run_folder import is_locked, read_progress  # noqa: E402
from tools.engine.stopping import STOPPED  # noqa: E402

STUDY = [sys.executable, ROOT / "tools/study.py", "run", ROOT / "configs/studies/demo.py", "--recipes", "b_standard", "scratch"]
SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
TARGETS = ("launcher", "trainer", "all")
SAVING = 30  # seconds that a run may take to save and end, and its loader workers to notice it


def start(folder: Path) -> subprocess.Popen:
    """Start the study in ``folder``, in a process group of its own."""
    folder.mkdir(exist_ok=True)
    with open(folder / "study.txt", "a") as out:
        env = os.environ | {MARK: str(folder)}
        return subprocess.Popen(
            list(map(str, STUDY)), cwd=folder, env=env, stdout=out, stderr=subprocess.STDOUT, start_new_session=True
        )


def table(folder: Path) -> list[tuple[str, ...]]:
    """Return the rows of the study's table without the seconds."""
    with open(folder / "work_dirs/demo-toy/results.csv") as file:
        return sorted((row["run"], row["metric"], row["value"]) for row in csv.DictReader(file) if row["metric"] != "seconds")


def trainer_of(folder: Path) -> int | None:
    """Return the id of a process that trains for the study in ``folder`` now; None if there is none."""
    for path in folder.glob("work_dirs/runs/*"):
        if is_locked(path) and (progress := read_progress(path)):
            return progress.pid
    return None


def disturb(launcher: subprocess.Popen, folder: Path, rng: random.Random) -> tuple[str, int]:
    """Send a signal to the launcher, to the training process, or to all; return what was done and the number of orphans."""
    number, target = rng.choice(SIGNALS), rng.choice(TARGETS)
    trainer = trainer_of(folder)
    if target == "all":
        for pid in marked(str(folder)):
            _send(pid, number)
    elif target == "trainer" and trainer:
        _send(trainer, number)
    else:
        target = "launcher"
        _send(launcher.pid, number)
    if target == "trainer":  # the launcher goes on with the other runs until it is stopped, or ends
        try:
            launcher.wait(rng.uniform(0, 5))
        except subprocess.TimeoutExpired:
            launcher.send_signal(signal.SIGTERM)
    launcher.wait()
    return f"{number.name} to {target}", _orphans(folder)


def _send(pid: int, number: signal.Signals) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        pass


def _orphans(folder: Path) -> int:
    """Return how many processes outlive their launcher by more than ``SAVING`` seconds, and end those."""
    end = time.time() + SAVING
    while (pids := marked(str(folder))) and time.time() < end:
        time.sleep(0.2)
    for pid in pids:
        print(f"orphan {pid}: {Path(f'/proc/{pid}/cmdline').read_bytes()!r}", flush=True)
        _send(pid, signal.SIGKILL)
    return len(pids)


def cycle(folder: Path, end: float, longest: float, rng: random.Random) -> tuple[list[str], int, int]:
    """Run the study in ``folder`` to its end, disturbed until ``end``; return the disturbances, the starts and the orphans."""
    disturbances, starts, orphans = [], 0, 0
    while True:
        launcher, starts = start(folder), starts + 1
        try:
            launcher.wait(rng.uniform(1, longest) if time.time() < end else None)
        except subprocess.TimeoutExpired:
            disturbance, count = disturb(launcher, folder, rng)
            disturbances.append(disturbance)
            orphans += count
            continue
        if launcher.returncode == 0:
            return disturbances, starts, orphans + _orphans(folder)
        if time.time() > end + 600 or launcher.returncode == STOPPED:
            raise SystemExit(f"The study does not end:\n{(folder / 'study.txt').read_text()[-3000:]}")


def soak(minutes: float, seed: int) -> int:
    """Disturb studies for some minutes; return 0 if every table equals the undisturbed one and nothing was left behind."""
    from tools.engine.toy_data.writer import ToySizes, make_toy

    sizes = ToySizes(6, 2, voc_train=12, voc_val=4, voc_test=9, ade_training=12, ade_validation=5)
    rng, kinds, starts, equal, cycles, orphans = random.Random(seed), Counter(), 0, 0, 0, 0
    with tempfile.TemporaryDirectory() as scratch:
        scratch = Path(scratch)
        make_toy(scratch / "data/toy", sizes=sizes, processes=1)
        os.environ["DATA_ROOT"] = str(scratch / "data")
        begun = time.time()
        if start(scratch / "whole").wait():
            print((scratch / "whole/study.txt").read_text()[-3000:])
            return 1
        expected, seconds = table(scratch / "whole"), time.time() - begun
        print(f"undisturbed: {seconds:.0f} s, {len(expected)} figures", flush=True)
        end = time.time() + 60 * minutes
        while time.time() < end or not cycles:
            cycles += 1
            disturbances, count, left = cycle(scratch / f"cycle{cycles}", end, max(30, seconds / 5), rng)
            is_equal = table(scratch / f"cycle{cycles}") == expected
            kinds.update(disturbances)
            starts, equal, orphans = starts + count, equal + is_equal, orphans + left
            outcome = f"table {'equal' if is_equal else 'DIFFERENT'}, {left} orphans"
            print(f"study {cycles}: {len(disturbances)} signals ({', '.join(disturbances)}), {outcome}", flush=True)
    print(f"{', '.join(f'{name} {number}' for name, number in sorted(kinds.items()))}")
    print(f"{kinds.total()} signals, {starts - cycles} starts again, {equal} of {cycles} tables equal, {orphans} orphans")
    return int(equal < cycles or orphans > 0)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=30, help="minutes of signals (default: 30)")
    parser.add_argument("--seed", type=int, default=0, help="random seed of the moments and signals (default: 0)")
    args = parser.parse_args()
    sys.exit(soak(args.minutes, args.seed))
