"""Writes the backbone card of a pretraining's checkpoint: weights, what they are, and the probe that proves it.

  python tools/export_backbone.py work_dirs/runs/KEY/config.py work_dirs/runs/KEY/epoch_8.pth cards/mine

A finished pretraining has its card already (work_dirs/runs/KEY/card); this is for other checkpoints, or to write it anew.
"""

import argparse
import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parents[1])  # this tree's packages, whatever else is installed

from tools.engine.cli import main


def export() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", help="the config.py of a pretraining's run")
    parser.add_argument("checkpoint", type=Path, help="a checkpoint of that run")
    parser.add_argument("card", type=Path, help="folder of the new card")
    args = parser.parse_args()

    from mmengine.runner.checkpoint import load_checkpoint

    from tools.engine.config import task_of
    from tools.engine.run import build_model, load_run, read_record

    cfg = load_run(args.config, args.checkpoint)
    task = task_of(cfg)
    if task.NODE != "pretrain":
        raise ValueError(f"{args.config} is of the task {cfg.task}; a card comes from a pretraining (classification).")
    model = build_model(cfg)
    load_checkpoint(model, str(args.checkpoint), map_location="cpu", strict=True)
    record = read_record(args.checkpoint.parent)
    is_last = record and args.checkpoint.name == f"epoch_{cfg.train_cfg.max_epochs}.pth"
    task.write_card(model, cfg, record["metrics"]["top1"] if is_last else None, args.card)
    print(f"{args.card}: ResNet({', '.join(f'{k}={v}' for k, v in model.backbone.arch.items())})")


if __name__ == "__main__":
    main(export)
