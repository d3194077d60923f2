"""What every script in tools/ shares: one sentence and exit status 2 for what a user can mend."""

import argparse
import errno
import os
import sys
from collections.abc import Callable

from backbones.common.fact_cache import machine

# Read by OpenMP when torch is loaded: idle threads that spin cost more than they save where loader workers, or another run,
# want the same cores (two runs on two cores took ten times as long).
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
MOST_JOBS = 8
DISK = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM)  # full, over a limit, read-only


def main(function: Callable[[], int | None]) -> None:
    """Runs a script's ``function`` and exits: 0 (or what it returns), 2 after a ValueError or a full disk, 130 after Ctrl-C."""
    try:
        status = function() or 0
    except ValueError as error:
        print(f"error: {sentence(error)}", file=sys.stderr)
        status = 2
    except OSError as error:
        if error.errno not in DISK:
            raise
        place = error.filename or "a file of the run"
        print(
            f"error: {place} cannot be written ({error.strerror}); make room or mend its rights, then run this again.",
            file=sys.stderr,
        )
        status = 2
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        status = 130
    sys.exit(status)


def add_run_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what names a config and says what is asked of it, on every command line that resolves one."""
    from mmengine.config import DictAction

    from classification.tricks import TRICKS

    parser.add_argument("config", help="a file of configs/, or the config.py of an earlier run; it is Python code, which is run")
    tricks = f"of a classifier, in any order: {', '.join(TRICKS)}"
    parser.add_argument("--tricks", nargs="+", default=[], metavar="NAME[:OPTION=VALUE]", help=tricks)
    parser.add_argument("--backbone", metavar="CARD|scratch", help="a card's folder, or scratch; required downstream")
    parser.add_argument("--transfer", metavar="finetune|frozen", help="fine-tune or freeze the backbone (default: finetune)")
    parser.add_argument(
        "--protocol", metavar="NAME", help="a file of configs/TASK/protocols, at scale paper (default: that of the config)"
    )
    parser.add_argument("--lr-factor", type=float, metavar="F", help="multiply the protocol's learning rate (default: 1)")
    parser.add_argument("--hold-out", action="store_true", help="downstream: test on a fifth of the training data")
    parser.add_argument("--seed", type=int, help="random seed (default: 0, or that of the run whose config.py is given)")
    parser.add_argument(
        "--on-bad-image",
        choices=("stop", "skip"),
        default="stop",
        help="stop at a training image that cannot be read, or replace it by the next one and list it in the record "
        "(default: stop)",
    )
    parser.add_argument(
        "--launcher", choices=("none", "pytorch", "slurm"), default="none", help="what started the processes (default: none)"
    )
    parser.add_argument(
        "--cfg-options",
        nargs="+",
        action=DictAction,
        default={},
        metavar="KEY=VALUE",
        help="change values of the config, of its protocol, or of what follows from them, such as batch=32 (the learning rate "
        "follows), model.backbone.depth=101, protocol.lr=0.01 or optim_wrapper.optimizer.momentum=0.8; tools/print_config.py "
        "shows the result",
    )


def resolved_of(args: argparse.Namespace):
    """Return the resolved config of what ``add_run_arguments`` was given, checked, and print notices to stderr.

    Raises:
        ValueError: one sentence on what is wrong.
    """
    from backbones.transfer.resolving import Machine
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
        overrides=args.cfg_options,
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


def add_study_arguments(parser: argparse.ArgumentParser) -> None:
    """What names a study, or a part of one, on every command line: the arguments of ``load_study``."""
    parser.add_argument("study", help="a file of configs/studies/")
    parser.add_argument("--scale", default="toy", help="toy, mini or paper; toy")
    parser.add_argument("--recipes", nargs="+", metavar="NAME", help="instead of the study's own")
    parser.add_argument("--teachers", nargs="+", default=[], metavar="RECIPE=CARD", help="cards instead of trained teachers")
    parser.add_argument("--tasks", nargs="+", metavar="TASK", help="whose rows are wanted, instead of all of the study's")
    parser.add_argument("--protocol", metavar="NAME", help="of the transfers that have one of that name, at scale paper")
    parser.add_argument(
        "--seeds", type=seeds, default=(1, 1), metavar="P[xF]", help="P pretrainings, F fine-tunings of each; 1x1"
    )
    parser.add_argument(
        "--jobs",
        type=count,
        help="runs at once, each with its share of threads or its GPUs (default: at scale toy, whose runs take one thread "
        f"each, as many as there are cores, {MOST_JOBS} at most; else 1). On CPUs threads are a part of a run's key",
    )
    parser.add_argument("--tune-lr", action="store_true", help="show each transfer at the best of x1/2, x1, x2 of its lr, too")


def share_threads(args: argparse.Namespace) -> None:
    """Gives each of ``--jobs`` runs on CPUs its share of them, before torch is loaded, which reads it then."""
    if (args.jobs or 1) > 1 and not getattr(args, "gpus", 0):
        os.environ["OMP_NUM_THREADS"] = str(max(1, (os.cpu_count() or 1) // args.jobs))


def jobs_of(args: argparse.Namespace, nodes) -> int:
    """Return how many runs go on at once: as asked, else as many as there are cores where each run takes a part of them."""
    threads = [node.plan.get("threads") for node in nodes]
    if args.jobs or args.gpus or not all(threads) or machine()["cuda"]:
        return args.jobs or 1
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(MOST_JOBS, cores // max(threads)))


def count(text: str) -> int:
    """Return a whole number of at least 1, as an argument is typed."""
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number of at least 1")
    return int(text)


def count_or_none(text: str) -> int:
    """Return a whole number of at least 0, as an argument is typed."""
    return 0 if text == "0" else count(text)


def seeds(text: str) -> tuple[int, int]:
    """'3' is (3, 1) and '3x2' is (3, 2)."""
    first, _, second = text.partition("x")
    if text.endswith("x"):
        raise argparse.ArgumentTypeError(f"{text!r} is not of the form P or PxF, as in 3 and 3x2")
    return count(first), count(second or "1")


def study_of(args: argparse.Namespace):
    """The study that ``add_study_arguments`` was given."""
    from tools.engine.studies.study import load_study

    pairs = [text.partition("=") for text in args.teachers]
    for recipe, _, card in pairs:
        if not card:
            raise ValueError(f"--teachers takes RECIPE=CARD, as in smooth=cards/resnet152d; {recipe!r} names no card.")
    cards = {recipe: card for recipe, _, card in pairs}
    given = dict(
        tune_lr=args.tune_lr, fine_tunings=args.seeds[1], tasks=args.tasks, protocol=args.protocol, vis=getattr(args, "vis", None)
    )
    return load_study(args.study, args.scale, args.recipes, args.seeds[0], cards, **given)


def sentence(error: BaseException) -> str:
    """The message of an error; of one that a data loader's worker raised, without the worker's traceback."""
    lines = [line for line in str(error).strip().splitlines() if line.strip()]
    last = lines[-1] if lines else type(error).__name__
    return last.removeprefix("ValueError: ") if len(lines) > 1 and lines[0].startswith("Caught ") else str(error)
