"""Mixup: each image of a batch mixed with another one, and their targets alike."""

import numpy as np
import torch
from torch import Tensor, nn


class Mixup(nn.Module):
    """x = lambda x_i + (1 - lambda) x_j, y = lambda y_i + (1 - lambda) y_j (equations 7 and 8 of the paper).

    As in the paper's code, there is one lambda ~ Beta(alpha, alpha) an update, the same on every device, and each image is
    mixed with that of the reversed batch.

    Args:
        alpha: of the Beta distribution, above 0.
        seed: of the run. lambda is a function of it and of the number of the update alone, so that a resumed run and every
            process of a run draw the same.
    """

    def __init__(self, alpha: float, seed: int = 0):
        super().__init__()
        self.alpha, self.seed = alpha, seed
        self.draw(0)

    def draw(self, update: int) -> None:
        """Sets ``lam`` to that of update ``update`` (0, 1, ...)."""
        self.lam = float(np.random.default_rng([self.seed, update]).beta(self.alpha, self.alpha))

    def forward(self, images: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Mixed images (N, C, H, W) and mixed targets (N, K), both float."""
        return tuple(torch.lerp(batch.flip(0), batch, self.lam) for batch in (images, targets))
