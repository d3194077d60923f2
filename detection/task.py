"""Define the detection task for the tools: transfer a card to Faster-RCNN on Pascal VOC.

A card is the folder of pretrained backbone weights and the facts about them.
"""

import os
from collections.abc import Iterator
from pathlib import Path

import backbones.mmcv_ops  # noqa: F401  (before anything imports mmdet)
from backbones.common.data_files import DataFiles, check_overlap
from backbones.common.files import missing_folder
from backbones.resolving import check_batch
from detection.annotations import check_split
from detection.error_analysis import count_errors
from detection.image_lists import IMAGES, LISTS, XMLS, ListedImages, split_of
from detection.metrics import load, per_class
from detection.resolve import FOLLOWS, resolve
from detection.schema import DetectionValues as VALUES

__all__ = ["FOLLOWS", "VALUES", "check_data", "data_files", "data_folders", "finish", "resolve"]
STAGE = "transfer"
METRICS = ("mAP", "mAP_area", "mAP_50_95")  # the first one selects a tuned learning rate
FIGURES = METRICS  # every figure that a run reports
SPLIT = "test"  # the split that the figures are measured on
PER_IMAGE = "detections.npz"
PUBLISHED_PROTOCOL = "he2019"  # the protocol of the paper's numbers
RESULT_VERSION = 4  # raise it when a config no longer gives the same numbers, so that finished runs are rerun


def check_data(cfg) -> list[str]:
    """Return a sentence for each oddity that does not stop a run, such as boxes that reach out of their image.

    Raises:
        ValueError: the VOCdevkit is not where the config expects it, ``check_split`` refuses its files, fewer images are listed
            for training than a batch takes, or all test images are trained on.
    """
    for folder in data_folders(cfg):
        for part in (IMAGES, XMLS, LISTS):
            if not os.path.isdir(folder / part):
                raise ValueError(missing_folder(folder / part, f"a part of VOCdevkit/{folder.name} in its original layout"))
    remarks = []
    training, testing = split_of(cfg.train_dataloader.dataset), split_of(cfg.test_dataloader.dataset)
    for split in training:
        remarks += check_split(split, cfg.classes, training=True)
    for split in testing:
        remarks += check_split(split, cfg.classes, training=False)
    check_batch(sum(len(split.names) for split in training), cfg.batch, "The training list")
    return remarks + check_overlap(_named_images(training), _named_images(testing))


def _named_images(splits: list[ListedImages]) -> Iterator[tuple[str, Path]]:
    return ((name, split.image(name)) for split in splits for name in split.names)


def data_folders(cfg) -> list[Path]:
    """Return the folders whose files a run reads."""
    return sorted({Path(s.data_root) / s.data_prefix.sub_data_root for s in _datasets(cfg)})


def _datasets(cfg) -> list:
    """Return the datasets of training and of testing, one or several each."""
    datasets = (cfg.train_dataloader.dataset, cfg.test_dataloader.dataset)
    return [part for dataset in datasets for part in dataset.get("datasets", [dataset])]


def data_files(cfg) -> list[DataFiles]:
    """Return the files that decide the result of a run: lists and annotations by content, and the images that they name.

    Raises:
        ValueError: the data is missing or cannot be listed.
    """
    return [
        DataFiles(
            split.folder,
            (str(split.file.relative_to(split.folder)), *(f"{XMLS}/{name}.xml" for name in split.names)),
            tuple(f"{IMAGES}/{name}.jpg" for name in split.names),
        )
        for loader in (cfg.train_dataloader, cfg.test_dataloader)
        for split in split_of(loader.dataset)
    ]


def finish(runner, cfg, metrics: dict, folder: Path) -> dict:
    """Return the AP of each class and the number of false alarms and misses of each kind, from the per-image results."""
    detections, truth = load(folder / PER_IMAGE)
    return {
        "per_class": per_class(detections, truth, cfg.classes),
        "errors": count_errors(detections, truth, cfg.classes)["total"],
    }
