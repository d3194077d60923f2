r"""Import the weights of a backbone, from timm, torchvision or any training script, as a backbone card.

  python tools/import_backbone.py timm:resnet50d.gluon_in1k --out cards/mixup
  python tools/import_backbone.py torchvision:resnet50 --out cards/tv
  python tools/import_backbone.py resnetv1d50_b32x8_imagenet.pth --out cards/mm
  python tools/import_backbone.py resnet50_caffe.pth --out cards/caffe \
      --variant a --channel-order bgr --mean 103.53 116.28 123.675 --std 1 1 1
  python tools/import_backbone.py model.safetensors --out cards/densenet \
      --network timm:densenet121.ra_in1k
  python tools/import_backbone.py efficientnet-lite0.pth --out cards/lite0 \
      --evaluate data/imagenet/val
  python tools/import_backbone.py cards/tv --evaluate data/imagenet/val

A card is a folder with a backbone's weights, its input format, and a probe: an input with the features expected for it. The
network is found under any prefix in a file; heads beside it are left out and named. The import fails unless every tensor of the
network is there and used. The library's own network computes the probe if it is installed.
--evaluate shows that weights and input format are right: the top-1 and top-5 of an ImageNet classifier on your images of its
classes.
Runs of this project need no import: they have a card (work_dirs/runs/KEY/card), or get one from tools/export_backbone.py.
"""

import argparse
import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parents[1])  # this tree's packages, whatever else is installed

from tools.engine.cli import CommandParser, main
from tools.engine.wording import uses_of_card


def parse() -> argparse.Namespace:
    parser = CommandParser(description=__doc__)
    parser.add_argument(
        "source", help="timm:NAME[.TAG], torchvision:NAME[.WEIGHTS], a .safetensors or torch file, or a card to --evaluate"
    )
    parser.add_argument("--out", type=Path, metavar="CARD", help="folder of the new card; needed unless a card is evaluated")
    parser.add_argument(
        "--evaluate",
        type=Path,
        metavar="FOLDER",
        help="classify the images of class folders that are named by WordNet ids (n01440764), and print top-1 and top-5 "
        "(default: no image is classified)",
    )
    variant = "variant of a ResNet (b: torchvision and timm; a: Caffe); asked for when the tensors of a file leave it open"
    parser.add_argument("--variant", choices=("a", "b", "c", "d"), help=variant)
    parser.add_argument(
        "--network",
        metavar="timm:NAME",
        help="network that a file holds, in timm or torchvision, whose input format is then taken (default: a ResNet or an "
        "EfficientNet, as the tensors show)",
    )
    parser.add_argument(
        "--prefix",
        metavar="NAME",
        help="where the network lies in a file, such as state_dict.module.encoder_q; asked for when a file holds several",
    )
    parser.add_argument("--force", action="store_true", help="replace a card that is at --out")
    parser.add_argument(
        "--unpickle", action="store_true", help="read a file that holds more than weights: RUNS CODE FROM THE FILE"
    )
    add_facts(parser)
    args = parser.parse_args()
    if args.out is None:
        refuse_import_options(parser, args)
    return args


def refuse_import_options(parser: argparse.ArgumentParser, args: argparse.Namespace) -> None:
    """Stop unless the command only evaluates a card, which needs no --out."""
    if args.evaluate is None:
        parser.error("the following arguments are required: --out, or --evaluate for a card")
    given = [name for name in (*OPTIONS, *FACTS) if getattr(args, name) not in (None, False)]
    if given:
        options = ", ".join(f"--{name.removeprefix('input_').replace('_', '-')}" for name in given)
        parser.error(f"without --out a card is evaluated as it is; leave out {options}, or give --out")


def add_facts(parser: argparse.ArgumentParser) -> None:
    """Add the options that describe the pretraining."""
    from backbones.common.subsets import RESAMPLERS  # after tools has found the packages

    parser.add_argument(
        "--mean",
        nargs=3,
        type=float,
        metavar=("R", "G", "B"),
        help="pixel means of 0..255, in the order of --channel-order (default: those of the named network, else ImageNet's, "
        "123.675 116.28 103.53)",
    )
    parser.add_argument(
        "--std",
        nargs=3,
        type=float,
        metavar=("R", "G", "B"),
        help="pixel standard deviations (default: those of the named network, else 58.395 57.12 57.375)",
    )
    parser.add_argument("--channel-order", choices=("rgb", "bgr"), help="channel order of the network's input (default: rgb)")
    size = (
        "side in pixels of the images of the pretraining, to which --evaluate crops; transfers have their own sizes (default: "
        "that of the named network, else 224)"
    )
    parser.add_argument("--size", type=int, dest="input_size", metavar="N", help=size)
    resampler = (
        "filter by which the images of the pretraining were resized, used only by --evaluate (default: that of the named "
        "network, else unknown, and --evaluate takes bilinear)"
    )
    parser.add_argument("--resampler", choices=RESAMPLERS, help=resampler)
    top1 = (
        "top-1 accuracy in percent on the validation set of the pretraining, noted in the card (default: the published one of "
        "torchvision's own files, else none)"
    )
    parser.add_argument("--top1", type=float, metavar="X", help=top1)


