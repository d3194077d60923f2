"""Pictures of a finished run, for people: validation images, and whether the network's first guess was right."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageOps

from backbones.common.drawing import FONT, INK, RIGHT, WRONG, evenly_spaced, run_labels
from backbones.common.files import read_npz
from classification.data import read_rgb
from classification.folders import check_folder

SIDE, FRAME, LINE = 150, 4, 15  # px: an image at most, the border around it, a line below


def legend(cfg) -> str:
    """What the pictures show, for the head of a sheet."""
    return (
        "Each image with its true class. Green border: the network's first guess is right; orange-red: it is not, and the number "
        f"is the place of the true class among its guesses (1 to {cfg.model.num_classes}). Of two runs the left half of the "
        "border is the first's."
    )


def pictures(cfg, folders: Sequence[Path], num: int) -> list[Image.Image]:
    """``num`` validation images, spread evenly over the classes.

    Args:
        cfg: of a finished run.
        folders: of that run, and perhaps of another that stands beside it; ``ranks.npz`` is read.
        num: how many images; all, where there are fewer.

    Raises:
        ValueError: the validation data is missing, or is not what the run was tested on.
    """
    from torchvision.datasets import ImageFolder

    root = Path(cfg.test_dataloader.dataset.root)
    classes, samples = check_folder(root), ImageFolder(root).samples
    labels = [label for _, label in samples]
    ranks = np.stack([_ranks(folder, labels, root) for folder in folders], axis=1)
    chosen = evenly_spaced(len(samples), num)
    return [picture(read_rgb(samples[i][0]), classes[labels[i]], ranks[i].tolist()) for i in chosen]


def _ranks(folder: Path, labels: list[int], root: Path) -> np.ndarray:
    """The ranks of a run; raises ValueError unless it was tested on images of these classes, in this order."""
    saved = read_npz(folder / "ranks.npz")
    if saved["label"].tolist() != labels:
        raise ValueError(f"{root} holds other images than the run in {folder} was tested on; run it again, or bring them back.")
    return saved["rank"]


def picture(image: Image.Image, name: str, ranks: Sequence[int]) -> Image.Image:
    """An image with its true class below; ``ranks`` are how many classes the network of each run put before it."""
    size = SIDE + 2 * FRAME
    tile = Image.new("RGB", (size, size + LINE * (1 + len(ranks)) + FRAME), "white")
    small = ImageOps.contain(image, (SIDE, SIDE), Image.Resampling.LANCZOS)
    colours = [WRONG if rank else RIGHT for rank in ranks]
    framed = Image.new("RGB", (small.width + 2 * FRAME, small.height + 2 * FRAME))
    for i, colour in enumerate(colours):  # from where each run's part of the border starts
        framed.paste(colour, (i * framed.width // len(ranks), 0, *framed.size))
    framed.paste(small, (FRAME, FRAME))
    tile.paste(framed, ((size - framed.width) // 2, (size - framed.height) // 2))
    draw = ImageDraw.Draw(tile)
    draw.text((FRAME, size + 1), name, INK, FONT)
    for i, (mark, rank) in enumerate(zip(run_labels(len(ranks)), ranks, strict=True), 1):
        draw.text((FRAME, size + 1 + LINE * i), mark + (f"place {rank + 1}" if rank else "right"), colours[i - 1], FONT)
    return tile
