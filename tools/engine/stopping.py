"""Stop on a signal: which signals ask for it, what a second one does, and how a run learns that its launcher has died."""

import os
import signal
import threading
import time
from collections.abc import Callable

STOPPED = 75  # exit status of what a signal stopped and the same command continues; EX_TEMPFAIL of sysexits.h
ECHO = 2.0  # seconds within which a second signal counts as the first: a launcher passes on what its whole group has received
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
LAUNCHED = "TRICKTRANSFER_LAUNCHED"  # variable of a run whose launcher holds the other end of its standard input


class Stopped(SystemExit):
    """Report that a signal stopped the run; what it had saved stays."""


def _nothing() -> None:
    """Do nothing."""


class StopSignals:
    """Note the first signal that asks to stop; a second one ends the process at once.

    A hang-up that the parent process ignores, as under nohup, stays ignored. Only the main thread of a process can take signals;
    elsewhere this does nothing.

    Args:
        first: called at the first signal.
        last: called at a second signal, before the process ends.
    """

    def __init__(self, first: Callable[[], None] = _nothing, last: Callable[[], None] = _nothing):
        self.first, self.last = first, last
        self.time: float | None = None  # time.monotonic() of the first signal
        self.previous_handlers: dict = {}

    def __enter__(self) -> "StopSignals":
        if threading.current_thread() is threading.main_thread():
            for number in SIGNALS:
                if not (number == signal.SIGHUP and signal.getsignal(number) is signal.SIG_IGN):
                    self.previous_handlers[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, *_) -> None:
        """Restore the handlers from before."""
        for number, handler in self.previous_handlers.items():
            signal.signal(number, handler)
        self.previous_handlers = {}

    def _handle(self, number: int, frame) -> None:
        if self.time is None:
            self.time = time.monotonic()
            self.first()
        elif time.monotonic() - self.time > ECHO:
            self.last()
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)


def stop_now() -> None:
    """Raise ``Stopped``, as the first signal does where nothing has to be finished."""
    raise Stopped(STOPPED)


def stop_with_launcher() -> None:
    """Send this process SIGTERM once the launcher that started it has died, however it died.

    A run of a study reads the end of its standard input then. A process of torchrun gets another parent when torchrun dies.
    """
    if os.environ.get(LAUNCHED):
        stop_after(_input_ends)
    if "TORCHELASTIC_RUN_ID" in os.environ:
        stop_after(_parent_changes)


def stop_after(wait: Callable[[], object]) -> None:
    """Send this process SIGTERM once ``wait``, which is called in a thread of its own, returns."""

    def stop() -> None:
        wait()
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=stop, name="stop after", daemon=True).start()


def _input_ends() -> None:
    while os.read(0, 1024):
        pass


def _parent_changes() -> None:
    parent = os.getppid()
    while os.getppid() == parent:
        time.sleep(1)
