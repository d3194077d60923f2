"""Read from card.json, without torch, the facts that a downstream run needs before it loads the weights."""

import difflib
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from backbones.common.files import read_json, sha256
from backbones.common.project import RECORD, RUNS, SCRATCH
from backbones.common.schema import Count, Number, Positive, PositiveFraction, accept
from backbones.networks.architecture import Architecture, check_arch

FORMAT = 2
LIBRARIES = ("timm:", "torchvision:")  # before the names of weights that a library publishes
LISTED = 5  # cards that a message names
LIKE = f"{SCRATCH}:"  # before a card: its network and input format, with random weights
KEY = re.compile("[0-9a-f]{12}")  # a run's key
ANEW = "write the card anew with tools/export_backbone.py, or import_backbone.py if it was imported"  # in messages
JSON, WEIGHTS, PROBE, CLASSIFIER = "card.json", "weights.safetensors", "probe.safetensors", "classifier.safetensors"
Percent = Annotated[int, Meta(ge=0, le=100)] | Annotated[float, Meta(ge=0, le=100)]


class SourceSchema(msgspec.Struct, kw_only=True):
    """Declare the fields of ``source`` in card.json that are read; an import adds others, for people."""

    run: str | None = None
    network: str | None = None
    scale: str | None = None
    class_names: list[str] | None = None
    classes: Count | None = None
    crop_pct: PositiveFraction | None = None
    probe: str | None = None


