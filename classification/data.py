"""Images in class folders, as ImageNet has them, and the paper's colour jitter and PCA noise."""

from pathlib import Path

import cv2
import numpy as np
import torch
from mmengine.registry import TRANSFORMS
from PIL import Image
from torch import Tensor, nn
from torchvision import datasets
from torchvision.transforms import v2

from backbones.common.images import read_rgb
from classification.folders import check_folder

# Principal components of ImageNet's RGB pixels on the 0..255 scale (Krizhevsky et al., 2012; the values that MXNet's
# augmenter and torch's fb.resnet carry).
EIGENVALUES = (55.46, 4.794, 1.148)
EIGENVECTORS = ((-0.5675, 0.7192, 0.4009), (-0.5808, -0.0045, -0.8140), (-0.5836, -0.6948, 0.4203))
# PIL's grey is (19595 R + 38470 G + 7471 B + 32768) / 65536, cut off: whole numbers below 2^24, so float32 is exact.
GREY = np.array([19595, 38470, 7471], dtype=np.float32)
BILINEAR = ("bilinear", v2.InterpolationMode.BILINEAR)


class ColorJitter(nn.Module):
    """Scales colours by factors drawn from U[1 - strength, 1 + strength] (section 2.1 of the paper; 0.4 there).

    Takes and returns an RGB image of PIL, or in form 'bcs' a uint8 (3, H, W) image, whose levels become the same.

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
        self.scratch = np.empty((5, 0), np.float32)

    def forward(self, image: Image.Image | Tensor) -> Image.Image | Tensor:
        if isinstance(image, Tensor):
            return self._planes(image)
        if self.code:
            return self.code(image)
        factors = torch.empty(3).uniform_(1 - self.strength, 1 + self.strength).numpy()
        pixels = np.asarray(image.convert("HSV"), dtype=np.float32) * factors
        pixels[..., 0] %= 255  # a full turn, as PIL has it
        return Image.fromarray(pixels.clip(0, 255).astype(np.uint8), "HSV").convert("RGB")

    def _planes(self, image: Tensor) -> Tensor:
        """What torchvision's ColorJitter makes of an image of PIL by PIL's ImageEnhance, in float32 and in place."""
        count = image[0].numel()
        if self.scratch.shape[1] != count:  # kept from image to image: fresh memory costs as much as the sums
            self.scratch = np.empty((5, count), np.float32)
        pixels, grey, spare = self.scratch[:3], self.scratch[3], self.scratch[4]
        np.copyto(pixels, image.numpy().reshape(3, -1))
        drawn = self.code.make_params([])
        for number in drawn["fn_idx"].tolist():
            if number == 0 and drawn["brightness_factor"] is not None:
                blend(pixels, None, drawn["brightness_factor"])
            elif number == 1 and drawn["contrast_factor"] is not None:
                mean = int(greys(pixels, grey, spare).sum(dtype=np.float64) / count + 0.5)
                blend(pixels, np.float32(mean), drawn["contrast_factor"])
            elif number == 2 and drawn["saturation_factor"] is not None:
                blend(pixels, greys(pixels, grey, spare), drawn["saturation_factor"])
        return torch.from_numpy(pixels.astype(np.uint8).reshape(image.shape))


def greys(pixels: np.ndarray, out: np.ndarray, spare: np.ndarray) -> np.ndarray:
    """PIL's grey levels of pixels float32 (3, N), as whole numbers in ``out`` (N,); ``spare`` (N,) is overwritten."""
    np.multiply(pixels[0], GREY[0], out=out)
    for channel in (1, 2):
        out += np.multiply(pixels[channel], GREY[channel], out=spare)
    out += np.float32(32768)
    out *= np.float32(1 / 65536)
    return np.floor(out, out=out)


def blend(pixels: np.ndarray, base: np.ndarray | np.float32 | None, factor: float) -> None:
    """``base + factor * (pixels - base)``, float32 (3, N), in place, clipped to 0..255 and cut off as by PIL's Image.blend.

    ``base``: (N,), or one level for all; None is black.
    """
    factor = np.float32(factor)
    if base is not None:
        pixels -= base
    pixels *= factor
    if base is not None:
        pixels += base
    if factor > 1:  # else it lies between the two
        np.clip(pixels, 0, 255, out=pixels)
    np.floor(pixels, out=pixels)


