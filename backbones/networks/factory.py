"""Build the network that a card's ``arch`` names: our own ResNet, or one of timm."""

from backbones.networks.architecture import type_of
from backbones.networks.base import Backbone
from backbones.networks.resnet import ResNet


def build(arch: dict, **options) -> Backbone:
    """Build the network of ``arch``: ``{depth, variant, base_channels}`` (ResNet) or ``{name, width}`` (TimmBackbone).

    Raises:
        TypeError, ValueError: ``arch`` and ``options`` are not arguments of that network.
    """
    if "name" in arch:
        from backbones.networks.timm_backbone import TimmBackbone  # timm takes seconds to import

        return TimmBackbone(**arch, **options)
    return ResNet(**arch, **options)


def describe(arch: dict) -> str:
    """Return a network's class and arguments as text: ``ResNet(depth=50, variant=d, base_channels=64)``."""
    return f"{type_of(arch).split('.')[-1]}({', '.join(f'{k}={v}' for k, v in arch.items())})"
