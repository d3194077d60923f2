"""Draw validation images of a finished run, marked by whether the network classified them correctly."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageOps

from backbones.common.drawing import FONT, INK, RIGHT, WRONG, evenly_spaced, run_labels
from backbones.common.files import read_npz
from classification.data import read_rgb
from classification.folders import read_folder

SIDE, FRAME, LINE = 150, 4, 15  # px: longest side of an image, the border around it, a line of text below


def legend(cfg) -> str:
    """Return the explanation at the head of a sheet."""
    return (
        "Each image with its true class. Green border: classified correctly. Orange-red border: misclassified, and the number "
        f"is the place of the true class in the network's ranking (1 to {cfg.model.num_classes}). With two runs, the left half "
        "of the border is for the first run."
    )


def pictures(cfg, folders: Sequence[Path], num: int) -> list[Image.Image]:
    """Draw ``num`` validation images, spread evenly over the classes.

    Args:
        cfg: config of a finished run.
        folders: folder of that run, and optionally of a second run to compare; their ``ranks.npz`` are read.
        num: number of images; all if there are fewer.

    Raises:
        ValueError: the validation data is missing, or is not the data on which the run was tested.
    """
    root = Path(cfg.test_dataloader.dataset.root)
    images_by_class = read_folder(root)
    classes = list(images_by_class)
    samples = [(root / image, label) for label, name in enumerate(classes) for image in images_by_class[name]]
    labels = [label for _, label in samples]
    ranks = np.stack([_ranks(folder, labels, root) for folder in folders], axis=1)
    chosen = evenly_spaced(len(samples), num)
    return [picture(read_rgb(samples[i][0]), classes[labels[i]], ranks[i].tolist()) for i in chosen]


def _ranks(folder: Path, labels: list[int], root: Path) -> np.ndarray:
    """Read the ranks of a run; raise ValueError unless it was tested on images of these classes, in this order."""
    saved = read_npz(folder / "ranks.npz")
    if saved["label"].tolist() != labels:
        raise ValueError(f"{root} holds other images than the run in {folder} was tested on; run it again, or restore them.")
    return saved["rank"]


def picture(image: Image.Image, name: str, ranks: Sequence[int]) -> Image.Image:
    """Draw an image with its true class below; ``ranks`` holds, for each run, the number of classes ranked before it."""
    size = SIDE + 2 * FRAME
    tile = Image.new("RGB", (size, size + LINE * (1 + len(ranks)) + FRAME), "white")
    small = ImageOps.contain(image, (SIDE, SIDE), Image.Resampling.LANCZOS)
    colours = [WRONG if rank else RIGHT for rank in ranks]
    framed = Image.new("RGB", (small.width + 2 * FRAME, small.height + 2 * FRAME))
    for i, colour in enumerate(colours):  # each run overpaints the border from its part on
        framed.paste(colour, (i * framed.width // len(ranks), 0, *framed.size))
    framed.paste(small, (FRAME, FRAME))
    tile.paste(framed, ((size - framed.width) // 2, (size - framed.height) // 2))
    draw = ImageDraw.Draw(tile)
    draw.text((FRAME, size + 1), name, INK, FONT)
    for i, (mark, rank) in enumerate(zip(run_labels(len(ranks)), ranks, strict=True), 1):
        draw.text((FRAME, size + 1 + LINE * i), mark + (f"place {rank + 1}" if rank else "right"), colours[i - 1], FONT)
    return tile
