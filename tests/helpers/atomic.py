"""Fork a function that is killed."""

import os


def forked(function, *args) -> int:
    """Call ``function(*args)`` in a forked process and return its id."""
    pid = os.fork()
    if not pid:
        try:
            function(*args)
        finally:
            os._exit(1)
    return pid
