"""Join the parts of the table of inputs."""

from tests.helpers.inputs import cards, files, overrides
from tests.helpers.inputs.rows import Row

PARTS = (overrides, files, cards)
ROWS: tuple[Row, ...] = tuple(row for part in PARTS for row in part.rows())
