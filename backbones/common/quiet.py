"""Imports that print nothing."""

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout


@contextmanager
def quiet() -> Iterator[None]:
    """Inside, what libraries print is not shown: mmdet and mmseg say of each optional part of theirs that it is not there."""
    with redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"mm(det|seg)\.")
        yield
