"""The detection task, as the tools see it: it transfers a card to Faster-RCNN on Pascal VOC."""

from pathlib import Path

import backbones.mmcv_ops  # noqa: F401  (before anything imports mmdet)
from backbones.files import missing_folder
from backbones.protocols import choose_protocol
from detection.annotations import check_split, split_of
from detection.errors import count_errors
from detection.metrics import load, per_class
from detection.protocol import apply

NODE = "transfer"
METRICS = ("mAP", "mAP_area", "mAP_50_95")  # a learning rate is tuned by the first
SPLIT = "test"  # what the figures are measured on
PER_IMAGE = "detections.npz"
PUBLISHED_PROTOCOL = "he2019"  # that of the paper's numbers
RESULT_VERSION = 3  # raise it when the same config no longer gives the same numbers: finished runs are then run again


def set_protocol(cfg, name: str | None, changes: dict) -> None:
    """Applies the protocol ``name``, or the config's own, with ``changes``, in place.

    Raises:
        ValueError: see ``choose_protocol``.
    """
    named, protocol = isinstance(cfg.protocol, str), choose_protocol(cfg, name, changes)
    if named:
        apply(cfg, protocol)


def configure(cfg, tricks=(), backbone=None, transfer=None) -> None:
    """Plugs the backbone in: the neck, or the heads of a C4 detector, follow its width.

    Raises:
        ValueError: tricks (they belong to pretraining), no backbone, or a card that cannot be used.
    """
    from backbones.transfer import plug, require_backbone

    backbone = require_backbone(cfg, tricks, backbone)
    for dataset in _datasets(cfg):
        dataset.metainfo = dict(classes=tuple(cfg.classes))
    cfg.model.roi_head.bbox_head.num_classes = len(cfg.classes)
    channels = plug(cfg, backbone, transfer)
    if "neck" in cfg.model:
        cfg.model.neck.in_channels = list(channels)
        return
    cfg.model.rpn_head.update(in_channels=channels[2], feat_channels=channels[2])
    cfg.model.roi_head.bbox_roi_extractor.out_channels = channels[2]
    cfg.model.roi_head.bbox_head.in_channels = channels[3]


def check_data(cfg) -> list[str]:
    """What is odd with the data but does not stop a run, a sentence each: boxes that reach out of their image, no objects.

    Raises:
        ValueError: the VOCdevkit is not where the config expects it, or ``check_split`` refuses what is there.
    """
    for folder in data_folders(cfg):
        for part in ("JPEGImages", "Annotations", "ImageSets/Main"):
            if not (folder / part).is_dir():
                raise ValueError(missing_folder(folder / part, f"a part of VOCdevkit/{folder.name} in its original layout"))
    remarks = []
    for loader, training in ((cfg.train_dataloader, True), (cfg.test_dataloader, False)):
        for folder, names in split_of(loader.dataset):
            remarks += check_split(names, folder, cfg.classes, training)
    return remarks


def data_folders(cfg) -> list[Path]:
    """The folders whose files a run reads."""
    return sorted({Path(s.data_root) / s.data_prefix.sub_data_root for s in _datasets(cfg)})


def _datasets(cfg) -> list:
    """The data sets of training and of testing, one or several each."""
    joined = (cfg.train_dataloader.dataset, cfg.test_dataloader.dataset)
    return [part for dataset in joined for part in dataset.get("datasets", [dataset])]


def finish(runner, cfg, metrics: dict, folder: Path) -> dict:
    """AP of each class, and how many false alarms and misses there are of each kind, from the per-image results."""
    detections, truth = load(folder / PER_IMAGE)
    return {
        "per_class": per_class(detections, truth, cfg.classes),
        "errors": count_errors(detections, truth, cfg.classes)["total"],
    }
