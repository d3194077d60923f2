"""Training curves: what a run wrote while it trained."""

import json
from pathlib import Path

CURVE = "curve.jsonl"  # in a run's folder


def read_curve(path: Path) -> list[dict]:
    """The lines of a run's curve.jsonl, in order; none where there is no file. A line that a kill cut short is left out."""
    lines = []
    for text in Path(path).read_text().splitlines() if Path(path).is_file() else ():
        try:
            lines.append(json.loads(text))
        except ValueError:
            continue
    return lines
