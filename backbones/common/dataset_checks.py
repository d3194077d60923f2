"""Check downloaded data: report findings, decode all files in several processes, and show the progress.

The check of a task compares folders and lists with the published ones, decodes everything through ``map_files``, and yields a
``Finding`` for each fault. This module does not load torch, so that the decoding workers start at once and stay small.
"""

import os
import signal
import threading
import time
import warnings
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing
from dataclasses import dataclass
from multiprocessing import get_context, parent_process
from pathlib import Path
from typing import NamedTuple, TypeVar

from PIL import Image, UnidentifiedImageError

from backbones.common.data_files import unlisted
from backbones.common.files import missing_folder
from backbones.common.images import LONGEST, DeepImage, SlenderImage, refuse_deep, refuse_slender

Answer = TypeVar("Answer")

MAGIC = (b"\xff\xd8", b"\x89PNG")  # how JPEG and PNG files begin
ARCHIVES = (".tar", ".tgz", ".gz", ".bz2", ".xz", ".zip", ".7z", ".rar")
FAULTS = {  # of an image: description and remedy
    "empty": ("empty files (0 bytes)", "unpack or copy them again"),
    "damaged": ("truncated or damaged images, which PIL cannot decode", "unpack or copy them again"),
    "foreign": ("files with an image's suffix that are no images", "replace them by the published ones, or remove what is not"),
    "deep": ("images of more than 8 bits a channel, which training refuses", "save them with 8 bits"),
    "large": ("images of more than 179 megapixels, which training refuses", "shrink them"),
    "slender": ("images too narrow for their length, which training refuses", "cut them, or leave them out"),
    "odd": ("folders, pipes, sockets or devices in the place of files", "remove them, or copy the files again"),
    "unreadable": ("files that cannot be read", "fix their permissions or links, or copy them again from a sound disk"),
}
CHUNK = 32  # files per task of a worker; Ctrl-C waits for these to finish
SAY_EVERY = 30.0  # seconds between lines of progress without a terminal


@dataclass(frozen=True)
class Finding:
    """Hold one line of the report.

    Args:
        text: what is wrong, where, and what to do.
        level: WRONG, note (worth knowing, but not wrong) or info.
        published: it is a difference from the published dataset, and no fault of a part of it or of other data in its layout.
    """

    text: str
    level: str = "WRONG"
    published: bool = False

    def __str__(self) -> str:
        return f"{self.level:5}  {self.text}"


@dataclass(frozen=True)
class Release:
    """Describe a published dataset for people who look for it.

    Args:
        folder: name of its folder below DATA_ROOT.
        title: its name.
        source: who publishes it, and the address.
        layout: its folders and counts in lines, in which DIR stands for its folder.
        check: yields the findings for a folder and a number of processes.
    """

    folder: str
    title: str
    source: str
    layout: str
    check: Callable[[Path, int], Iterator[Finding]]

    def lines(self, folder: str | Path) -> list[str]:
        """Return what ``folder`` should hold and where that comes from."""
        return [*self.layout.replace("DIR", str(folder)).splitlines(), "", f"It is published by {self.source}."]


class Look(NamedTuple):
    """Hold the facts of an image: PIL's format and mode, and (width, height); or its fault, one of FAULTS."""

    form: str = ""
    mode: str = ""
    size: tuple[int, int] = (0, 0)
    fault: str = ""


def inspect_image(path: str | Path, longest: int = LONGEST) -> Look:
    """Decode an image in full and convert it to RGB, as for training; it may be ``longest`` times as long as wide."""
    try:
        if not os.path.isfile(path) and os.path.exists(path):
            return Look(fault="odd")
        if not os.path.getsize(path):
            return Look(fault="empty")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about odd EXIF data and the like, which do not affect decoding
            with Image.open(path) as image:
                refuse_deep(image)
                refuse_slender(image, longest)
                image.convert("RGB")
                form = "JPEG" if image.format == "MPO" else image.format  # a camera's JPEG with a second image
                return Look(form, image.mode, image.size)
    except UnidentifiedImageError:
        with open(path, "rb") as file:
            return Look(fault="damaged" if file.read(8).startswith(MAGIC) else "foreign")
    except DeepImage:
        return Look(fault="deep")
    except SlenderImage:
        return Look(fault="slender")
    except Image.DecompressionBombError:
        return Look(fault="large")
    except Exception as error:  # damaged files make PIL raise any error; only errors of the system have a number
        return Look(fault="unreadable" if getattr(error, "errno", None) else "damaged")


