"""What the pictures of all tasks share: type, ink, the colours of right and wrong, how images are read and made to fit."""

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

INK = "#1d1d1b"
GROUND = "#f4f4f2"  # of a panel, where its image leaves room
RIGHT, WRONG = "#00a678", "#d55e00"  # green and vermilion: told apart by the colour-blind too
FONT = ImageFont.load_default(12)
TAG = 15  # px: the height of a tag


def evenly_spaced(count: int, num: int) -> list[int]:
    """``num`` of the indices 0..count - 1, evenly and with both ends; all of them, where there are fewer."""
    return np.unique(np.linspace(0, count - 1, num, dtype=int)).tolist()


def run_labels(runs: int) -> list[str]:
    """What the text on pictures of several runs starts with, 'A: ' and so on; nothing for one alone."""
    return [""] if runs == 1 else [f"{chr(ord('A') + i)}: " for i in range(runs)]


def read_rgb(path: str | Path, remedy: str) -> Image.Image:
    """The image at ``path`` as RGB, whatever its mode.

    Raises:
        ValueError: it is missing or cannot be decoded; names the path and ends with the remedy.
    """
    try:
        with Image.open(path) as image:
            return image.convert("RGB")
    except (OSError, SyntaxError) as error:  # PIL has both for a broken PNG
        raise ValueError(f"The image {path} cannot be decoded ({error}); {remedy}.") from None


def fitted(size: tuple[int, int], panel: tuple[int, int]) -> tuple[tuple[int, int], tuple[int, int]]:
    """The size of an image made as large as its panel allows, at least a pixel each way, and where its corner goes."""
    scale = min(whole / side for whole, side in zip(panel, size, strict=True))
    wide, high = (max(1, round(side * scale)) for side in size)
    return (wide, high), ((panel[0] - wide) // 2, (panel[1] - high) // 2)


def fit(image: Image.Image, panel: tuple[int, int]) -> Image.Image:
    """A photograph in the middle of its panel."""
    size, corner = fitted(image.size, panel)
    canvas = Image.new("RGB", panel, GROUND)
    canvas.paste(image.resize(size, Image.Resampling.LANCZOS), corner)
    return canvas


def tag_width(text: str) -> float:
    """How wide ``draw_tag`` makes a text, its border apart."""
    return FONT.getlength(text) + 5


def draw_tag(draw: ImageDraw.ImageDraw, x: float, y: float, text: str, colour: tuple[int, int, int]) -> None:
    """Writes on a ground of that colour, in black or white, whichever reads better."""
    light = np.dot((np.array(colour) / 255) ** 2.2, (0.2126, 0.7152, 0.0722))  # as the eye takes it: green is bright, blue is not
    draw.rectangle((x, y, x + tag_width(text), y + TAG), tuple(colour), "black")
    draw.text((x + 3, y + 1), text, "white" if light < 0.26 else "black", FONT)


def shorten(text: str, width: float) -> str:
    """The text, without its middle where it is wider than that many px: both ends of a file's name tell something."""
    if FONT.getlength(text) <= width:
        return text
    for keep in range(len(text) // 2, 0, -1):
        if FONT.getlength(short := f"{text[:keep]}...{text[-keep:]}") <= width:
            return short
    return "..."
