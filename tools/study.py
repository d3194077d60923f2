r"""Run a study: its recipes through pretraining, detection and segmentation, then the table and the report.

  python tools/study.py run demo
  python tools/study.py run demo --seeds 3
  python tools/study.py status demo --seeds 3
  DATA_ROOT=data/mini python tools/study.py run demo --scale mini \
      --recipes scratch smooth
  python tools/study.py plan table6 --scale paper
  python tools/study.py plan transfer --scale paper --detect 0.3
  python tools/study.py run table6 --scale paper \
      --executor slurm --gpus 8 --time 480
  python tools/study.py why demo KEY

Each run goes to work_dirs/runs/KEY, where KEY is a hash of everything that affects the result; finished runs are reused, also by
other studies. On SIGTERM, SIGINT (Ctrl-C) or SIGHUP the runs finish their updates and save checkpoints, and the study exits with
status 75; a second signal ends all at once. Runs also save and end if the study is killed. Start the same command again: it keeps
finished runs and goes on with the others. Two studies at the same time never start the same run twice.
"""

import argparse
import difflib
import json
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parents[1])  # this tree's packages, whatever else is installed

from tools.engine.cli import CommandParser, main
from tools.engine.config.arguments import positive_number
from tools.engine.studies.arguments import add_run_options, add_study_arguments, jobs_of, set_environment, study_of

SHOWN = 5  # keys that an error names
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
    from tools.engine.launching.slurm import settings_of
    from tools.engine.studies.graph import refuse_without_data

    settings_of(args)  # refuses wrong options
    refuse_without_data(study)  # before anything loads torch, which takes seconds
    from tools.engine.launching.study_run import launch
    from tools.engine.planning.remaining import time_left_of
    from tools.engine.reporting.study_report import report_study

    outcome = launch(study, args, time_left_of)
    with outcome.told_after():
        report_study(study)
    return outcome.status


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
        ValueError: see ``node_with_key``.
    """
    from tools.engine.studies.graph import nodes_of, why

    node = node_with_key(study, nodes_of(study), key)
    print(f"{node.name}: {node.state()}")
    for line in why(node):
        print(f"  {line}")
    return 0


def node_with_key(study, nodes: Sequence, key: str):
    """Return the run of a study whose key is ``key`` or begins with it.

    Raises:
        ValueError: the study has no such run (names the nearest), or several (names the first ones).
    """
    matches = [node for node in nodes if node.key.startswith(key)]
    if len(matches) == 1:
        return matches[0]
    names = [node.key for node in matches]
    if matches:
        more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
        begin = f"{study.name} has {len(names)} runs whose keys begin with {key!r}"
        raise ValueError(f"{begin}: {', '.join(names[:SHOWN])}{more}; give more of the key.")
    nearest = difflib.get_close_matches(key, [node.key for node in nodes], n=3)
    hint = f"nearest: {', '.join(nearest)}; " if nearest else ""
    status = f"tools/study.py status shows the keys of its {len(nodes)} runs"
    raise ValueError(f"{study.name} has no run {key!r} with these options; {hint}{status}.")


if __name__ == "__main__":
    main(study)
