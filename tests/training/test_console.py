"""Test what a run shows on the console, and that everything else goes to its log."""

import fcntl
import io
import logging
import os
import struct
import subprocess
import sys
import tempfile
import termios
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest

from tools.engine import console as module
from tools.engine.console import SHOWN, RunConsole, facts_of, run_console
from tools.engine.run_folder import LOG, Progress

TRAINING = Progress("train", 312, 480, 0, 480, seconds=60.0, loss=2.31449, images_per_second=55.123)


@contextmanager
def output_of(capfd) -> Iterator[list[str]]:
    """Yield a list that has the lines of this process's output, of both descriptors, after the block."""
    lines: list[str] = []
    with capfd.disabled(), tempfile.TemporaryFile("w+") as file:  # else Python's output would not pass through the descriptors
        saved = [os.dup(1), os.dup(2)]
        try:
            for descriptor in (1, 2):
                os.dup2(file.fileno(), descriptor)
            yield lines
        finally:
            sys.stdout.flush()
            for descriptor, before in zip((1, 2), saved, strict=True):
                os.dup2(before, descriptor)
                os.close(before)
        file.seek(0)
        lines += file.read().splitlines()


def waiting_in(terminal: int) -> str:
    """Return what was written to a pseudo-terminal and not read yet."""
    os.set_blocking(terminal, False)
    text = b""
    with suppress(BlockingIOError):
        while part := os.read(terminal, 1 << 16):
            text += part
    return text.decode()


def test_all_output_but_what_is_said_goes_to_the_log(tmp_path, capfd):
    (tmp_path / LOG).write_text("of an earlier start\n")
    with output_of(capfd) as out:
        with run_console(tmp_path) as console:
            print("of Python")
            os.write(2, b"of a library in C\n")
            console.say("network")
            console.keep_log(tmp_path / LOG)
            subprocess.run([sys.executable, "-c", "print('of a child')"], check=True)
            console.say("folder")
        print("after it")
    assert out == ["network", "folder", "after it"]
    assert (tmp_path / LOG).read_text() == "of an earlier start\nof Python\nof a library in C\nof a child\n"


def test_an_error_ends_the_redirection(tmp_path, capfd):
    with output_of(capfd) as out:
        with pytest.raises(KeyError), run_console(tmp_path):
            print("of a library")
            raise KeyError
        print("error: the data is missing", file=sys.stderr)
    assert out == ["error: the data is missing"] and not (tmp_path / LOG).exists()


def test_a_run_of_a_launcher_says_all_in_the_log_that_its_output_goes_to(tmp_path):
    log = tmp_path / LOG
    code = f"""
import pathlib, sys
sys.path[:0] = [{os.getcwd()!r}]
from tools.engine.console import run_console
from tools.engine.run_folder import Progress
with run_console(pathlib.Path({str(tmp_path)!r})) as console:
    print("of a library")
    console.say("network")
    console.show(Progress("train", 1, 2, 0, 2))
"""
    with open(log, "a") as out:
        subprocess.run([sys.executable, "-c", code], stdout=out, stderr=out, check=True)
    assert log.read_text() == "of a library\nnetwork\n"


def test_only_the_first_process_of_a_run_says_anything(tmp_path, capfd):
    with output_of(capfd) as out, run_console(tmp_path, rank=1) as console:
        console.say("network")
        console.show(TRAINING)
    assert out == []


def test_only_messages_for_the_console_are_shown():
    logger, out = logging.Logger("of a run"), io.StringIO()
    RunConsole(out, True, log=object()).listen(logger)
    logger.warning("of a library")
    logger.warning("%d images were skipped", 3, extra=SHOWN)
    assert out.getvalue() == "3 images were skipped\n"


def test_a_run_goes_on_when_nobody_reads_its_console():
    reading, writing = os.pipe()
    os.close(reading)
    out = open(writing, "w")
    console = RunConsole(out, True)
    console.say("network")
    console.show(TRAINING)
    with pytest.raises(BrokenPipeError):
        out.close()


def test_progress_is_a_line_now_and_then_without_a_terminal(monkeypatch):
    out = io.StringIO()
    console = RunConsole(out, True)
    console.show(TRAINING)
    console.show(TRAINING)
    assert out.getvalue() == "iteration 312/480, loss 2.314, 55.12 images/s, 37 s left\n"
    monkeypatch.setattr(module, "EVERY", 0)
    console.show(Progress("test", 3, 10, 480, 480, seconds=70.0, loss=2.3))
    console.show(Progress("test", 3, 10, 0, 0, seconds=30.0))  # of tools/test.py
    assert out.getvalue().splitlines()[1:] == ["test batch 3/10, 3 s left", "test batch 3/10, 70 s left"]


def test_before_the_first_update_nothing_is_known_of_a_run():
    assert facts_of(Progress("train", 0, 480, 0, 480)) == ["iteration 0/480"]


@pytest.mark.parametrize("width", [60, 80])
def test_progress_is_one_bar_that_fits_a_terminal(width):
    reading, writing = os.openpty()
    fcntl.ioctl(writing, termios.TIOCSWINSZ, struct.pack("HHHH", 24, width, 0, 0))
    with open(writing, "w") as out:
        console = RunConsole(out, True)
        console.show(TRAINING)
        console.say("a warning with its path: " + "x" * 60 + "/log.txt")
        console.show(TRAINING)
        console.close()
        text = waiting_in(reading)
    os.close(reading)
    assert "iteration 312/480" in text and "loss 2.314  55.12 images/s  37 s left" in text
    assert "x" * 60 + "/log.txt\r\n" in text  # the terminal breaks it, and not we
    assert "\x1b[?25l" not in text.rpartition("\x1b[?25h")[2]  # the cursor is visible
