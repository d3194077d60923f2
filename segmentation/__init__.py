"""Train an FCN with dilated stages 3 and 4 on ADE20K through mmseg (stage 2b)."""

from importlib import import_module

_HOME = {
    "ADE20KDataset": "segmentation.data",
    "LoadMask": "segmentation.data",
    "RandomBlur": "segmentation.data",
    "FCN": "segmentation.model",
    "PixelAccuracyAndIoU": "segmentation.evaluator",
}
__all__ = list(_HOME)


def __getattr__(name: str):
    """Import a public name on first use, so that reading a config or a record never loads torch."""
    if name not in _HOME:
        raise AttributeError(f"module 'segmentation' has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)
