"""Define the command-line arguments of every tool that resolves a config, and the numbers that any tool takes."""

import argparse
import math
import sys
from collections.abc import Callable, Sequence
from typing import Any

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
    tricks = f"of a classifier, in any order: {', '.join(TRICKS)}"
    parser.add_argument("--tricks", nargs="+", default=[], metavar="NAME[:OPTION=VALUE]", help=tricks)
    parser.add_argument(
        "--backbone",
        metavar="CARD|scratch|scratch:CARD",
        help="a card's folder, scratch for random weights, or scratch:CARD for random weights in the network of that card; "
        "required downstream",
    )
    parser.add_argument("--transfer", metavar="finetune|frozen", help="fine-tune or freeze the backbone (default: finetune)")
    parser.add_argument(
        "--protocol", metavar="NAME", help="a file of configs/TASK/protocols, at scale paper (default: that of the config)"
    )
    factor = "multiply the protocol's learning rate (default: 1)"
    parser.add_argument("--lr-factor", type=positive_number(), metavar="F", help=factor)
    parser.add_argument("--hold-out", action="store_true", help="downstream: test on a fifth of the training data")
    seed = "random seed (default: 0, or that of the run whose config.py is given)"
    parser.add_argument("--seed", type=whole_number(0, MOST_SEED), metavar="N", help=seed)
    parser.add_argument(
        "--on-bad-image",
        choices=("stop", "skip"),
        help="stop at a training image that cannot be read, or replace it by the next one and list it in the record "
        "(default: stop, or that of the run whose config.py is given)",
    )
    parser.add_argument("--launcher", choices=("none", "pytorch", "slurm"), default="none", help="what started the processes")
    parser.add_argument(
        "--cfg-options",
        nargs="+",
        action="extend",
        default=[],
        metavar="KEY=VALUE",
        help="change values of the config, of its protocol, or of what follows from them, such as batch=32 (the learning rate "
        "follows), model.backbone.depth=101, protocol.lr=0.01 or optim_wrapper.optimizer.momentum=0.8; tools/print_config.py "
        "shows the result",
    )


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


def resolved_of(args: argparse.Namespace):
    """Return the resolved config of what ``add_run_arguments`` was given, checked, and print notices to stderr.

    Raises:
        ValueError: one sentence on what is wrong.
    """
    from backbones.resolving import Machine
    from classification.tricks import parse_trick
    from tools.engine.config import Options, processes_of, refuse_ineffective, resolve, untrusted_notice
    from tools.engine.config.signatures import check_signatures

    options = Options(
        tricks=[parse_trick(text) for text in args.tricks],
        backbone=args.backbone,
        transfer=args.transfer,
        protocol=args.protocol,
        lr_factor=args.lr_factor,
        hold_out=args.hold_out,
        seed=args.seed,
        overrides=overrides_of(args.cfg_options),
        on_bad_image=args.on_bad_image,
    )
    if notice := untrusted_notice(args.config):
        print(notice, file=sys.stderr)
    resolved = resolve(args.config, options, Machine.here(processes_of(args.launcher)))
    for notice in resolved.notices:
        print(notice, file=sys.stderr)
    refuse_ineffective(resolved)
    check_signatures(resolved.cfg, args.config)
    return resolved
