"""List folders of images, cards and weights that tools/import_backbone.py --evaluate refuses, and one that it accepts."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

from backbones.card_facts import CLASSIFIER
from tests.helpers.images import save_noise
from tests.helpers.inputs.cards import real
from tests.helpers.inputs.rows import Row

CARD, FILE = ("card",), ("net.pth", "--out", "new")
RIGHT = ("images/n01440764/a.png", "images/n15075141/b.png")
FOLDERS = {  # images, and the words of the answer
    "no folder": ((), ("images does not exist",)),
    "a folder of images": (("images/a.png",), ("images should hold one folder of images per class",)),
    "folders of other names": (("images/dog/a.png", "images/cat/b.png"), ("WordNet id (n01440764)", "holds cat, dog")),
    "one folder of another name": ((*RIGHT, "images/dog/c.png"), ("holds dog;",)),
    "a WordNet id that ImageNet lacks": (("images/n00000001/a.png",), ("holds n00000001;",)),
    "a folder above": (("images/val/n01440764/a.png", "images/train/n01440764/b.png"), ("give images/val.",)),
    "a class without images": ((*RIGHT, "images/n01491361/c.txt"), ("n01491361 holds no image",)),
}


def rows() -> Iterator[Row]:
    for name, (images, words) in FOLDERS.items():
        yield _row(name, CARD, words, thousand, *_noise(images))
        yield _row(f"{name}, on import", FILE, words, weights(1000), *_noise(images))
    right = _noise(RIGHT)
    yield _row("a card of 8 classes", CARD, ("The card card", "8 classes that are not ImageNet's 1,000"), real(), *right)
    yield _row("a card without a classifier", CARD, ("The card card has no classifier",), without_classifier, *right)
    yield _row("no card", CARD, ("no backbone card at card",), *right)
    yield _row("a file without --out", FILE[:1], ("net.pth", "which is a file", "--out cards/NAME"), weights(1000), *right)
    yield _row("weights of 20 classes", FILE, ("net.pth has a classifier of 20 classes",), weights(20), *right)
    yield _row("weights without a classifier", FILE, ("net.pth has no classifier",), weights(None), *right)
    damaged = _text("images/n01440764/c.jpg")
    yield _row("a damaged image", CARD, ("images/n01440764/c.jpg cannot be decoded",), thousand, *right, damaged)
    yield _row("a crop_pct above 1", CARD, ("crop_pct",), thousand, crop_pct(1.5), *right)
    yield _row(
        "right images",
        CARD,
        ("top-1 50.00, top-5 50.00 among", "top-1 50.00 among the 2 of the folder (2 images)"),
        thousand,
        *right,
        status=0,
    )


Prepare = Callable[[Path], object]


def _row(name: str, source: tuple[str, ...], words: tuple[str, ...], *prepare: Prepare, status: int = 2) -> Row:
    def everything(folder: Path) -> None:
        for step in prepare:
            step(folder)

    return Row("evaluations", name, "import_backbone", (*source, "--evaluate", "images"), words, status, everything)


def _noise(images: tuple[str, ...]) -> list[Prepare]:
    """Return functions that write an image each; a name that ends in .txt becomes a text."""
    return [_text(name) if name.endswith(".txt") else _image(name) for name in images]


def _image(name: str) -> Prepare:
    return lambda folder: save_noise(folder / name)


def _text(name: str) -> Prepare:
    def write(folder: Path) -> None:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("no image")

    return write


def thousand(folder: Path) -> None:
    """Write a card whose classifier has 1,000 equal outputs, of which the first ranks first."""

    def outputs(tensors: dict) -> dict:
        return {"weight": tensors["weight"][:1].repeat(1000, 1) * 0, "bias": tensors["bias"][:1].repeat(1000)}

    real((CLASSIFIER, outputs))(folder)


def without_classifier(folder: Path) -> None:
    real()(folder)
    (folder / "card" / CLASSIFIER).unlink()
    _edit(folder, lambda about: about["sha256"].pop(CLASSIFIER))


def crop_pct(value: float) -> Prepare:
    return lambda folder: _edit(folder, lambda about: about["source"].update(crop_pct=value))


def _edit(folder: Path, change: Callable[[dict], object]) -> None:
    path = folder / "card/card.json"
    about = json.loads(path.read_text())
    change(about)
    path.write_text(json.dumps(about))


def weights(classes: int | None) -> Prepare:
    """Return a function that saves net.pth, a small ResNet-18 with ``classes`` outputs."""

    def prepare(folder: Path) -> None:
        import torch

        from backbones import ResNet

        net = ResNet(18, "b", base_channels=8)
        head = {} if classes is None else {"fc.weight": torch.zeros(classes, net.channels[-1]), "fc.bias": torch.zeros(classes)}
        torch.save(net.state_dict() | head, folder / "net.pth")

    return prepare
