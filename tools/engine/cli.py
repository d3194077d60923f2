"""Run a script of tools/: errors that a user can fix end in one sentence and exit status 2."""

import argparse
import errno
import os
import sys
from collections.abc import Callable

# OpenMP reads this when torch is loaded: idle threads that spin cost more than they save when loader workers or another run
# need the same cores (two runs on two cores took ten times as long).
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
LINE_ENDS = {ord("\n"): "\\n", ord("\r"): "\\r"}  # in a name that an error quotes
DISK = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM)  # full, over a limit, read-only


class HelpFormatter(argparse.ArgumentDefaultsHelpFormatter, argparse.RawDescriptionHelpFormatter):
    """Keep the line breaks of a description, and show the default of each option that has a value by default."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        has_value = action.default not in (None, [], {}) and action.default is not False
        return super()._get_help_string(action) if has_value else action.help


def main(function: Callable[[], int | None]) -> None:
    """Run ``function`` and exit with 0 or what it returns, 2 after a ValueError or a failed write, or 130 after Ctrl-C.

    A failed write is an OSError in ``DISK``. Other errors pass, with their traceback.
    """
    try:
        status = function() or 0
    except ValueError as error:
        print(f"error: {sentence(error).translate(LINE_ENDS)}", file=sys.stderr)
        status = 2
    except OSError as error:
        if error.errno not in DISK:
            raise
        place = error.filename or "a file of the run"
        print(
            f"error: {place} cannot be written ({error.strerror}). Make room or fix its permissions, then run this again.",
            file=sys.stderr,
        )
        status = 2
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        status = 130
    sys.exit(status)


def sentence(error: BaseException) -> str:
    """Return the message of an error, without the traceback that a data loader's worker puts before it."""
    lines = [line for line in str(error).strip().splitlines() if line.strip()]
    if len(lines) > 1 and lines[0].startswith("Caught "):
        return lines[-1].removeprefix("ValueError: ")
    return str(error)
