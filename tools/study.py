"""Run a study: its recipes through pretraining, detection and segmentation, then the table and the report.

  python tools/study.py run demo
  python tools/study.py run demo --seeds 3
  python tools/study.py status demo --seeds 3
  DATA_ROOT=data/mini python tools/study.py run demo --scale mini --recipes scratch smooth
  python tools/study.py plan table6 --scale paper
  python tools/study.py plan transfer --scale paper --detect 0.3
  python tools/study.py run table6 --scale paper --executor slurm --gpus 8 --time 480
  python tools/study.py why demo KEY

Each run goes to work_dirs/runs/KEY, where KEY is a hash of everything that affects the result; finished runs are reused, also by
other studies. On SIGTERM, SIGINT (Ctrl-C) or SIGHUP the runs finish their updates and save checkpoints, and the study exits with
status 75; a second signal ends all at once. Runs also save and end if the study is killed. Start the same command again: it keeps
finished runs and goes on with the others. Two studies at the same time never start the same run twice.
"""

import argparse
import json
import sys
from functools import partial
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parents[1])  # this tree's packages, whatever else is installed

from tools.engine.cli import CommandParser, main
from tools.engine.config.arguments import positive_number, whole_number
from tools.engine.stopping import STOPPED
from tools.engine.studies.arguments import add_study_arguments, jobs_of, set_environment, study_of

COMMANDS = {
    "run": "Run everything that has not finished, then draw pictures, collect the table and write the report.",
    "status": "Show the state and result of each run, and how long the rest takes.",
    "plan": "Show, before anything runs and without data, the rows of a study, how they train and what they cost.",
    "why": "Show how a run differs from the closest finished run, and so why it is not reused.",
}
JSON = """print one JSON document instead: study, scale, missing_data (folders without which keys are provisional) and runs, each
with name, key, task, recipe, network, pretrain_seed, finetune_seed, upstream (key of the run that it rests on), state, folder and
metrics (in percent; empty unless it is done)"""


def parse() -> argparse.Namespace:
    parser = CommandParser(description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="run|status|plan|why", title="commands")
    for name, text in COMMANDS.items():
        command = commands.add_parser(name, help=f"{text[0].lower()}{text[1:-1]}", description=text)
        if name == "run":
            add_run_options(command)
        if name in ("status", "plan"):
            command.add_argument("--json", action="store_true", help=JSON)
        if name == "plan":
            command.add_argument(
                "--detect",
                type=positive_number(below=100),
                metavar="POINTS",
                help="difference for which to show how many seeds detect it, and what they cost (default: not shown)",
            )
        add_study_arguments(command)
        if name == "why":
            command.add_argument("node", metavar="KEY", help="key of a run, as status shows it, or the beginning of the key")
    return parser.parse_args()


def add_run_options(command: argparse.ArgumentParser) -> None:
    """Add the options of ``run`` alone."""
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


def study() -> int:
    args = parse()
    set_environment(args)
    study = study_of(args)
    if args.command == "run":
        return run(study, args)
    if getattr(args, "json", False):
        return show_json(study)
    if args.command == "plan":
        from tools.engine.planning.plan import show_plan
        from tools.engine.studies.graph import nodes_of

        show_plan(study, args.detect, jobs_of(args, nodes_of(study)))
        return 0
    return show_why(study, args.node) if args.command == "why" else show_status(study, args)


def run(study, args: argparse.Namespace) -> int:
    """Run what has not finished, then draw, collect and report; return 1 if a run failed, 75 if one was stopped."""
    from tools.engine.launching.slurm import refuse_queued, run_on_slurm, settings_of
    from tools.engine.studies.graph import refuse_without_data

    slurm = settings_of(args)
    refuse_without_data(study)  # before anything loads torch, which takes seconds

    from tools.engine.launching import fork_server
    from tools.engine.launching.events import was_stopped
    from tools.engine.launching.local import Share, run_study, slots_of
    from tools.engine.launching.screen import Screen
    from tools.engine.planning.cost import Costs, past_runs
    from tools.engine.planning.remaining import TimeLeft
    from tools.engine.reporting.image_sheets import draw_pairs, draw_sheets
    from tools.engine.reporting.report import terminal_table, write_report
    from tools.engine.studies.collect import collect
    from tools.engine.studies.graph import check, nodes_of, rows_of
    from tools.engine.studies.published_weights import make_cards
    from tools.engine.training.visualizers import refuse_missing, visualizer

    if not slurm and args.gpus:
        slots_of(args.jobs or 1, args.gpus)  # refuse too many GPUs before anything runs
    elif not slurm and args.processes == 1:
        fork_server.start()
    if args.vis:
        visualizer(args.vis)  # refuse an unknown name before anything runs
        refuse_missing(args.vis)
    refuse_damaged(study)
    check(study)
    make_cards(study.needed_cards(), print)
    nodes = nodes_of(study)
    if not slurm:
        refuse_queued(nodes, print)
    jobs = 1 if slurm else jobs_of(args, nodes)
    with Screen(study, rows_of(study), TimeLeft(Costs(study, past_runs())), jobs) as screen:
        if slurm:
            failed = run_on_slurm(study, screen, slurm, args.retry)
        else:
            failed = run_study(study, screen, Share(jobs, args.gpus, args.retry))
    try:
        draw_sheets(rows_of(study), print)
        folder = collect(study)
        draw_pairs(folder, print)
        files = write_report(folder)
        terminal_table(folder)
        print(f"{files['report.html']}\n{files['report.md']}")
    finally:  # without a finished run collect raises, and the failures are still printed
        for node in failed:
            print(f"failed: {node.name} ({node.log})\n{node.failure.read_text()}", file=sys.stderr)
    if failed:
        return 1
    return STOPPED if any(was_stopped(node) and not node.record for node in nodes) else 0


def refuse_damaged(study) -> None:
    """Raise ValueError if the record of a run of the study is damaged: it is neither used nor replaced unasked."""
    from tools.engine.studies.graph import nodes_of

    for node in nodes_of(study):
        if node.fault:
            raise ValueError(node.fault)


def show_json(study) -> int:
    """Print the runs of a study and their states as one JSON document; notices go to stderr."""
    from tools.engine.launching.slurm import waiting_jobs
    from tools.engine.studies.status import study_facts

    print(json.dumps(study_facts(study, waiting_jobs(partial(print, file=sys.stderr))), indent=1))
    return 0


def show_status(study, args: argparse.Namespace) -> int:
    """Print the state and result of each run, and how long the rest takes."""
    from tools.engine.launching.slurm import waiting_jobs
    from tools.engine.planning.cost import Costs, past_runs
    from tools.engine.planning.status_table import status_lines
    from tools.engine.runs.lines import width

    costs = Costs(study, past_runs())
    for line in status_lines(costs, waiting_jobs(print), jobs_of(args, costs.nodes), width()):
        print(line)
    return 0


def show_why(study, key: str) -> int:
    """Print how the run ``key`` differs from the closest finished run.

    Raises:
        ValueError: the study has no run whose key begins so, or several.
    """
    from tools.engine.studies.graph import nodes_of, why

    nodes = nodes_of(study)
    matches = [node for node in nodes if node.key.startswith(key)]
    if len(matches) != 1:
        number = f"{len(matches)} runs whose keys begin with {key}" if matches else f"no run {key!r}"
        raise ValueError(f"{study.name} has {number}; give one of {', '.join(node.key for node in matches or nodes)}.")
    print(f"{matches[0].name}: {matches[0].state()}")
    for line in why(matches[0]):
        print(f"  {line}")
    return 0


if __name__ == "__main__":
    main(study)
