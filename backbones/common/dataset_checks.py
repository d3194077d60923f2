"""What the checks of downloaded data share: findings, files decoded in full by several processes, and how far they are.

A task's check compares folders and lists with those published, then decodes everything through ``each``, and yields a
``Finding`` for whatever is wrong. Nothing here loads torch: the workers that decode start in a moment and stay small.
"""

import os
import signal
import time
import warnings
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple, TypeVar

from PIL import Image, UnidentifiedImageError

from backbones.common.files import missing_folder

Answer = TypeVar("Answer")

MAGIC = (b"\xff\xd8", b"\x89PNG")  # how JPEG and PNG files begin
ARCHIVES = (".tar", ".tgz", ".gz", ".bz2", ".xz", ".zip", ".7z", ".rar")
FAULTS = {  # of an image: what it is, and what mends it
    "empty": ("empty files (0 bytes)", "unpack or copy them again"),
    "damaged": ("truncated or damaged images, which PIL cannot decode", "unpack or copy them again"),
    "foreign": ("files with an image's suffix that are no images", "replace them by the published ones, or remove what is not"),
    "unreadable": ("files that cannot be read", "mend their rights or links, or copy them again from a sound disk"),
}
CHUNK = 32  # files a worker gets at a time: Ctrl-C waits for no more than these
SAY_EVERY = 30.0  # seconds between lines of progress where there is no terminal


@dataclass(frozen=True)
class Finding:
    """One line of the report; level is WRONG, note (worth knowing, though nothing is wrong) or info."""

    text: str
    level: str = "WRONG"

    def __str__(self) -> str:
        return f"{self.level:5}  {self.text}"


class Look(NamedTuple):
    """What an image is: PIL's format and mode, (width, height); or its fault, one of FAULTS."""

    form: str = ""
    mode: str = ""
    size: tuple[int, int] = (0, 0)
    fault: str = ""


def inspect_image(path: str | Path) -> Look:
    """Decodes an image in full and converts it to RGB, as for training."""
    try:
        if not os.path.getsize(path):
            return Look(fault="empty")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of odd EXIF data and the like, which do not keep an image from being read
            with Image.open(path) as image:
                image.convert("RGB")
                form = "JPEG" if image.format == "MPO" else image.format  # a camera's JPEG with a second picture
                return Look(form, image.mode, image.size)
    except UnidentifiedImageError:
        with open(path, "rb") as file:
            return Look(fault="damaged" if file.read(8).startswith(MAGIC) else "foreign")
    except Exception as error:  # damaged files make PIL raise anything; only the system's own errors have a number
        return Look(fault="unreadable" if getattr(error, "errno", None) else "damaged")


def refuse_root(root: Path, workers: int, holds: str) -> None:
    """Raises ValueError unless ``root`` is a folder and there is a worker; ``holds`` is what the folder should hold."""
    if workers < 1:
        raise ValueError(f"The number of workers is {workers}: give 1 or more.")
    if root.is_file():
        raise ValueError(f"{root} is a file; give the folder that holds {holds}, unpacked.")
    if not root.is_dir():
        raise ValueError(missing_folder(root, holds))


def entries(folder: Path) -> tuple[list[str], list[str]]:
    """The folders and the files in ``folder``, sorted; links count as what they lead to.

    Raises:
        ValueError: it cannot be listed.
    """
    _, folders, files = next(os.walk(folder, onerror=refuse_listing))
    return sorted(folders), sorted(files)


def refuse_listing(error: OSError) -> None:
    """For os.walk, which else passes over what it cannot list."""
    raise ValueError(f"The folder {error.filename} cannot be listed ({error.strerror}); mend that and check again.") from None


def archives(folder: Path, beside: str) -> Iterator[Finding]:
    """A note where archives lie in ``folder``, beside what was unpacked from them."""
    found = [name for name in entries(folder)[1] if os.path.splitext(name)[1].lower() in ARCHIVES]
    if found:
        yield Finding(f"archives beside {beside}: {first_names(found)}; nothing reads them once they are unpacked.", "note")


def map_files(
    work: Callable[[list[str]], list[Answer]], names: list[str], workers: int, what: str
) -> Iterator[tuple[str, Answer]]:
    """(name, what ``work`` says of it) for all names in order; shows on standard error how far that is.

    Args:
        work: gives an answer to each of a list of names. It runs in the workers, so it must be a function of a module, or a
            partial of one.
        names: for ``work``.
        workers: processes; with 1, or few names, this one does it.
        what: the part of the data set, for people.

    Close it where it is not read to the end (``contextlib.closing``): that ends the workers.

    Raises:
        ValueError: a worker died.
    """
    with closing(_watch(_chunks(work, names, workers, what), what, len(names))) as chunks:
        for chunk in chunks:
            yield from chunk


def _chunks(work: Callable, names: list[str], workers: int, what: str) -> Iterator[list[tuple[str, Answer]]]:
    """A chunk of ``each`` at a time; only a few are under way at once."""
    chunks = (names[i : i + CHUNK] for i in range(0, len(names), CHUNK))
    if workers == 1 or len(names) <= CHUNK:
        for chunk in chunks:
            yield list(zip(chunk, work(chunk), strict=True))
        return
    waiting: deque = deque()
    # Spawned, not forked: the bar has a thread, and a fork of a process with threads can hang.
    pool = ProcessPoolExecutor(workers, get_context("spawn"), _leave_interrupts)
    try:
        for chunk in chunks:
            waiting.append((chunk, pool.submit(work, chunk)))
            if len(waiting) > 4 * workers:
                done, future = waiting.popleft()
                yield list(zip(done, future.result(), strict=True))
        while waiting:
            done, future = waiting.popleft()
            yield list(zip(done, future.result(), strict=True))
    except BrokenProcessPool:
        raise ValueError(
            f"A worker died while it decoded images of {what} (out of memory?); try again with fewer --workers."
        ) from None
    finally:
        pool.shutdown(cancel_futures=True)


def _leave_interrupts() -> None:
    """In a worker: Ctrl-C reaches every process of the terminal, and the first one ends the others."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _watch(chunks: Iterator[list], what: str, total: int) -> Iterator[list]:
    """Passes chunks on and shows on standard error how far they are: a bar on a terminal, a line now and then elsewhere."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    done, start, said = 0, time.monotonic(), time.monotonic()
    with closing(chunks), Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(f"decoding {what}", total=total)
        for chunk in chunks:
            yield chunk
            done += len(chunk)
            bar.update(task, completed=done)
            now = time.monotonic()
            if not console.is_terminal and now - said >= SAY_EVERY:
                said, left = now, (now - start) / done * (total - done)
                line = f"{what}: {done:,} of {total:,} images decoded, about {left / 60:.0f} min left"
                console.print(line, highlight=False, soft_wrap=True)


def first_names(names: Iterable[str], limit: int = 5) -> str:
    """The first names and how many more there are, on one line; empty for none."""
    names = list(names)
    shown = [os.fsencode(name).decode(errors="replace") for name in names[:limit]]
    return ", ".join(shown) + (f" and {len(names) - limit:,} more" if len(names) > limit else "")


def listed(counts: Counter) -> str:
    """'RGB 6, L (grey) 1': the commonest first."""
    return ", ".join(f"{name}{' (grey)' if name == 'L' else ''} {count:,}" for name, count in counts.most_common())
