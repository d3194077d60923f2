"""Kill and resume a toy study at random moments for some minutes, and check that it ends in the undisturbed table each time.

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
    """Start the study in ``folder``, in a process group of its own."""
    folder.mkdir(exist_ok=True)
    with open(folder / "study.txt", "a") as out:
        arguments = list(map(str, STUDY))
        return subprocess.Popen(arguments, cwd=folder, stdout=out, stderr=subprocess.STDOUT, start_new_session=True)


def table(folder: Path) -> list[tuple[str, ...]]:
    """Return the rows of the study's table without the seconds."""
    with open(folder / "work_dirs/demo-toy/results.csv") as file:
        return sorted((row["run"], row["metric"], row["value"]) for row in csv.DictReader(file) if row["metric"] != "seconds")


def trainer_of(folder: Path) -> int | None:
    """Return the id of the process that trains for the study in ``folder`` now; None if there is none."""
    for path in folder.glob("work_dirs/runs/*/lock"):
        if is_locked(path.parent):
            try:
                return json.loads((path.parent / "progress.json").read_text())["pid"]
            except (OSError, ValueError):
                return None
    return None


def disturb(launcher: subprocess.Popen, folder: Path, rng: random.Random) -> str:
    """Send a signal to the launcher, to the training process, or to all of them, and wait for the launcher's end."""
    number, target = rng.choice(SIGNALS), rng.choice(("launcher", "trainer", "all"))
    trainer = trainer_of(folder)
    if launcher.poll() is None:
        if target == "all":
            os.killpg(launcher.pid, number)
        elif target == "trainer" and trainer:
            os.kill(trainer, number)
        else:
            launcher.send_signal(number)
    if target == "trainer":  # the launcher goes on, or says that it failed
        if rng.random() < 0.5:
            launcher.send_signal(signal.SIGTERM)
    launcher.wait()
    return f"{number.name} to {target}"


def cycle(folder: Path, end: float, longest: float, rng: random.Random) -> tuple[list[str], int]:
    """Run the study in ``folder`` to its end, disturbed until ``end``; return the disturbances and the number of starts."""
    disturbances, starts = [], 0
    while True:
        launcher, starts = start(folder), starts + 1
        try:
            launcher.wait(rng.uniform(1, longest) if time.time() < end else None)
        except subprocess.TimeoutExpired:
            disturbances.append(disturb(launcher, folder, rng))
            continue
        if launcher.returncode == 0:
            return disturbances, starts
        if time.time() > end + 600:
            raise SystemExit(f"The study does not end:\n{(folder / 'study.txt').read_text()[-3000:]}")


def soak(minutes: float, seed: int) -> int:
    """Disturb studies for some minutes; return 0 if every table equals the undisturbed one."""
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
            disturbances, count = cycle(scratch / f"cycle{cycles}", end, max(30, seconds / 5), rng)
            is_equal = table(scratch / f"cycle{cycles}") == expected
            kills, starts, equal = kills + len(disturbances), starts + count, equal + is_equal
            outcome = "equal" if is_equal else "DIFFERENT"
            print(f"study {cycles}: {len(disturbances)} kills ({', '.join(disturbances)}), table {outcome}", flush=True)
    print(f"{kills} kills, {starts - cycles} resumes, {equal} of {cycles} tables equal to the undisturbed one")
    return int(equal < cycles)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=30, help="minutes of killing (default: 30)")
    parser.add_argument("--seed", type=int, default=0, help="random seed of the moments and signals (default: 0)")
    args = parser.parse_args()
    sys.exit(soak(args.minutes, args.seed))
