"""Add and read the command-line arguments that name a study or a part of one."""

import argparse
import os

from backbones.common.fact_cache import DEVICE, machine
from tools.engine.config.arguments import whole_number

MOST_JOBS = 8  # runs at once, unless --jobs asks for more
MOST_SEEDS = 100  # distance between the seeds of the fine-tunings of a backbone


def add_study_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``load_study``, which name a study or a part of one on every command line."""
    parser.add_argument("study", help="a file of configs/studies/")
    parser.add_argument("--scale", default="toy", help="size of configs and data: toy, mini or paper")
    parser.add_argument("--recipes", nargs="+", metavar="NAME", help="rows of the study (default: all of the study's own)")
    parser.add_argument(
        "--teachers",
        nargs="+",
        default=[],
        metavar="RECIPE=CARD",
        help="backbone cards used instead of training the teachers",
    )
    parser.add_argument("--tasks", nargs="+", metavar="TASK", help="tasks whose rows are included (default: all of the study)")
    parser.add_argument(
        "--protocol",
        metavar="NAME",
        help="protocol for every transfer task that defines it, at scale paper (default: that of the config)",
    )
    parser.add_argument(
        "--seeds",
        type=seeds,
        default="1x1",
        metavar="P[xF]",
        help="number of pretrainings P, and of fine-tunings F of each",
    )
    parser.add_argument(
        "--jobs",
        type=whole_number(1),
        help="number of runs at once, each with its share of threads or its GPUs; on CPUs the number of threads is part of a "
        f"run's key (default: the number of cores, at most {MOST_JOBS}, at scale toy on CPUs; else 1)",
    )
    gpus, processes = (
        "number of GPUs of each run; several share its batch, and in detection and segmentation their number is part of its key",
        "number of processes of each run on CPUs, which share its batch, as --gpus",
    )
    device = parser.add_mutually_exclusive_group()
    device.add_argument("--gpus", type=whole_number(0), default=0, metavar="N", help=gpus)
    device.add_argument("--processes", type=whole_number(1), default=1, metavar="N", help=processes)
    rescan = "read all data again for the keys of runs, whatever is cached"
    parser.add_argument("--rescan", action="store_true", help=rescan)
    parser.add_argument(
        "--tune-lr", action="store_true", help="also show each transfer at the best of 1/2, 1 and 2 times its learning rate"
    )


def set_environment(args: argparse.Namespace) -> None:
    """Set the variables that follow from the arguments, for this process and the runs that it starts.

    ``--jobs`` runs share the CPU threads, and several processes of a run without GPUs train on CPUs. Call this before torch is
    loaded, which reads OMP_NUM_THREADS then.
    """
    if (args.jobs or 1) > 1 and not args.gpus:
        os.environ["OMP_NUM_THREADS"] = str(max(1, (os.cpu_count() or 1) // args.jobs))
    if args.processes > 1:
        os.environ[DEVICE] = "cpu"


def jobs_of(args: argparse.Namespace, nodes) -> int:
    """Return the number of runs at once: ``--jobs``, or as many as the cores allow if every config fixes its threads."""
    threads = [node.plan.get("threads") for node in nodes]
    if args.jobs or args.gpus or not all(threads) or machine()["cuda"]:
        return args.jobs or 1
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(MOST_JOBS, cores // max(threads)))


def seeds(text: str) -> tuple[int, int]:
    """Parse numbers of pretrainings and fine-tunings: '3' gives (3, 1) and '3x2' gives (3, 2)."""
    first, by, second = text.partition("x")
    number = whole_number(1, MOST_SEEDS)
    try:
        return number(first), number(second) if by else 1
    except argparse.ArgumentTypeError:
        message = f"{text!r} is not of the form P or PxF, as in 3 and 3x2, with numbers from 1 to {MOST_SEEDS}"
        raise argparse.ArgumentTypeError(message) from None


def study_of(args: argparse.Namespace):
    """Load the study that the arguments of ``add_study_arguments`` name.

    Raises:
        ValueError: see ``load_study``.
    """
    from tools.engine.config.fingerprint import rescan
    from tools.engine.studies.study import load_study

    pairs = [text.partition("=") for text in args.teachers]
    for recipe, _, card in pairs:
        if not card:
            raise ValueError(f"--teachers {recipe!r} has no card; give RECIPE=CARD, as in smooth=cards/resnet152d.")
    cards = {recipe: card for recipe, _, card in pairs}
    if len(cards) < len(pairs):
        raise ValueError("--teachers has two cards for one recipe; give one RECIPE=CARD for each.")
    if args.rescan:
        rescan()
    return load_study(
        args.study,
        args.scale,
        args.recipes,
        args.seeds[0],
        cards,
        tune_lr=args.tune_lr,
        fine_tunings=args.seeds[1],
        tasks=args.tasks,
        protocol=args.protocol,
        vis=getattr(args, "vis", None),
        processes=args.gpus or args.processes,
    )
