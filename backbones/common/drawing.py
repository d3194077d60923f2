"""Draw what the pictures of all tasks share: text, tags, colours for right and wrong, and images fitted to panels."""

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from backbones.common.data_files import oddity

INK = "#1d1d1b"
GROUND = "#f4f4f2"  # background of a panel around its image
RIGHT, WRONG = "#00a678", "#d55e00"  # green and vermilion, which colour-blind people can tell apart
FONT = ImageFont.load_default(12)
TAG = 15  # px, height of a tag


def evenly_spaced(count: int, num: int) -> list[int]:
    """Return ``num`` evenly spaced indices of 0..count - 1, both ends included; all indices if there are fewer."""
    return np.unique(np.linspace(0, count - 1, num, dtype=int)).tolist()


def run_labels(runs: int) -> list[str]:
    """Return the prefixes of texts on pictures of several runs, 'A: ' and so on; an empty prefix for a single run."""
    return [""] if runs == 1 else [f"{chr(ord('A') + i)}: " for i in range(runs)]


def read_rgb(path: str | Path, remedy: str) -> Image.Image:
    """Read the image at ``path`` and convert it to RGB from any mode.

    Raises:
        ValueError: the image is missing or cannot be decoded; names the path and ends with the remedy.
    """
    try:
        reason = oddity(path)
        if reason.startswith("it is"):
            raise OSError(reason)
        with Image.open(path) as image:
            return image.convert("RGB")
    except (OSError, SyntaxError) as error:  # PIL raises either for a broken PNG
        raise ValueError(f"The image {path} cannot be decoded ({error}); {remedy}.") from None


def fitted(size: tuple[int, int], panel: tuple[int, int]) -> tuple[tuple[int, int], tuple[int, int]]:
    """Return the largest size of an image in its panel, at least one pixel each way, and the position of its corner."""
    scale = min(available / side for available, side in zip(panel, size, strict=True))
    wide, high = (max(1, round(side * scale)) for side in size)
    return (wide, high), ((panel[0] - wide) // 2, (panel[1] - high) // 2)


def fit(image: Image.Image, panel: tuple[int, int]) -> Image.Image:
    """Return a panel with a photograph in its middle."""
    size, corner = fitted(image.size, panel)
    canvas = Image.new("RGB", panel, GROUND)
    canvas.paste(image.resize(size, Image.Resampling.LANCZOS), corner)
    return canvas


def tag_width(text: str) -> float:
    """Return the width of ``draw_tag`` for a text in px, without the border."""
    return FONT.getlength(text) + 5


def draw_tag(draw: ImageDraw.ImageDraw, x: float, y: float, text: str, colour: tuple[int, int, int]) -> None:
    """Write a text on a background of that colour, in black or white, whichever is easier to read."""
    light = np.dot((np.array(colour) / 255) ** 2.2, (0.2126, 0.7152, 0.0722))  # as perceived: green is bright, blue is not
    draw.rectangle((x, y, x + tag_width(text), y + TAG), tuple(colour), "black")
    draw.text((x + 3, y + 1), text, "white" if light < 0.26 else "black", FONT)


def shorten(text: str, width: float) -> str:
    """Shorten a text in its middle to at most ``width`` px: both ends of a file name are informative."""
    if FONT.getlength(text) <= width:
        return text
    for keep in range(len(text) // 2, 0, -1):
        if FONT.getlength(short := f"{text[:keep]}...{text[-keep:]}") <= width:
            return short
    return "..."