def refuse_root(root: Path, workers: int, holds: str) -> None:
    """Raise ValueError unless ``root`` is a folder and ``workers`` is positive; ``holds`` describes the expected content."""
    if workers < 1:
        raise ValueError(f"The number of workers is {workers}: give 1 or more.")
    if os.path.isfile(root):
        raise ValueError(f"{root} is a file; give the folder that holds {holds}, unpacked.")
    if not os.path.isdir(root):
        raise ValueError(missing_folder(root, holds))


def entries(folder: Path) -> tuple[list[str], list[str]]:
    """Return the folders and the files in ``folder``, sorted; links count as their targets.

    Raises:
        ValueError: the folder cannot be listed.
    """
    _, folders, files = next(os.walk(folder, onerror=_refuse_listing))
    return sorted(folders), sorted(files)


def _refuse_listing(error: OSError) -> None:
    """Raise ValueError for a folder that cannot be listed, as ``onerror`` of os.walk, which would skip it."""
    raise unlisted(error.filename, error) from None


def archives(folder: Path, beside: str) -> Iterator[Finding]:
    """Yield a note if ``folder`` holds archives beside the data unpacked from them."""
    names = [name for name in entries(folder)[1] if os.path.splitext(name)[1].lower() in ARCHIVES]
    if names:
        yield Finding(f"archives beside {beside}: {first_names(names)}; nothing reads them once they are unpacked.", "note")


def map_files(
    work: Callable[[list[str]], list[Answer]], names: list[str], workers: int, what: str
) -> Iterator[tuple[str, Answer]]:
    """Yield (name, answer of ``work``) for all names in order, and show the progress on standard error.

    Args:
        work: returns an answer for each name of a list. It runs in the workers, so it must be a function of a module, or a
            partial of one.
        names: of the files.
        workers: number of processes; with 1, or few names, this process does the work.
        what: name of the part of the dataset, for messages.

    Close the iterator (``contextlib.closing``) unless it is read to the end: that stops the workers.

    Raises:
        ValueError: a worker died.
    """
    with closing(_watch(_chunks(work, names, workers, what), what, len(names))) as chunks:
        for chunk in chunks:
            yield from chunk


def _chunks(work: Callable, names: list[str], workers: int, what: str) -> Iterator[list[tuple[str, Answer]]]:
    """Yield the results of ``map_files`` in chunks, with only a few chunks in progress at once."""
    chunks = (names[i : i + CHUNK] for i in range(0, len(names), CHUNK))
    if workers == 1 or len(names) <= CHUNK:
        for chunk in chunks:
            yield list(zip(chunk, work(chunk), strict=True))
        return
    waiting: deque = deque()
    # Spawn, do not fork: the progress bar has a thread, and a fork of a process with threads can hang.
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
    """Ignore Ctrl-C in a worker: it reaches every process of the terminal, and the main one stops the workers.

    A worker ends with the main process, even if that is killed.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_main, name="end with main", daemon=True).start()


def _end_with_main() -> None:
    if main := parent_process():
        main.join()
        os._exit(1)  # the queue of work, which this process itself holds open, never ends


def _watch(chunks: Iterator[list], what: str, total: int) -> Iterator[list]:
    """Pass chunks on and show the progress on standard error: a bar on a terminal, otherwise a line every ``SAY_EVERY``."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    done, start = 0, time.monotonic()
    last_line = start
    with closing(chunks), Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(f"decoding {what}", total=total)
        for chunk in chunks:
            yield chunk
            done += len(chunk)
            bar.update(task, completed=done)
            now = time.monotonic()
            if not console.is_terminal and now - last_line >= SAY_EVERY:
                last_line, remaining = now, (now - start) / done * (total - done)
                line = f"{what}: {done:,} of {total:,} images decoded, about {remaining / 60:.0f} min left"
                console.print(line, highlight=False, soft_wrap=True)


def first_names(names: Iterable[str], limit: int = 5) -> str:
    """Return the first names and the number of further ones, on one line; empty without names."""
    names = list(names)
    text = ", ".join(os.fsencode(name).decode(errors="replace") for name in names[:limit])
    return f"{text} and {len(names) - limit:,} more" if len(names) > limit else text


def listed(counts: Counter) -> str:
    """Return counts as text, the most frequent first: 'RGB 6, L (grey) 1'."""
    return ", ".join(f"{name}{' (grey)' if name == 'L' else ''} {count:,}" for name, count in counts.most_common())
