"""Define the command-line arguments of every tool that resolves a config, and the numbers that any tool takes."""

import argparse
import math
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from backbones.card_facts import LIKE, CardFacts, input_format
from backbones.common.files import weights_kind
from backbones.common.project import SCRATCH, run_with_key
from backbones.interchange.sources import Source

MOST = 1024  # processes, threads, images and the like that one option may ask for
MOST_SEED = 2**32 - 1  # numpy's largest


def whole_number(least: int, most: int = MOST) -> Callable[[str], int]:
    """Return an argparse type: a whole number from ``least`` to ``most``."""

    def parse(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = least - 1
        if not least <= value <= most:
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from {least} to {most}")
        return value

    return parse


def positive_number(below: float = math.inf) -> Callable[[str], float]:
    """Return an argparse type: a number above 0 and below ``below``."""

    def parse(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not 0 < value < below:
            limit = "" if below == math.inf else f" and below {below:g}"
            raise argparse.ArgumentTypeError(f"{text!r} is not a number above 0{limit}")
        return value

    return parse


def add_run_arguments(parser: argparse.ArgumentParser) -> None:
    """Add a config and its options to a command line."""
    from classification.tricks import TRICKS

    parser.add_argument("config", help="a file of configs/, or the config.py of an earlier run; it is Python code, which is run")
    seed = "random seed of initial weights, data order and augmentation (default: 0, or that of the run whose config.py is given)"
    parser.add_argument("--seed", type=whole_number(0, MOST_SEED), metavar="N", help=seed)
    parser.add_argument(
        "--cfg-options",
        nargs="+",
        action="extend",
        default=[],
        metavar="KEY=VALUE",
        help="values to change in the config, in its protocol, or in what follows from them, such as batch=32 (the learning rate "
        "follows), model.backbone.depth=101, protocol.lr=0.01 or optim_wrapper.optimizer.momentum=0.8; tools/print_config.py "
        "shows the result (default: none)",
    )
    parser.add_argument(
        "--on-bad-image",
        choices=("stop", "skip"),
        help="what to do with a training image that cannot be read: stop the run, or take the next image and list the bad one "
        "in the record (default: stop, or that of the run whose config.py is given)",
    )
    parser.add_argument(
        "--launcher", choices=("none", "pytorch", "slurm"), default="none", help="program that started the processes of the run"
    )
    pretraining = parser.add_argument_group("pretraining (configs/classification)")
    tricks = f"tricks to train with, in any order (default: none): {', '.join(TRICKS)}; docs/tricks.md lists their options"
    pretraining.add_argument("--tricks", nargs="+", default=[], metavar="NAME[:OPTION=VALUE]", help=tricks)
    _add_transfer_arguments(parser.add_argument_group("transfer (configs/detection, configs/segmentation)"))


def _add_transfer_arguments(group) -> None:
    """Add the options of a detector or segmenter."""
    backbone = (
        "the pretrained backbone (required): the key of a pretraining or the beginning of it, the folder of a card, a file of "
        "weights with what it leaves open after it (A.pth:variant=b), scratch for random weights, or scratch:CARD for random "
        "weights in the network of that card"
    )
    group.add_argument("--backbone", metavar="RUN|CARD|FILE|scratch", help=backbone)
    transfer = "train the whole backbone, or freeze it (default: finetune)"
    group.add_argument("--transfer", metavar="finetune|frozen", help=transfer)
    protocol = "how it is trained and tested at scale paper: a file of configs/TASK/protocols (default: that of the config)"
    group.add_argument("--protocol", metavar="NAME", help=protocol)
    factor = "number by which the learning rate of the protocol is multiplied (default: 1)"
    group.add_argument("--lr-factor", type=positive_number(), metavar="F", help=factor)
    group.add_argument("--hold-out", action="store_true", help="test on a fifth of the training data, which is not trained on")


def card_path(text: str) -> str:
    """Return the path of the card that ``text`` names: a path as it is, or the card of the run whose key begins with it.

    Raises:
        ValueError: the keys of several runs begin so.
    """
    if text.startswith(f"{SCRATCH}:"):
        return f"{SCRATCH}:{card_path(text.removeprefix(f'{SCRATCH}:'))}"
    run = None if os.path.exists(text) else run_with_key(text)
    return str(run / "card") if run else text


def _with_teacher(trick):
    """Return a trick whose teacher, if it has one, is the path of a card."""
    if isinstance(trick, str) or "teacher" not in trick[1]:
        return trick
    return trick[0], trick[1] | {"teacher": card_path(str(trick[1]["teacher"]))}


def backbone_of(text: str) -> str:
    """Return what ``--backbone`` names: see ``card_path``; of a file of weights the card, which is made if there is none.

    Raises:
        ValueError: see ``card_path`` and ``backbones.interchange.sources``.
    """
    if text.startswith(LIKE):
        return LIKE + backbone_of(text.removeprefix(LIKE))
    source = Source.parse(card_path(text))
    if text == SCRATCH:
        return text
    if not source.is_file:
        source.make_card()  # refuses what is no card
        return source.place
    folder, notes = source.make_card()
    for note in notes:
        print(note, file=sys.stderr)
    if notes:
        print(f"{folder}: {input_format(CardFacts.read(folder))}.", file=sys.stderr)
    return str(folder)


def overrides_of(texts: Sequence[str]) -> dict[str, Any]:
    """Return the overrides that KEY=VALUE texts name, by key; values are read as MMEngine's ``DictAction`` reads them.

    Raises:
        ValueError: a text has no key or no value, or unbalanced brackets, or a key is given twice.
    """
    from mmengine.config import DictAction  # here for load time

    values: dict[str, str] = {}
    for text in texts:
        key, _, value = text.partition("=")
        if not (key and value) or not all(key.split(".")):
            raise ValueError(f"--cfg-options {text!r} is not KEY=VALUE; give a key and a value, as in batch=32.")
        if key in values:
            raise ValueError(f"--cfg-options {key} is given twice, as {values[key]} and as {value}; give it once.")
        values[key] = value
    overrides = argparse.Namespace(values={})
    try:
        DictAction([], dest="values")(argparse.ArgumentParser(), overrides, texts)
    except AssertionError as error:  # it asserts that brackets are balanced
        raise ValueError(f"--cfg-options: {error}; close each bracket.") from None
    return overrides.values


def options_of(args: argparse.Namespace, backbone: str | None):
    """Return the options of a run that ``add_run_arguments`` was given.

    Args:
        args: of the command line.
        backbone: what its ``--backbone`` names, see ``backbone_of``.

    Raises:
        ValueError: a trick or an override is wrong.
    """
    from classification.tricks import parse_trick
    from tools.engine.config import Options

    return Options(
        tricks=[_with_teacher(parse_trick(text)) for text in args.tricks],
        backbone=backbone,
        transfer=args.transfer,
        protocol=args.protocol,
        lr_factor=args.lr_factor,
        hold_out=args.hold_out,
        seed=args.seed,
        overrides=overrides_of(args.cfg_options),
        on_bad_image=args.on_bad_image,
    )


def check_run_arguments(args: argparse.Namespace) -> None:
    """Raise ValueError for what is wrong with a run, as ``resolved_of`` does, but import no file of weights.

    A network that is in no card yet is taken for the config's own: this may find a fault where ``resolved_of`` finds none.
    """
    from backbones.resolving import Machine
    from tools.engine.config import processes_of, refuse_ineffective, resolve

    backbone = args.backbone and card_path(args.backbone)
    source = Source.parse((backbone or SCRATCH).removeprefix(LIKE))
    if source.is_file:
        weights_kind(Path(source.place))
        backbone = SCRATCH
    resolved = resolve(args.config, options_of(args, backbone), Machine.here(processes_of(args.launcher)))
    refuse_ineffective(resolved)
    _ = resolved.upstream  # reads the card of a teacher


def resolved_of(args: argparse.Namespace):
    """Return the resolved config of what ``add_run_arguments`` was given, checked, and print notices to stderr.

    Raises:
        ValueError: one sentence on what is wrong.
    """
    from backbones.resolving import Machine
    from tools.engine.config import processes_of, refuse_ineffective, resolve, untrusted_notice
    from tools.engine.config.signatures import check_signatures

    options = options_of(args, args.backbone and backbone_of(args.backbone))
    if notice := untrusted_notice(args.config):
        print(notice, file=sys.stderr)
    resolved = resolve(args.config, options, Machine.here(processes_of(args.launcher)))
    for notice in resolved.notices:
        print(notice, file=sys.stderr)
    refuse_ineffective(resolved)
    check_signatures(resolved.cfg, args.config)
    return resolved
