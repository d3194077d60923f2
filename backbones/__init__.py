"""Provide the networks that all tasks share, ResNet-A/B/C/D and those of timm, and the cards that carry their weights.

A card is a folder with a pretrained backbone and everything needed to use it. No module here knows a task.
"""

from importlib import import_module

_HOME = {
    "ResNet": "backbones.networks.resnet",
    "TimmBackbone": "backbones.networks.timm_backbone",
    "LastStage": "backbones.networks.last_stage",
    "BackboneCard": "backbones.card",
    "TransferHook": "backbones.transfer.certificate",
    "LoadImage": "backbones.transfer.load_image",
    "ShuffleSampler": "backbones.randomness",
}
__all__ = list(_HOME)


def __getattr__(name: str):
    """Import a public name on first use, so that tools which only read records never load torch."""
    if name not in _HOME:
        raise AttributeError(f"module 'backbones' has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)
