r"""Test a checkpoint of a run with the config of the run, and print the metrics.

  python tools/test.py KEY
  python tools/test.py KEY epoch_8.pth --out again/
  python tools/test.py work_dirs/runs/KEY/config.py \
      work_dirs/runs/KEY/epoch_8.pth

The beginning of a run's key is enough. Without a checkpoint the last one is tested. The run is not changed. With --out,
metrics.json, the per-image results and log.txt are written to that folder.
"""

import argparse
import os
import shutil
import sys
import tempfile
from functools import partial
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parents[1])  # this tree's packages, whatever else is installed

from backbones.common.project import find_run
from tools.engine.cli import CommandParser, explained, main
from tools.engine.config.data_needed import refuse_missing_data
from tools.engine.openmmlab_flags import TEST, add_counterparts
from tools.engine.run_folder import CONFIG, checkpoints_in, refuse_missing_checkpoint


def parse() -> argparse.Namespace:
    parser = CommandParser(description=__doc__)
    run = "a run, by its folder, its key or the beginning of its key, or the config.py of one; it is Python code, which is run"
    parser.add_argument("config", metavar="RUN|CONFIG", help=run)
    checkpoint = "a checkpoint of the run: a path, or the name of a file in its folder (default: the last one)"
    parser.add_argument("checkpoint", nargs="?", metavar="CHECKPOINT", help=checkpoint)
    parser.add_argument(
        "--out", type=Path, metavar="DIR", help="folder for metrics.json, the per-image results and log.txt (default: none)"
    )
    parser.add_argument(
        "--inference", metavar="NAME", help="segmentation only: whole, slide or multi_scale (default: that of the config)"
    )
    launcher = "program that started the processes of the test"
    parser.add_argument("--launcher", choices=("none", "pytorch", "slurm"), default="none", help=launcher)
    add_counterparts(parser, TEST)
    return parser.parse_args()


def files_of(config: str, checkpoint: str | None) -> tuple[str, Path]:
    """Return the config and the checkpoint that the command line names.

    Raises:
        ValueError: there is no such run, or it has no checkpoint.
    """
    if not (os.path.isfile(config) or config.endswith(".py")):
        config = str(find_run(config) / CONFIG)
    folder = Path(config).parent
    if checkpoint is None:
        paths = sorted(checkpoints_in(folder), key=lambda path: path.stat().st_mtime)
        if not paths:
            raise ValueError(f"{folder} holds no checkpoint of a run; name the checkpoint that is to be tested.")
        return config, paths[-1]
    beside = folder / checkpoint
    return config, beside if not os.path.exists(checkpoint) and beside.is_file() else Path(checkpoint)


def check(config: str, checkpoint: Path, args: argparse.Namespace) -> None:
    """Raise ValueError for what is wrong with a test, as far as that takes no torch."""
    from tools.engine.config import resolve_run

    resolved = resolve_run(config, args.launcher)
    refuse_missing_checkpoint(checkpoint)
    if args.inference:
        set_inference(resolved, args.inference)


def set_inference(resolved, name: str) -> None:
    """Set the inference mode of a test, in place.

    Raises:
        ValueError: the task has no such mode.
    """
    if not hasattr(resolved.task, "set_inference"):
        raise ValueError(f"--inference is for segmentation; leave it out for {resolved.cfg.task}.")
    resolved.task.set_inference(resolved.cfg, name)


def test() -> None:
    args = parse()
    config, checkpoint = files_of(args.config, args.checkpoint)
    refuse_missing_data([config], check=partial(check, config, checkpoint, args))  # before torch is loaded, which takes seconds

    from tools.engine.config import untrusted_notice
    from tools.engine.console import run_console
    from tools.engine.training.building import load_run
    from tools.engine.training.run import rank_of
    from tools.engine.training.starting import set_threads

    if notice := untrusted_notice(config):
        print(notice, file=sys.stderr)
    resolved = load_run(config, checkpoint, args.launcher)
    for notice in resolved.notices:
        print(notice, file=sys.stderr)
    set_threads(resolved)
    if args.inference:
        set_inference(resolved, args.inference)
    resolved.task.check_data(resolved.cfg)
    with run_console(None, rank_of(args.launcher)) as console:
        metrics = measure(resolved, checkpoint, args, console)
    print(", ".join(f"{name} {value:.2f}" for name, value in metrics.items()))


def measure(resolved, checkpoint: Path, args: argparse.Namespace, console) -> dict[str, float]:
    """Test a checkpoint, show that on ``console``, write what --out asks for, and return the metrics."""
    from backbones.common.files import atomic_path, write_json
    from tools.engine.run_folder import LOG
    from tools.engine.training.building import build_runner

    cfg = resolved.cfg
    console.say(f"{cfg.task}: {cfg.network} at scale {cfg.scale}\ncheckpoint: {checkpoint}\ndata: {resolved.data_folder}")
    with tempfile.TemporaryDirectory() as scratch:
        cfg.work_dir, cfg.launcher, cfg.load_from = scratch, args.launcher, str(checkpoint)
        with explained():
            runner = build_runner(cfg)
            runner.watch = console.show
            metrics = {name: float(value) for name, value in runner.test().items()}
        per_image = Path(scratch) / resolved.task.PER_IMAGE
        if args.out and per_image.is_file():  # the first process has written it
            with atomic_path(args.out / resolved.task.PER_IMAGE) as part:
                shutil.copyfile(per_image, part)
            write_json(args.out / "metrics.json", metrics | {"inference": args.inference} if args.inference else metrics)
            console.keep_log(args.out / LOG)
    return metrics


if __name__ == "__main__":
    main(test)
