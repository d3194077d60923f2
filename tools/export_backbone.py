r"""Export a checkpoint as a backbone card, or a card as a file for timm, torchvision or OpenMMLab (mm).

  python tools/export_backbone.py KEY --format timm --out resnet50d.safetensors
  python tools/export_backbone.py work_dirs/runs/KEY/epoch_8.pth \
      --out cards/mine
  python tools/export_backbone.py cards/mine --format mm --out resnet50d_mm.pth

A card is a folder with a backbone's weights, its input format, and a probe: an input with the features expected for it. A
finished pretraining already has a card (work_dirs/runs/KEY/card); other checkpoints get one by --out alone. A file is written
only after the library's own network has loaded every tensor and reproduced the card's probe.
"""

import sys
import tempfile
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parents[1])  # this tree's packages, whatever else is installed

from tools.engine.cli import CommandParser, main
from tools.engine.config.arguments import card_path
from tools.engine.wording import uses_of_card


def export() -> None:
    parser = CommandParser(description=__doc__)
    parser.add_argument(
        "source",
        metavar="RUN|CARD|CHECKPOINT",
        help="a run that has a card (its folder, its key or the beginning of its key), a card, or a checkpoint of a pretraining",
    )
    parser.add_argument("--out", type=Path, required=True, metavar="PATH", help="folder of the new card, or the new file")
    parser.add_argument("--format", choices=("card", "timm", "torchvision", "mm"), default="card", help="format of the output")
    parser.add_argument("--force", action="store_true", help="replace a card or file that is at --out")
    args = parser.parse_args()
    source = Path(card_path(args.source))

    from backbones.card import BackboneCard, refuse_existing
    from backbones.networks.factory import describe

    refuse_existing(args.out, args.force)
    if args.format == "card":
        card = write_card(source, args.out)
        print(f"{args.out}: {describe(card.arch)}", *uses_of_card(args.out), sep="\n")
        return
    from backbones.interchange.exporter import export_card

    with tempfile.TemporaryDirectory() as folder:
        is_checkpoint = source.is_file() and source.suffix == ".pth"
        card = write_card(source, Path(folder) / "card") if is_checkpoint else BackboneCard.load(source)
        print(*export_card(card, args.format, args.out), sep="\n")


def write_card(checkpoint: Path, folder: Path):
    """Write and return the card of a checkpoint of a pretraining run, whose config is beside it.

    Raises:
        ValueError: the checkpoint does not exist, is not of a run of this project, or is of another task.
    """
    from tools.engine.run_folder import CONFIG, read_record
    from tools.engine.training.building import build_model, load_run
    from tools.engine.training.checkpoints import check_checkpoint, check_fit

    if checkpoint.is_dir():
        raise ValueError(f"{checkpoint} is a folder; give a checkpoint (.pth), or --format timm, torchvision or mm for a card.")
    if not checkpoint.parent.is_dir() or not any(checkpoint.parent.glob("*.pth")):
        raise ValueError(f"There is no checkpoint {checkpoint}; give one of a pretraining (work_dirs/runs/KEY/epoch_8.pth).")
    config = checkpoint.parent / CONFIG
    if not config.is_file():
        raise ValueError(f"There is no {config}, which an export needs. Use tools/import_backbone.py for weights from elsewhere.")
    resolved = load_run(str(config), checkpoint)
    cfg, task = resolved.cfg, resolved.task
    if not resolved.pretrains:
        raise ValueError(f"{config} is of the task {cfg.task}; give a checkpoint of a pretraining (classification).")
    model = build_model(cfg)
    check_fit(checkpoint, model)
    model.load_state_dict(check_checkpoint(checkpoint)["state_dict"], strict=True)
    record = read_record(checkpoint.parent)
    is_last = record and checkpoint.name == f"epoch_{cfg.train_cfg.max_epochs}.pth"
    return task.write_card(model, cfg, record["metrics"]["top1"] if is_last else None, folder)


if __name__ == "__main__":
    main(export)
