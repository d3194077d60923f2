"""Timing of ours against rivals, in turns, so that a machine that slows down slows down all of them."""

import gc
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from statistics import median
from typing import Any


@dataclass
class Settings:
    """What the command line of ``tools/benchmark.py`` says: counted ``rounds``, ``warm_ups`` before them, threads of torch."""

    rounds: int = 5
    warm_ups: int = 2
    threads: int = 1


@dataclass
class Contender:
    """One of those that are compared: ``run()`` does the work of a round, which is ``units`` of the comparison's unit."""

    name: str
    run: Callable[[], Any]
    units: float = 1


@dataclass
class Comparison:
    """Ours and its rivals at one piece of work.

    Args:
        name: what is done, as the table prints it.
        unit: what is counted ('images'); its rate is shown per second.
        contenders: ours first.
        aims: the least ratio to hope for, by the name of the rival.
        equal: what was asserted to be the same for all, a few words each.
        notes: in what they differ, and what else a reader should know.
    """

    name: str
    unit: str
    contenders: list[Contender]
    aims: dict[str, float] = field(default_factory=dict)
    equal: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def same(what: str, ours: float, theirs: float, tolerance: float = 0.0) -> str:
    """Words for ``Comparison.equal``.

    ``tolerance``: the largest relative difference, |ours - theirs| / |theirs|.

    Raises:
        ValueError: they differ by more: their times would not be comparable.
    """
    difference = abs(ours - theirs) / max(abs(theirs), 1e-12) if ours != theirs else 0.0
    if difference > tolerance:
        raise ValueError(f"The work is not equal: {what} is {ours:.10g} in ours and {theirs:.10g} in the rival's.")
    return f"{what} {theirs:.8g}" + (f" (within {difference:.1g})" if difference else "")


def measure(comparison: Comparison, settings: Settings, progress: Callable[[str], None] = lambda text: None) -> dict:
    """Times all contenders in turns, A B C A B C, and returns what was seen as plain values.

    The ratio of a round is ours over the rival's, in units a second, so more than 1 where ours is faster; its median, least and
    largest over the rounds are given. Garbage is collected before each turn and left alone within it.
    """
    seconds: dict[str, list[float]] = {contender.name: [] for contender in comparison.contenders}
    for number in range(-settings.warm_ups, settings.rounds):
        for contender in comparison.contenders:
            word = "warm-up" if number < 0 else f"round {number + 1} of {settings.rounds}"
            progress(f"{comparison.name}: {word}, {contender.name}")
            taken = timed(contender.run)
            if number >= 0:
                seconds[contender.name].append(taken)
    rates = {c.name: [c.units / taken for taken in seconds[c.name]] for c in comparison.contenders}
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
    """Seconds of wall time of one call; where there is a GPU, until it has finished."""
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
    """Median, least and largest."""
    values = list(values)
    return {"median": median(values), "min": min(values), "max": max(values)}
