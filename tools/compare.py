r"""Compare backbones by what they give in detection and segmentation: one command from files of weights to a table and a report.

  python tools/compare.py A.pth B.pth scratch
  python tools/compare.py old=runs/1/last.pth new=runs/2/last.pth \
      --variant b --scale mini --seeds 3
  python tools/compare.py \
      A.pth:variant=b,mean=103.53/116.28/123.675,channel_order=bgr \
      work_dirs/runs/KEY timm:resnet50.a1_in1k
  python tools/compare.py cards/a cards/b \
      --tasks detection --detector c4 --scale paper --gpus 1

Each BACKBONE is one row of the table, and gains are over the first:

  FILE        weights of any training script (.pth, .safetensors, ...), imported
              strictly
  CARD        a card of tools/import_backbone.py, or a run of this project: its
              folder, its key or the beginning of its key
  timm:NAME   weights that timm publishes, or torchvision:NAME; downloaded if
              they are not in checkpoints/
  scratch     random weights in the network of the first backbone named

LABEL=... before a row names it in the tables; otherwise its file does. What a file leaves open stands after it, after a colon:
NAME=VALUE, several joined by commas, of variant, network, prefix, mean, std and channel_order. The options of these names below
hold for all files that do not state their own. mean and std are three numbers of 0..255, joined by slashes (after a file) or by
spaces (below); they default to ImageNet's. A path that exists is taken as it is, whatever colons and equals signs it has.

The study of the rows is written to work_dirs/NAME-SCALE/study.py, which tools/study.py takes, and its report beside it. Imported
cards stay in work_dirs/cards and finished runs in work_dirs/runs: the same command goes on where it was stopped, and rows can be
added.
"""

import argparse
import shlex
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

sys.path[0] = str(Path(__file__).resolve().parents[1])  # this tree's packages, whatever else is installed

from backbones.common.files import write_text
from backbones.common.project import SCALES
from tools.engine.cli import CommandParser, main
from tools.engine.comparing.rows import refuse_other_files, rows_of
from tools.engine.comparing.setting import Setting, check_name, detectors, other_ways, transfer_tasks
from tools.engine.comparing.study_file import Request, refuse_folder, study_text
from tools.engine.config.arguments import whole_number
from tools.engine.openmmlab_flags import STUDY, add_counterparts
from tools.engine.studies.arguments import MOST_SEEDS, add_machine_arguments, add_run_options, jobs_of, set_environment
from tools.engine.studies.graph import nodes_of, refuse_without_data
from tools.engine.studies.study import Study, load_study
from tools.engine.study_folder.names import FILE


def parse() -> argparse.Namespace:
    parser = CommandParser(description=__doc__)
    rows = "[LABEL=]FILE|CARD|timm:NAME|scratch, two or more, as described above"
    parser.add_argument("rows", nargs="+", metavar="BACKBONE", help=rows)
    parser.add_argument("--name", default="mine", help="name of the comparison, in work_dirs/NAME-SCALE")
    scale = f"size of data and networks: {', '.join(SCALES)}"
    parser.add_argument("--scale", default="mini", help=scale)
    tasks = "tasks in which they are compared (default: all that transfer a backbone, detection and segmentation)"
    parser.add_argument("--tasks", nargs="+", metavar="TASK", help=tasks)
    seeds = "number of fine-tunings of each backbone"
    parser.add_argument("--seeds", type=whole_number(1, MOST_SEEDS), default=3, metavar="N", help=seeds)
    protocol = (
        "how detectors and segmenters are trained and tested at scale paper; a task without a protocol of this name keeps "
        "that of its config (default: those of the configs)"
    )
    parser.add_argument("--protocol", metavar="NAME", help=protocol)
    detector = "detector (default: fpn, or c4 with a protocol that is only for C4, as all of the paper's are)"
    parser.add_argument("--detector", choices=detectors(), help=detector)
    parser.add_argument("--yes", action="store_true", help="start without asking, however long it takes")
    add_file_options(parser.add_argument_group("what files of weights leave open"))
    add_machine_arguments(parser.add_argument_group("how the runs share the machine"))
    add_run_options(parser)
    add_counterparts(parser, STUDY)
    return parser.parse_args()


def add_file_options(group) -> None:
    """Add the options of all files that do not state their own."""
    variant = "variant of the ResNets whose tensors leave it open (b: torchvision and timm; a: Caffe); asked for when a file does"
    group.add_argument("--variant", choices=("a", "b", "c", "d"), help=variant)
    group.add_argument("--network", metavar="timm:NAME", help="network that the files hold (default: a ResNet)")
    prefix = "where the network lies in files that hold several; asked for when a file does"
    group.add_argument("--prefix", metavar="NAME", help=prefix)
    mean = "pixel means of 0..255 (default: those of --network, else 123.675 116.28 103.53)"
    std = "their deviations (default: those of --network, else 58.395 57.12 57.375)"
    group.add_argument("--mean", nargs=3, type=float, metavar=("R", "G", "B"), help=mean)
    group.add_argument("--std", nargs=3, type=float, metavar=("R", "G", "B"), help=std)
    group.add_argument("--channel-order", choices=("rgb", "bgr"), help="channel order of the input (default: rgb)")


