"""The segmentation task, as the tools see it: it transfers a card to a dilated FCN on ADE20K."""

from pathlib import Path

import backbones.mmcv_ops  # noqa: F401  (before anything imports mmseg)
from backbones.files import missing_folder
from backbones.protocols import choose_protocol
from backbones.transfer import plug, require_backbone

NODE = "transfer"
METRICS = ("pixAcc", "mIoU")
SPLIT = "validation"  # what the figures are measured on
PER_IMAGE = "confusion.npz"
RESULT_VERSION = 1  # raise it when the same config no longer gives the same numbers: finished runs are then run again


def set_protocol(cfg, name: str | None) -> None:
    """Raises ValueError when ``name`` is not the config's own protocol."""
    choose_protocol(cfg, name)


def configure(cfg, tricks=(), backbone=None, transfer=None) -> None:
    """Plugs the backbone in; the head is a quarter as wide as stage 4 and the auxiliary head as stage 3, as in GluonCV.

    Raises:
        ValueError: tricks (they belong to pretraining), no backbone, or a card that cannot be used.
    """
    backbone = require_backbone(cfg, tricks, backbone)
    channels = plug(cfg, backbone, transfer)
    for head, width in ((cfg.model.decode_head, channels[3]), (cfg.model.auxiliary_head, channels[2])):
        head.update(in_channels=width, channels=width // 4)


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
    """Nothing to add: a transfer ends with its evaluation."""
    return {}
