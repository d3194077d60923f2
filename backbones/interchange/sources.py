"""Read where a backbone comes from, as a person writes it, and import a file of weights once.

A text names the card of a backbone, a file of weights, or weights that timm or torchvision publishes:

  cards/mine   work_dirs/runs/KEY   A.pth   A.pth:variant=b,mean=103.53/116.28/123.675   timm:resnet50.a1_in1k

What a file leaves open stands after it: a colon, then NAME=VALUE, several joined by commas. A path that exists is taken as it is,
whatever colons it has.
"""

import hashlib
import json
import os
import re
import secrets
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from backbones.card_facts import FORMAT, JSON, LIBRARIES, find_card
from backbones.common.files import PART, sha256
from backbones.common.schema import refuse_unknown

CARDS = Path("work_dirs/cards")  # of imported weights
ALLOWED = "Give the path of a .pth or .safetensors file, the folder of a card, a run by its folder or key, or scratch."
OPTIONS = re.compile(r":(?=[A-Za-z_-]+=)")  # before the options of a file
MEAN_OF_IMAGENET = "123.675/116.28/103.53"


def _text(text: str) -> str:
    if not text:
        raise ValueError("some text")
    return text


def _triple(text: str) -> tuple[float, ...]:
    try:
        numbers = tuple(map(float, text.split("/")))
    except ValueError:
        numbers = ()
    if len(numbers) != 3:
        raise ValueError(f"three numbers joined by slashes, as in {MEAN_OF_IMAGENET}")
    return numbers


def _one_of(*allowed: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if text not in allowed:
            raise ValueError(f"one of {', '.join(allowed)}")
        return text

    return parse


READERS: dict[str, Callable[[str], Any]] = {  # a reader's error says what to give
    "variant": _one_of("a", "b", "c", "d"),
    "network": _text,
    "prefix": _text,
    "mean": _triple,
    "std": _triple,
    "channel_order": _one_of("rgb", "bgr"),
}
EXAMPLES = {"variant": "b", "network": "timm:NAME", "prefix": "NAME", "mean": MEAN_OF_IMAGENET, "std": "58.395/57.12/57.375"}


@dataclass(frozen=True)
class Source:
    """Hold where a backbone comes from.

    Args:
        place: a card's folder, the folder of a run, a file of weights, or 'timm:NAME' or 'torchvision:NAME'.
        options: what a file leaves open, by the name of a parameter of ``import_backbone``.
    """

    place: str
    options: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def parse(cls, text: str) -> "Source":
        """Read a source, see the module.

        Raises:
            ValueError: an option is unknown (names the nearest), has a wrong value, or stands after something other than a file.
        """
        match = None if os.path.exists(text) else OPTIONS.search(text)
        if match is None:
            return cls(text)
        source = cls(text[: match.start()], dict(_options(text, text[match.end() :])))
        if source.is_published or os.path.isdir(source.place):
            raise ValueError(f"{text}: options are for files, and {source.place} says all that they could say; leave them out.")
        return source

    @property
    def is_published(self) -> bool:
        """True for weights that a library publishes under a name."""
        return self.place.startswith(LIBRARIES)

    @property
    def is_file(self) -> bool:
        """True for a file of weights, which has to be imported; the card.json of a card stands for that card."""
        path = Path(self.place)
        return not self.is_published and path.is_file() and path.name != JSON

    def __str__(self) -> str:
        options = [f"{name}={'/'.join(map(_number, v)) if isinstance(v, tuple) else v}" for name, v in self.options.items()]
        return f"{self.place}:{','.join(options)}" if options else self.place

    def card(self) -> Path | None:
        """Return the folder of its card; None for a file of which no card has been made, and for published weights.

        Raises:
            ValueError: there is neither a card nor a file.
        """
        if self.is_published:
            return None
        if not self.is_file:
            return find_card(self.place, ALLOWED)
        return next((path.parent for path in sorted(CARDS.glob(f"*-{self.digest}/{JSON}"))), None)

    @property
    def digest(self) -> str:
        """Return a hash of the bytes of a file and of its options, which identifies the card that is made of it."""
        facts = [FORMAT, sha256(self.place), sorted(self.options.items())]
        return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:12]

    def make_card(self) -> tuple[Path, list[str]]:
        """Return the folder of its card, which is made if there is none, and notes on what was assumed.

        Cards stand in work_dirs/cards, by the content of the file and its options: the same file is imported once.

        Raises:
            ValueError: see ``import_backbone``.
        """
        if self.is_published:
            from backbones.interchange.reference_networks import check_network  # here for load time

            check_network(self.place)
            find_card(self.place)  # says how to make one
        if card := self.card():
            return card, []
        from backbones.interchange.importer import import_backbone  # here for load time

        try:
            imported = import_backbone(self.place, **self.options)
            folder = CARDS / f"{Path(self.place).stem}-{self.digest}"
            _write(imported, folder)
        except ValueError as error:
            raise type(error)(self._explained(str(error))) from None
        return folder, imported.notes

    def _explained(self, message: str) -> str:
        """Return the message of a failed import with how its options are written here."""
        if "--unpickle" in message:
            command = f"python tools/import_backbone.py {self.place} --unpickle --out cards/NAME"
            return f"{message} The command for that is {command}; then give that card."
        names = [name for name in EXAMPLES if f"--{name} " in message or message.endswith(f"--{name}.")]
        if not names:
            return message
        return f"{message} Write it after the file: {self.place}:{names[0]}={EXAMPLES[names[0]]}."


def card_of(text: str) -> str:
    """Return the folder of the card that a text names; a file of weights becomes a card in work_dirs/cards.

    Raises:
        ValueError: see ``Source.parse`` and ``Source.make_card``.
    """
    return str(Source.parse(text).make_card()[0])


def _options(text: str, options: str):
    """Yield the name and value of each option of a file.

    Raises:
        ValueError: an option is unknown or given twice, or has a wrong value.
    """
    seen = set()
    for part in options.split(","):
        name, _, value = part.partition("=")
        name = name.replace("-", "_")
        refuse_unknown([name], READERS, text)
        if name in seen:
            raise ValueError(f"{text} gives {name} twice; give it once.")
        seen.add(name)
        try:
            yield name, READERS[name](value)
        except ValueError as error:
            raise ValueError(f"{text} has {name}={value}; give {error}.") from None


def _number(value: float) -> str:
    return f"{value:.10g}"


def _write(imported, folder: Path) -> None:
    """Write a card as ``folder``, unless another process has written the same one meanwhile."""
    part = folder.with_name(f".{folder.name}.{secrets.token_hex(8)}{PART}")
    try:
        imported.write(part)
        os.rename(part, folder)
    except OSError:
        if not (folder / JSON).is_file():
            raise
    finally:
        shutil.rmtree(part, ignore_errors=True)