OPTIONS = ("variant", "network", "prefix", "force", "unpickle")
FACTS = ("mean", "std", "channel_order", "input_size", "resampler", "top1")


def bring_in() -> None:
    args = parse()
    images = read_images(args.evaluate) if args.evaluate else None
    card, whole = import_card(args) if args.out else open_card(args.source)
    if images:
        evaluate(args.evaluate, images, card, whole)
    if args.out:
        print(*uses_of_card(args.out), sep="\n")


def read_images(folder: Path) -> dict[str, list[str]]:
    """Return the images of each class; refuse a wrong folder before anything is written."""
    from classification.imagenet_accuracy import read_wordnet_folder

    return read_wordnet_folder(folder)


def import_card(args: argparse.Namespace):
    """Write the card of the source; return it, and the network that computes its logits if it was filled from the source."""
    from backbones.card import refuse_existing
    from backbones.card_facts import input_format
    from backbones.networks.factory import describe

    refuse_existing(args.out, args.force)
    imported = read_weights(args)
    if args.evaluate:
        from classification.imagenet_accuracy import check_classes

        check_classes(args.source, imported.facts["source"]["classes"])
    card = imported.write(args.out)
    for note in imported.notes:
        print(note)
    print(f"{input_format(card)}, size {card.input_size}, resampler {card.resampler}")
    head = f"a classifier of {card.source['classes']} classes" if card.classifier else "no classifier"
    print(f"{args.out}: {describe(card.arch)}, {len(card.weights)} tensors, {head}; probe by {card.source['probe']}")
    return card, imported.stock.logits if imported.stock else None


def read_weights(args: argparse.Namespace):
    """Return the backbone in a file, which is downloaded if the source is the name of weights that a library publishes."""
    from backbones.card_facts import LIBRARIES
    from backbones.interchange.facts import check_facts
    from backbones.interchange.importer import import_backbone
    from tools.engine.studies.published_weights import fetch, named_weights

    facts = {name: value for name in FACTS if (value := getattr(args, name)) is not None}
    if not args.source.startswith(LIBRARIES):
        return import_backbone(args.source, args.variant, args.network, args.prefix, args.unpickle, **facts)
    if args.variant or args.network or args.prefix is not None or args.unpickle:
        raise ValueError(f"--variant, --network, --prefix and --unpickle are for files; {args.source} is known by its name.")
    check_facts(facts)
    return fetch(named_weights(args.source), print).read(**facts)


def open_card(source: str):
    """Return the card ``source``, which must have a classifier of ImageNet's classes, and no other network."""
    from backbones.card import BackboneCard
    from classification.imagenet_accuracy import check_classes

    card = BackboneCard.load(source)
    classes = len(card.classifier["bias"]) if card.classifier else None
    check_classes(f"The card {source}", classes, card.source.get("class_names"))
    return card, None


def evaluate(folder: Path, images: dict[str, list[str]], card, whole) -> None:
    """Print the accuracy of the card's classifier; of the network ``whole`` if the card has none."""
    from classification.card_classifier import CardClassifier
    from classification.imagenet_accuracy import Preprocessing, accuracy

    prepare = Preprocessing(card)
    network = "the card's classifier" if card.classifier else f"{card.source['probe']}'s whole network"
    print(f"{folder}, by {network}: {prepare.text}")
    figures = accuracy(CardClassifier(card) if card.classifier else whole, prepare, folder, images)
    print(
        f"top-1 {figures.top1:.2f}, top-5 {figures.top5:.2f} among ImageNet's 1,000 classes; top-1 {figures.top1_of_folder:.2f} "
        f"among the {figures.classes} of the folder ({figures.images:,} images)"
    )
    print(
        "On images of ImageNet's training set these figures prove that weights and input format are right, and not how accurate "
        "the network is."
    )


if __name__ == "__main__":
    main(bring_in)
