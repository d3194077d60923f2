"""The network that a card's ``arch`` names: our own ResNet, or one of timm."""

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from backbones.networks.architecture import type_of
from backbones.networks.base import Backbone, freeze_norms
from backbones.networks.resnet import ResNet


def build(arch: dict, **options) -> Backbone:
    """The network of ``arch``: ``{depth, variant, base_channels}`` (ResNet) or ``{name, width}`` (TimmBackbone).

    Raises:
        TypeError, ValueError: ``arch`` and ``options`` are not arguments of that network.
    """
    if "name" in arch:
        from backbones.networks.timm_backbone import TimmBackbone  # timm takes seconds to import

        return TimmBackbone(**arch, **options)
    return ResNet(**arch, **options)


def describe(arch: dict) -> str:
    """``ResNet(depth=50, variant=d, base_channels=64)``."""
    return f"{type_of(arch).split('.')[-1]}({', '.join(f'{k}={v}' for k, v in arch.items())})"


class LastStage(nn.Module):
    """Stage 4 of a backbone alone, as the head of a C4 detector's regions.

    Args:
        arch: of the whole network, as ``build`` takes it.
        norm_eval: BN layers use, and keep, their stored statistics while training.
        norm_frozen: their gamma and beta get no gradient.
        frozen: nothing gets one.
        extra_norm: a BN after the stage, which is not the card's and is always trained (MoCo's protocol).

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
            rest = build(arch, out_indices=(2,), last_stage=False)  # refuses what cannot be split
        self.stage = build(arch).get_submodule(rest.last)
        self.norm_eval = norm_eval
        self.stage.requires_grad_(not frozen)
        if norm_frozen:
            freeze_norms(self.stage)
        self.norm = nn.BatchNorm2d(rest.channels[3]) if extra_norm else nn.Identity()

    def train(self, mode: bool = True) -> "LastStage":
        super().train(mode)
        for module in self.stage.modules() if self.norm_eval else ():
            if isinstance(module, _BatchNorm):
                module.eval()
        return self

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.stage(x))
