"""Write images for tests."""

from pathlib import Path

import numpy as np
from PIL import Image

FORMATS = {".db": "PNG", "": "PNG"}  # for names that PIL takes no format from


def save_noise(path: Path, size: tuple[int, int] = (12, 10), seed: int = 0) -> Path:
    """Write an RGB image of noise, and the folders above it."""
    pixels = np.random.default_rng(seed).integers(256, size=(*size[::-1], 3), dtype=np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, FORMATS.get(path.suffix))
    return path
