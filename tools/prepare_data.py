"""Makes the data of scale toy, and checks that downloaded data is whole.

  python tools/prepare_data.py toy                     # under DATA_ROOT/toy (data/toy), about 20 s and 25 MB
  python tools/prepare_data.py toy --seed 1 --out elsewhere/toy
  python tools/prepare_data.py check imagenet          # DATA_ROOT/imagenet (data/imagenet)
  python tools/prepare_data.py check places365 /disk/places365_standard --workers 16
  python tools/prepare_data.py check voc               # DATA_ROOT/VOCdevkit: VOC2007 and VOC2012
  python tools/prepare_data.py check ade20k            # DATA_ROOT/ADEChallengeData2016: SceneParse150

toy: an ImageNet-style folder, a VOCdevkit and an ADEChallengeData2016 of one made world. The same seed gives the same bytes.
A world that is there already is kept. check: layout, lists and counts as published, and every image decoded; nothing is changed.
"""

import argparse
import os
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parents[1])  # this tree's packages, whatever else is installed

from tools.engine.cli import main

CHECK = """Is a copy of the data whole? First its folders, names and counts are compared with those published (seconds to
minutes), then every image is decoded in full and every annotation read, in several processes (a few milliseconds an image and
core).

  python tools/prepare_data.py check imagenet --help   # the layout and the counts that are expected

Each thing that is wrong is one line: what, where, what to do. Nothing is changed on the disk.
Exit status 0 if nothing is wrong, 1 if something is, 2 if there is no such folder."""


def prepare() -> int | None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True, metavar="{toy,check}")
    add_toy(commands)
    add_check(commands)
    args = vars(parser.parse_args())
    return args.pop("run")(**args)


def add_toy(commands) -> None:
    toy = commands.add_parser("toy", help="the made data of scale toy")
    toy.add_argument("--seed", type=int, default=0, help="of the world; 0")
    toy.add_argument("--out", type=Path, default=data_root() / "toy", help="DATA_ROOT/toy")
    toy.set_defaults(run=make)


def add_check(commands) -> None:
    from classification import dataset_check as check
    from detection import dataset_check as voc
    from segmentation import dataset_check as ade

    raw = argparse.RawDescriptionHelpFormatter
    parser = commands.add_parser("check", help="is downloaded data whole?", description=CHECK, formatter_class=raw)
    kinds = parser.add_subparsers(required=True, metavar="{imagenet,places365,voc,ade20k}")
    for name, folder, expected in (
        ("imagenet", "imagenet", check.IMAGENET),
        ("places365", "places365_standard", check.PLACES365),
    ):
        whole = partial(check.check_folders, expected=expected)
        add_kind(kinds, name, folder, expected.name, check.describe(expected), whole)
    whole = partial(voc.check_devkit, expected=voc.VOC)
    add_kind(kinds, "voc", "VOCdevkit", voc.VOC.name, voc.describe(voc.VOC), whole)
    whole = partial(ade.check_release, expected=ade.ADE20K)
    add_kind(kinds, "ade20k", ade.FOLDER, ade.ADE20K.name, ade.describe(ade.ADE20K), whole)


def add_kind(kinds, name: str, folder: str, title: str, layout: str, check: Callable[[Path, int], Iterator]) -> None:
    """Adds ``check NAME``: its default folder under DATA_ROOT, the layout its help shows, and what yields its findings."""
    kind = kinds.add_parser(name, help=title, description=layout, formatter_class=argparse.RawDescriptionHelpFormatter)
    kind.add_argument("root", metavar="DIR", nargs="?", type=Path, default=data_root() / folder, help=f"DATA_ROOT/{folder}")
    kind.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="processes that decode; as many as cores")
    kind.set_defaults(run=partial(report, check))


def data_root() -> Path:
    return Path(os.environ.get("DATA_ROOT", "data"))


def make(seed: int, out: Path) -> None:
    from tools.engine.toy_data.writer import make_toy

    made = make_toy(out, seed, progress=lambda done, total: print(f"\r{done}/{total} images", end="", flush=True))
    state = "was there already" if made["reused"] else f"made in {made['seconds']:.0f} s"
    print(f"\r{out}: {state}, {made['bytes'] / 1e6:.0f} MB, {len(made['classes'])} classes")


def report(check: Callable[[Path, int], Iterator], root: Path, workers: int) -> int:
    """Prints the findings of a check as they come, and returns the exit status."""
    wrong = 0
    for finding in check(root, workers):
        print(finding, flush=True)
        wrong += finding.level == "WRONG"
    print(f"{wrong} wrong in {root}." if wrong else f"Nothing is wrong in {root}.")
    return int(wrong > 0)


if __name__ == "__main__":
    main(prepare)
