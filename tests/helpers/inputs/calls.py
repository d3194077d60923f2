"""Call a tool in this process as a person calls it, and return its answer."""

import contextlib
import importlib
import io
import logging
import os
import signal
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

FUNCTIONS = {
    "import_backbone": "bring_in",
    "export_backbone": "export",
    "prepare_data": "prepare",
    "write_tricks_page": "write",
}  # where it is not the tool's name
SECONDS = 30  # an answer that takes longer counts as a hang
STARTED = "training has started"  # the answer of tools/train.py to an input that it accepts


class Hang(BaseException):
    """Say that a tool did not answer in time; no tool catches it."""


class Training(BaseException):
    """Say that a run was about to train, so that its input was accepted; no tool catches it."""


@dataclass(frozen=True)
class Answer:
    """Hold what a tool answered: its exit status (None after an escaped error), stdout and stderr."""

    status: int | None
    out: str
    err: str


def answer(tool: str, args: Sequence[str], variables: Mapping[str, str]) -> Answer:
    """Run a tool with ``args`` in the working folder, up to the first update of a training.

    ``variables`` are set in its environment.
    """
    module = importlib.import_module(f"tools.{tool}")
    from tools.engine.cli import main

    function = getattr(module, FUNCTIONS.get(tool, tool))
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), _as_a_process(tool, args, variables), _time_limit():
        try:
            main(function)
        except SystemExit as end:
            status = end.code
        except Training:
            status = 0
            print(STARTED)
        except Exception as error:
            import traceback

            status = None
            print("".join(traceback.format_exception(error)), file=sys.stderr)
    return Answer(status, out.getvalue(), err.getvalue())


@contextlib.contextmanager
def _as_a_process(tool: str, args: Sequence[str], variables: Mapping[str, str]) -> Iterator[None]:
    """Give the tool its command line, and stop it where it would train or fork."""
    from mmengine.runner import EpochBasedTrainLoop, IterBasedTrainLoop

    from tools.engine.launching import fork_server

    def train(*_):
        raise Training

    patches = (
        mock.patch.object(sys, "argv", [f"{tool}.py", *args]),
        mock.patch.object(sys, "path", list(sys.path)),
        mock.patch.object(logging, "raiseExceptions", False),  # MMEngine's logger outlives the stream of an earlier row
        mock.patch.object(EpochBasedTrainLoop, "run_epoch", train),
        mock.patch.object(IterBasedTrainLoop, "run_iter", train),
        mock.patch.object(fork_server, "start", lambda: None),
        mock.patch.dict(os.environ, variables),
    )
    with contextlib.ExitStack() as stack:
        for patch in patches:
            stack.enter_context(patch)
        yield


@contextlib.contextmanager
def _time_limit() -> Iterator[None]:
    def stop(*_):
        raise Hang(f"no answer within {SECONDS} seconds")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def snapshot(folder: Path) -> dict[str, tuple[int, int]]:
    """Return the files and folders below ``folder``, hidden ones too, with their sizes and times."""
    entries = {}
    for path in sorted(folder.rglob("*")):
        status = path.lstat()
        entries[str(path.relative_to(folder))] = (0, 0) if path.is_dir() else (status.st_size, status.st_mtime_ns)
    return entries
