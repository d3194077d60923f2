"""The networks, once: ResNet-A/B/C/D, those of timm, and the cards by which they travel. Knows no task."""

from importlib import import_module

_HOME = {
    "ResNet": "backbones.networks.resnet",
    "TimmBackbone": "backbones.networks.timm_backbone",
    "LastStage": "backbones.networks.factory",
    "BackboneCard": "backbones.card",
    "TransferHook": "backbones.transfer.certificate",
    "LoadImage": "backbones.transfer.certificate",
}
__all__ = list(_HOME)


def __getattr__(name: str):
    """Imports a public name on first use, so that tools which only read records never load torch."""
    if name not in _HOME:
        raise AttributeError(f"module 'backbones' has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)
