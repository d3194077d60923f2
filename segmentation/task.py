"""The segmentation task, as the tools see it: it transfers a card to a dilated FCN on ADE20K."""

from pathlib import Path

import backbones.mmcv_ops  # noqa: F401  (before anything imports mmseg)
from backbones.common.files import missing_folder
from segmentation.metrics import REGIONS, load, per_class
from segmentation.resolve import FOLLOWS, resolve, set_inference
from segmentation.schema import SegmentationValues as VALUES

__all__ = ["FOLLOWS", "VALUES", "check_data", "data_folders", "finish", "resolve", "set_inference"]
STAGE = "transfer"
METRICS = ("mIoU", "pixAcc", "mAcc")  # a learning rate is tuned by the first
FIGURES = (  # all that a run scores, by name
    *METRICS,
    *(f"{metric}_{region}" for metric in ("pixAcc", "mIoU") for region in REGIONS),
    *("mIoU_frequent", "mIoU_rare"),
)
SPLIT = "validation"  # what the figures are measured on
PER_IMAGE = "confusion.npz"
PUBLISHED_PROTOCOL = "he2019"  # that of the paper's numbers
RESULT_VERSION = 4  # raise it when the same config no longer gives the same numbers: finished runs are then run again


def check_data(cfg) -> list[str]:
    """Finds nothing odd; pairs and masks are checked as they are read.

    Raises:
        ValueError: a folder is not where the config expects it.
    """
    for folder in data_folders(cfg):
        if not folder.is_dir():
            raise ValueError(missing_folder(folder, "a part of ADEChallengeData2016 in its original layout"))
    return []


def data_folders(cfg) -> list[Path]:
    """The folders whose files a run reads."""
    sets = [cfg.train_dataloader.dataset, cfg.test_dataloader.dataset]
    return sorted({Path(s.data_root) / part for s in sets for part in s.data_prefix.values()})


def finish(runner, cfg, metrics: dict, folder: Path) -> dict:
    """IoU of each class, from the per-image results."""
    names = runner.test_dataloader.dataset.metainfo["classes"]
    return {"per_class": per_class(load(folder / PER_IMAGE).matrix(len(names)).sum(0), names)}
