"""Pictures of a finished run, for people: validation images, and whether the network's first guess was right."""

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageOps

from backbones.drawing import FONT, INK, RIGHT, WRONG, spread
from classification.data import check_folder, read_rgb

SIDE, FRAME, FOOT = 150, 4, 34  # px: an image at most, the border around it, the lines below


def legend(cfg) -> str:
    """What the pictures show, for the head of a sheet."""
    return (
        "Each image with its true class. Green border: the network's first guess is right; orange-red: it is not, and the number "
        f"is the place of the true class among its guesses (1 to {cfg.model.num_classes})."
    )


def pictures(cfg, folder: Path, num: int) -> list[Image.Image]:
    """``num`` validation images, spread evenly over the classes.

    Args:
        cfg: of a finished run.
        folder: of that run; its ``ranks.npz`` is read.
        num: how many images; all, where there are fewer.

    Raises:
        ValueError: the validation data is missing, or is not what the run was tested on.
    """
    from torchvision.datasets import ImageFolder

    root = Path(cfg.test_dataloader.dataset.root)
    classes, samples = check_folder(root), ImageFolder(root).samples
    with np.load(folder / "ranks.npz") as saved:
        ranks, labels = saved["rank"], saved["label"]
    if labels.tolist() != [label for _, label in samples]:
        raise ValueError(f"{root} holds other images than the run in {folder} was tested on; run it again, or bring them back.")
    chosen = spread(len(samples), num)
    return [picture(read_rgb(samples[i][0]), classes[labels[i]], int(ranks[i])) for i in chosen]


def picture(image: Image.Image, name: str, rank: int) -> Image.Image:
    """An image with its true class below; ``rank`` is how many classes the network put before it."""
    size = SIDE + 2 * FRAME
    tile = Image.new("RGB", (size, size + FOOT), "white")
    small = ImageOps.contain(image, (SIDE, SIDE), Image.Resampling.LANCZOS)
    framed = ImageOps.expand(small, FRAME, WRONG if rank else RIGHT)
    tile.paste(framed, ((size - framed.width) // 2, (size - framed.height) // 2))
    draw = ImageDraw.Draw(tile)
    draw.text((FRAME, size + 1), name, INK, FONT)
    draw.text((FRAME, size + 16), f"place {rank + 1}" if rank else "right", WRONG if rank else RIGHT, FONT)
    return tile
