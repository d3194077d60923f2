"""Time JPEG files to augmented batches with one process and one thread: our loader, torchvision's usual one and timm's."""

import random
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
import torch
import torchvision
from timm.data import create_dataset, create_loader
from torch.utils.data import DataLoader

from backbones.common.project import data_root
from tools.benchmarks.rounds import Comparison, Contender, Settings, same
from tools.engine.config import resolve
from tools.engine.training.runner import ExactRunner

IMAGES, BATCH = 128, 32
COLOURS = ("classification.ColorJitter", "classification.PCANoise")
TORCHVISION, TIMM = "torchvision ImageFolder", "timm create_loader"
AIMS = {TORCHVISION: 2.0, TIMM: 1.3}
NOTES = (
    "all decode with PIL, and crop and scale with its antialiased bilinear filter, with areas and ratios from the same ranges",
    "ours and timm's return uint8, which the device normalises; torchvision's returns normalised float32",
    "ours seeds each sample by (seed, epoch, index), so that a resumed run is identical to the bit; the others do not",
)


def comparisons(settings: Settings) -> Iterator[Comparison]:
    """Compare the paper's pipeline without and with its colours, 500x375 to 224 px, then that of scale mini, 128 to 64 px."""
    with one_thread(), tempfile.TemporaryDirectory() as folder:
        for scale, size, where in (("paper", (375, 500), "imagenet"), ("mini", (128, 128), "imagenet-mini")):
            root = Path(folder) / scale
            source = fill(root, size, Path(data_root()) / where / "train")
            for colours in (False, True):
                yield comparison(root, f"configs/classification/resnet50_{scale}.py", colours, source)


@contextmanager
def one_thread() -> Iterator[None]:
    """Let torch and OpenCV use one thread inside, as in a worker of a loader."""
    before = torch.get_num_threads(), cv2.getNumThreads()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before[0])
        cv2.setNumThreads(before[1])


def comparison(root: Path, config: str, colours: bool, source: str) -> Comparison:
    """Compare the loaders on the pipeline of ``config`` and the images in ``root``, with or without colour jitter and noise."""
    loaders = ours(root, config, colours), torchvisions(root, config, colours), timms(root, config, colours)
    to_levels = as_is, denormalised(config), as_is
    levels = [mean_level(*pair) for pair in zip(loaders, to_levels, strict=True)]
    equal = [f"{IMAGES} images"] + [same("mean level", levels[0], level, 0.1) for level in levels[1:]]
    title, remarks = f"{Path(config).stem}: decode, crop, flip", [source]
    if colours:
        title += ", colour jitter, PCA noise"
        remarks.append("PCA noise is ours alone: neither torchvision nor timm has it, so ours does more work")
    names = ("ours", TORCHVISION, TIMM)
    contenders = [Contender(name, partial(run, loader), IMAGES) for name, loader in zip(names, loaders, strict=True)]
    return Comparison(title, "images", contenders, AIMS, equal, [*remarks, *NOTES])


def run(loader: DataLoader) -> int:
    """Run one pass and return the number of images."""
    return sum(len(labels) for _, labels in map(parts, loader))


def parts(batch) -> tuple[torch.Tensor, torch.Tensor]:
    """Return images and labels of a batch: ours is a dict, the others are pairs."""
    return (batch["inputs"], batch["labels"]) if isinstance(batch, dict) else tuple(batch)


def as_is(images: torch.Tensor) -> torch.Tensor:
    assert images.dtype == torch.uint8
    return images.float()


def denormalised(config: str) -> Callable[[torch.Tensor], torch.Tensor]:
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in statistics(config))
    return lambda images: images * std + mean


def mean_level(loader: DataLoader, float_of: Callable) -> float:
    """Return the mean over all pixels of a pass, 0..255.

    Raises:
        ValueError: the pass leaves images out.
    """
    torch.manual_seed(0)
    random.seed(0)  # timm's crops
    sums = [(float_of(images).mean().item() * len(images), len(images)) for images, _ in map(parts, loader)]
    images = sum(count for _, count in sums)
    if images != IMAGES:
        raise ValueError(f"A pass gave {images} images instead of {IMAGES}; make the batch size a divisor of {IMAGES}.")
    return sum(value for value, _ in sums) / IMAGES


# ---- contenders


