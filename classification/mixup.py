"""Mix each image of a batch with another one, and their targets likewise (mixup)."""

import numpy as np
import torch
from torch import Tensor, nn


class Mixup(nn.Module):
    """Compute x = lambda x_i + (1 - lambda) x_j, y = lambda y_i + (1 - lambda) y_j (equations 7 and 8 of the paper).

    As in the paper's code, one lambda ~ Beta(alpha, alpha) is drawn per update, the same on every device, and each image is
    mixed with the image at its place in the reversed batch.

    Args:
        alpha: parameter of the Beta distribution, above 0.
        seed: seed of the run. lambda depends on the seed and the number of the update only, so that a resumed run and all
            processes of a run draw the same.
    """

    def __init__(self, alpha: float, seed: int = 0):
        super().__init__()
        self.alpha, self.seed = alpha, seed
        self.draw(0)

    def draw(self, update: int) -> None:
        """Set ``lam`` to the lambda of update number ``update`` (0, 1, ...)."""
        self.lam = float(np.random.default_rng([self.seed, update]).beta(self.alpha, self.alpha))

    def forward(self, images: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Return mixed images (N, C, H, W) and mixed targets (N, K), both float."""
        return tuple(torch.lerp(batch.flip(0), batch, self.lam) for batch in (images, targets))
