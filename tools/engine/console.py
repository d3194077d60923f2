"""Show one run on the console: a few lines, its progress and its warnings; all other output goes to a file."""

import logging
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from tools.engine.run_folder import Progress, log_of
from tools.engine.wording import duration, number

SHOWN = {"shown": True}  # ``extra`` of a log message that belongs on the console, too
EVERY = 30  # seconds between two lines of progress where the console is no terminal


class RunConsole:
    """Say what a run does, show how far it is, and keep all other output in a file; without ``out`` do nothing.

    Args:
        out: where lines go; None in a process whose output is not redirected, as in a test, or that is not the first of a run.
        shows_progress: False where ``out`` is the log of the run.
        log: what receives all other output; None if that is not redirected.
    """

    def __init__(self, out: IO[str] | None = None, shows_progress: bool = False, log: "RedirectedOutput | None" = None):
        self.out, self.shows_progress, self.log = out, shows_progress, log
        self.bar: Any = None
        self.last = -float("inf")  # time of the last line of progress

    def say(self, line: str) -> None:
        """Show a line. One that cannot be written, as when the reader of the output has gone, is lost."""
        if not self.out:
            return
        with suppress(OSError):
            if self.bar:
                self.bar.console.print(line, markup=False, highlight=False, soft_wrap=True)
            else:
                print(line, file=self.out, flush=True)

    def show(self, progress: Progress) -> None:
        """Show how far the run is: a bar on a terminal, else a line now and then."""
        if not (self.out and self.shows_progress):
            return
        done, *rest = facts_of(progress)
        with suppress(OSError):
            if self.out.isatty():
                self.bar = self.bar or new_bar(self.out)
                self.bar.update(0, completed=progress.part, done=done, rest="  ".join(rest), refresh=True)
            elif time.monotonic() - self.last >= EVERY:
                self.last = time.monotonic()
                print(", ".join((done, *rest)), file=self.out, flush=True)

    def listen(self, logger: logging.Logger) -> None:
        """Show those messages of ``logger`` that were logged with ``extra=SHOWN``."""
        if self.out and self.log:
            logger.addHandler(_ShownMessages(self))

    def keep_log(self, path: Path) -> None:
        """Append all other output to the file ``path``, with what was written so far."""
        if self.log:
            self.log.move(path)

    def close(self) -> None:
        """Remove the bar."""
        if self.bar:
            with suppress(OSError):
                self.bar.stop()
            self.bar = None


class _ShownMessages(logging.Handler):
    def __init__(self, console: RunConsole):
        super().__init__()
        self.console = console

    def emit(self, record: logging.LogRecord) -> None:
        if getattr(record, "shown", False):
            self.console.say(record.getMessage())


class RedirectedOutput:
    """Send the output of this process, of its libraries and of its children to a file; ``restore`` ends that.

    The file is a temporary one until ``move`` names another.
    """

    def __init__(self) -> None:
        self.file: IO[bytes] = tempfile.TemporaryFile()
        self.saved = [os.dup(1), os.dup(2)]
        self._send()

    def _send(self) -> None:
        _flush()
        for descriptor in (1, 2):
            os.dup2(self.file.fileno(), descriptor)

    def move(self, path: Path) -> None:
        """Append what was written so far, and all that follows, to the file ``path``."""
        _flush()
        written, self.file = self.file, open(path, "ab")
        written.seek(0)
        shutil.copyfileobj(written, self.file)
        self.file.flush()
        self._send()
        written.close()

    def restore(self) -> None:
        """Send the output of this process to where it went before."""
        _flush()
        for descriptor, before in zip((1, 2), self.saved, strict=True):
            os.dup2(before, descriptor)
            os.close(before)
        self.file.close()


@contextmanager
def run_console(folder: Path | None, rank: int = 0) -> Iterator[RunConsole]:
    """Yield the console of a run, and send all other output to a file within the block.

    A launcher has sent the output of its runs to their logs already. What such a run says goes there, too.

    Args:
        folder: the folder of the run; None if the run has none.
        rank: number of this process among those of the run; only the first one says anything.
    """
    if folder and _is_output(log_of(folder)):
        yield RunConsole(None if rank else sys.stdout)
        return
    log = RedirectedOutput()
    out = os.fdopen(os.dup(log.saved[0]), "w", encoding=sys.stdout.encoding, errors="replace")
    console = RunConsole(None if rank else out, True, log)
    try:
        yield console
    finally:
        console.close()
        log.restore()
        with suppress(OSError):  # the reader of the output has gone
            out.close()


def _is_output(path: Path) -> bool:
    """Return whether the standard output of this process goes to the file ``path``."""
    try:
        return os.path.samestat(os.fstat(1), path.stat())
    except OSError:
        return False


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):  # the reader has gone, or a test has closed it
            stream.flush()


def facts_of(progress: Progress) -> list[str]:
    """Return how far a run is, in words: its iteration or the batch of its test, loss, images/s and time left, if known."""
    place = "iteration" if progress.phase == "train" else "test batch"
    facts = [f"{place} {progress.done}/{progress.total}"]
    if progress.loss is not None and progress.phase == "train":
        facts.append(f"loss {number(progress.loss)}")
    if progress.images_per_second is not None and progress.phase == "train":
        facts.append(f"{number(progress.images_per_second)} images/s")
    if whole := progress.whole:
        facts.append(f"{duration((1 - progress.part) * whole)} left")
    return facts


def new_bar(out: IO[str]) -> Any:
    """Return a started bar on a terminal with the fields ``done`` and ``rest``.

    It has no thread of its own, which would compete with the training, and leaves the cursor visible, as a kill would leave it.
    """
    from rich.console import Console  # these here for load time
    from rich.progress import BarColumn, TextColumn
    from rich.progress import Progress as Bar

    columns = TextColumn("{task.fields[done]}"), BarColumn(bar_width=None), TextColumn("{task.fields[rest]}")
    console = Console(file=out, width=None if os.isatty(0) else os.get_terminal_size(out.fileno()).columns)
    options = dict(auto_refresh=False, transient=True, redirect_stdout=False, redirect_stderr=False, expand=True)
    bar = Bar(*columns, console=console, **options)
    bar.add_task("", total=1.0, done="", rest="")
    bar.start()
    console.show_cursor(True)
    return bar
