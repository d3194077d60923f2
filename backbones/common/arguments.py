"""Check numbers on a command line: types for argparse, which then names the option, the value and what is allowed."""

import argparse
import math
from collections.abc import Callable

MOST = 1024  # processes, threads, images and the like that one option may ask for
MOST_SEED = 2**32 - 1  # numpy's largest


def whole_number(least: int, most: int = MOST) -> Callable[[str], int]:
    """Return an argparse type: a whole number from ``least`` to ``most``."""

    def parse(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = least - 1
        if not least <= value <= most:
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from {least} to {most}")
        return value

    return parse


def positive_number(below: float = math.inf) -> Callable[[str], float]:
    """Return an argparse type: a number above 0 and below ``below``."""

    def parse(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not 0 < value < below:
            limit = "" if below == math.inf else f" and below {below:g}"
            raise argparse.ArgumentTypeError(f"{text!r} is not a number above 0{limit}")
        return value

    return parse
