"""Make a subset: choose, write in several processes, go on after an interruption, and put the complete folder in place."""

import os
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from typing import NamedTuple

import msgspec
from filelock import FileLock, Timeout

from backbones.common.data_files import oddity
from backbones.common.dataset_checks import map_files, refuse_root
from backbones.common.files import remove_parts, sync, write_text
from backbones.common.subsets import Choice, Layout, SubsetOptions, is_written
from tools.engine.subset.recipe import RECIPE, Recipe, read_recipe, refuse_other, versions, write_recipe

LOCK = ".lock"
MOST_FAULTS = 20  # that are listed


class Order(NamedTuple):
    """Hold what to make.

    Args:
        name: of the layout.
        layout: how to copy it.
        source, out: folders.
        options: what to take, and how small.
    """

    name: str
    layout: Layout
    source: Path
    out: Path
    options: SubsetOptions


class Outcome(NamedTuple):
    """Hold what was made: its recipe, the number of images that this call wrote, and seconds."""

    recipe: Recipe
    written: int
    seconds: float


def make(order: Order, workers: int) -> Outcome:
    """Make a subset, or go on with one that was interrupted; a complete one is left as it is.

    Until it is complete it lies in ``.NAME.unfinished`` beside ``out``. With more than one worker, a script that calls this
    function must guard its main code by ``if __name__ == "__main__"``.

    Raises:
        ValueError: the source cannot be used, ``out`` holds anything else, another process makes it, or images cannot be read.
    """
    start, out = time.monotonic(), Path(os.path.abspath(order.out))
    refuse_root(order.source, workers, order.layout.holds)
    _refuse_nested(order.source, out)
    recipe = _recipe(order, None)
    if complete := _complete(out, recipe):
        return Outcome(complete, 0, time.monotonic() - start)
    unfinished = out.with_name(f".{out.name}.unfinished")
    if begun := read_recipe(unfinished):
        refuse_other(begun, recipe, unfinished, f"finish that one with its options, or remove {unfinished}")
    choice = order.layout.choose(order.source, order.options)
    recipe = _recipe(order, choice)
    unfinished.mkdir(parents=True, exist_ok=True)
    with _locked(unfinished):
        if complete := _complete(out, recipe):  # another process was faster
            return Outcome(complete, 0, time.monotonic() - start)
        write_recipe(unfinished, recipe)
        _clean(unfinished, order.layout, choice)
        written = _write(order, choice, unfinished, workers)
        for path, text in choice.texts.items():
            write_text(unfinished / path, text)
        (unfinished / LOCK).unlink()
        os.replace(unfinished, os.path.realpath(out))
        sync(out.parent)
    return Outcome(recipe, written, time.monotonic() - start)


def _recipe(order: Order, choice: Choice | None) -> Recipe:
    above = read_recipe(order.source)
    return Recipe(
        layout=order.name,
        source=Path(os.path.abspath(order.source)).name,
        options=order.options,
        versions=versions(),
        chosen=choice.chosen if choice else {},
        available=choice.available if choice else {},
        source_recipe=msgspec.to_builtins(above) if above else None,
    )


def _refuse_nested(source: Path, out: Path) -> None:
    """Raise ValueError if the subset would lie in its source, or its source in it."""
    places = [Path(os.path.realpath(path)) for path in (source, out)]
    if places[0] == places[1] or places[0] in places[1].parents or places[1] in places[0].parents:
        raise ValueError(f"--out is {out}, and {source} is read: neither may lie in the other; give another --out.")


def _complete(out: Path, recipe: Recipe) -> Recipe | None:
    """Return the recipe of the complete subset in ``out``; None if nothing is there.

    Raises:
        ValueError: the folder holds anything else.
    """
    if not os.path.lexists(out) or (out.is_dir() and not any(out.iterdir())):
        return None
    there = read_recipe(out) if out.is_dir() else None
    if there is None:
        raise ValueError(f"{out} exists and is no subset (it has no {RECIPE}); give a new or empty folder with --out.")
    same_versions = msgspec.structs.replace(recipe, versions=there.versions)  # a newer Pillow does not make it incomplete
    refuse_other(there, same_versions, out, "give another --out, or remove that folder")
    return there


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold the lock of an unfinished subset; the system releases it when the process ends in any way.

    Raises:
        ValueError: another process holds it.
    """
    lock = FileLock(folder / LOCK, timeout=0)
    try:
        lock.acquire()
    except Timeout:
        raise ValueError(f"Another process is making {folder}; wait for it, or stop that one.") from None
    try:
        yield
    finally:
        lock.release()


def _clean(folder: Path, layout: Layout, choice: Choice) -> None:
    """Remove what an earlier process left half written, and files that are not chosen (any more)."""
    wanted = {file for name in choice.names for file in layout.files(name)} | {RECIPE, LOCK}
    for place, _, files in os.walk(folder, topdown=False):
        remove_parts(place)
        below = os.path.relpath(place, folder)
        for file in files:
            if os.path.normpath(os.path.join(below, file)) not in wanted:
                Path(place, file).unlink(missing_ok=True)
        if place != str(folder) and not os.listdir(place):
            os.rmdir(place)


def _write(order: Order, choice: Choice, target: Path, workers: int) -> int:
    """Write the chosen images that are not there yet, and return their number.

    Raises:
        ValueError: images cannot be used; each is named before.
    """
    source, layout = order.source, order.layout
    left = [name for name in choice.names if not is_written(source, target, layout.files(name))]
    work = partial(write_images, layout, source, target, order.options)
    faults = []
    with closing(map_files(work, left, workers, order.name)) as images:
        for _, fault in images:
            if fault:
                faults.append(fault)
                if len(faults) <= MOST_FAULTS:
                    print(fault, flush=True)
    if faults:
        raise ValueError(
            f"{len(faults):,} of the {len(choice.names):,} images cannot be used, such as: {faults[0]} All others are written: "
            "once those are replaced or taken out of the source, the same command goes on."
        )
    return len(left)


def write_images(layout: Layout, source: Path, target: Path, options: SubsetOptions, names: list[str]) -> list[str]:
    """Write images, and return for each what is wrong with it, in a sentence; empty if nothing is. Runs in the workers."""
    return [_fault(layout, source, target, options, name) for name in names]


def _fault(layout: Layout, source: Path, target: Path, options: SubsetOptions, name: str) -> str:
    for file in layout.files(name):
        if reason := oddity(source / file):
            return f"{source / file} cannot be read ({reason})."
    try:
        layout.write(source, target, name, options)
    except ValueError as error:
        return str(error)
    return ""
