"""The segmentation task, as the tools see it: it transfers a card to a dilated FCN on ADE20K."""

from pathlib import Path

import backbones.mmcv_ops  # noqa: F401  (before anything imports mmseg)
from backbones.files import missing_folder
from backbones.protocols import choose_protocol
from segmentation.metrics import load, per_class
from segmentation.protocol import apply

NODE = "transfer"
METRICS = ("mIoU", "pixAcc", "mAcc")  # a learning rate is tuned by the first
INFERENCE = {
    "whole": dict(mode="whole"),
    "slide": dict(mode="slide"),
    "multi_scale": dict(mode="whole", scales=(0.5, 0.75, 1.0, 1.25, 1.5, 1.75), flip=True),
}
SPLIT = "validation"  # what the figures are measured on
PER_IMAGE = "confusion.npz"
PUBLISHED_PROTOCOL = "he2019"  # that of the paper's numbers
RESULT_VERSION = 4  # raise it when the same config no longer gives the same numbers: finished runs are then run again


def set_protocol(cfg, name: str | None, changes: dict) -> None:
    """Applies the protocol ``name``, or the config's own, with ``changes``, in place.

    Raises:
        ValueError: see ``choose_protocol``.
    """
    protocol = choose_protocol(cfg, name, changes)
    if "test_pipeline" not in cfg:  # else it is the config of a finished run, with what was changed since
        apply(cfg, protocol)
        set_inference(cfg, protocol["inference"])


def set_inference(cfg, name: str) -> None:
    """Sets how a segmenter looks at a test image, in place, and in the protocol that the record keeps.

    Args:
        cfg: with its protocol.
        name: 'whole' (one pass over the whole image), 'slide' (mmseg's windows of the size of a crop, two thirds of it apart)
            or 'multi_scale' (the mean probability of 0.5, 0.75, 1, 1.25, 1.5 and 1.75 times its size, each with its mirror
            image).

    Raises:
        ValueError: another name.
    """
    if name not in INFERENCE:
        raise ValueError(f"There is no inference {name!r} for segmentation; allowed: {', '.join(INFERENCE)}.")
    crop = cfg.protocol.crop
    windows = dict(crop_size=(crop, crop), stride=(2 * crop // 3, 2 * crop // 3))
    cfg.protocol.inference = name
    cfg.model.test_cfg = dict(**INFERENCE[name], **(windows if name == "slide" else {}))


def configure(cfg, tricks=(), backbone=None, transfer=None) -> None:
    """Plugs the backbone in; the head is a quarter as wide as stage 4 and the auxiliary head as stage 3, as in GluonCV.

    Raises:
        ValueError: tricks (they belong to pretraining), no backbone, or a card that cannot be used.
    """
    from backbones.transfer import plug, require_backbone

    backbone = require_backbone(cfg, tricks, backbone)
    channels = plug(cfg, backbone, transfer)
    if cfg.model.backbone.type == "backbones.ResNet":
        cfg.model.backbone.shortcut_pool = cfg.protocol.shortcut_pool
    else:
        cfg.protocol.shortcut_pool = "timm's own"
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
    """IoU of each class, from the per-image results."""
    names = runner.test_dataloader.dataset.metainfo["classes"]
    return {"per_class": per_class(load(folder / PER_IMAGE).matrix(len(names)).sum(0), names)}
