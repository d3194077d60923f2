"""Pretrain a classifier on a folder of images (stage 1), with the paper's training tricks."""

from importlib import import_module

_HOME = {
    "TRICKS": "classification.tricks",
    "compose": "classification.tricks",
    "ImageFolder": "classification.data",
    "ColorJitter": "classification.data",
    "PCANoise": "classification.data",
    "ImagePreprocessor": "classification.model",
    "ImageClassifier": "classification.model",
    "ClassifierDDP": "classification.model",
    "UpdateHook": "classification.model",
    "TopK": "classification.evaluator",
    "WarmupLR": "classification.schedule",
    "LowPrecisionOptimWrapper": "classification.precision",
}
__all__ = list(_HOME)


def __getattr__(name: str):
    """Import a public name on first use, so that reading a config or a record never loads torch."""
    if name not in _HOME:
        raise AttributeError(f"module 'classification' has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)
