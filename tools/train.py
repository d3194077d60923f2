"""Trains and tests one config: a classifier with tricks, or a detector or segmenter on a backbone card.

  python tools/train.py configs/classification/resnet50_toy.py --tricks resnet_d cosine warmup
  python tools/train.py configs/detection/faster_rcnn_fpn_toy.py --backbone work_dirs/runs/KEY/card
  torchrun --nproc_per_node 8 tools/train.py configs/classification/resnet50_paper.py --launcher pytorch

The run goes to work_dirs/runs/KEY: config.py, checkpoint, per-image results, record.json, and for a classifier its card.
"""

import argparse
import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parents[1])  # this tree's packages, whatever else is installed

from tools.engine.cli import main


def parse(args: list[str] | None = None) -> argparse.Namespace:
    from mmengine.config import DictAction

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", help="a file of configs/, or the config.py of an earlier run; it is Python, and is run")
    parser.add_argument("--tricks", nargs="+", default=[], metavar="NAME[:OPTION=VALUE]", help=trick_help())
    parser.add_argument("--backbone", metavar="CARD|scratch", help="a card's folder, or scratch; required downstream")
    parser.add_argument("--transfer", metavar="finetune|frozen", help="what of the card's backbone is trained; finetune")
    parser.add_argument("--protocol", metavar="NAME", help="of configs/TASK/protocols, at scale paper; the config's own")
    parser.add_argument("--lr-factor", type=float, metavar="F", help="times the protocol's learning rate downstream; 1")
    parser.add_argument("--hold-out", action="store_true", help="downstream: test on a fifth of the training data, kept out")
    parser.add_argument("--seed", type=int, default=0, help="of initial values, data order and augmentation; 0")
    parser.add_argument("--work-dir", metavar="D", help="instead of work_dirs/runs/KEY")
    parser.add_argument("--resume", action="store_true", help="go on from the last checkpoint of the same run")
    parser.add_argument("--vis", nargs="+", default=[], metavar="NAME", help="scalars go to tensorboard, wandb, mlflow, ... too")
    parser.add_argument(
        "--on-bad-image",
        choices=("stop", "skip"),
        default="stop",
        help="a training image that cannot be read stops the run, or the next one takes its place and the record lists it; stop",
    )
    parser.add_argument("--launcher", choices=("none", "pytorch", "slurm"), default="none")
    parser.add_argument("--local_rank", "--local-rank", type=int, default=0, help=argparse.SUPPRESS)
    parser.add_argument("--cfg-options", nargs="+", action=DictAction, default={}, metavar="K=V", help="e.g. batch=32")
    return parser.parse_args(args)


def trick_help() -> str:
    from classification.tricks import TRICKS

    return f"for a classifier, in any order: {', '.join(TRICKS)}"


def train() -> int:
    args = parse()
    from classification.tricks import parse_trick
    from tools.engine.config import RUNS, Options, foreign
    from tools.engine.record import read_record
    from tools.engine.run import run
    from tools.engine.study import prepare
    from tools.engine.vis import missing_named, visualizer

    tricks = [parse_trick(text) for text in args.tricks]
    options = Options(
        tricks=tricks,
        backbone=args.backbone,
        transfer=args.transfer,
        protocol=args.protocol,
        lr_factor=args.lr_factor,
        hold_out=args.hold_out,
        seed=args.seed,
        overrides=args.cfg_options,
        on_bad_image=args.on_bad_image,
    )
    if said := foreign(args.config):
        print(said)
    cfg, key = prepare(args.config, options)
    if args.vis:
        cfg.visualizer = visualizer(args.vis)
    folder = Path(args.work_dir) if args.work_dir else RUNS / key
    if read_record(folder):
        print(f"{folder} holds a finished run; it is not run again. Remove the folder to repeat it.")
        return 0
    with missing_named(args.vis):
        record = run(cfg, key, folder, args.launcher, args.resume)
    figures = ", ".join(f"{name} {value:.2f}" for name, value in record["metrics"].items())
    print(f"{record['status']}: {figures}\n{folder}")
    return 0 if record["status"] == "done" else 1


if __name__ == "__main__":
    main(train)
