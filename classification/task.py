"""Present the classification task to the tools: it pretrains a backbone and writes its card.

A card is a folder with the weights of a backbone and the facts that a transfer needs to use them.
"""

import copy
import os
from collections.abc import Iterator
from pathlib import Path

from backbones.common.data_files import DataFiles, check_overlap, first_odd
from backbones.resolving import check_batch
from classification.folders import class_images, class_names, read_folder
from classification.resolve import FOLLOWS, facts_of, resolve
from classification.schema import ClassificationValues as VALUES

__all__ = [
    "FOLLOWS",
    "VALUES",
    "check_data",
    "data_files",
    "data_folders",
    "facts_of",
    "finish",
    "resolve",
    "size",
    "write_card",
]
STAGE = "pretrain"
RESULT_VERSION = 4  # increase it when the same config no longer gives the same numbers, so that finished runs are repeated
TRAINS_ALIKE = True  # one and several processes give one result, so their number is in no key
METRICS = ("top1", "top5")
FIGURES = METRICS  # the names of all scores of a run
SPLIT = "val"  # on which the figures are measured
PER_IMAGE = "ranks.npz"
PUBLISHED_PROTOCOL = "paper"  # protocol of the paper's numbers


def check_data(cfg) -> list[str]:
    """Check the folders of a run, and return a sentence if some test images are trained on.

    Raises:
        ValueError: a folder is missing or empty, or its classes differ from those of the config, the other split, or the teacher;
            there are fewer training images than a batch takes; a test image is no file with content; or all test images are
            trained on.
    """
    train, val = data_folders(cfg)
    images, val_images = read_folder(train), read_folder(val)
    names = list(images)
    if names != list(val_images):
        unmatched = sorted(set(images) ^ set(val_images))
        raise ValueError(f"{train} and {val} should have the same class folders; only one has {', '.join(unmatched[:5])}.")
    if len(names) != cfg.model.num_classes:
        raise ValueError(
            f"{train} has {len(names)} class folders and the config {cfg.model.num_classes} classes; set "
            f"--cfg-options num_classes={len(names)} or remove the extra folders."
        )
    if odd := first_odd(path for _, path in _named(val, val_images)):
        raise ValueError(f"The image {odd[0]} cannot be read ({odd[1]}); replace it, or take it out of the data.")
    check_batch(sum(map(len, images.values())), cfg.batch, str(train))
    remarks = check_overlap(_named(train, images), _named(val, val_images))
    if cfg.model.distillation:
        from classification.distillation import load_teacher

        load_teacher(cfg.teacher, len(names), names)
    return remarks


def _named(root: Path, images: dict[str, list[str]]) -> Iterator[tuple[str, str]]:
    """Yield the path of each image, relative to ``root`` and whole."""
    return ((image, os.path.join(root, image)) for names in images.values() for image in names)


def data_folders(cfg) -> list[Path]:
    """Return the folders that a run reads."""
    return [Path(cfg.train_dataloader.dataset.root), Path(cfg.test_dataloader.dataset.root)]


def data_files(cfg) -> list[DataFiles]:
    """Return the files that decide the result of a run: the images, whose folders are their classes.

    Raises:
        ValueError: the data is missing or cannot be listed.
    """
    files = []
    for root in data_folders(cfg):
        images = [image for name in class_names(root) for image in class_images(root, name)]
        files.append(DataFiles(root, (), tuple(images)))
    return files


def finish(runner, cfg, metrics: dict, folder: Path) -> dict:
    """Write the card of the trained backbone into ``folder``, and return its digest and size for the record."""
    card = write_card(runner.model, cfg, metrics["top1"], folder / "card")
    return {"card": card.sha256, "size": size(cfg)}


def size(cfg) -> dict[str, int]:
    """Count the ``parameters`` of the classifier and the ``multiply_adds`` of its convolutions and last layer for one image."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from classification.model import ImageClassifier

    plain = {key: value for key, value in cfg.model.items() if key not in ("type", "distillation", "mixup")}
    with torch.device("meta"):
        model = ImageClassifier(**plain).eval()
        with FlopCounterMode(display=False) as counter:
            model(torch.empty(1, 3, cfg.size, cfg.size))
    return {"parameters": sum(p.numel() for p in model.parameters()), "multiply_adds": counter.get_total_flops() // 2}


def write_card(model, cfg, top1: float | None, folder: Path):
    """Write the BackboneCard of a trained ``ImageClassifier``: its backbone with its preprocessor, and its classifier."""
    from backbones.card import BackboneCard

    model = getattr(model, "module", model)
    normalise = copy.deepcopy(model.data_preprocessor).cpu().normalise
    preprocessor = cfg.model.data_preprocessor
    names = class_names(Path(cfg.train_dataloader.dataset.root))
    return BackboneCard.write(
        folder,
        model.backbone,
        normalise,
        mean=list(preprocessor.mean),
        std=list(preprocessor.std),
        channel_order="rgb",  # PIL's order
        input_size=cfg.size,
        resampler=cfg.resampler,
        recipe=[list(pair) for pair in cfg.tricks],
        seed=cfg.randomness.seed,
        top1=top1,
        source={"run": cfg.get("run"), "network": cfg.network, "scale": cfg.scale, "class_names": names},
        classifier={"weight": model.fc.weight, "bias": model.fc.bias},
    )
