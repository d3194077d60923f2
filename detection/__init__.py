"""Train and test Faster-RCNN on Pascal VOC with mmdet: stage 2a."""

from importlib import import_module

_HOME = {"VOCDataset": "detection.data", "VOCMeanAP": "detection.evaluator"}
__all__ = list(_HOME)


def __getattr__(name: str):
    """Import a public name on first use, so that reading a config or a record never loads torch."""
    if name not in _HOME:
        raise AttributeError(f"module 'detection' has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)
