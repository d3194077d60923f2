"""Command-line arguments that name a study, or a part of one."""

import argparse
import os

from backbones.common.fact_cache import machine

MOST_JOBS = 8  # runs at once, unless more are asked for


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
