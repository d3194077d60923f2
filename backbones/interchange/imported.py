"""Hold one of our backbones with the weights of another library, and write its card."""

from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from backbones.card import BackboneCard
from backbones.interchange.reference_networks import Stock, preprocessor
from backbones.networks.base import Backbone
from backbones.networks.factory import describe
from backbones.probe import probe_image


@dataclass
class Imported:
    """Hold one of our backbones, filled with the weights of another library, ready to be written as a card.

    Args:
        net: the backbone.
        stock: the network that the weights come from, or None if it cannot be built.
        facts: the remaining fields of the card.
        notes: sentences for the user on assumptions and omitted parts.
    """

    net: Backbone
    stock: Stock | None
    facts: dict
    notes: list[str] = field(default_factory=list)

    @torch.no_grad()
    def write(self, folder: str | Path) -> BackboneCard:
        """Write the card, with the features of ``stock`` as its probe.

        Raises:
            ValueError: our network and ``stock`` give different features.
        """
        facts, probe = self.facts, None
        preprocess = preprocessor(facts["mean"], facts["std"], facts["channel_order"])
        if self.stock:
            inputs = preprocess(probe_image()[None]).double()
            features = self.stock.features(inputs)
            self._check_classifier(features[-1], inputs)
            probe = tuple(f.float().contiguous() for f in features)
        else:
            self.notes.append(f"The probe is by {describe(self.net.arch)} itself: no other library here has that network.")
        facts["source"]["probe"] = self.stock.package if self.stock else "backbones"
        return BackboneCard.write(Path(folder), self.net, preprocess, probe=probe, **facts)

    def _check_classifier(self, last: Tensor, inputs: Tensor) -> None:
        """Leave out the classifier unless the stock network's logits are W GAP(last stage) + b, as for any card."""
        classifier = self.facts["classifier"]
        if not classifier or not self.stock.logits:
            return
        logits = self.stock.logits(inputs)[0]
        weight, bias = (classifier[name].double() for name in ("weight", "bias"))
        fits = weight.shape[1] == last.shape[1]
        if not fits or not torch.allclose(weight @ last.mean((2, 3))[0] + bias, logits, rtol=1e-6, atol=1e-6):
            self.facts["classifier"] = None
            self.notes.append("The classifier is left out: it does not come right after the pooling of the last stage.")

    def leave_out(self, parts: list[str]) -> "Imported":
        """Note that ``parts`` of the weights are not in the card."""
        if parts:
            self.notes.append(f"Left out, as no part of the backbone: {', '.join(parts)}.")
        return self