class PCANoise(nn.Module):
    """Adds ``V (alpha * lambda)`` to every pixel, alpha ~ N(0, std) per component (section 2.1 of the paper).

    Takes and returns a uint8 (3, H, W) RGB image; the sum is clipped to 0..255 and truncated, as MXNet does.
    """

    def __init__(self, std: float = 0.1):
        super().__init__()
        self.std, self.vectors, self.values = std, torch.tensor(EIGENVECTORS), torch.tensor(EIGENVALUES)

    def forward(self, image: Tensor) -> Tensor:
        shift = self.vectors @ (torch.randn(3) * self.std * self.values)
        levels = image.numpy() + shift.numpy()[:, None, None]
        return torch.from_numpy(np.clip(levels, 0, 255, out=levels).astype(np.uint8))


# ---- steps of torchvision, without what each does to find out of what kind its input is


class Crop(nn.Module):
    """What ``step``, torchvision's RandomResizedCrop, antialiased and bilinear, makes of an image of PIL."""

    def __init__(self, step: v2.RandomResizedCrop):
        super().__init__()
        self.step = step

    def forward(self, image: Image.Image) -> Image.Image:
        found = self.step.make_params([image])
        left, top = found["left"], found["top"]
        part = image.crop((left, top, left + found["width"], top + found["height"]))
        return part.resize(self.step.size[::-1], Image.Resampling.BILINEAR)


class Flip(nn.Module):
    """What torchvision's RandomHorizontalFlip makes of an image (..., W)."""

    def __init__(self, step: v2.RandomHorizontalFlip):
        super().__init__()
        self.p = step.p

    def forward(self, image: Tensor) -> Tensor:
        return image.flip(-1) if torch.rand(1) < self.p else image


class Planes(nn.Module):
    """What torchvision's PILToTensor makes of an RGB image of PIL, but laid out in memory as (3, H, W) too."""

    def forward(self, image: Image.Image) -> Tensor:
        planes = np.empty((3, image.height, image.width), np.uint8)
        cv2.split(np.asarray(image), list(planes))
        return torch.from_numpy(planes)


def quicker(steps: list[nn.Module]) -> list[nn.Module]:
    """``steps`` that draw and give the same, faster: a flip and a jitter that PILToTensor follows come after it.

    Steps that are not of these kinds stay what and where they are.
    """
    kinds = [type(step) for step in steps]
    if kinds and kinds[0] is v2.RandomResizedCrop and steps[0].interpolation in BILINEAR:
        steps = [Crop(steps[0]), *steps[1:]]
    if v2.PILToTensor not in kinds:
        return steps
    first = last = kinds.index(v2.PILToTensor)
    while first and _moves(steps[first - 1]):
        first -= 1
    early = [Flip(step) if type(step) is v2.RandomHorizontalFlip else step for step in steps[first:last]]
    return [*steps[:first], Planes(), *early, *steps[last + 1 :]]


def _moves(step: nn.Module) -> bool:
    """Whether ``step`` gives the same levels from a tensor as from an image of PIL."""
    return type(step) is v2.RandomHorizontalFlip or (type(step) is ColorJitter and step.code is not None)


class ImageFolder(datasets.ImageFolder):
    """torchvision's ImageFolder, one folder per class in sorted order, whose transforms come from a config.

    Args:
        root: folder of the class folders.
        pipeline: configs of transforms; the first gets a PIL image in RGB, the last gives uint8 (3, H, W).

    Items are ``{'inputs': uint8 (3, H, W), 'labels': int}``; images are read as ``backbones.common.images`` says.

    Raises:
        ValueError: no such folder, no class folders, or a class folder without images.
        BadImage: from an item, an image that cannot be read.
    """

    def __init__(self, root: str, pipeline: list[dict]):
        check_folder(Path(root))
        transform = v2.Compose(quicker([TRANSFORMS.build(step) for step in pipeline]))
        super().__init__(root, transform=transform, loader=read_rgb)

    def __getitem__(self, index: int) -> dict:
        image, label = super().__getitem__(index)
        return {"inputs": image, "labels": label}
