"""Find the processes that a test has started, whoever has started them since."""

from pathlib import Path

MARK = "TRICKTRANSFER_TEST"  # environment variable of such processes, which those that they start inherit


def marked(mark: str) -> list[int]:
    """Return the ids of the living processes in whose environment the variable ``MARK`` is ``mark``."""
    pair, pids = f"{MARK}={mark}".encode(), []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            if pair in (path / "environ").read_bytes().split(b"\0"):  # empty once a process has ended
                pids.append(int(path.name))
        except OSError:
            continue
    return pids
