"""Time ours against rivals in turns, so that a machine that slows down slows down all of them."""

import gc
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from statistics import median
from typing import Any


@dataclass
class Settings:
    """Hold the options of ``tools/benchmark.py``: timed ``rounds``, ``warm_ups`` before them, torch ``threads``."""

    rounds: int = 5
    warm_ups: int = 2
    threads: int = 1


@dataclass
class Contender:
    """Hold one of the sides compared: ``run()`` does the work of a round, which is ``units`` of the comparison's unit."""

    name: str
    run: Callable[[], Any]
    units: float = 1


@dataclass
class Comparison:
    """Hold ours and its rivals at one piece of work.

    Args:
        name: name of the work, as the table prints it.
        unit: unit of work, such as 'images'; the table shows units per second.
        contenders: the sides compared, ours first.
        aims: smallest ratio aimed at, by the name of the rival.
        equal: a line for each measure that was checked to be equal for all.
        notes: differences between the sides, and what else a reader should know.
    """

    name: str
    unit: str
    contenders: list[Contender]
    aims: dict[str, float] = field(default_factory=dict)
    equal: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def same(what: str, ours: float, theirs: float, tolerance: float = 0.0) -> str:
    """Check that a measure is equal for ours and a rival, and return a line for ``Comparison.equal``.

    Args:
        what: name of the measure.
        ours: its value for ours.
        theirs: its value for the rival.
        tolerance: largest relative difference, |ours - theirs| / |theirs|.

    Raises:
        ValueError: the values differ by more, so the times would not be comparable.
    """
    difference = abs(ours - theirs) / max(abs(theirs), 1e-12) if ours != theirs else 0.0
    if difference > tolerance:
        raise ValueError(f"The work is not equal: {what} is {ours:.10g} in ours and {theirs:.10g} in the rival's.")
    return f"{what} {theirs:.8g}" + (f" (within {difference:.1g})" if difference else "")


def measure(comparison: Comparison, settings: Settings, progress: Callable[[str], None] = lambda text: None) -> dict:
    """Time all contenders in turns, A B C A B C, and return the measurements as plain values.

    The ratio of a round is our rate over the rival's, in units per second: above 1 ours is faster. The result has its median,
    smallest and largest value over the rounds. Garbage is collected before each turn and not during it.
    """
    seconds: dict[str, list[float]] = {contender.name: [] for contender in comparison.contenders}
    for number in range(-settings.warm_ups, settings.rounds):
        for contender in comparison.contenders:
            turn = "warm-up" if number < 0 else f"round {number + 1} of {settings.rounds}"
            progress(f"{comparison.name}: {turn}, {contender.name}")
            duration = timed(contender.run)
            if number >= 0:
                seconds[contender.name].append(duration)
    rates = {c.name: [c.units / duration for duration in seconds[c.name]] for c in comparison.contenders}
    ours, *rivals = rates
    return {
        "name": comparison.name,
        "unit": comparison.unit,
        "rates": rates,
        "ratios": {name: spread(a / b for a, b in zip(rates[ours], rates[name], strict=True)) for name in rivals},
        "aims": comparison.aims,
        "equal": comparison.equal,
        "notes": comparison.notes,
    }


def timed(run: Callable[[], Any]) -> float:
    """Return the seconds of wall time of one call, including the work of the GPU."""
    gc.collect()
    gc.disable()
    try:
        wait_for_device()
        started = time.perf_counter()
        run()
        wait_for_device()
        return time.perf_counter() - started
    finally:
        gc.enable()


def wait_for_device() -> None:
    if (torch := sys.modules.get("torch")) and torch.cuda.is_available():
        torch.cuda.synchronize()


def spread(values: Iterable[float]) -> dict[str, float]:
    """Return median, minimum and maximum."""
    values = list(values)
    return {"median": median(values), "min": min(values), "max": max(values)}