def ours(root: Path, config: str, colours: bool) -> DataLoader:
    """Return the loader of a training run, but without worker processes and with smaller batches."""
    cfg = resolve(config).cfg.train_dataloader.to_dict()
    cfg |= dict(num_workers=0, persistent_workers=False, batch_size=BATCH, sampler=cfg["sampler"] | dict(batch=BATCH))
    steps = [step for step in cfg["dataset"]["pipeline"] if colours or step["type"] not in COLOURS]
    cfg["dataset"] |= dict(root=str(root), pipeline=steps)
    return ExactRunner.build_dataloader(cfg, seed=0)


def torchvisions(root: Path, config: str, colours: bool) -> DataLoader:
    """Return the loader of torchvision's training reference: PIL, then ToTensor and Normalize."""
    crop, flip = steps_of(config)[:2]
    mean, std = ([value / 255 for value in values] for values in statistics(config))
    t = torchvision.transforms
    steps = [
        t.RandomResizedCrop(crop["size"], crop["scale"], crop["ratio"]),
        t.RandomHorizontalFlip(flip["p"]),
        *([t.ColorJitter(*[jitter(config)] * 3)] if colours else []),
        t.ToTensor(),
        t.Normalize(mean, std),
    ]
    data = torchvision.datasets.ImageFolder(str(root), t.Compose(steps))
    return DataLoader(data, BATCH, shuffle=True, drop_last=True)


def timms(root: Path, config: str, colours: bool) -> DataLoader:
    """Return timm's training loader up to its uint8 batch, which its prefetcher would normalise on the device."""
    crop, flip = steps_of(config)[:2]
    mean, std = ([value / 255 for value in values] for values in statistics(config))
    prefetcher = create_loader(
        create_dataset("", str(root), is_training=True),
        (3, crop["size"], crop["size"]),
        BATCH,
        is_training=True,
        scale=crop["scale"],
        ratio=crop["ratio"],
        hflip=flip["p"],
        color_jitter=jitter(config) if colours else 0.0,
        mean=mean,
        std=std,
        num_workers=0,
        persistent_workers=False,
        device=torch.device("cpu"),
    )
    return prefetcher.loader


def statistics(config: str) -> tuple[list[float], list[float]]:
    preprocessor = resolve(config).cfg.model.data_preprocessor
    return preprocessor.mean, preprocessor.std


def steps_of(config: str) -> list[dict]:
    """Return the steps by which a config reads a training image."""
    return resolve(config).cfg.train_dataloader.dataset.pipeline


def jitter(config: str) -> float:
    """Return the strength of the config's colour jitter."""
    return next(step["strength"] for step in steps_of(config) if step["type"] == COLOURS[0])


# ---- images


def fill(root: Path, size: tuple[int, int], real: Path) -> str:
    """Fill two class folders of ``root`` with ``IMAGES`` JPEG files, and return their description for the notes.

    The files are links to those under ``real``, or synthetic images of ``size`` if ``real`` has too few.
    """
    for name in ("a", "b"):
        (root / name).mkdir(parents=True)
    photographs = list(islice(sorted(real.glob("*/*.JP*G") if real.is_dir() else ()) or sorted(real.glob("*/*.jp*g")), IMAGES))
    rng = np.random.default_rng(0)
    for i in range(IMAGES):
        file = root / "ab"[i % 2] / f"{i:04}.jpg"
        if len(photographs) == IMAGES:
            file.symlink_to(photographs[i].absolute())
        else:
            cv2.imwrite(str(file), photograph(rng, *size), [cv2.IMWRITE_JPEG_QUALITY, 90])
    kilobytes = sum(file.stat().st_size for file in root.rglob("*.jpg")) / IMAGES / 1000
    origin = f"the first of {real}" if len(photographs) == IMAGES else f"synthetic, {size[1]}x{size[0]} px, quality 90"
    return f"{IMAGES} JPEG files of {kilobytes:.0f} kB on average, {origin}"


def photograph(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Draw a synthetic image uint8 (H, W, 3) whose contrast falls with the frequency, as in photographs, with a few edges."""
    image = np.full((height, width, 3), 110, np.float32)
    for octave in range(8):
        cell = 2**octave
        noise = rng.standard_normal((height // cell + 2, width // cell + 2, 4), dtype=np.float32)
        smooth = cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC)
        image += (smooth[..., :1] + 0.4 * smooth[..., 1:]) * 5.5 * cell**0.3
    for _ in range(6):
        centre, axes = rng.integers((width, height)).tolist(), rng.integers(height // 16, height // 4, 2).tolist()
        mask = cv2.ellipse(np.zeros((height, width), np.uint8), centre, axes, rng.uniform(0, 180), 0, 360, 1, -1)
        image[mask > 0] += rng.uniform(-50, 50, 3).astype(np.float32)
    return image.clip(0, 255).astype(np.uint8)
