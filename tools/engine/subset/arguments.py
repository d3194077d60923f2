"""Define the command ``prepare_data.py subset``, and carry it out."""

import argparse
import os
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

from backbones.common.project import data_root
from backbones.common.subsets import RESAMPLERS, Layout, SubsetOptions
from classification.subset import LAYOUT as CLASS_FOLDERS
from detection.subset import LAYOUT as DEVKIT
from segmentation.subset import LAYOUT as ADE20K
from tools.engine.config.arguments import MOST_SEED, whole_number
from tools.engine.subset.making import Order, Outcome, make
from tools.engine.subset.scales import SCALES

SUBSET = r"""Make a smaller copy of a dataset: fewer classes or images, shrunk images, boxes and masks that fit them.

  python tools/prepare_data.py subset imagenet --every 10 --short-side 160 \
      --out data/imagenet-100
  python tools/train.py configs/classification/resnet50_paper.py \
      --cfg-options data_root=imagenet-100 num_classes=100

  python tools/prepare_data.py subset imagenet my/pets --classes cat dog \
      --images train=200 val=40 --out data/pets
  python tools/prepare_data.py subset voc --short-side 256 \
      --images train=500 val=200 --out data/voc-small/VOCdevkit
  python tools/prepare_data.py subset ade20k --short-side 256 \
      --out data/ade20k-256/ADEChallengeData2016

  python tools/prepare_data.py subset --for mini
  DATA_ROOT=data/mini python tools/study.py run demo --scale mini

--for mini makes the data of scale mini from the datasets in DATA_ROOT.

Images whose short side is longer than --short-side are decoded as in training, shrunk and saved under their names; all others are
copied byte for byte. The same source, options and versions of Pillow and libjpeg give the same bytes, however many --workers.
The recipe lies beside the data in .subset.json, and the records of runs on the data carry it. An interrupted copy lies in
.NAME.unfinished beside DIR, and the same command goes on with it. Images that cannot be read are named, and the copy then stays
unfinished. `check LAYOUT DIR --own` checks a finished one."""


class Kind(NamedTuple):
    """Hold a layout with its default source below DATA_ROOT, and the options that it takes."""

    layout: Layout
    folder: str
    per: str
    choosing: tuple[str, ...]


KINDS = {
    "imagenet": Kind(CLASS_FOLDERS, "imagenet", "class of a split", ("every", "classes")),
    "places365": Kind(CLASS_FOLDERS, "places365_standard", "class of a split", ("every", "classes")),
    "voc": Kind(DEVKIT, "VOCdevkit", "list of ImageSets/Main; classes take turns", ("classes", "years")),
    "ade20k": Kind(ADE20K, "ADEChallengeData2016", "split", ()),
}


def add_subset(commands) -> None:
    """Add the command to the commands of a parser."""
    text = "make a smaller copy of a dataset"
    parser = commands.add_parser("subset", help=text, description=SUBSET)
    scale = "scale whose three datasets to make (default: one dataset, by its layout)"
    parser.add_argument("--for", dest="scale", choices=sorted(SCALES), help=scale)
    add_common(parser, required=False, out_help="folder of the three datasets (default: DATA_ROOT/SCALE)")
    kinds = parser.add_subparsers(metavar=f"{{{','.join(KINDS)}}}", dest="kind", title="layouts")
    parser.set_defaults(run=make_scale)
    for name, kind in KINDS.items():
        add_kind(kinds, name, kind)


def add_common(parser, required: bool, out_help: str) -> None:
    parser.add_argument("--out", type=Path, required=required, metavar="DIR", help=out_help)
    parser.add_argument("--workers", type=whole_number(1), default=os.cpu_count() or 1, metavar="N", help="number of processes")


