"""What every script in tools/ shares: one sentence and exit status 2 for what a user can mend."""

import argparse
import errno
import os
import sys
from collections.abc import Callable

# Read by OpenMP when torch is loaded: idle threads that spin cost more than they save where loader workers, or another run,
# want the same cores (two runs on two cores took ten times as long).
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
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
        "--jobs", type=int, help="runs at once, each with its share of threads or its GPUs; 1. Threads are a part of a run's key"
    )
    parser.add_argument("--tune-lr", action="store_true", help="show each transfer at the best of x1/2, x1, x2 of its lr, too")


def share_threads(args: argparse.Namespace) -> None:
    """Gives each of ``--jobs`` runs on CPUs its share of them, before torch is loaded, which reads it then."""
    if (args.jobs or 1) > 1 and not getattr(args, "gpus", 0):
        os.environ["OMP_NUM_THREADS"] = str(max(1, (os.cpu_count() or 1) // args.jobs))


def seeds(text: str) -> tuple[int, int]:
    """'3' is (3, 1) and '3x2' is (3, 2)."""
    first, _, second = text.partition("x")
    return int(first), int(second or 1)


def study_of(args: argparse.Namespace):
    """The study that ``add_study_arguments`` was given."""
    from tools.engine.study import load_study

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
