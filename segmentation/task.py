"""Present the segmentation task to the tools: it transfers a card to a dilated FCN on ADE20K."""

from pathlib import Path

import backbones.mmcv_ops  # noqa: F401  (before anything imports mmseg)
from backbones.common.files import missing_folder
from segmentation.metrics import REGIONS, load, per_class
from segmentation.resolve import FOLLOWS, resolve, set_inference
from segmentation.schema import SegmentationValues as VALUES

__all__ = ["FOLLOWS", "VALUES", "check_data", "data_folders", "finish", "resolve", "set_inference"]
STAGE = "transfer"
METRICS = ("mIoU", "pixAcc", "mAcc")  # the first decides when a learning rate is tuned
FIGURES = (  # the names of all scores of a run
    *METRICS,
    *(f"{metric}_{region}" for metric in ("pixAcc", "mIoU") for region in REGIONS),
    *("mIoU_frequent", "mIoU_rare"),
)
SPLIT = "validation"  # on which the figures are measured
PER_IMAGE = "confusion.npz"
PUBLISHED_PROTOCOL = "he2019"  # protocol of the paper's numbers
RESULT_VERSION = 5  # increase it when the same config no longer gives the same numbers, so that finished runs are repeated


def check_data(cfg) -> list[str]:
    """Check that the folders exist, and return no warnings; pairs and masks are checked when they are read.

    Raises:
        ValueError: a folder that the config names does not exist.
    """
    for folder in data_folders(cfg):
        if not folder.is_dir():
            raise ValueError(missing_folder(folder, "a part of ADEChallengeData2016 in its original layout"))
    return []


def data_folders(cfg) -> list[Path]:
    """Return the folders that a run reads."""
    datasets = [cfg.train_dataloader.dataset, cfg.test_dataloader.dataset]
    return sorted({Path(dataset.data_root) / part for dataset in datasets for part in dataset.data_prefix.values()})


def finish(runner, cfg, metrics: dict, folder: Path) -> dict:
    """Compute the IoU of each class from the per-image results, for the record."""
    names = runner.test_dataloader.dataset.metainfo["classes"]
    return {"per_class": per_class(load(folder / PER_IMAGE).matrix(len(names)).sum(0), names)}
