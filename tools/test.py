"""Test a checkpoint with the config of its run and print the metrics.

  python tools/test.py work_dirs/runs/KEY/config.py work_dirs/runs/KEY/epoch_8.pth
  python tools/test.py work_dirs/runs/KEY/config.py work_dirs/runs/KEY/epoch_8.pth --out again/

The run is not changed. With --out, metrics.json and the per-image results are written to that folder.
"""

import argparse
import shutil
import sys
import tempfile
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parents[1])  # this tree's packages, whatever else is installed

from tools.engine.cli import HelpFormatter, explained, main


def test() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=HelpFormatter)
    parser.add_argument("config", help="the config.py of a run; it is Python code, which is run")
    parser.add_argument("checkpoint", type=Path, help="a checkpoint of that run")
    parser.add_argument("--out", type=Path, help="folder for metrics.json and the per-image results")
    parser.add_argument(
        "--inference", metavar="NAME", help="segmentation only: whole, slide or multi_scale (default: that of the config)"
    )
    launcher = "what started the processes"
    parser.add_argument("--launcher", choices=("none", "pytorch", "slurm"), default="none", help=launcher)
    args = parser.parse_args()

    from backbones.common.files import atomic_path, write_json
    from tools.engine.config import untrusted_notice
    from tools.engine.training.building import build_runner, load_run
    from tools.engine.training.starting import set_threads

    if notice := untrusted_notice(args.config):
        print(notice, file=sys.stderr)
    resolved = load_run(args.config, args.checkpoint, args.launcher)
    for notice in resolved.notices:
        print(notice, file=sys.stderr)
    cfg, task = resolved.cfg, resolved.task
    set_threads(resolved)
    if args.inference:
        if not hasattr(task, "set_inference"):
            raise ValueError(f"--inference is for segmentation; leave it out for {cfg.task}.")
        task.set_inference(cfg, args.inference)
    task.check_data(cfg)
    with tempfile.TemporaryDirectory() as scratch:
        cfg.work_dir, cfg.launcher, cfg.load_from = scratch, args.launcher, str(args.checkpoint)
        with explained():
            metrics = {name: float(value) for name, value in build_runner(cfg).test().items()}
        per_image = Path(scratch) / task.PER_IMAGE
        if args.out and per_image.is_file():  # the first process has written it
            with atomic_path(args.out / task.PER_IMAGE) as part:
                shutil.copyfile(per_image, part)
            write_json(args.out / "metrics.json", metrics | {"inference": args.inference} if args.inference else metrics)
    print(", ".join(f"{name} {value:.2f}" for name, value in metrics.items()))


if __name__ == "__main__":
    main(test)