class CardSchema(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """Declare the fields of card.json; ``backbones.card.BackboneCard`` explains them."""

    arch: Architecture
    mean: Annotated[list[Number], Meta(min_length=3, max_length=3)]
    std: Annotated[list[Positive], Meta(min_length=3, max_length=3)]
    channel_order: Literal["rgb", "bgr"]
    input_size: Count
    resampler: str
    recipe: list[tuple[str, dict[str, Any]]]
    seed: int | None
    top1: Percent | None
    source: SourceSchema
    format: Literal[FORMAT]
    sha256: dict[str, str]


@dataclass(frozen=True)
class CardFacts:
    """Hold the facts of a card from which a downstream config follows.

    Args:
        arch: arguments that decide the weights, see ``backbones.networks.architecture``.
        mean, std: of the three channels in ``channel_order``, on the 0..255 scale.
        channel_order: 'rgb' or 'bgr'.
        folder: of the card, even if the upstream run has yet to write it.
        identity: stands for the card in run keys, see ``identity_of``.
        random: the weights are not used: only the network and its input format are those of the card.
    """

    arch: Mapping[str, Any]
    mean: list[float]
    std: list[float]
    channel_order: str
    folder: str
    identity: str = field(default="", compare=False)
    random: bool = False

    @classmethod
    def read(cls, path: str | Path) -> "CardFacts":
        """Read the facts of the card at ``path``, which ``find_card`` explains; 'scratch:CARD' stands for random weights.

        Raises:
            ValueError: there is no card, or its card.json is invalid.
        """
        if str(path).startswith(LIKE):
            return cls.read(str(path).removeprefix(LIKE)).with_random_weights()
        folder = find_card(path)
        about = read_card_json(folder / JSON)
        identity = identity_of(folder, about["source"].get("run"))
        return cls(about["arch"], about["mean"], about["std"], about["channel_order"], str(folder), identity)

    def with_random_weights(self) -> "CardFacts":
        """Return these facts for a training from scratch: neither the weights of the card nor its folder count."""
        return replace(self, random=True, identity=SCRATCH)


def input_format(card) -> str:
    """Return how images enter the network of a card, as 'mean 123.675 116.28 103.53, std 58.395 57.12 57.375, rgb'.

    Args:
        card: has ``mean``, ``std`` and ``channel_order``, as ``CardFacts`` and ``backbones.card.BackboneCard``.
    """
    mean, std = (" ".join(f"{value:g}" for value in values) for values in (card.mean, card.std))
    return f"mean {mean}, std {std}, {card.channel_order}"


def identity_of(folder: Path, run: Any) -> str:
    """Return what stands for the card in ``folder`` in run keys.

    It is the key of the run that the card names, if the record of that run names this very card: the record's ``card`` is the
    sha256 of card.json, which holds those of the other files. Any other card, such as one of an earlier checkpoint of the run,
    stands for itself by its sha256.
    """
    digest = sha256(folder / JSON)
    if not (isinstance(run, str) and KEY.fullmatch(run)):
        return digest
    for place in (folder.parent, RUNS / run):
        try:
            record = read_json(place / RECORD)
        except (OSError, ValueError):
            continue
        if isinstance(record, dict) and record.get("key") == run and record.get("card") == digest:
            return run
    return digest


def find_card(path: str | Path, allowed: str = "Give the folder of a card, or a run by its folder or key.") -> Path:
    """Return the folder of the card at ``path``, which may be that folder, its card.json, or the folder of a run.

    Args:
        path: as a person wrote it.
        allowed: sentence on what may be given there, for the error.

    Raises:
        ValueError: there is no card; names the cards in the folder, or the files and cards with the nearest names.
    """
    text, path = str(path), Path(path)
    for folder in (path, path.parent if path.name == JSON else path, path / "card"):
        if (folder / JSON).is_file():
            return folder
    if path.is_file():
        raise ValueError(f"There is no backbone card at {path}, which is a file and no folder with {JSON}; {_import_of(text)}.")
    if text.startswith(LIBRARIES):
        raise ValueError(f"{text} is no card; {_import_of(text)}.")
    if cards := _cards_below(path):
        more = f" and {len(cards) - LISTED} more" if len(cards) > LISTED else ""
        raise ValueError(f"{path} is no card, but holds the cards {', '.join(map(str, cards[:LISTED]))}{more}; name one.")
    raise ValueError(f"{_absence(path)}. {allowed}")


def _import_of(text: str) -> str:
    return f"make a card of it: python tools/import_backbone.py {text} --out cards/NAME"


def _cards_below(folder: Path) -> list[Path]:
    """Return the folders of the cards in a folder, and of those of the runs in it."""
    return sorted(path.parent for pattern in (f"*/{JSON}", f"*/card/{JSON}") for path in folder.glob(pattern))


def _absence(path: Path) -> str:
    """Say that there is no card or file at ``path``, and name those whose names are nearest."""
    if path.is_dir():
        return f"There is no backbone card at {path}, a folder without {JSON}"
    parent = path.absolute().parent
    names = [name for name in (os.listdir(parent) if parent.is_dir() else []) if name[0] != "."]
    stems = {str(path.parent / name): Path(name).stem for name in names}  # two suffixes would make any two names alike
    close_stems = difflib.get_close_matches(path.stem, stems.values(), cutoff=0.6)
    nearest = [place for place, stem in stems.items() if stem in close_stems]
    nearest += difflib.get_close_matches(str(path), map(str, _cards_below(RUNS)), cutoff=0.5)
    hint = f"; nearest: {', '.join(list(dict.fromkeys(nearest))[:LISTED])}" if nearest else ""
    absence = f"There is no file {path.name} in {parent}" if path.suffix else f"There is no backbone card at {path}"
    return absence + hint


def read_card_json(path: Path) -> dict[str, Any]:
    """Return the fields of a card.json.

    Raises:
        ValueError: it is not JSON, a field is missing, unknown or of another type, or it names files that no card has.
    """
    where, remedy = f"Card {path.parent}: card.json", f"; {ANEW}"
    try:
        about = read_json(path)
    except ValueError as error:
        reason = str(error).removeprefix(f"{path} is ").partition("; ")[0]
        raise ValueError(f"{where} is {reason}{remedy}.") from None
    if not isinstance(about, dict):
        raise ValueError(f"{where} holds no fields{remedy}.")
    try:
        accept(about, CardSchema, where)
    except ValueError as error:
        raise ValueError(f"{str(error).removesuffix('.').removesuffix('; add it')}{remedy}.") from None
    try:
        check_arch(about["arch"])
    except ValueError as error:
        raise ValueError(f"{where} has another arch than a network can have: {str(error).removesuffix('.')}{remedy}.") from None
    if set(about["sha256"]) - {CLASSIFIER} != {WEIGHTS, PROBE}:
        raise ValueError(f"{where} must give the sha256 of {WEIGHTS} and {PROBE}, perhaps of {CLASSIFIER}, and no other.")
    return about
