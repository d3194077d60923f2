"""Make the cards of a comparison: import files, and find or download what libraries publish."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from backbones.card_facts import JSON, WEIGHTS, CardFacts, input_format, read_card_json
from backbones.common.project import SCRATCH
from backbones.interchange.sources import Source
from tools.engine.comparing.rows import Row
from tools.engine.studies.given_cards import GivenCard
from tools.engine.studies.published_weights import fetch, named_weights


@dataclass(frozen=True)
class Backbone:
    """Hold a row of a comparison with its card.

    Args:
        label: of the row.
        source: text of its source, as a command line takes it.
        card: folder of its card; None from scratch.
    """

    label: str
    source: str
    card: Path | None = None

    @property
    def facts(self) -> CardFacts | None:
        """Return the facts of the card; None from scratch."""
        return CardFacts.read(self.card) if self.card else None

    @property
    def content(self) -> list | None:
        """Return what distinguishes the card from others whatever its files were called; None from scratch."""
        if not self.card:
            return None
        about = read_card_json(self.card / JSON)
        return [about["sha256"][WEIGHTS], *(about[name] for name in ("arch", "mean", "std", "channel_order"))]

    def describe(self) -> str:
        """Return the network, the source and the input format of the row, for a line of a table."""
        if not self.card:
            return "random weights in the network of the first card"
        return f"{GivenCard(self.label, str(self.card)).about}; {input_format(CardFacts.read(self.card))}"


def bring_backbones(rows: Sequence[Row], variant: str | None, say: Callable[[str], None]) -> list[Backbone]:
    """Return the rows with their cards, which are made where there are none.

    Args:
        rows: see ``rows_of``.
        variant: of the ResNets whose files leave open whether they are a or b; None if nothing was said.
        say: gets a line for each row: its network, mean and std; and the notes of imports.

    Raises:
        ValueError: see ``Source.make_card`` and ``fetch``; two rows have the same weights.
    """
    brought: list[Backbone] = []
    for row in rows:
        backbone, notes = _bring(row, variant, say)
        for other in brought:
            if backbone.content is not None and other.content == backbone.content:
                raise ValueError(f"{other.source} and {backbone.source} are the same weights; leave out one of them.")
        say(f"{backbone.label}: {backbone.describe()}.")
        for note in notes:
            say(f"  {note}")
        brought.append(backbone)
    return brought


def _bring(row: Row, variant: str | None, say: Callable[[str], None]) -> tuple[Backbone, list[str]]:
    """Return one row with its card, and the notes of its import."""
    source = row.source
    if source is None:
        return Backbone(row.label, SCRATCH), []
    if source.is_published:
        files = named_weights(source.place)
        weights = next((row for row in files if row.made), None) or fetch(files, say)
        return Backbone(row.label, str(source), weights.folder), [] if weights.made else weights.make()
    source, (card, notes) = _imported(source, variant)
    return Backbone(row.label, str(source), card), notes


def _imported(source: Source, variant: str | None) -> tuple[Source, tuple[Path, list[str]]]:
    """Return a source and its card; where the file leaves the variant open, the source states ``variant``."""
    if card := source.card():
        return source, (card, [])
    stated = replace(source, options={**source.options, "variant": variant}) if variant else source
    if stated.is_file and (card := stated.card()):
        return stated, (card, [])
    from backbones.interchange.key_maps import OpenVariant  # here for load time

    try:
        return source, source.make_card()
    except OpenVariant:
        if not variant or "variant" in source.options:
            raise
    return stated, stated.make_card()
