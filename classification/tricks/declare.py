"""How a trick says what it sets, what it excludes, and what the paper gained by it."""

import json
from collections.abc import Callable
from functools import cache
from typing import Literal, NamedTuple

from backbones.common.project import CONFIGS

PUBLISHED = CONFIGS / "studies/published.json"


class Gain(NamedTuple):
    """Two cells of one of the paper's tables, (row, column) each: what the trick scored, and what it is compared with."""

    table: str
    own: tuple[str, str]
    over: tuple[str, str]

    @property
    def points(self) -> float:
        """Top-1 points gained, to the two decimals that the paper prints."""
        return round(cell(self.table, *self.own) - cell(self.table, *self.over), 2)


def cell(table: str, row: str, column: str) -> float:
    """A published number; KeyError or ValueError where the paper has no such row or column."""
    found = published()[table]
    return found["rows"][row][found["columns"].index(column)]


@cache
def published() -> dict:
    """Tables 1 to 9 of the paper."""
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
        gain: what the paper gained by it; None for a trick that is not the paper's.
        group: tricks of one group exclude each other, since each sets what the group names.
        stage: what it edits: the 'values' of a config, or keys 'derived' from these, such as the schedule.
        follows: the other keys of a resolved config that change with it, since they follow from a value that it sets.
    """

    def mark(function: Callable) -> Callable:
        function.sets, function.gain, function.group = sets, gain, group
        function.stage, function.follows = stage, follows
        return function

    return mark
