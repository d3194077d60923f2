"""Import libraries without their messages."""

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout


@contextmanager
def quiet() -> Iterator[None]:
    """Hide the output of libraries within the block: mmdet and mmseg report every optional dependency that is missing."""
    with redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"mm(det|seg)\.")
        yield
