r"""Generate the synthetic toy data, make a smaller copy of a dataset, or check that downloaded data is complete.

  python tools/prepare_data.py toy
  python tools/prepare_data.py toy --seed 1 --out elsewhere/toy
  python tools/prepare_data.py subset --for mini
  python tools/prepare_data.py subset imagenet --every 10 --short-side 160 \
      --out data/imagenet-100
  python tools/prepare_data.py check imagenet
  python tools/prepare_data.py check places365 /disk/places365 --workers 16
  python tools/prepare_data.py check voc mine/VOCdevkit --own

Data lies in the folder data, or in the one that the variable DATA_ROOT names.

toy writes an ImageNet-style folder, a VOCdevkit and an ADEChallengeData2016 with the same synthetic objects, for the configs of
scale toy, in 5 to 10 s and with 18 MB on the disk. The same seed gives the same bytes, and existing toy data is reused.

subset takes a part of a dataset in these layouts and shrinks images, boxes and masks; --for mini makes the data of scale mini.

check compares layout, lists and counts with the published ones (with --own it takes any data in the layout), decodes every image,
and writes a digest of all content to the file .content.json, which records of runs carry.
"""

import os
import sys
from functools import partial
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parents[1])  # this tree's packages, whatever else is installed

from tools.engine.cli import CommandParser, main  # first, since it says which packages are missing

# isort: split
from backbones.common.dataset_checks import Release
from backbones.common.files import MissingData
from backbones.common.project import data_root
from tools.engine.config.arguments import MOST_SEED, whole_number
from tools.engine.config.tasks import having, part_of
from tools.engine.subset.arguments import add_subset

CHECK = """Check that a copy of a dataset is complete. First compare its folders, names and counts with the published ones
(seconds to minutes). Then decode every image and read every annotation, in several processes (a few milliseconds per image and
core).

  python tools/prepare_data.py check imagenet --help   # its layout and counts

With --own the data may be a part of the dataset or your own in its layout, with other counts, names and classes.
Each problem is one line: what is wrong, where, and what to do. Without --own, if nothing is wrong, a digest of the content of all
files goes to DIR/.content.json, and the records of later runs on this data carry it. Nothing else is changed on the disk.
The exit status is 0 if nothing is wrong, 1 if there is a problem, 2 if the folder does not exist."""


READERS = {  # the configs that read a dataset
    "imagenet": ("configs/classification/resnet50_paper.py",),
    "places365": ("configs/classification/resnet50_places365_paper.py",),
    "voc": ("configs/detection/faster_rcnn_c4_paper.py", "configs/detection/faster_rcnn_fpn_paper.py"),
    "ade20k": ("configs/segmentation/fcn_paper.py",),
}


def prepare() -> int | None:
    parser = CommandParser(description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="{toy,subset,check}", title="commands")
    add_toy(commands)
    add_subset(commands)
    add_check(commands)
    args = vars(parser.parse_args())
    return args.pop("run")(**args)


def add_toy(commands) -> None:
    text = "generate the synthetic toy data"
    toy = commands.add_parser("toy", help=text, description=f"{text[0].upper()}{text[1:]}, from which scale toy learns.")
    toy.add_argument("--seed", type=whole_number(0, MOST_SEED), default=0, metavar="N", help="random seed of the images")
    toy.add_argument("--out", type=Path, default=Path(data_root()) / "toy", metavar="DIR", help="folder to make")
    toy.set_defaults(run=make)


def add_check(commands) -> None:
    parser = commands.add_parser("check", help="check that downloaded data is complete", description=CHECK)
    names = ",".join(releases())
    kinds = parser.add_subparsers(required=True, metavar=f"{{{names}}}", title="datasets")
    for name, release in releases().items():
        add_release(kinds, name, release)


def releases() -> dict[str, Release]:
    """Return the published datasets that the tasks read, by the names that this command gives them."""
    modules = [part_of(task, "dataset_check") for task in having("dataset_check").split(", ")]
    return {name: release for module in modules for name, release in module.RELEASES.items()}


def add_release(kinds, name: str, release: Release) -> None:
    """Add the command ``check NAME``."""
    description = f"{release.layout}\n\nIt is published by {release.source}."
    kind = kinds.add_parser(name, help=release.title, description=description)
    default = Path(data_root()) / release.folder
    kind.add_argument("root", metavar="DIR", nargs="?", type=Path, default=default, help="folder to check")
    own_help = "the data is a part of the dataset, or your own in its layout: do not compare counts, names and classes"
    kind.add_argument("--own", action="store_true", help=own_help)
    workers = "number of processes that decode"
    kind.add_argument("--workers", type=whole_number(1), default=os.cpu_count() or 1, metavar="N", help=workers)
    kind.set_defaults(run=partial(report, release, READERS[name]))


def make(seed: int, out: Path) -> None:
    """Generate the toy data in ``out`` and print its size."""
    from tools.engine.toy_data.writer import make_toy

    summary = make_toy(out, seed, progress=say_images)
    state = "exists already" if summary["reused"] else f"written in {summary['seconds']:.0f} s"
    print(f"{out}: {state}, {disk_use(out) / 1e6:.0f} MB on the disk, {len(summary['classes'])} classes")


def say_images(done: int, total: int) -> None:
    """Say how many images are written: on one line of a terminal, and in a file or a pipe in a few lines."""
    if sys.stdout.isatty():
        print(f"\r{done}/{total} images", end="\n" if done == total else "", flush=True)
    elif done % 1000 == 0 or done == total:
        print(f"{done}/{total} images", flush=True)


def disk_use(folder: Path) -> int:
    """Return the bytes that a folder takes on the disk, as du counts them: files take whole blocks."""
    return sum(path.lstat().st_blocks * 512 for path in (folder, *folder.rglob("*")))


def report(release: Release, readers: tuple[str, ...], root: Path, workers: int, own: bool) -> int:
    """Print the findings of a check as they come, write a digest of the data if nothing is wrong, and return the exit status.

    Args:
        release: the dataset as published.
        readers: the configs that read the dataset.
        root: the folder to check.
        workers: number of processes.
        own: leave out the differences from the published dataset, and the digest, since other configs read the data.

    Raises:
        ValueError: the folder does not exist or cannot be listed, or a worker died.
    """
    wrong = 0
    try:
        for finding in release.check(root, workers):
            if own and finding.published:
                continue
            print(finding, flush=True)
            wrong += finding.level == "WRONG"
    except ValueError as error:
        if os.path.exists(root):
            raise
        raise MissingData(str(error), release.lines(root)) from None
    if not wrong and not own:
        print(write_digest(readers, root, workers))
    print(f"{wrong} wrong in {root}." if wrong else f"Nothing is wrong in {root}.")
    return int(wrong > 0)


def write_digest(readers: tuple[str, ...], root: Path, workers: int) -> str:
    """Write a digest of all content that each of the configs ``readers`` reads in ``root``, and return a sentence on it."""
    from tools.engine.config import Options, load, resolve, task_of
    from tools.engine.config.fingerprint import DIGESTS, rescan, write_digests

    rescan()
    configs = []
    for reader in readers:
        backbone = "scratch" if task_of(load(reader)).STAGE == "transfer" else None
        configs.append(resolve(reader, Options(backbone=backbone, overrides={"data_root": str(root.absolute())})).cfg)
    try:
        digests = write_digests(configs, root, workers)
    except OSError as error:
        return f"The digest of its content was not written to {root / DIGESTS} ({error.strerror})."
    return f"Digest of its content: {', '.join(digest[:12] for digest in digests)} ({root / DIGESTS})."


if __name__ == "__main__":
    main(prepare)
