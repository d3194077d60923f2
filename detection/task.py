"""The detection task, as the tools see it: it transfers a card to Faster-RCNN on Pascal VOC."""

from pathlib import Path

import backbones.mmcv_ops  # noqa: F401  (before anything imports mmdet)
from backbones.files import missing_folder
from backbones.transfer import plug, require_backbone
from detection.annotations import check_annotation, read_list

NODE = "transfer"
METRICS = ("mAP",)
SPLIT = "test"  # what the figures are measured on
PER_IMAGE = "detections.npz"
RESULT_VERSION = 1  # raise it when the same config no longer gives the same numbers: finished runs are then run again


def configure(cfg, tricks=(), backbone=None, transfer=None) -> None:
    """Plugs the backbone in; the neck follows its width, data sets and head follow ``cfg.classes``.

    Raises:
        ValueError: tricks (they belong to pretraining), no backbone, or a card that cannot be used.
    """
    backbone = require_backbone(cfg, tricks, backbone)
    for loader in (cfg.train_dataloader, cfg.test_dataloader):
        loader.dataset.metainfo = dict(classes=tuple(cfg.classes))
    cfg.model.roi_head.bbox_head.num_classes = len(cfg.classes)
    cfg.model.neck.in_channels = list(plug(cfg, backbone, transfer))


def check_data(cfg) -> None:
    """Raises ValueError when the VOCdevkit is not where the config expects it, or an XML is missing or wrong."""
    for folder in data_folders(cfg):
        for part in ("JPEGImages", "Annotations", "ImageSets/Main"):
            if not (folder / part).is_dir():
                raise ValueError(missing_folder(folder / part, "a part of VOCdevkit/VOC2007 in its original layout"))
    for loader in (cfg.train_dataloader, cfg.test_dataloader):
        root = Path(loader.dataset.data_root)
        for name in read_list(root / loader.dataset.ann_file):
            check_annotation(root / loader.dataset.data_prefix.sub_data_root / "Annotations" / f"{name}.xml", cfg.classes)


def data_folders(cfg) -> list[Path]:
    """The folders whose files a run reads."""
    sets = [cfg.train_dataloader.dataset, cfg.test_dataloader.dataset]
    return sorted({Path(s.data_root) / s.data_prefix.sub_data_root for s in sets})


def finish(runner, cfg, metrics: dict, folder: Path) -> dict:
    """Nothing to add: a transfer ends with its evaluation."""
    return {}
