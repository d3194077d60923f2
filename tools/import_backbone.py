r"""Writes the backbone card of weights from elsewhere: timm, torchvision, or a file of theirs, of mmpretrain, mmdet or mmseg.

  python tools/import_backbone.py timm:resnet50d.gluon_in1k --out cards/zoo_mixup
  python tools/import_backbone.py torchvision:resnet50.IMAGENET1K_V1 --out cards/tv
  python tools/import_backbone.py resnetv1d50_b32x8_imagenet.pth --out cards/mm
  python tools/import_backbone.py resnet50_caffe.pth --variant a --channel-order bgr --mean 103.53 116.28 123.675 --std 1 1 1 \
      --out cards/caffe
  python tools/import_backbone.py model.safetensors --network timm:densenet121.ra_in1k --out cards/densenet

Every tensor is placed and none is left over, and the card's probe is made by the library's own network, where it is installed. A
run of this project needs no import: it has a card (work_dirs/runs/KEY/card), or gets one from tools/export_backbone.py.
"""

import argparse
import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parents[1])  # this tree's packages, whatever else is installed

from tools.engine.cli import main


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", help="timm:NAME[.TAG], torchvision:NAME[.WEIGHTS], or a .safetensors or torch file")
    parser.add_argument("--out", type=Path, required=True, metavar="CARD", help="folder of the new card")
    parser.add_argument("--variant", choices=("a", "b", "c", "d"), help="of a file's ResNet, where its tensors cannot tell")
    parser.add_argument("--network", metavar="timm:NAME|torchvision:NAME", help="that a file holds, with its facts")
    parser.add_argument("--ema", action="store_true", help="take the file's averaged weights, not the ordinary ones")
    parser.add_argument("--unpickle", action="store_true", help="read a file that is more than weights: RUNS CODE FROM THE FILE")
    parser.add_argument("--mean", nargs=3, type=float, metavar=("R", "G", "B"), help="0..255, in the order of --channel-order")
    parser.add_argument("--std", nargs=3, type=float, metavar=("R", "G", "B"), help="likewise")
    parser.add_argument("--channel-order", choices=("rgb", "bgr"), help="in which the network is fed")
    parser.add_argument("--size", type=int, dest="input_size", metavar="N", help="side of the training images")
    parser.add_argument("--resampler", metavar="TEXT", help="how images were resized, such as bilinear")
    parser.add_argument("--top1", type=float, metavar="X", help="percent on the pretraining's validation set, if known")
    return parser.parse_args()


FACTS = ("mean", "std", "channel_order", "input_size", "resampler", "top1")


def bring_in() -> None:
    args = parse()
    from backbones.interchange.importer import import_backbone
    from backbones.networks.factory import describe

    given = {name: value for name in FACTS if (value := getattr(args, name)) is not None}
    made = import_backbone(args.source, args.variant, args.network, args.ema, args.unpickle, **given)
    card = made.write(args.out)
    for note in made.notes:
        print(note)
    print(f"mean {card.mean}, std {card.std} ({card.channel_order}), size {card.input_size}, resampler {card.resampler}")
    head = f"a classifier of {card.source['classes']} classes" if card.classifier else "no classifier"
    print(f"{args.out}: {describe(card.arch)}, {len(card.weights)} tensors, {head}; probe by {card.source['probe']}")


if __name__ == "__main__":
    main(bring_in)
