"""Join the parts of the table of inputs."""

from tests.helpers.inputs import overrides
from tests.helpers.inputs.rows import Row

PARTS = (overrides,)
ROWS: tuple[Row, ...] = tuple(row for part in PARTS for row in part.rows())
