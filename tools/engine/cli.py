"""Parse the command line of a script of tools/ and run it: errors that a user can fix end in one sentence and exit status 2."""

import argparse
import codecs
import errno
import io
import logging
import os
import re
import select
import sys
import textwrap
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import groupby
from locale import getpreferredencoding
from pathlib import Path

from backbones.common.files import MissingData
from backbones.common.project import CONFIGS, ROOT, VERSION

# OpenMP reads this when torch is loaded: idle threads that spin cost more than they save when loader workers or another run
# need the same cores (two runs on two cores took ten times as long).
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
LINE_ENDS = {ord("\n"): "\\n", ord("\r"): "\\r"}  # in a name that an error quotes
DISK = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM)  # full, over a limit, read-only
MARGIN = 2  # columns that argparse leaves free at the right
COMPLETING = "_ARGCOMPLETE"  # environment variable that is set while a shell completes a command line
CLOSED_PIPE = 141  # exit status after the reader of the output has gone, as a shell gives it for SIGPIPE


class HelpFormatter(argparse.ArgumentDefaultsHelpFormatter, argparse.RawDescriptionHelpFormatter):
    """Fit a help text to the terminal, and show the default of each option that has a value by default.

    Indented lines of a description, such as commands, stay as they are.
    """

    def _format_usage(self, *args) -> str:
        """Return the usage; lines below the name of the program begin further left if they would not fit beside it."""
        usage = super()._format_usage(*args)
        fits = all(len(line) <= self._width + MARGIN for line in usage.splitlines())
        return usage if fits else re.sub("^ +", "    ", usage, flags=re.MULTILINE)

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        lines: list[str] = []
        for stays, group in groupby(text.strip().splitlines(), key=lambda line: not line or line[0] == " "):
            block = list(group)
            lines += block if stays else textwrap.wrap(" ".join(block), width, break_on_hyphens=False)
        return "\n".join(f"{indent}{line}" for line in lines)

    def _get_help_string(self, action: argparse.Action) -> str | None:
        has_value = action.default not in (None, [], {}, argparse.SUPPRESS) and action.default is not False
        return super()._get_help_string(action) if has_value else action.help


class CommandParser(argparse.ArgumentParser):
    """Parse the command line of a script, or of one of its commands: with ``--version``, and a help that fits the terminal."""

    def __init__(self, **options):
        super().__init__(**{"formatter_class": HelpFormatter} | options)
        version = f"TrickTransfer {VERSION} in {ROOT}"
        self.add_argument("--version", action="version", version=version, help="show the version and its folder, and exit")

    def parse_args(self, args=None, namespace=None):
        self.complete()
        return super().parse_args(args, namespace)

    def complete(self) -> None:
        """Answer a shell that completes a command line, if one asks, and exit."""
        if COMPLETING in os.environ:
            import argcomplete  # installed where a shell asks

            argcomplete.autocomplete(self)


def main(function: Callable[[], int | None]) -> None:
    """Run ``function`` and exit with 0 or what it returns, 2 after a ValueError or a failed write, or 130 after Ctrl-C.

    A failed write is an OSError in ``DISK``. If the reader of the output has gone, as in ``| head -1``, end with 141 and no word.
    Other errors pass, with their traceback.
    """
    use_utf8()
    logging.raiseExceptions = False  # a log line that cannot be written is lost, and the run goes on
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a letter that the terminal's encoding lacks is shown as a question mark
    try:
        status = _status_of(function)
    except BrokenPipeError:
        if not _reader_left():
            raise
        status = CLOSED_PIPE
    finally:
        _flush()
    sys.exit(status)


def _status_of(function: Callable[[], int | None]) -> int:
    """Return the exit status of ``function``; print errors that a user can fix."""
    try:
        if not CONFIGS.is_dir():
            raise ValueError(
                "TrickTransfer is used from a clone of its repository, whose configs/ it reads, and not from an installed copy: "
                "clone it and run make setup there, or pip install -e ."
            )
        return function() or 0
    except ValueError as error:
        print(f"error: {sentence(error).translate(LINE_ENDS)}", file=sys.stderr)
        for line in error.lines if isinstance(error, MissingData) else ():
            print(f"  {line}".rstrip(), file=sys.stderr)
        return 2
    except OSError as error:
        if error.errno not in DISK:
            raise
        place = error.filename or "a file of the run"
        print(
            f"error: {place} cannot be written ({error.strerror}). Make room or fix its permissions, then run this again.",
            file=sys.stderr,
        )
        return 2
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return 130


def use_utf8() -> None:
    """Start this script anew in Python's UTF-8 mode if the locale has another encoding.

    All files of this project are UTF-8, those that libraries open too. The output keeps the encoding of the locale.
    """
    script = Path(getattr(sys.modules["__main__"], "__file__", None) or ".").resolve()
    is_ours = script.parent == ROOT / "tools"  # not a test, for example, that calls a script's function
    is_utf8 = sys.flags.utf8_mode or codecs.lookup(getpreferredencoding(False)).name == "utf-8"
    if not is_ours or is_utf8 or os.environ.get("PYTHONUTF8") == "1":
        return
    os.environ["PYTHONUTF8"] = "1"
    if sys.stdout:
        os.environ["PYTHONIOENCODING"] = f"{sys.stdout.encoding}:replace"
    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])


def _reader_left() -> bool:
    """Return whether what read the output or the errors of this process, such as ``head``, has ended."""
    poll = select.poll()
    for stream in (1, 2):
        poll.register(stream, 0)
    return any(event & select.POLLERR for _, event in poll.poll(0))


def _flush() -> None:
    """Write out what is buffered, so that the interpreter's end finds nothing that it could complain about."""
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream and not stream.closed:
                stream.flush()
        except OSError:  # the reader has gone, or the disk is full
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def sentence(error: BaseException) -> str:
    """Return the message of an error, without the traceback that a data loader's worker puts before it."""
    lines = [line for line in str(error).strip().splitlines() if line.strip()]
    if len(lines) > 1 and lines[0].startswith("Caught "):
        return lines[-1].removeprefix("ValueError: ")
    return str(error)


@contextmanager
def explained() -> Iterator[None]:
    """Turn whatever an object that a config describes raises while it is built or first used into a ValueError."""
    try:
        yield
    except Exception as error:
        raise start_error(error) from error


def start_error(error: Exception) -> Exception:
    """Return ``error`` itself if it is a sentence or of the system, else a ValueError that says what failed, and where."""
    of_system = isinstance(error, OSError) and error.errno in (*DISK, errno.EPIPE)
    lines = [line for line in str(error).splitlines() if line.strip()] or ["no message"]
    if of_system or (isinstance(error, ValueError) and lines[-1].rstrip().endswith(".")):
        return error
    message = lines[-1 if lines[0].startswith("Caught ") else 0]  # a data loader's worker puts its traceback before the message
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return ValueError(
        f"This config cannot be run: {type(error).__name__} in {Path(frame.filename).name}, line {frame.lineno}: {message:.300} "
        "Change the key or the override that this is about; tools/print_config.py shows the whole config."
    )
