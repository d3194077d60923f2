"""Join the parts of the table of inputs."""

from tests.helpers.inputs import (
    accepted,
    cards,
    commands,
    comparisons,
    evaluations,
    files,
    options,
    overrides,
    results,
    surroundings,
)
from tests.helpers.inputs.rows import Row

PARTS = (overrides, options, files, cards, commands, comparisons, evaluations, results, surroundings, accepted)
ROWS: tuple[Row, ...] = tuple(row for part in PARTS for row in part.rows())
