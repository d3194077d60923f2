"""Name the files in a run's folder, read them, and hold its lock."""

import fcntl
import json
import os
import re
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from math import isfinite
from pathlib import Path
from typing import Any, Literal

import msgspec
from filelock import FileLock, Timeout

from backbones.common import project
from backbones.common.files import read_json, write_json

RUNS, RECORD = project.RUNS, project.RECORD
PROGRESS, CONFIG, CONTENT, LOCK = "progress.json", "config.py", "key.json", "lock"
LOG, FAILED = "log.txt", "failed.txt"  # the output of a run, and the end of the output if it failed
LOGS = "logs"  # beside the folder of all runs: the output of starts that made no folder
SKIPPED = "skipped.txt"  # a line for each time that --on-bad-image skip replaced a training image
CURVE = "curve.jsonl"  # the training curve
SHEET = "pictures.png"  # test images with the network's predictions
CHECKPOINT = re.compile(r"(epoch|iter)_\d+\.pth")


Number = int | float
TABLE_FIELDS = ("metrics", "node", "task", "network", "split", "seed")


class Record(msgspec.Struct):
    """Declare the types of the fields of a record that are read; all but ``status`` may be missing."""

    status: Literal["done", "diverged"]
    key: str = ""
    metrics: dict[str, Number] = {}
    seconds: dict[str, Number] = {}
    node: str = ""
    task: str = ""
    network: str = ""
    split: str = ""
    per_image: str = ""
    seed: int = 0
    protocol: dict[str, Any] = {}
    machine: dict[str, Any] = {}
    backbone: str | None = None
    size: dict[str, Any] | None = None
    speed: dict[str, Any] | None = None
    certificate: dict[str, Any] | None = None
    epochs: Number | None = None
    peak_memory_gb: Number | None = None
    remarks: list[str] = []
    tricks: list[tuple[str, dict[str, Any]]] = []


def read_record(folder: Path) -> dict | None:
    """Return the record in ``folder``, or None if the run has not finished.

    Raises:
        ValueError: the file is no record of a run; names the file and what is wrong in it.
    """
    path = Path(folder) / RECORD
    if not path.is_file():
        return None
    record = _read_as(path, Record, "a run's record")
    for name, value in record.get("metrics", {}).items():
        if not isfinite(value):
            raise ValueError(f"{path} has metrics.{name}={value}, which is no finite number; bring the file back, or remove it.")
    return record


def note_stop(folder: Path) -> None:
    """Note in ``progress.json`` that a signal stopped the run, if it has trained."""
    if progress := read_progress(folder):
        write_json(folder / PROGRESS, asdict(replace(progress, stopped=True)))


def forget_stop(folder: Path) -> None:
    """Note in ``progress.json`` that the run is about to go on."""
    progress = read_progress(folder)
    if progress and progress.stopped:
        write_json(folder / PROGRESS, asdict(replace(progress, stopped=False)))


def missing_fields(record: dict) -> list[str]:
    """Return the fields that a record lacks and without which neither a table nor an estimate can use it."""
    paths = [name for name in TABLE_FIELDS if name not in record]
    paths += ["seconds.total"] if "total" not in record.get("seconds", {}) else []
    return paths + (["protocol.name"] if "name" not in record.get("protocol", {}) else [])


def read_content(folder: Path) -> dict | None:
    """Return what the key of the run in ``folder`` is the hash of, or None if it was not kept.

    Raises:
        ValueError: the file is not JSON, or holds no dict.
    """
    path = Path(folder) / CONTENT
    return _read_as(path, dict[str, Any], "the content of a run's key") if path.is_file() else None


def _read_as(path: Path, kind: Any, name: str) -> Any:
    """Return the content of a JSON file whose types are those of ``kind``."""
    try:
        content = read_json(path)
        msgspec.convert(content, kind)
    except OSError as error:
        raise ValueError(f"{path} cannot be read ({error.strerror}).") from None
    except msgspec.ValidationError as error:
        raise ValueError(f"{path} is not {name} ({error}); remove it, or bring the whole file back.") from None
    return content


@dataclass(frozen=True)
class Progress:
    """Hold how far a run is, as its process writes it about once a second.

    Args:
        phase: 'train' or 'test'.
        done, total: updates, or batches of the test.
        saved, updates: updates in the last checkpoint and in the whole run; 0 for a test without training.
        stopped: whether a signal stopped the run here.
        pid: the process.
        seconds: time that the run has taken so far, with its earlier starts.
        loss: mean of the last updates in this process; None before the first one.
        images_per_second: median pace of the last updates; None before the second one.
    """

    phase: Literal["train", "test"]
    done: int
    total: int
    saved: int
    updates: int
    stopped: bool = False
    pid: int = field(default_factory=os.getpid)
    seconds: float = 0.0
    loss: float | None = None
    images_per_second: float | None = None

    @property
    def part(self) -> float:
        """Return the part of the run that is done, 0..1; the test after training counts as the last twentieth."""
        part = self.done / max(self.total, 1)
        if not self.updates:
            return part
        return 0.95 * part if self.phase == "train" else 0.95 + 0.05 * part

    @property
    def whole(self) -> float | None:
        """Return the seconds that the whole run takes at its pace so far; None before its first update."""
        return self.seconds / self.part if self.part else None

    @property
    def saved_part(self) -> float:
        """Return the part of the run from which it goes on."""
        return 0.95 * self.saved / max(self.updates, 1)