def add_kind(kinds, name: str, kind: Kind) -> None:
    """Add the command ``subset NAME``."""
    holds = f"source with {kind.layout.holds}"
    parser = kinds.add_parser(name, help=holds, description=f"Make a smaller copy of a {holds}.")
    default = Path(data_root()) / kind.folder
    parser.add_argument("root", metavar="SOURCE", nargs="?", type=Path, default=default, help="folder to copy from")
    add_common(parser, required=True, out_help="folder to make")
    if "every" in kind.choosing:
        parser.add_argument(
            "--every", type=whole_number(1), metavar="K", help="take every K-th of the sorted classes (default: all)"
        )
    if "classes" in kind.choosing:
        text = "classes to take, or a text file that begins each line with one (default: all)"
        parser.add_argument("--classes", nargs="+", metavar="CLASS", help=text)
    if "years" in kind.choosing:
        parser.add_argument("--years", nargs="+", metavar="YEAR", help="folders to take, such as VOC2007 (default: all)")
    text = f"number of images of each {kind.per} (default: all)"
    parser.add_argument("--images", nargs="+", type=split_count, default=[], metavar="SPLIT=N", help=text)
    text = "pixels of the short side of the images that have more (default: no image is changed)"
    parser.add_argument("--short-side", type=whole_number(8, 4096), metavar="N", help=text)
    text = "Pillow's filter, antialiased; masks take the nearest pixel"
    parser.add_argument("--resampler", choices=RESAMPLERS, default="lanczos", help=text)
    parser.add_argument(
        "--quality", type=whole_number(1, 100), default=90, metavar="N", help="quality of JPEG files that are shrunk"
    )
    parser.add_argument(
        "--seed", type=whole_number(0, MOST_SEED), default=0, metavar="N", help="random seed of the choice of images"
    )
    parser.set_defaults(run=partial(make_one, name, kind.layout))


def split_count(text: str) -> tuple[str, int]:
    """Parse SPLIT=N as an argparse type."""
    split, _, number = text.partition("=")
    if not split or not number.isdecimal() or int(number) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a split and a number of images, such as train=200")
    return split, int(number)


def class_list(given: Sequence[str]) -> tuple[str, ...]:
    """Return names of classes, sorted: those given, or the first word of each line of the one file that is given.

    Raises:
        ValueError: the file is no text in UTF-8, or names nothing.
    """
    if len(given) > 1 or not os.path.isfile(given[0]):
        return tuple(sorted(set(given)))
    try:
        lines = Path(given[0]).read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"The list of classes {given[0]} cannot be read ({error}); save it as text in UTF-8.") from None
    names = {line.split()[0] for line in lines if line.strip()}
    if not names:
        raise ValueError(f"The list of classes {given[0]} names no class; begin each line with one.")
    return tuple(sorted(names))


def make_one(name: str, layout: Layout, **given) -> None:
    """Make one subset and print what was made; ``given`` are the arguments of ``add_subset`` and ``add_kind``.

    Raises:
        ValueError: see ``make``; a scale, or a split twice, is given.
    """
    kind, scale, root, out, workers, images = (given.pop(key) for key in ("kind", "scale", "root", "out", "workers", "images"))
    if scale:
        raise ValueError(f"--for {scale} makes three datasets by itself; leave out {kind}, or --for.")
    if len(dict(images)) < len(images):
        typed = " ".join(f"{split}={count}" for split, count in images)
        raise ValueError(f"--images names a split twice ({typed}); give one number for each split.")
    if given.get("classes"):
        given["classes"] = class_list(given["classes"])
    if given.get("years"):
        given["years"] = tuple(sorted(set(given["years"])))
    order = Order(name, layout, root, out, SubsetOptions(images=dict(sorted(images)), **given))
    print(summary(out, make(order, workers)))


def make_scale(scale: str | None, out: Path | None, workers: int, kind: str | None) -> int:
    """Make the subsets of a scale whose published datasets are there; return 1 if one of these is missing.

    Raises:
        ValueError: no scale is asked for, or no published dataset is there.
    """
    if not scale:
        raise ValueError(f"Say what to copy: subset {{{','.join(KINDS)}}}, or --for {' or '.join(SCALES)}.")
    root = Path(data_root())
    parts = SCALES[scale]
    missing = [part for part in parts if not os.path.isdir(root / part.source)]
    if len(missing) == len(parts):
        folders = ", ".join(part.source for part in parts)
        raise ValueError(f"{root} holds none of {folders}; put them there, or set DATA_ROOT to the folder that has them.")
    out = out or root / scale
    for part in parts:
        if part not in missing:
            order = Order(part.layout, KINDS[part.layout].layout, root / part.source, out / part.out, part.options)
            print(summary(order.out, make(order, workers)), flush=True)
    for part in missing:
        print(f"{out / part.out}: not made, since {root / part.source} does not exist.")
    print(f"Train on them with DATA_ROOT={out} and --scale {scale}, or the configs named *_{scale}.py.")
    return int(bool(missing))


def summary(out: Path, outcome: Outcome) -> str:
    """Return a line on a finished subset."""
    counts = ", ".join(f"{split} {count:,}" for split, count in outcome.recipe.chosen.items())
    state = f"{outcome.written:,} images written in {outcome.seconds:.0f} s" if outcome.written else "exists already"
    return f"{out}: {state}; {counts}"
