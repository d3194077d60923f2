"""Kills and resumes a toy study at random moments for some minutes; it must end in the undisturbed table each time.

python tests/soak.py --minutes 30
"""

import argparse
import csv
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from tools.engine.run_folder import is_locked  # noqa: E402

STUDY = [sys.executable, ROOT / "tools/study.py", "run", ROOT / "configs/studies/demo.py", "--recipes", "b_standard", "scratch"]
SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)


def start(folder: Path) -> subprocess.Popen:
    """The study in ``folder``, in a process group of its own."""
    folder.mkdir(exist_ok=True)
    with open(folder / "study.txt", "a") as out:
        words = list(map(str, STUDY))
        return subprocess.Popen(words, cwd=folder, stdout=out, stderr=subprocess.STDOUT, start_new_session=True)


def table(folder: Path) -> list[tuple[str, ...]]:
    """The rows of the study's table, but for the seconds."""
    with open(folder / "work_dirs/demo-toy/results.csv") as file:
        return sorted((row["run"], row["metric"], row["value"]) for row in csv.DictReader(file) if row["metric"] != "seconds")


def trainer_of(folder: Path) -> int | None:
    """The process that trains for the study in ``folder`` now; None where there is none."""
    for path in folder.glob("work_dirs/runs/*/lock"):
        if is_locked(path.parent):
            try:
                return json.loads((path.parent / "progress.json").read_text())["pid"]
            except (OSError, ValueError):
                return None
    return None


def disturb(launcher: subprocess.Popen, folder: Path, rng: random.Random) -> str:
    """Sends a signal to the launcher, to the process that trains, or to all of them, and waits for the launcher's end."""
    number, whom = rng.choice(SIGNALS), rng.choice(("launcher", "trainer", "all"))
    trainer = trainer_of(folder)
    if launcher.poll() is None:
        if whom == "all":
            os.killpg(launcher.pid, number)
        elif whom == "trainer" and trainer:
            os.kill(trainer, number)
        else:
            launcher.send_signal(number)
    if whom == "trainer":  # the launcher goes on, or says that it failed
        rng.random() < 0.5 and launcher.send_signal(signal.SIGTERM)
    launcher.wait()
    return f"{number.name} to {whom}"


def cycle(folder: Path, end: float, longest: float, rng: random.Random) -> tuple[list[str], int]:
    """Runs the study in ``folder`` to its end, disturbed until ``end``; what was done to it, and how often it was started."""
    done, starts = [], 0
    while True:
        launcher, starts = start(folder), starts + 1
        try:
            launcher.wait(rng.uniform(1, longest) if time.time() < end else None)
        except subprocess.TimeoutExpired:
            done.append(disturb(launcher, folder, rng))
            continue
        if launcher.returncode == 0:
            return done, starts
        if time.time() > end + 600:
            raise SystemExit(f"The study does not end:\n{(folder / 'study.txt').read_text()[-3000:]}")


def soak(minutes: float, seed: int) -> int:
    from tools.engine.toy_data.writer import ToySizes, make_toy

    sizes = ToySizes(6, 2, voc_train=12, voc_val=4, voc_test=9, ade_training=12, ade_validation=5)
    rng, kills, starts, equal, cycles = random.Random(seed), 0, 0, 0, 0
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
            done, count = cycle(scratch / f"cycle{cycles}", end, max(30, seconds / 5), rng)
            same = table(scratch / f"cycle{cycles}") == expected
            kills, starts, equal = kills + len(done), starts + count, equal + same
            print(f"study {cycles}: {len(done)} kills ({', '.join(done)}), table {'equal' if same else 'DIFFERENT'}", flush=True)
    print(f"{kills} kills, {starts - cycles} resumes, {equal} of {cycles} tables equal to the undisturbed one")
    return int(equal < cycles)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=30, help="of killing; 30")
    parser.add_argument("--seed", type=int, default=0, help="of the moments and signals; 0")
    args = parser.parse_args()
    sys.exit(soak(args.minutes, args.seed))
