"""Build the last stage of a backbone as a module of its own, for C4 detectors."""

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from backbones.networks.base import freeze_norms
from backbones.networks.factory import build


class LastStage(nn.Module):
    """Compute stage 4 of a backbone alone, as the head of a C4 detector's regions.

    Args:
        arch: of the whole network, as ``build`` takes it.
        norm_eval: BN layers use, and keep, their stored statistics while training.
        norm_frozen: gamma and beta of the BN layers get no gradient.
        frozen: no parameter of the stage gets a gradient.
        extra_norm: add a BN after the stage, which is not part of the card and is always trained (MoCo's protocol).

    ``forward`` takes (N, channels[2], H, W) of stage 3 and returns (N, channels[3], ceil(H/2), ceil(W/2)).

    Raises:
        ValueError: the last stage of that network cannot be split off.
    """

    def __init__(
        self,
        arch: dict,
        norm_eval: bool = False,
        norm_frozen: bool = False,
        frozen: bool = False,
        extra_norm: bool = False,
    ):
        super().__init__()
        with torch.device("meta"):
            backbone = build(arch, out_indices=(2,), last_stage=False)  # refuses a network that cannot be split
        self.stage = build(arch).get_submodule(backbone.last)
        self.norm_eval = norm_eval
        self.stage.requires_grad_(not frozen)
        if norm_frozen:
            freeze_norms(self.stage)
        self.norm = nn.BatchNorm2d(backbone.channels[3]) if extra_norm else nn.Identity()

    def train(self, mode: bool = True) -> "LastStage":
        """Set the mode as ``nn.Module.train`` does, but with ``norm_eval`` keep every BN in evaluation mode."""
        super().train(mode)
        for module in self.stage.modules() if self.norm_eval else ():
            if isinstance(module, _BatchNorm):
                module.eval()
        return self

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.stage(x))
