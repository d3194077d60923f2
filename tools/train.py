r"""Train and test one config: a classifier with tricks, or a detector or segmenter on a backbone card.

  python tools/train.py configs/classification/resnet50_toy.py \
      --tricks resnet_d cosine warmup
  python tools/train.py configs/detection/faster_rcnn_fpn_toy.py --backbone KEY
  torchrun --nproc_per_node 8 tools/train.py \
      configs/classification/resnet50_paper.py --launcher pytorch

The run goes to work_dirs/runs/KEY: config.py, checkpoint, per-image results, record.json (metrics and facts of the run), and for
a classifier its card, the folder from which a detector or segmenter loads the backbone. KEY is a hash of everything that affects
the result; the beginning of it is enough on a command line.

On SIGTERM, SIGINT (Ctrl-C) or SIGHUP a run finishes its update, saves a checkpoint and exits with status 75; a second signal ends
it at once. After that, or after a kill, the same command goes on from the last checkpoint.
"""

import argparse
import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parents[1])  # this tree's packages, whatever else is installed

from tools.engine.cli import CommandParser, main
from tools.engine.config.arguments import add_run_arguments, check_run_arguments, overrides_of, resolved_of
from tools.engine.config.data_needed import refuse_missing_data, refuse_whole
from tools.engine.openmmlab_flags import TRAIN, add_counterparts
from tools.engine.stopping import stop_with_launcher


def parse(args: list[str] | None = None) -> argparse.Namespace:
    parser = CommandParser(description=__doc__)
    add_run_arguments(parser)
    parser.add_argument("--work-dir", metavar="DIR", help="folder of the run (default: work_dirs/runs/KEY)")
    start = parser.add_mutually_exclusive_group()
    start.add_argument(
        "--resume", action="store_true", help="go on from the last checkpoint of the run if it has one, as without the option"
    )
    start.add_argument("--restart", action="store_true", help="start a stopped run over, and remove its checkpoints")
    parser.add_argument(
        "--vis",
        nargs="+",
        default=[],
        metavar="NAME",
        help="trackers that receive the scalars besides the run's folder: tensorboard, wandb, mlflow, ... (default: none)",
    )
    parser.add_argument(
        "--rescan", action="store_true", help="read all data again to tell whether it has changed, whatever is cached"
    )
    parser.add_argument("--expect-key", metavar="KEY", help="key that the run must have, else it does not start (default: any)")
    add_counterparts(parser, TRAIN)
    parser.add_argument("--local_rank", "--local-rank", type=int, default=0, help=argparse.SUPPRESS)
    parser.complete()
    given, rest = parser.parse_known_args(args)
    if given.resume and len(rest) == 1 and not rest[0].startswith("-"):
        raise ValueError(
            f"--resume takes no path ({rest[0]}): a run goes on from the last checkpoint in its own folder, work_dirs/runs/KEY "
            "or --work-dir."
        )
    if rest:
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    return given


def train() -> int:
    args = parse()
    stop_with_launcher()
    checks = (lambda: check_run_arguments(args), lambda: resolved_of(args).upstream)
    refuse_missing_data([args.config], overrides_of(args.cfg_options), *checks)  # before torch is loaded, which takes seconds

    from tools.engine.config.fingerprint import rescan
    from tools.engine.console import run_console
    from tools.engine.run_folder import RUNS, read_record
    from tools.engine.training.checkpoints import check_expected, check_folder
    from tools.engine.training.run import Start, rank_of, run
    from tools.engine.training.visualizers import missing_named, refuse_missing, visualizer

    if args.rescan:
        rescan()
    resolved = resolved_of(args)
    refuse_whole(resolved.cfg)
    check_expected(resolved.key, args.expect_key)
    scalars = visualizer(args.vis) if args.vis else None
    refuse_missing(args.vis)
    folder = Path(args.work_dir) if args.work_dir else RUNS / resolved.key.name
    check_folder(folder, resolved.key)
    if read_record(folder):
        if args.restart:
            raise ValueError(f"{folder} holds a finished run, which --restart does not touch. Remove the folder to repeat it.")
        print(f"{folder} holds a finished run; it is not run again. Remove the folder to repeat it.")
        return 0
    with missing_named(args.vis), run_console(folder, rank_of(args.launcher)) as console:
        record = run(resolved, folder, Start(args.launcher, not args.restart, scalars, console))
    figures = ", ".join(f"{name} {value:.2f}" for name, value in record["metrics"].items())
    if rank_of(args.launcher) == 0:
        print(f"{record['status']}: {figures}\n{folder}")
    return 0 if record["status"] == "done" else 1


if __name__ == "__main__":
    main(train)