def file_options(args: argparse.Namespace) -> dict:
    """Return the options of all files but the variant, which holds only where a file leaves it open."""
    values = {name: getattr(args, name) for name in ("network", "prefix", "mean", "std", "channel_order")}
    return {name: tuple(v) if isinstance(v, list) else v for name, v in values.items() if v is not None}


def compare() -> int:
    args = parse()
    set_environment(args)
    text, cards = study_of_rows(args)
    path = check_name(args.name, args.scale) / FILE
    with TemporaryDirectory() as folder:  # nothing is left where data is missing or a person says no
        planned = loaded(Path(folder) / FILE, text, args)
        is_long = say_cost(planned, args, cards)
        refuse_without_data(planned)
        if is_long and not is_agreed(args):
            return 0
    study = loaded(path, text, args)
    say(f"The study of these rows: {path}")
    from tools.engine.launching.study_run import launch
    from tools.engine.planning.remaining import time_left_of
    from tools.engine.reporting.study_report import report_study

    outcome = launch(study, args, time_left_of)
    with outcome.told_after():
        report_study(study)
    return outcome.status


def study_of_rows(args: argparse.Namespace) -> tuple[str, list]:
    """Check the command line and make the cards; return the text of the study's file, and the facts of its cards.

    Raises:
        ValueError: something is wrong with a name, a row or a file.
    """
    from tools.engine.launching.slurm import settings_of  # here for load time

    folder = check_name(args.name, args.scale)
    setting = setting_of(args)
    setting.check()
    rows = rows_of(args.rows, file_options(args))
    settings_of(args)  # refuses wrong options
    setting.configs([])  # refuses a protocol that no config takes
    refuse_folder(folder, [row.label for row in rows])
    refuse_other_files(rows)
    from tools.engine.comparing.backbones import bring_backbones  # loads torch

    backbones = bring_backbones(rows, args.variant, say)
    cards = [facts for backbone in backbones if (facts := backbone.facts)]
    configs = setting.configs(cards)
    request = Request(shlex.join(sys.argv[1:]), study_line(folder, args), args.scale, args.seeds, args.protocol)
    return study_text(args.name, backbones, configs, request), cards


def loaded(path: Path, text: str, args: argparse.Namespace) -> Study:
    """Write the file of the study, and return the study with the options of the command line."""
    write_text(path, text)
    options = dict(protocol=args.protocol, vis=args.vis, processes=args.gpus or args.processes)
    return load_study(str(path), args.scale, seeds=args.seeds, **options)


def setting_of(args: argparse.Namespace) -> Setting:
    """Return what the command line asks of the tasks of the comparison."""
    tasks = tuple(dict.fromkeys(args.tasks or transfer_tasks()))
    return Setting(tasks, args.scale, args.protocol, args.detector)


def study_line(folder: Path, args: argparse.Namespace) -> str:
    """Return the arguments with which ``tools/study.py run`` does the same: the study's file states the others."""
    processes = args.processes if args.processes > 1 else None
    shared = {"--jobs": args.jobs, "--gpus": args.gpus, "--processes": processes}  # part of what a key stands for
    return shlex.join([str(folder / FILE), *(str(part) for pair in shared.items() if pair[1] for part in pair)])


def say_cost(study: Study, args: argparse.Namespace, cards: list) -> bool:
    """Say what will run and how long it takes, without any data; return whether that is long."""
    from tools.engine.planning.announcement import LONG, announce, hours_left, shorter_ways

    for line in announce(study, jobs_of(args, nodes_of(study))):
        say(line)
    is_long = hours_left(study) >= LONG
    if is_long:
        say(shorter_ways(study, dict(other_ways(study, setting_of(args), cards))))
    return is_long


def is_agreed(args: argparse.Namespace) -> bool:
    """Return False if a person at a terminal does not want a long study to start."""
    if args.yes or not (sys.stdin.isatty() and sys.stdout.isatty()):
        return True
    try:
        return input("Start? [y/N] ").strip().lower() in ("y", "yes")
    except EOFError:
        return False


def say(line: str) -> None:
    """Print a line, folded to the width of the terminal."""
    from tools.engine.runs.lines import folded, width

    print(folded(line, width()), flush=True)  # before an error on stderr


if __name__ == "__main__":
    main(compare)
