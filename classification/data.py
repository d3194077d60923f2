"""Load images from class folders, and apply the paper's colour jitter and PCA noise."""

import os
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
from classification.folders import read_folder

# Principal components of ImageNet's RGB pixels on the 0..255 scale (Krizhevsky et al., 2012; the same values as in
# MXNet's augmenter and torch's fb.resnet).
EIGENVALUES = (55.46, 4.794, 1.148)
EIGENVECTORS = ((-0.5675, 0.7192, 0.4009), (-0.5808, -0.0045, -0.8140), (-0.5836, -0.6948, 0.4203))
# PIL's grey is (19595 R + 38470 G + 7471 B + 32768) / 65536, truncated. All terms are integers below 2^24, so float32 is exact.
GREY = np.array([19595, 38470, 7471], dtype=np.float32)
BILINEAR = ("bilinear", v2.InterpolationMode.BILINEAR)


class ColorJitter(nn.Module):
    """Scale colours by factors drawn from U[1 - strength, 1 + strength] (section 2.1 of the paper; 0.4 there).

    The input and output are an RGB PIL image or, in form 'bcs', a uint8 (3, H, W) tensor. Both give the same levels.

    Args:
        strength: in [0, 1).
        form: 'bcs' scales brightness, contrast and saturation in random order, as the paper's code does (MXNet's augmenter,
            torchvision's ColorJitter). 'hsv' scales hue, saturation and value, as the paper's text says: hue is an angle in
            [0, 1) that wraps, the other two are clipped.

    Raises:
        ValueError: an unknown form.
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
        pixels[..., 0] %= 255  # a full turn in PIL
        return Image.fromarray(pixels.clip(0, 255).astype(np.uint8), "HSV").convert("RGB")

    def _planes(self, image: Tensor) -> Tensor:
        """Compute in float32 what torchvision's ColorJitter computes from a PIL image by PIL's ImageEnhance."""
        count = image[0].numel()
        if self.scratch.shape[1] != count:  # reused from image to image: allocating costs as much as the sums
            self.scratch = np.empty((5, count), np.float32)
        pixels, grey, spare = self.scratch[:3], self.scratch[3], self.scratch[4]
        np.copyto(pixels, image.numpy().reshape(3, -1))
        params = self.code.make_params([])
        for number in params["fn_idx"].tolist():
            if number == 0 and params["brightness_factor"] is not None:
                blend(pixels, None, params["brightness_factor"])
            elif number == 1 and params["contrast_factor"] is not None:
                mean = int(greys(pixels, grey, spare).sum(dtype=np.float64) / count + 0.5)
                blend(pixels, np.float32(mean), params["contrast_factor"])
            elif number == 2 and params["saturation_factor"] is not None:
                blend(pixels, greys(pixels, grey, spare), params["saturation_factor"])
        return torch.from_numpy(pixels.astype(np.uint8).reshape(image.shape))


def greys(pixels: np.ndarray, out: np.ndarray, spare: np.ndarray) -> np.ndarray:
    """Compute PIL's grey levels of pixels float32 (3, N), as whole numbers in ``out`` (N,); overwrite ``spare`` (N,)."""
    np.multiply(pixels[0], GREY[0], out=out)
    for channel in (1, 2):
        out += np.multiply(pixels[channel], GREY[channel], out=spare)
    out += np.float32(32768)
    out *= np.float32(1 / 65536)
    return np.floor(out, out=out)


def blend(pixels: np.ndarray, base: np.ndarray | np.float32 | None, factor: float) -> None:
    """Compute ``base + factor * (pixels - base)`` in place, clipped to 0..255 and truncated as by PIL's Image.blend.

    Args:
        pixels: float32 (3, N).
        base: float32 (N,), or one level for all pixels; None is black.
        factor: weight of the pixels, 0 or more.
    """
    factor = np.float32(factor)
    if base is not None:
        pixels -= base
    pixels *= factor
    if base is not None:
        pixels += base
    if factor > 1:  # otherwise the result lies between base and pixels
        np.clip(pixels, 0, 255, out=pixels)
    np.floor(pixels, out=pixels)


