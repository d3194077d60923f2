"""List command lines of tools/compare.py, and files of weights that --backbone takes."""

import shlex
from collections.abc import Iterator
from pathlib import Path

from tests.helpers.inputs.cards import real
from tests.helpers.inputs.overrides import CONFIGS
from tests.helpers.inputs.rows import Row

TOY, PAPER = ("--scale", "toy"), ("--scale", "paper")
REFUSED = (  # command lines and words of the answer; a.pth and b.pth are no files of weights, c.pth begins as one
    ((), ("required: BACKBONE",)),
    (("a.pth",), ("needs two rows or more",)),
    (("scratch", "scratch"), ("needs two rows or more",)),
    (("a.pth", "a.pth", *TOY), ("a.pth is named twice",)),
    (("a.pth", "a.pht", *TOY), ("There is no file a.pht in ", "; nearest: a.pth", "timm:NAME or scratch.")),
    (("card", "more", *TOY), ("more is no card, but holds the cards more/x, more/y; name one.",)),
    (("card", "empty", *TOY), ("no backbone card at empty, a folder without card.json. Give the path",)),
    (("card", "nowhere", *TOY), ("no backbone card at nowhere",)),
    (("card", "0123", *TOY), ("no backbone card at 0123",)),
    (("x=a.pth", "x=b.pth"), ("Two rows have the label x",)),
    (("=a.pth", "b.pth"), ("is not LABEL=SOURCE",)),
    (("scratch=a.pth", "b.pth"), ("is not LABEL=SOURCE",)),
    (("x=scratch", "b.pth"), ("the row scratch keeps its name",)),
    (("a.pth", "scratch", "--name", "x/y"), ("--name is 'x/y'", "without slashes")),
    (("a.pth", "scratch", "--name", ".."), ("--name is '..'",)),
    (("a.pth", "scratch", "--name", ""), ("--name is ''",)),
    (("a.pth", "scratch", "--scale", "tio"), ("no scale 'tio'; nearest: toy",)),
    (("a.pth", "scratch", "--tasks", "detektion"), ("A comparison has no task 'detektion'; nearest: detection",)),
    (("a.pth", "scratch", "--tasks", "classification"), ("'classification'; ",)),
    (("a.pth", "scratch", "--protocol", "moko"), ("no protocol 'moko' for detection, segmentation; nearest: moco",)),
    (("a.pth", "scratch", "--protocol", "moco", *TOY), ("--protocol works only with --scale paper", "--scale is toy")),
    (("a.pth", "scratch", "--protocol", "moco"), ("--protocol works only with --scale paper", "--scale is mini")),
    (("a.pth", "scratch", "--detector", "c5"), ("--detector", "invalid choice")),
    (("a.pth", "scratch", "--detector", "c4", "--tasks", "segmentation"), ("--detector is for detection",)),
    (("a.pth", "scratch", "--detector", "fpn", "--protocol", "moco", *PAPER), ("--detector fpn: The protocol moco is for",)),
    (("a.pth", "scratch", "--detector", "c4", "--protocol", "voc07", *PAPER), ("--detector c4: The protocol voc07 is for",)),
    (("a.pth", "scratch", "--seeds", "0"), ("--seeds", "whole number from 1 to 100")),
    (("a.pth", "scratch", "--seeds", "2x2"), ("--seeds", "whole number from 1 to 100")),
    (("a.pth", "scratch", "--gpus", "1", "--processes", "2"), ("not allowed with argument",)),
    (("a.pth", "scratch", "--variant", "e"), ("--variant", "invalid choice")),
    (("a.pth", "scratch", "--mean", "1", "2"), ("--mean", "expected 3 arguments")),
    (("c.pth", "scratch", "--mean", "0.4", "0.4", "0.4", *TOY), ("--mean is 0.4 0.4 0.4", "102 102 102")),
    (("c.pth", "scratch", "--network", "resnet50", *TOY), ("--network is 'resnet50'; give timm:NAME",)),
    (("a.pth", "scratch", "--resume"), ("--resume is OpenMMLab's",)),
    (("a.pth:varient=b", "scratch"), ("varient, which is unknown; nearest: variant",)),
    (("a.pth:variant=e", "scratch"), ("variant=e; give one of a, b, c, d",)),
    (("a.pth:variant=", "scratch"), ("variant=; give one of a, b, c, d",)),
    (("a.pth:variant=b,variant=b", "scratch"), ("gives variant twice",)),
    (("a.pth:mean=1,2,3", "scratch"), ("give three numbers joined by slashes",)),
    (("a.pth:std=1/2", "scratch"), ("give three numbers joined by slashes",)),
    (("a.pth:channel_order=gbr", "scratch"), ("give one of rgb, bgr",)),
    (("card:variant=b", "scratch"), ("options are for files",)),
    (("timm:resnet18:variant=b", "scratch"), ("options are for files",)),
    (("timm:nosuchnet", "scratch", *TOY), ("timm has no network 'nosuchnet'",)),
    (("timm:swin_tiny_patch4_window7_224", "scratch", *TOY), ("accepts only images of a fixed size",)),
    (("c.pth:network=timm:coat_tiny", "scratch", *TOY), ("coat_tiny of timm accepts only images of a fixed size",)),
    (("c.pth", "scratch", "--network", "timm:vit_tiny_patch16_224", *TOY), ("strides 16, 16, 16",)),
    (("card", "a.pth", *TOY), ("a.pth is no file of weights",)),
    (("card", "copy", *TOY), ("card and copy are the same weights",)),
)
BACKBONES = (
    ("a.pth", ("a.pth is no file of weights",)),
    ("a.pth:variant=b", ("a.pth is no file of weights",)),
    ("a.pth:variant=e", ("variant=e; give one of a, b, c, d",)),
    ("scratch:a.pth", ("a.pth is no file of weights",)),
    ("a.pth:network=timm:swin_tiny_patch4_window7_224", ("accepts only images of a fixed size",)),
    ("a.pht", ("There is no file a.pht in ", "; nearest: a.pth", "or scratch.")),
    ("more", ("more is no card, but holds the cards more/x, more/y; name one.",)),
)


def rows() -> Iterator[Row]:
    for args, words in REFUSED:
        yield Row("comparisons", f"compare {shlex.join(args) or 'alone'}", "compare", args, words, prepare=_prepare)
    missing = {"DATA_ROOT": "nowhere"}
    yield Row(
        "comparisons", "no data", "compare", ("card", "scratch", *TOY), ("nowhere/toy",), prepare=_prepare, variables=missing
    )
    for name, words in BACKBONES:
        args = (CONFIGS["segmentation"], "--backbone", name)
        yield Row("comparisons", f"print_config {shlex.join(args)}", "print_config", args, words, prepare=_prepare)
    yield Row("comparisons", "compare --help", "compare", ("--help",), ("work_dirs/NAME-SCALE",), status=0)


def _prepare(folder: Path) -> None:
    for name in ("a.pth", "b.pth"):
        (folder / name).write_text("not weights\n")
    (folder / "c.pth").write_bytes(b"\x80")
    for place in ("copy", "more/x", "more/y", "card"):
        real()(folder)
        (folder / place).parent.mkdir(exist_ok=True)
        (folder / "card").rename(folder / place)
    (folder / "empty").mkdir()
