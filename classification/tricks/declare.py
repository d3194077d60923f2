"""Declare what a trick sets, what it excludes, and what it gained in the paper."""

import json
from collections.abc import Callable
from functools import cache
from typing import Literal, NamedTuple

from backbones.common.project import CONFIGS

PUBLISHED = CONFIGS / "studies/published.json"


class Gain(NamedTuple):
    """Name two cells of one of the paper's tables.

    Args:
        table: name of the table in ``published.json``, such as 'table6'.
        own: (row, column) of the trick's score.
        over: (row, column) of the score that it is compared with.
    """

    table: str
    own: tuple[str, str]
    over: tuple[str, str]

    @property
    def points(self) -> float:
        """Return the gain in points of top-1, to the two decimals that the paper prints."""
        return round(cell(self.table, *self.own) - cell(self.table, *self.over), 2)


def cell(table: str, row: str, column: str) -> float:
    """Return a published number; raise KeyError or ValueError if the paper has no such row or column."""
    content = published()[table]
    return content["rows"][row][content["columns"].index(column)]


@cache
def published() -> dict:
    """Read tables 1 to 9 of the paper."""
    return json.loads(PUBLISHED.read_text())


def trick(
    sets: tuple[str, ...],
    gain: Gain | None = None,
    group: str = "",
    stage: Literal["values", "derived"] = "values",
    follows: tuple[str, ...] = (),
) -> Callable:
    """Mark a function of the catalogue.

    Args:
        sets: the config keys (dotted; a key stands for all below it) that the trick may change, and no others.
        gain: the gain that the paper reports; None for a trick that is not the paper's.
        group: the thing that tricks of this group set; they exclude each other.
        stage: 'values' if the trick edits the values of a config, or 'derived' if it edits keys that are derived from these, such
            as the schedule.
        follows: the other keys of a resolved config that change with the trick, because they are derived from a value it sets.
    """

    def mark(function: Callable) -> Callable:
        function.sets, function.gain, function.group = sets, gain, group
        function.stage, function.follows = stage, follows
        return function

    return mark
