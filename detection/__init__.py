"""Stage 2a: Faster-RCNN on Pascal VOC, through mmdet."""

from importlib import import_module

_HOME = {"VOCDataset": "detection.data", "VOCMeanAP": "detection.evaluator"}
__all__ = list(_HOME)


def __getattr__(name: str):
    """Imports a public name on first use, so that reading a config or a record never loads torch."""
    if name not in _HOME:
        raise AttributeError(f"module 'detection' has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)
