"""Replace ``mmcv._ext`` by torchvision's operators if mmcv was installed without its compiled part.

Importing this module registers the replacement, unless a compiled ``mmcv._ext`` exists, which is then used unchanged. Only NMS
is needed, since RoIAlign goes through mmcv's own ``use_torchvision=True``. Any other operator can be imported, as the module
files of mmdet and mmseg do, and raises an error with its name when it is called.
"""

import importlib.util
import sys
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType

NAME = "mmcv._ext"


def nms(boxes, scores, iou_threshold: float, offset: int = 0):
    """Return the indices (int64) of the boxes that greedy non-maximum suppression keeps, by descending score.

    Args:
        boxes: float (N, 4) as x1, y1, x2, y2.
        scores: float (N,).
        iou_threshold: a box is dropped when its IoU with a kept one is above this.
        offset: 0, or 1 for boxes whose width is x2 - x1 + 1 pixels (mmcv's legacy convention).
    """
    from torchvision.ops import nms as torchvision_nms

    if offset:
        boxes = boxes + boxes.new_tensor([0, 0, offset, offset])
    return torchvision_nms(boxes, scores, iou_threshold)


def _missing(name: str):
    def operator(*args, **kwargs):
        raise RuntimeError(
            f"The operator {name!r} needs a compiled mmcv, and this mmcv has no mmcv._ext: build onedl-mmcv from source with "
            "MMCV_WITH_OPS=1, or choose a model that does not use it."
        )

    return operator


class _StandIn(ModuleType):
    def __getattr__(self, name: str):
        if name.startswith("__"):
            raise AttributeError(name)
        return _missing(name)


def operators() -> str:
    """Return which operators mmcv uses: 'compiled' or 'torchvision'."""
    if isinstance(sys.modules.get(NAME), _StandIn):
        return "torchvision"
    package = importlib.util.find_spec("mmcv")  # importing it to look inside would load torch
    if package is None:
        return "torchvision"
    return "compiled" if PathFinder.find_spec(NAME, package.submodule_search_locations) else "torchvision"


def install() -> None:
    """Register the replacement as ``mmcv._ext`` unless a compiled one exists. A second call changes nothing."""
    if operators() == "compiled" or NAME in sys.modules:
        return
    module = _StandIn(NAME, __doc__)
    module.__spec__ = ModuleSpec(NAME, loader=None)  # mmengine looks it up
    module.nms = nms
    sys.modules[NAME] = module


install()
