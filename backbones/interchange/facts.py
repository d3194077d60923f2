"""Check the facts of a card that a user states on import."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

LARGEST = 8192  # side of training images in pixels


def check_facts(given: Mapping[str, Any]) -> None:
    """Check the options of tools/import_backbone.py that describe the pretraining.

    Args:
        given: any of mean, std, input_size and top1; others pass.

    Raises:
        ValueError: one is out of its range, or of the range 0..1; names the option, the value and what to give.
    """
    for name, check in CHECKS.items():
        if name in given:
            check(given[name])


def _check_mean(values: Sequence[float]) -> None:
    if any(values) and all(0 <= value <= 1 for value in values):
        raise _of_one("--mean", values, "means")
    if not all(math.isfinite(value) and 0 <= value <= 255 for value in values):
        raise ValueError(f"--mean is {_text(values)}; give three numbers of 0..255.")


def _check_std(values: Sequence[float]) -> None:
    if not all(math.isfinite(value) and 0 < value <= 255 for value in values):
        raise ValueError(f"--std is {_text(values)}; give three numbers above 0 and up to 255.")
    if min(values) < 1 and max(values) <= 1:  # 1 1 1 is meant: the original ResNets only subtract the mean
        raise _of_one("--std", values, "deviations")


def _check_size(value: int) -> None:
    if not 1 <= value <= LARGEST:
        raise ValueError(f"--size is {value}; give the side of the training images in pixels, 1 to {LARGEST}.")


def _check_top1(value: float) -> None:
    if not math.isfinite(value) or not 0 <= value <= 100:
        raise ValueError(f"--top1 is {value}; give the accuracy in percent, 0 to 100.")
    if 0 < value < 1:
        raise ValueError(f"--top1 is {value} percent; if it is a fraction, give {round(100 * value, 4):g}.")


CHECKS: dict[str, Callable[[Any], None]] = {
    "mean": _check_mean,
    "std": _check_std,
    "input_size": _check_size,
    "top1": _check_top1,
}


def _of_one(option: str, values: Sequence[float], noun: str) -> ValueError:
    return ValueError(
        f"{option} is {_text(values)}, {noun} of pixels of 0..1, and a card has those of 0..255; give {option} "
        f"{_text([round(255 * value, 4) for value in values])}."
    )


def _text(values: Sequence[float]) -> str:
    return " ".join(f"{value:g}" for value in values)
