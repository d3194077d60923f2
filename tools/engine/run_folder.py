"""Name the files in a run's folder, read them, and hold its lock."""

import json
import os
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from backbones.common.files import read_json

RUNS = Path("work_dirs/runs")
RECORD, PROGRESS, CONFIG, CONTENT, LOCK = "record.json", "progress.json", "config.py", "key.json", "lock"
LOG, FAILED = "log.txt", "failed.txt"  # the output of a run, and the end of it where the run failed
LOGS = "logs"  # beside the folder of all runs: the output of starts that made no folder
SKIPPED = "skipped.txt"  # a line for each time that --on-bad-image skip replaced a training image
CURVE = "curve.jsonl"  # the training curve
SHEET = "pictures.png"  # test images with what the network made of them


def read_record(folder: Path) -> dict | None:
    """The record in ``folder``, or None where the run has not finished."""
    path = Path(folder) / RECORD
    return read_json(path) if path.is_file() else None


def early_log(folder: Path) -> Path:
    """Return where the output of a run goes as long as it has no folder."""
    return folder.parent.parent / LOGS / f"{folder.name}.txt"


def log_of(folder: Path) -> Path:
    """Return where the output of a run goes: into its folder, and elsewhere as long as it has none."""
    return folder / LOG if folder.is_dir() else early_log(folder)


def failure_of(folder: Path) -> Path:
    """Return the file with the last words of a run that failed."""
    return folder / FAILED if folder.is_dir() else early_log(folder).with_suffix(".failed.txt")


def open_log(folder: Path):
    """Open the log of a run, to be added to; the log of a start that made no folder is begun anew."""
    keep_log(folder)
    path = log_of(folder)
    path.parent.mkdir(parents=True, exist_ok=True)
    early_log(folder).with_suffix(".failed.txt").unlink(missing_ok=True)
    (folder / FAILED).unlink(missing_ok=True)
    return open(path, "a" if folder.is_dir() else "w")


def keep_log(folder: Path) -> None:
    """Move the log of a start into the run's folder once that is there; what still writes to it goes on doing so."""
    early, log = early_log(folder), folder / LOG
    if not folder.is_dir() or not early.is_file():
        return
    if log.is_file():  # that of an earlier start
        early.write_text(log.read_text(errors="replace") + early.read_text(errors="replace"))
    os.replace(early, log)


def put_log_out(folder: Path) -> None:
    """Move the log of a run out of its folder, which is about to be removed."""
    if (folder / LOG).is_file():
        early_log(folder).parent.mkdir(parents=True, exist_ok=True)
        os.replace(folder / LOG, early_log(folder))


@contextmanager
def locked(folder: Path, wait: float = 5.0):
    """Holds a run's folder; the system lets go of it when the process ends, however it ends.

    ``wait``: seconds, since whoever asks ``is_locked`` holds it for a moment.

    Raises:
        ValueError: another process holds it.
    """
    lock = FileLock(folder / LOCK, timeout=wait)
    try:
        lock.acquire()
    except Timeout:
        raise ValueError(f"{folder} is being run by another process; wait for it, or stop that one.") from None
    try:
        yield
    finally:
        lock.release()


def is_locked(folder: Path) -> bool:
    """Whether a process is at this run."""
    if not (folder / LOCK).exists():
        return False
    try:
        with locked(folder, wait=0):
            return False
    except ValueError:
        return True


def skipped_images(folder: Path) -> list[str]:
    """What was wrong with each image or mask that a run left out, a sentence each that names the file, sorted."""
    path = folder / SKIPPED
    return sorted(set(path.read_text().splitlines())) if path.is_file() else []


def read_curve(path: Path) -> list[dict]:
    """The lines of a run's curve.jsonl, in order; none where there is no file. A line that a kill cut short is left out."""
    lines = []
    for text in Path(path).read_text().splitlines() if Path(path).is_file() else ():
        try:
            lines.append(json.loads(text))
        except ValueError:
            continue
    return lines
