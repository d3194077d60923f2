"""Add and read the command-line arguments that name a study or a part of one."""

import argparse
import os

from backbones.common.fact_cache import DEVICE, machine
from backbones.common.project import SCALES
from tools.engine.config.arguments import card_path, whole_number
from tools.engine.openmmlab_flags import STUDY, add_counterparts
from tools.engine.study_folder.names import find_study, study_names

MOST_JOBS = 8  # runs at once, unless --jobs asks for more
MOST_SEEDS = 100  # distance between the seeds of the fine-tunings of a backbone


def add_study_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``load_study``, which name a study or a part of one on every command line."""
    study = "name of a study (a file of configs/studies, such as demo or table8), or the path of a study's file"
    parser.add_argument("study", help=study).completer = lambda **_: study_names()
    part = parser.add_argument_group("which runs of the study")
    scale = f"size of data and networks: {', '.join(SCALES)} (default: that of the study's file, or {SCALES[0]})"
    part.add_argument("--scale", metavar="SCALE", help=scale).completer = lambda **_: SCALES
    part.add_argument("--recipes", nargs="+", metavar="NAME", help="rows of the study (default: all that its file names)")
    part.add_argument("--tasks", nargs="+", metavar="TASK", help="tasks whose results are asked for (default: all of the study)")
    seeds_help = (
        "3 for three pretrainings of each recipe, 3x2 to fine-tune each of these twice; one alone decides nothing (default: "
        "that of the study's file, or 1)"
    )
    part.add_argument("--seeds", type=seeds, metavar="P[xF]", help=seeds_help)
    part.add_argument(
        "--protocol",
        metavar="NAME",
        help="how detectors and segmenters are trained and tested at scale paper; a task without a protocol of this name keeps "
        "that of its config (default: those of the configs)",
    )
    part.add_argument(
        "--tune-lr", action="store_true", help="show each transfer also at the best of 1/2, 1 and 2 times its learning rate"
    )
    part.add_argument(
        "--teachers",
        nargs="+",
        default=[],
        metavar="RECIPE=CARD",
        help="cards of backbones that serve as teachers of distillation instead of training these (default: train them)",
    )
    part.add_argument(
        "--rescan", action="store_true", help="read all data again to tell whether it has changed, whatever is cached"
    )
    add_machine_arguments(parser.add_argument_group("how the runs share the machine (part of what a run's key stands for)"))
    add_counterparts(parser, STUDY)


def add_machine_arguments(group) -> None:
    """Add the options that divide cores and GPUs among the runs of a study."""
    group.add_argument(
        "--jobs",
        type=whole_number(1),
        metavar="N",
        help="number of runs at once, each with its share of the threads or GPUs (default: at scale toy on CPUs the number of "
        f"cores, at most {MOST_JOBS}; else 1)",
    )
    device = group.add_mutually_exclusive_group()
    gpus = "number of GPUs of each run, which share its batch; 0 takes one if there is one"
    device.add_argument("--gpus", type=whole_number(0), default=0, metavar="N", help=gpus)
    processes = "number of processes of each run on CPUs, which share its batch"
    device.add_argument("--processes", type=whole_number(1), default=1, metavar="N", help=processes)


def add_run_options(command: argparse.ArgumentParser) -> None:
    """Add the options of a command that runs a study."""
    retry = "number of new starts of a run that failed"
    command.add_argument("--retry", type=whole_number(0), default=0, metavar="N", help=retry)
    command.add_argument(
        "--vis",
        nargs="+",
        default=[],
        metavar="NAME",
        help="trackers that receive the scalars besides the run's folder: tensorboard, wandb, mlflow, ... (default: none)",
    )
    command.add_argument("--executor", choices=("local", "slurm"), default="local", help="where to run: here, or on a cluster")
    slurm = command.add_argument_group("Slurm (with --executor slurm)")
    slurm.add_argument("--partition", metavar="NAME", help="partition of the jobs (default: that of the cluster)")
    slurm.add_argument(
        "--time",
        type=whole_number(1, most=60 * 24 * 366),
        metavar="MINUTES",
        help="time limit of one start of a job, which is then resumed (default: 240)",
    )
    cpus = "number of CPUs of each run (default: 8 for each of its processes)"
    slurm.add_argument("--cpus", type=whole_number(1), metavar="N", help=cpus)


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
    cards = {recipe: card_path(card) for recipe, _, card in pairs}
    if len(cards) < len(pairs):
        raise ValueError("--teachers has two cards for one recipe; give one RECIPE=CARD for each.")
    if args.rescan:
        rescan()
    pretrainings, fine_tunings = args.seeds or (None, 1)
    return load_study(
        find_study(args.study),
        args.scale,
        args.recipes,
        pretrainings,
        cards,
        tune_lr=args.tune_lr,
        fine_tunings=fine_tunings,
        tasks=args.tasks,
        protocol=args.protocol,
        vis=getattr(args, "vis", None),
        processes=args.gpus or args.processes,
    )
