"""Present the classification task to the tools: it pretrains a backbone and writes its card.

A card is a folder with the weights of a backbone and the facts that a transfer needs to use them.
"""

import copy
from pathlib import Path

from classification.folders import check_folder
from classification.resolve import FOLLOWS, facts_of, resolve
from classification.schema import ClassificationValues as VALUES

__all__ = ["FOLLOWS", "VALUES", "check_data", "data_folders", "facts_of", "finish", "resolve", "size", "write_card"]
STAGE = "pretrain"
RESULT_VERSION = 4  # increase it when the same config no longer gives the same numbers, so that finished runs are repeated
METRICS = ("top1", "top5")
FIGURES = METRICS  # the names of all scores of a run
SPLIT = "val"  # on which the figures are measured
PER_IMAGE = "ranks.npz"
PUBLISHED_PROTOCOL = "paper"  # protocol of the paper's numbers


def check_data(cfg) -> list[str]:
    """Check the folders of a run, and return no warnings.

    Raises:
        ValueError: a folder is missing or empty, or its classes differ from those of the config, the other split, or the teacher.
    """
    train, val = (Path(cfg[f"{split}_dataloader"].dataset.root) for split in ("train", "test"))
    names, val_names = check_folder(train), check_folder(val)
    if names != val_names:
        unmatched = sorted(set(names) ^ set(val_names))
        raise ValueError(f"{train} and {val} should have the same class folders; only one has {', '.join(unmatched[:5])}.")
    if len(names) != cfg.model.num_classes:
        raise ValueError(
            f"{train} has {len(names)} class folders and the config {cfg.model.num_classes} classes; set "
            f"--cfg-options num_classes={len(names)} or remove the extra folders."
        )
    if cfg.model.distillation:
        from classification.distillation import load_teacher

        load_teacher(cfg.teacher, len(names), names)
    return []


def data_folders(cfg) -> list[Path]:
    """Return the folders that a run reads."""
    return [Path(cfg.train_dataloader.dataset.root), Path(cfg.test_dataloader.dataset.root)]


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
    class_names = check_folder(Path(cfg.train_dataloader.dataset.root))
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
        source={"run": cfg.get("run"), "network": cfg.network, "scale": cfg.scale, "class_names": class_names},
        classifier={"weight": model.fc.weight, "bias": model.fc.bias},
    )
