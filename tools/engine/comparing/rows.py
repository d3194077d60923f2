"""Read the command line of a comparison: its rows, each with a label and the source of a backbone."""

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from backbones.card_facts import JSON, find_card
from backbones.common.files import weights_kind
from backbones.common.project import SCRATCH, run_with_key
from backbones.interchange.sources import Source

SUFFIXES = (".pth", ".pt", ".tar", ".bin", ".ckpt", ".safetensors", ".pkl", ".npz", ".model", ".th")  # of files of weights
LONGEST = 60  # letters of a label
ALLOWED = "Give the path of a .pth or .safetensors file, the folder of a card, a run by its folder or key, timm:NAME or scratch."


@dataclass(frozen=True)
class Row:
    """Represent a row of a comparison.

    Args:
        label: its name in tables.
        source: of the backbone; None for training from random weights.
    """

    label: str
    source: Source | None


def rows_of(texts: Sequence[str], defaults: Mapping[str, Any]) -> list[Row]:
    """Return the rows that a command line names.

    Args:
        texts: each 'scratch', or a source (see ``backbones.interchange.sources``), perhaps with LABEL= before it.
        defaults: options of all files that do not state their own.

    Raises:
        ValueError: there are less than two rows or no backbone among them, a label cannot be used or stands twice, or a source
            is named twice.
    """
    rows = [_row(text, defaults) for text in texts]
    if len(rows) < 2 or not any(row.source for row in rows):
        raise ValueError(
            f"A comparison needs two rows or more, one of them a backbone, and has {', '.join(texts)}. Add another file or card, "
            f"or the word {SCRATCH} for random weights."
        )
    named = [str(row.source or SCRATCH) for row in rows]
    if repeated := _first_repeated(named):
        raise ValueError(f"{repeated} is named twice; name each backbone once.")
    rows = _labelled(rows)
    if repeated := _first_repeated([row.label for row in rows]):
        raise ValueError(f"Two rows have the label {repeated}; give one of them another: LABEL=SOURCE.")
    return rows


def refuse_other_files(rows: Sequence[Row]) -> None:
    """Raise ValueError if a row's file is no file of weights, as its beginning tells without torch."""
    for row in rows:
        if row.source and row.source.is_file:
            weights_kind(Path(row.source.place))


def _row(text: str, defaults: Mapping[str, Any]) -> Row:
    """Return the row of one argument; its label is empty if none is given."""
    label, place = split_label(text)
    if place == SCRATCH:
        if label:
            raise ValueError(f"{text!r}: the row {SCRATCH} keeps its name; leave out {label}=.")
        return Row(SCRATCH, None)
    run = None if os.path.exists(place) else run_with_key(place)
    source = Source(str(run / "card")) if run else Source.parse(place)
    if source.is_file:
        source = replace(source, options={**defaults, **source.options})
    elif not source.is_published:
        find_card(source.place, ALLOWED)  # refuse what is neither a file nor a card
    return Row(label, source)


def split_label(text: str) -> tuple[str, str]:
    """Return (LABEL, SOURCE) of 'LABEL=SOURCE', and ('', text) of a source alone.

    What stands before the first equals sign is a label unless it holds a slash or a colon, or ``text`` is a path that exists.

    Raises:
        ValueError: the label cannot be used.
    """
    label, equals, place = text.partition("=")
    if not equals or "/" in label or ":" in label or os.path.exists(text):
        return "", text
    if not place or not label.strip() or not label.isprintable() or len(label) > LONGEST or label == SCRATCH:
        raise ValueError(
            f"{text!r} is not LABEL=SOURCE; give a label of 1 to {LONGEST} printable letters other than {SCRATCH}, and a card, a "
            "file of weights, or timm:NAME."
        )
    return label.strip(), place


def _labelled(rows: Sequence[Row]) -> list[Row]:
    """Return the rows with labels: the names of their sources, with the folders above them where names are equal."""
    labels = [row.label for row in rows]
    depths = [1] * len(rows)
    while True:
        for i, row in enumerate(rows):
            if not row.label:
                labels[i] = "-".join(_names(row.source)[-depths[i] :])
        counts = Counter(labels)
        deeper = [
            i for i, row in enumerate(rows) if not row.label and counts[labels[i]] > 1 and depths[i] < len(_names(row.source))
        ]
        if not deeper:
            return [replace(row, label=label) for row, label in zip(rows, labels, strict=True)]
        for i in deeper:
            depths[i] += 1


def _names(source: Source) -> list[str]:
    """Return the names from which a label is made: the folders above a file or card, and its own without suffixes."""
    if source.is_published:
        return source.place.split(":", 1)
    path = Path(source.place).absolute()
    path = path.parent if path.name == JSON else path
    path = path.parent if path.name == "card" else path
    name = path.name
    while source.is_file and (suffix := Path(name).suffix) in SUFFIXES and name != suffix:
        name = name.removesuffix(suffix)
    return [*path.parent.parts[1:], name]


def _first_repeated(names: Sequence[str]) -> str | None:
    """Return the first name that stands twice; None if there is none."""
    return next((name for i, name in enumerate(names) if name in names[:i]), None)
