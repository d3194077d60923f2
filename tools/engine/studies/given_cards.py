"""Represent a backbone that a study's file names by the path of its card."""

from dataclasses import dataclass
from pathlib import Path

from backbones.card_facts import JSON, CardFacts, find_card, read_card_json
from backbones.networks.architecture import network_name


@dataclass(frozen=True)
class GivenCard:
    """Represent a row of a study that starts from a card that is there already.

    It has the attributes of ``published_weights.Weights`` that graphs, plans and reports read.

    Args:
        name: name of the row.
        source: path of the card, see ``find_card``.
    """

    name: str
    source: str

    made = True
    state = "card made"
    package = None  # no Python package holds it
    top1 = None  # nothing is published of it

    @property
    def folder(self) -> Path:
        """Return the folder of the card.

        Raises:
            ValueError: there is no card.
        """
        return find_card(self.source)

    @property
    def file(self) -> str:
        """Return the path of the card."""
        return self.source

    @property
    def about(self) -> str:
        """Return a short description of the backbone: its network, and where its weights come from."""
        card = read_card_json(self.folder / JSON)
        source, arch = card["source"], card["arch"]
        network = f"{network_name(arch)}{'-' + arch['variant'].upper() if 'variant' in arch else ''}"
        if "imported" in source:
            return f"{network} from {source['imported']}"
        return f"{network} of run {source['run']}" if source.get("run") else network

    @property
    def facts(self) -> CardFacts:
        """Return the facts of the card."""
        return CardFacts.read(self.folder)

    @property
    def arch(self) -> dict:
        """Return the network of the card."""
        return dict(self.facts.arch)
