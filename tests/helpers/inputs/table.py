"""Join the parts of the table of inputs."""

from tests.helpers.inputs import files, overrides
from tests.helpers.inputs.rows import Row

PARTS = (overrides, files)
ROWS: tuple[Row, ...] = tuple(row for part in PARTS for row in part.rows())
