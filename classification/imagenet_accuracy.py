"""Measure the top-1 and top-5 of a classifier of ImageNet's 1,000 classes on class folders named by WordNet ids.

It shows that the weights of another library and the preprocessing of their card are right: wrong ones lower the figures.
"""

import math
import os
import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from timm.data import ImageNetInfo
from timm.data.constants import DEFAULT_CROP_PCT
from timm.data.transforms_factory import transforms_imagenet_eval
from torch import Tensor, nn

from backbones.card import BackboneCard
from backbones.card_facts import input_format
from backbones.common.dataset_checks import first_names, map_files
from backbones.common.images import read_rgb
from backbones.interchange.reference_networks import preprocessor
from classification.folders import class_names, read_folder
from classification.metrics import rank_of_truth, topk

SPLITS = ("val", "train")  # folders that hold the class folders, in a copy of ImageNet
RESAMPLERS = [name.name.lower() for name in Image.Resampling]


@dataclass(frozen=True)
class Accuracy:
    """Hold the accuracy of a classifier on a folder.

    Args:
        images: their number.
        classes: number of class folders.
        top1, top5: percent of the images whose class is first, or among the first five, of all 1,000.
        top1_of_folder: percent of the images whose class is first of those of the folder.
    """

    images: int
    classes: int
    top1: float
    top5: float
    top1_of_folder: float


@cache
def wordnet_ids() -> list[str]:
    """Return the WordNet ids of ImageNet's 1,000 classes, in the order of a classifier's outputs."""
    return list(ImageNetInfo().label_names())


def read_wordnet_folder(root: Path) -> dict[str, list[str]]:
    """Return the images of each class, relative to ``root``.

    Raises:
        ValueError: ``root`` is no folder of class folders that hold images, or a name is no id of ImageNet's classes.
    """
    if root.is_dir():
        names = class_names(root)
        others = sorted(set(names) - set(wordnet_ids()))
        if others and set(SPLITS) & set(names):
            split = next(name for name in SPLITS if name in names)
            raise ValueError(f"{root} holds the folder {split} and no class folders; give {root / split}.")
        if others:
            raise ValueError(
                f"{root} should hold one folder of images per class, named by its WordNet id (n01440764) among ImageNet's 1,000, "
                f"and holds {first_names(others)}; rename or remove them."
            )
    return read_folder(root)


def check_classes(name: str, classes: int | None, outputs: Sequence[str] | None = None) -> None:
    """Raise ValueError unless a classifier has ImageNet's 1,000 classes.

    Args:
        name: of the weights, for messages.
        classes: their number; None without a classifier.
        outputs: the class of each output, if the weights say it.
    """
    if classes is None:
        raise ValueError(f"{name} has no classifier to evaluate; leave out --evaluate, or evaluate while importing its file.")
    if classes != len(wordnet_ids()) or list(outputs or wordnet_ids()) != wordnet_ids():
        raise ValueError(
            f"{name} has a classifier of {classes:,} classes that are not ImageNet's 1,000, so no WordNet id is known for its "
            "outputs; leave out --evaluate."
        )


class Preprocessing:
    """Prepare images as the card of a network says: resize the short side, crop the center, order channels, normalise.

    Args:
        card: of the network. Its source has crop_pct (input size / short side) if a library publishes it, else
            ``DEFAULT_CROP_PCT`` is taken. Its resampler begins with the name of one of Pillow's, else
            bilinear is taken.
    """

    def __init__(self, card: BackboneCard):
        crop_pct = card.source.get("crop_pct") or DEFAULT_CROP_PCT
        resampler, remark = re.match(r"\w*", card.resampler)[0], ""
        if resampler not in RESAMPLERS:
            resampler, remark = "bilinear", ", since the card names no resampler"
        self.shrink = transforms_imagenet_eval(card.input_size, crop_pct, interpolation=resampler, normalize=False)
        self.normalise = preprocessor(card.mean, card.std, card.channel_order)
        side = math.floor(card.input_size / crop_pct)
        self.text = f"short side {side} ({resampler}{remark}), center {card.input_size}, {input_format(card)}"

    def __call__(self, paths: list[str]) -> Tensor:
        """Return the images as float32 (N, 3, H, W).

        Raises:
            BadImage: one cannot be decoded.
        """
        with ThreadPoolExecutor() as pool:
            images = list(pool.map(lambda path: self.shrink(read_rgb(path)), paths))
        return self.normalise(torch.stack(images))


def accuracy(whole: nn.Module, prepare: Preprocessing, root: Path, images: dict[str, list[str]]) -> Accuracy:
    """Classify all images of a folder, and show the progress on standard error.

    Args:
        whole: a network that returns the logits (N, 1000), in evaluation mode.
        prepare: its preprocessing.
        root, images: folder and images of ``read_wordnet_folder``.
    """
    device = "cuda" if torch.cuda.is_available() else "cpu"
    whole, places = whole.float().to(device), [wordnet_ids().index(name) for name in images]
    labels = {image: label for label, name in enumerate(images) for image in images[name]}

    @torch.inference_mode()
    def ranks(names: list[str]) -> list[tuple[int, int]]:
        """Return the ranks of the true classes among the 1,000 and among those of the folder."""
        scores = whole(prepare([os.path.join(root, name) for name in names]).to(device)).cpu().numpy()
        truths = [labels[name] for name in names]
        return [(rank_of_truth(row, places[t]), rank_of_truth(row[places], t)) for row, t in zip(scores, truths, strict=True)]

    with closing(map_files(ranks, list(labels), 1, str(root))) as answers:
        whole_ranks, folder_ranks = np.array([answer for _, answer in answers]).T
    return Accuracy(len(labels), len(images), topk(whole_ranks, 1), topk(whole_ranks, 5), topk(folder_ranks, 1))