def read_progress(folder: Path) -> Progress | None:
    """Return how far the run in ``folder`` is, or None if it has trained nothing, or if the file is damaged."""
    try:
        return msgspec.json.decode((Path(folder) / PROGRESS).read_bytes(), type=Progress)
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError):
        return None


def unfinished_state(folder: Path) -> str:
    """Return the state of a run without a record: 'running 40 %', 'failed', 'stopped, 40 %' or 'waiting'."""
    progress = read_progress(folder)
    if is_locked(folder):
        return f"running {100 * progress.part if progress else 0:.0f} %"
    if failure_of(folder).is_file():
        return "failed"
    return f"stopped, {100 * progress.saved_part:.0f} %" if progress else "waiting"


def refuse_missing_checkpoint(path: Path) -> None:
    """Raise ValueError, with the checkpoints of its folder, if there is no file ``path``."""
    if not path.is_file():
        names = ", ".join(sorted(other.name for other in path.parent.glob("*.pth"))) or "none"
        raise ValueError(f"There is no checkpoint {path}; in that folder: {names}.")


def checkpoints_in(folder: Path) -> list[Path]:
    """Return the checkpoints of a run, sorted by name: files that have the names which a run gives to its own."""
    return sorted(path for path in Path(folder).glob("*.pth") if CHECKPOINT.fullmatch(path.name) and path.is_file())


def refuse_odd(folder: Path) -> None:
    """Refuse a run's folder in which something other than a file stands where the run writes a file.

    Raises:
        ValueError: names the first one, such as a folder, a pipe, or a link that leads nowhere.
    """
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"{folder} is not a folder, so no run can write there; remove it or choose another --work-dir.")
    files = [folder / name for name in (RECORD, PROGRESS, CONFIG, CONTENT, LOCK, LOG, FAILED, SKIPPED, CURVE)]
    folders = [path for path in folder.glob("*.pth") if CHECKPOINT.fullmatch(path.name) and path.is_dir()]
    for path in (*files, *folders):  # anything else in place of a checkpoint is replaced by one
        if os.path.lexists(path) and not path.is_file():
            raise ValueError(f"{path} is not a file, so the run cannot write it; remove it.")


def early_log(folder: Path) -> Path:
    """Return the log of a run that has no folder yet."""
    return folder.parent.parent / LOGS / f"{folder.name}.txt"


def log_of(folder: Path) -> Path:
    """Return the log of a run: in its folder, or ``early_log`` before the folder exists."""
    return folder / LOG if folder.is_dir() else early_log(folder)


def failure_of(folder: Path) -> Path:
    """Return the file with the last output of a run that failed."""
    return folder / FAILED if folder.is_dir() else early_log(folder).with_suffix(".failed.txt")


def expected_key(folder: Path) -> Path:
    """Return the file with the content of the key that a launcher expects a run to have, until the run has started."""
    return early_log(folder).with_suffix(".json")


def expect_key(folder: Path, content: dict) -> None:
    """Write the content of the key of a run that is about to start, so that the run can say what differs."""
    write_json(expected_key(folder), content)


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
    with suppress(FileNotFoundError):  # the run and its launcher both do this, and the other one was faster
        if log.is_file():  # from an earlier start
            early.write_text(log.read_text(errors="replace") + early.read_text(errors="replace"))
        os.replace(early, log)


def put_log_out(folder: Path) -> None:
    """Move the log that a launcher has made out of the folder of its run, which is about to be removed."""
    if (folder / LOG).is_file() and early_log(folder).parent.is_dir():
        os.replace(folder / LOG, early_log(folder))


_held: dict[Path, tuple[int, int]] = {}  # device and inode of the lock of each folder that this process holds


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
    stat, place = (folder / LOCK).stat(), folder.absolute()
    _held[place] = stat.st_dev, stat.st_ino
    try:
        yield
    finally:
        del _held[place]
        lock.release()


def is_locked(folder: Path) -> bool:
    """Return whether a process is running this run.

    The lock is asked for as one of many readers, so that two who ask at once do not take each other for the run, and so that a
    folder may be read-only.
    """
    if not (folder / LOCK).is_file():
        return False
    try:
        with open(folder / LOCK, "rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:  # it was removed just now, or may not be read
        return False
    return False


def refuse_removed(folder: Path) -> None:
    """Refuse to go on with a run of this process whose folder was removed; writing would make it anew without its lock.

    Raises:
        ValueError: this process holds the lock of ``folder``, and the file that it locked is no longer there.
    """
    if held := _held.get(folder.absolute()):
        try:
            stat = (folder / LOCK).stat()
        except OSError:
            stat = None
        if not stat or (stat.st_dev, stat.st_ino) != held:
            raise ValueError(f"{folder} was removed while its run was going on, so the run has ended; start it again.")


def skipped_images(folder: Path) -> list[str]:
    """Return a sentence about each image or mask that a run skipped, which names the file and the fault; sorted."""
    path = folder / SKIPPED
    return sorted(set(path.read_text().splitlines())) if path.is_file() else []


def read_curve(path: Path) -> list[dict]:
    """Return the lines of a run's curve.jsonl in order, or [] if there is no file; skip a line that a kill cut short."""
    if not Path(path).is_file():
        return []
    lines = []
    for text in Path(path).read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            line = json.loads(text)
        except ValueError:
            continue
        if isinstance(line, dict) and isinstance(line.get("update"), int) and set(map(type, line.values())) <= {int, float}:
            lines.append(line)
    return lines
