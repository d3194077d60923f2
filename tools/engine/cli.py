"""What every script in tools/ shares: one sentence and exit status 2 for what a user can mend."""

import errno
import os
import sys
from collections.abc import Callable

# Read by OpenMP when torch is loaded: idle threads that spin cost more than they save where loader workers, or another run,
# want the same cores (two runs on two cores took ten times as long).
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
DISK = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM)  # full, over a limit, read-only


def main(function: Callable[[], int | None]) -> None:
    """Runs a script's ``function`` and exits: 0 (or what it returns), 2 after a ValueError or a full disk, 130 after Ctrl-C."""
    try:
        status = function() or 0
    except ValueError as error:
        print(f"error: {sentence(error)}", file=sys.stderr)
        status = 2
    except OSError as error:
        if error.errno not in DISK:
            raise
        place = error.filename or "a file of the run"
        print(
            f"error: {place} cannot be written ({error.strerror}); make room or mend its rights, then run this again.",
            file=sys.stderr,
        )
        status = 2
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        status = 130
    sys.exit(status)


def sentence(error: BaseException) -> str:
    """The message of an error; of one that a data loader's worker raised, without the worker's traceback."""
    lines = [line for line in str(error).strip().splitlines() if line.strip()]
    last = lines[-1] if lines else type(error).__name__
    return last.removeprefix("ValueError: ") if len(lines) > 1 and lines[0].startswith("Caught ") else str(error)
