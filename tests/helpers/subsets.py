"""Find sources to take subsets of, take them, and compare folders."""

import os
from pathlib import Path

from PIL import Image

from backbones.common.subsets import SubsetOptions
from tests.helpers.images import save_noise
from tests.helpers.voc import annotation
from tools.engine.subset.arguments import KINDS
from tools.engine.subset.making import Order, Outcome, make

DATA = Path(os.environ.get("DATA_ROOT", "data")).absolute()  # before tests change it
REAL = {"imagenet": "imagenet-mini/train", "voc": "VOCdevkit/VOC2007", "ade20k": "camvid-as-ade/ADEChallengeData2016/images"}
TOY = {"imagenet": "imagenet", "voc": "VOCdevkit", "ade20k": "ADEChallengeData2016"}


def source_of(kind: str, toy_root: Path) -> Path:
    """Return real data of scale mini in DATA_ROOT, or the toy data in its stead."""
    real = DATA / REAL[kind]
    return real.parent if real.is_dir() else toy_root / TOY[kind]


def take(kind: str, source: Path, out: Path, workers: int = 1, **options) -> Outcome:
    """Take a subset with ``SubsetOptions(**options)``."""
    return make(Order(kind, KINDS[kind].layout, source, out, SubsetOptions(**options)), workers)


def contents(folder: Path) -> dict[str, bytes]:
    """Return the bytes of each file below a folder, hidden ones too."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def unfinished(out: Path) -> Path:
    """Return the folder in which a subset lies until it is complete."""
    return out.with_name(f".{out.name}.unfinished")


def make_class_folders(root: Path, classes, train: int = 3, val: int = 2, size: tuple[int, int] = (40, 30)) -> Path:
    """Write images of noise in class folders."""
    for c, name in enumerate(classes):
        for split, count in (("train", train), ("val", val)):
            for i in range(count):
                save_noise(root / split / name / f"{split}_{i}.JPEG", size, seed=100 * c + 10 * i + len(split))
    return root


def make_devkit(root: Path, counts: dict[str, int]) -> Path:
    """Write VOC2007 with lists of so many images of noise; each shows a cat, and every fifth a dog beside it."""
    folder, number = root / "VOC2007", 0
    (folder / "ImageSets/Main").mkdir(parents=True)
    (folder / "Annotations").mkdir()
    lists: dict[str, list[str]] = {}
    for name, count in counts.items():
        for _ in range(count):
            number += 1
            stem = f"{number:06d}"
            save_noise(folder / f"JPEGImages/{stem}.jpg", (100, 90), seed=number)
            others = [("dog", (30, 40, 90, 80), 1 - number % 2)] if number % 5 == 0 else []
            (folder / f"Annotations/{stem}.xml").write_text(annotation(("cat", (10, 20, 60, 80), 0), *others))
            lists.setdefault(name, []).append(stem)
    lists["trainval"] = sorted(lists.get("train", []) + lists.get("val", []))
    for name, stems in lists.items():
        (folder / f"ImageSets/Main/{name}.txt").write_text("".join(f"{stem}\n" for stem in stems))
        rows = [f"{stem} {1 if int(stem) % 5 == 0 else -1:2d}\n" for stem in stems]
        (folder / f"ImageSets/Main/dog_{name}.txt").write_text("".join(rows))
    return root


def size_of(path: Path) -> tuple[int, int]:
    with Image.open(path) as image:
        return image.size
