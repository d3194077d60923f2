"""Name the files in a run's folder, read them, and hold its lock."""

import json
import os
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from backbones.common.files import read_json

RUNS = Path("work_dirs/runs")
RECORD, PROGRESS, CONFIG, CONTENT, LOCK = "record.json", "progress.json", "config.py", "key.json", "lock"
LOG, FAILED = "log.txt", "failed.txt"  # the output of a run, and the end of the output if it failed
LOGS = "logs"  # beside the folder of all runs: the output of starts that made no folder
SKIPPED = "skipped.txt"  # a line for each time that --on-bad-image skip replaced a training image
CURVE = "curve.jsonl"  # the training curve
SHEET = "pictures.png"  # test images with the network's predictions


def read_record(folder: Path) -> dict | None:
    """Return the record in ``folder``, or None if the run has not finished."""
    path = Path(folder) / RECORD
    return read_json(path) if path.is_file() else None


def early_log(folder: Path) -> Path:
    """Return the log of a run that has no folder yet."""
    return folder.parent.parent / LOGS / f"{folder.name}.txt"


def log_of(folder: Path) -> Path:
    """Return the log of a run: in its folder, or ``early_log`` before the folder exists."""
    return folder / LOG if folder.is_dir() else early_log(folder)


def failure_of(folder: Path) -> Path:
    """Return the file with the last output of a run that failed."""
    return folder / FAILED if folder.is_dir() else early_log(folder).with_suffix(".failed.txt")


def open_log(folder: Path):
    """Open the log of a run for appending; overwrite the log of an earlier start that made no folder."""
    keep_log(folder)
    path = log_of(folder)
    path.parent.mkdir(parents=True, exist_ok=True)
    early_log(folder).with_suffix(".failed.txt").unlink(missing_ok=True)
    (folder / FAILED).unlink(missing_ok=True)
    return open(path, "a" if folder.is_dir() else "w")


def keep_log(folder: Path) -> None:
    """Move the log of a start into the run's folder if that exists; a process that writes to the log continues to do so."""
    early, log = early_log(folder), folder / LOG
    if not folder.is_dir() or not early.is_file():
        return
    if log.is_file():  # from an earlier start
        early.write_text(log.read_text(errors="replace") + early.read_text(errors="replace"))
    os.replace(early, log)


def put_log_out(folder: Path) -> None:
    """Move the log of a run out of its folder, which is about to be removed."""
    if (folder / LOG).is_file():
        early_log(folder).parent.mkdir(parents=True, exist_ok=True)
        os.replace(folder / LOG, early_log(folder))


@contextmanager
def locked(folder: Path, wait: float = 5.0):
    """Hold the lock of a run's folder; the system releases it when the process ends in any way.

    Args:
        folder: the run's folder.
        wait: seconds to wait for the lock, because ``is_locked`` takes it for a moment.

    Raises:
        ValueError: another process holds the lock.
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
    """Return whether a process is running this run."""
    if not (folder / LOCK).exists():
        return False
    try:
        with locked(folder, wait=0):
            return False
    except ValueError:
        return True


def skipped_images(folder: Path) -> list[str]:
    """Return a sentence about each image or mask that a run skipped, which names the file and the fault; sorted."""
    path = folder / SKIPPED
    return sorted(set(path.read_text().splitlines())) if path.is_file() else []


def read_curve(path: Path) -> list[dict]:
    """Return the lines of a run's curve.jsonl in order, or [] if there is no file; skip a line that a kill cut short."""
    if not Path(path).is_file():
        return []
    lines = []
    for text in Path(path).read_text().splitlines():
        try:
            lines.append(json.loads(text))
        except ValueError:
            continue
    return lines
