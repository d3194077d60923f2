"""Present the segmentation task to the tools: it transfers a card to a dilated FCN on ADE20K."""

import os
from pathlib import Path

import backbones.mmcv_ops  # noqa: F401  (before anything imports mmseg)
from backbones.common.data_files import DataFiles, check_overlap, first_odd
from backbones.common.files import missing_folder
from backbones.resolving import check_batch
from segmentation.folders import IMAGE, MASK, Split, list_split, read_split
from segmentation.masks import sample_masks
from segmentation.metrics import REGIONS, load, per_class
from segmentation.resolve import FOLLOWS, resolve, set_inference
from segmentation.schema import SegmentationValues as VALUES

__all__ = ["FOLLOWS", "VALUES", "check_data", "data_files", "data_folders", "finish", "resolve", "set_inference"]
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
    """Return a sentence for each oddity that stops no run. Masks are sampled here, and all are checked when they are read.

    Raises:
        ValueError: a folder does not exist, images and masks do not pair, there are fewer training images than a batch takes, a
            test image or mask is no file with content, a sampled mask cannot be used, or all test images are trained on.
    """
    for folder in data_folders(cfg):
        if not os.path.isdir(folder):
            raise ValueError(missing_folder(folder, "a part of ADEChallengeData2016 in its original layout"))
    training, testing = (_split(loader.dataset) for loader in (cfg.train_dataloader, cfg.test_dataloader))
    if odd := first_odd(path for name in testing.pairs for path in (testing.image(name), testing.mask(name))):
        raise ValueError(f"{odd[0]} cannot be read ({odd[1]}); replace it, or take the image and its mask out of the data.")
    remarks = [*sample_masks(training, skip_bad=True), *sample_masks(testing, skip_bad=False)]
    check_batch(len(training.pairs), cfg.batch, str(training.images))
    images = [[(name, split.image(name)) for name in split.pairs] for split in (training, testing)]
    return remarks + check_overlap(*images)


def _split(dataset) -> Split:
    """List what a dataset of a config reads."""
    root, folders = Path(dataset.data_root), dataset.data_prefix
    return read_split(root / folders.img_path, root / folders.seg_map_path, dataset.get("part"))


def data_folders(cfg) -> list[Path]:
    """Return the folders that a run reads."""
    datasets = [cfg.train_dataloader.dataset, cfg.test_dataloader.dataset]
    return sorted({Path(dataset.data_root) / part for dataset in datasets for part in dataset.data_prefix.values()})


def data_files(cfg) -> list[DataFiles]:
    """Return the files that decide the result of a run: the masks by content, and the images.

    Raises:
        ValueError: the data is missing or cannot be listed.
    """
    files = []
    for dataset in (cfg.train_dataloader.dataset, cfg.test_dataloader.dataset):
        root, images, masks = Path(dataset.data_root), dataset.data_prefix.img_path, dataset.data_prefix.seg_map_path
        split = list_split(root / images, root / masks)
        content = tuple(f"{masks}/{name}{MASK}" for name in sorted([*split.pairs, *split.unpaired]))
        photos = tuple(f"{images}/{name}{IMAGE}" for name in sorted([*split.pairs, *split.unmasked]))
        files.append(DataFiles(root, content, photos))
    return files


def finish(runner, cfg, metrics: dict, folder: Path) -> dict:
    """Compute the IoU of each class from the per-image results, for the record."""
    names = runner.test_dataloader.dataset.metainfo["classes"]
    return {"per_class": per_class(load(folder / PER_IMAGE).matrix(len(names)).sum(0), names)}