class PCANoise(nn.Module):
    """Add ``V (alpha * lambda)`` to every pixel, alpha ~ N(0, std) per component (section 2.1 of the paper).

    The input and output are a uint8 (3, H, W) RGB image. The sum is clipped to 0..255 and truncated, as in MXNet.
    """

    def __init__(self, std: float = 0.1):
        super().__init__()
        self.std, self.vectors, self.values = std, torch.tensor(EIGENVECTORS), torch.tensor(EIGENVALUES)

    def forward(self, image: Tensor) -> Tensor:
        shift = self.vectors @ (torch.randn(3) * self.std * self.values)
        levels = image.numpy() + shift.numpy()[:, None, None]
        return torch.from_numpy(np.clip(levels, 0, 255, out=levels).astype(np.uint8))


# ---- torchvision's steps, without the checks by which each finds the type of its input


class Crop(nn.Module):
    """Crop and resize a PIL image as ``step``, torchvision's antialiased, bilinear RandomResizedCrop."""

    def __init__(self, step: v2.RandomResizedCrop):
        super().__init__()
        self.step = step

    def forward(self, image: Image.Image) -> Image.Image:
        params = self.step.make_params([image])
        left, top = params["left"], params["top"]
        part = image.crop((left, top, left + params["width"], top + params["height"]))
        return part.resize(self.step.size[::-1], Image.Resampling.BILINEAR)


class Flip(nn.Module):
    """Flip an image (..., W) as torchvision's RandomHorizontalFlip."""

    def __init__(self, step: v2.RandomHorizontalFlip):
        super().__init__()
        self.p = step.p

    def forward(self, image: Tensor) -> Tensor:
        return image.flip(-1) if torch.rand(1) < self.p else image


class Planes(nn.Module):
    """Convert an RGB PIL image as torchvision's PILToTensor, but contiguous in memory as (3, H, W)."""

    def forward(self, image: Image.Image) -> Tensor:
        planes = np.empty((3, image.height, image.width), np.uint8)
        cv2.split(np.asarray(image), list(planes))
        return torch.from_numpy(planes)


def quicker(steps: list[nn.Module]) -> list[nn.Module]:
    """Return faster steps with the same draws and results: flips and jitters right before PILToTensor move behind it.

    Other steps are neither replaced nor moved.
    """
    kinds = [type(step) for step in steps]
    if kinds and kinds[0] is v2.RandomResizedCrop and steps[0].interpolation in BILINEAR:
        steps = [Crop(steps[0]), *steps[1:]]
    if v2.PILToTensor not in kinds:
        return steps
    first = last = kinds.index(v2.PILToTensor)
    while first and _works_on_tensors(steps[first - 1]):
        first -= 1
    moved = [Flip(step) if type(step) is v2.RandomHorizontalFlip else step for step in steps[first:last]]
    return [*steps[:first], Planes(), *moved, *steps[last + 1 :]]


def _works_on_tensors(step: nn.Module) -> bool:
    """Return True if ``step`` gives the same levels for a tensor as for a PIL image."""
    return type(step) is v2.RandomHorizontalFlip or (type(step) is ColorJitter and step.code is not None)


class ImageFolder(datasets.ImageFolder):
    """Read torchvision's ImageFolder, one folder per class in sorted order, with transforms from a config.

    Items are ``{'inputs': uint8 (3, H, W), 'labels': int}``. ``backbones.common.images`` reads the images.

    Args:
        root: folder of the class folders.
        pipeline: configs of transforms; the first gets an RGB PIL image, the last returns uint8 (3, H, W).

    Raises:
        ValueError: no such folder, no class folders, or a class folder without images.
        BadImage: when an item is read whose image cannot be decoded.
    """

    def __init__(self, root: str, pipeline: list[dict]):
        self.images = read_folder(Path(root))
        transform = v2.Compose(quicker([TRANSFORMS.build(step) for step in pipeline]))
        super().__init__(root, transform=transform, loader=read_rgb)
        del self.images

    def find_classes(self, directory: str) -> tuple[list[str], dict[str, int]]:
        """Return the names of the classes, and the label of each."""
        return list(self.images), {name: label for label, name in enumerate(self.images)}

    def make_dataset(self, directory: str, class_to_idx: dict[str, int], **_) -> list[tuple[str, int]]:
        """Return the path and the label of every image."""
        return [(os.path.join(directory, image), class_to_idx[name]) for name, images in self.images.items() for image in images]

    def __getitem__(self, index: int) -> dict:
        image, label = super().__getitem__(index)
        return {"inputs": image, "labels": label}
