"""Run the classifier of a card."""

from torch import Tensor, nn

from backbones.card import BackboneCard
from backbones.networks.factory import build


class CardClassifier(nn.Module):
    """Compute the logits W GAP(last stage) + b of a card, in evaluation mode.

    ``forward`` takes images (N, 3, H, W) that are prepared as the card says, and returns (N, K).

    Args:
        card: a card with a classifier.
    """

    def __init__(self, card: BackboneCard):
        super().__init__()
        self.backbone = build(card.arch)
        card.place(self.backbone)
        self.fc = nn.Linear(*card.classifier["weight"].shape[::-1])
        self.fc.load_state_dict(card.classifier, strict=True)
        self.eval().requires_grad_(False)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.fc(self.backbone(inputs)[-1].mean(dim=(2, 3)))
