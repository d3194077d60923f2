"""Define the detection task for the tools: transfer a card to Faster-RCNN on Pascal VOC.

A card is the folder of pretrained backbone weights and the facts about them.
"""

from pathlib import Path

import backbones.mmcv_ops  # noqa: F401  (before anything imports mmdet)
from backbones.common.files import missing_folder
from detection.annotations import check_split, split_of
from detection.error_analysis import count_errors
from detection.metrics import load, per_class
from detection.resolve import FOLLOWS, resolve
from detection.schema import DetectionValues as VALUES

__all__ = ["FOLLOWS", "VALUES", "check_data", "data_folders", "finish", "resolve"]
STAGE = "transfer"
METRICS = ("mAP", "mAP_area", "mAP_50_95")  # the first one selects a tuned learning rate
FIGURES = METRICS  # every figure that a run reports
SPLIT = "test"  # the split that the figures are measured on
PER_IMAGE = "detections.npz"
PUBLISHED_PROTOCOL = "he2019"  # the protocol of the paper's numbers
RESULT_VERSION = 4  # raise it when a config no longer gives the same numbers, so that finished runs are rerun


def check_data(cfg) -> list[str]:
    """Return a sentence for each oddity that does not stop a run: boxes that reach out of their image, images without objects.

    Raises:
        ValueError: the VOCdevkit is not where the config expects it, or ``check_split`` refuses its files.
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
    """Return the folders whose files a run reads."""
    return sorted({Path(s.data_root) / s.data_prefix.sub_data_root for s in _datasets(cfg)})


def _datasets(cfg) -> list:
    """Return the datasets of training and of testing, one or several each."""
    datasets = (cfg.train_dataloader.dataset, cfg.test_dataloader.dataset)
    return [part for dataset in datasets for part in dataset.get("datasets", [dataset])]


def finish(runner, cfg, metrics: dict, folder: Path) -> dict:
    """Return the AP of each class and the number of false alarms and misses of each kind, from the per-image results."""
    detections, truth = load(folder / PER_IMAGE)
    return {
        "per_class": per_class(detections, truth, cfg.classes),
        "errors": count_errors(detections, truth, cfg.classes)["total"],
    }
