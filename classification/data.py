"""Images in class folders, as ImageNet has them, and the paper's colour jitter and PCA noise."""

from pathlib import Path

import numpy as np
import torch
from mmengine.registry import TRANSFORMS
from PIL import Image
from torch import Tensor, nn
from torchvision import datasets
from torchvision.transforms import v2

from backbones.files import missing_folder
from backbones.images import read_rgb

# Principal components of ImageNet's RGB pixels on the 0..255 scale (Krizhevsky et al., 2012; the values that MXNet's
# augmenter and torch's fb.resnet carry).
EIGENVALUES = (55.46, 4.794, 1.148)
EIGENVECTORS = ((-0.5675, 0.7192, 0.4009), (-0.5808, -0.0045, -0.8140), (-0.5836, -0.6948, 0.4203))


class ColorJitter(nn.Module):
    """Scales colours by factors drawn from U[1 - strength, 1 + strength] (section 2.1 of the paper; 0.4 there).

    Takes and returns an RGB image of PIL.

    Args:
        strength: in [0, 1).
        form: 'bcs' scales brightness, contrast and saturation in random order, as the paper's code does (MXNet's augmenter,
            torchvision's ColorJitter); 'hsv' scales hue, saturation and value, as the paper says: hue as an angle in [0, 1)
            that wraps, the other two clipped.

    Raises:
        ValueError: another form.
    """

    def __init__(self, strength: float = 0.4, form: str = "bcs"):
        super().__init__()
        if form not in ("bcs", "hsv"):
            raise ValueError(f"ColorJitter: form is {form!r}; allowed: bcs, hsv.")
        self.strength = strength
        self.code = v2.ColorJitter(strength, strength, strength) if form == "bcs" else None

    def forward(self, image: Image.Image) -> Image.Image:
        if self.code:
            return self.code(image)
        factors = torch.empty(3).uniform_(1 - self.strength, 1 + self.strength).numpy()
        pixels = np.asarray(image.convert("HSV"), dtype=np.float32) * factors
        pixels[..., 0] %= 255  # a full turn, as PIL has it
        return Image.fromarray(pixels.clip(0, 255).astype(np.uint8), "HSV").convert("RGB")


class PCANoise(nn.Module):
    """Adds ``V (alpha * lambda)`` to every pixel, alpha ~ N(0, std) per component (section 2.1 of the paper).

    Takes and returns a uint8 (3, H, W) RGB image; the sum is clipped to 0..255 and truncated, as MXNet does.
    """

    def __init__(self, std: float = 0.1):
        super().__init__()
        self.std = std

    def forward(self, image: Tensor) -> Tensor:
        alpha = torch.randn(3) * self.std
        shift = torch.tensor(EIGENVECTORS) @ (alpha * torch.tensor(EIGENVALUES))
        return (image + shift[:, None, None]).clamp_(0, 255).to(torch.uint8)


class ImageFolder(datasets.ImageFolder):
    """torchvision's ImageFolder, one folder per class in sorted order, whose transforms come from a config.

    Args:
        root: folder of the class folders.
        pipeline: configs of transforms; the first gets a PIL image in RGB, the last gives uint8 (3, H, W).

    Items are ``{'inputs': uint8 (3, H, W), 'labels': int}``; images are read as ``backbones.images`` says.

    Raises:
        ValueError: no such folder, no class folders, or a class folder without images.
        BadImage: from an item, an image that cannot be read.
    """

    def __init__(self, root: str, pipeline: list[dict]):
        check_folder(Path(root))
        transform = v2.Compose([TRANSFORMS.build(step) for step in pipeline])
        super().__init__(root, transform=transform, loader=read_rgb)

    def __getitem__(self, index: int) -> dict:
        image, label = super().__getitem__(index)
        return {"inputs": image, "labels": label}


def check_folder(root: Path) -> list[str]:
    """The class names under ``root``, sorted.

    Raises:
        ValueError: as ``ImageFolder``; says what was expected where, and what was found.
    """
    if not root.is_dir():
        raise ValueError(missing_folder(root, "one folder of images per class"))
    classes = sorted(p for p in root.iterdir() if p.is_dir())
    if not classes:
        found = ", ".join(sorted(p.name for p in root.iterdir())[:5]) or "nothing"
        raise ValueError(f"{root} should hold one folder of images per class, and holds no folder (found: {found}).")
    for folder in classes:
        if not any(p.suffix.lower() in datasets.folder.IMG_EXTENSIONS for p in folder.rglob("*")):
            raise ValueError(
                f"The class folder {folder} holds no image ({', '.join(datasets.folder.IMG_EXTENSIONS)}); fill it or "
                "remove it, since every folder counts as a class."
            )
    return [folder.name for folder in classes]
