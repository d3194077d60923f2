"""The network that a card's ``arch`` names: our own ResNet, or one of timm."""

from backbones.base import Backbone
from backbones.resnet import ResNet


def type_of(arch: dict) -> str:
    """The type, as a config has it, of the network with the arguments ``arch``."""
    return "backbones.TimmBackbone" if "name" in arch else "backbones.ResNet"


def build(arch: dict, **options) -> Backbone:
    """The network of ``arch``: ``{depth, variant, base_channels}`` (ResNet) or ``{name, width}`` (TimmBackbone).

    Raises:
        TypeError, ValueError: ``arch`` and ``options`` are not arguments of that network.
    """
    if "name" in arch:
        from backbones.timm_backbone import TimmBackbone  # timm takes seconds to import

        return TimmBackbone(**arch, **options)
    return ResNet(**arch, **options)


def describe(arch: dict) -> str:
    """``ResNet(depth=50, variant=d, base_channels=64)``."""
    return f"{type_of(arch).split('.')[-1]}({', '.join(f'{k}={v}' for k, v in arch.items())})"
