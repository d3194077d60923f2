"""Evaluate classifiers by tools/import_backbone.py --evaluate: made ones with known answers, and true weights on photographs."""

import re
import shutil
from pathlib import Path

import pytest
import timm
import torch
from PIL import Image

from backbones import ResNet
from backbones.interchange.importer import ASSUMED
from classification.imagenet_accuracy import wordnet_ids
from tests.helpers.convert import calibrated, tamed
from tests.helpers.inputs.calls import answer
from tests.helpers.weight_files import save, true_weights

COLORS = {"n01440764": (220, 30, 30), "n02123045": (30, 30, 220), "n07920052": (40, 200, 40), "n15075141": (120, 120, 120)}
SENTENCE = "On images of ImageNet's training set these figures prove that weights and input format are right"


def evaluated(*arguments) -> str:
    """Return the output of tools/import_backbone.py."""
    given = answer("import_backbone", [str(argument) for argument in arguments], {})
    assert given.status == 0, given.err
    return given.out


def figures(out: str) -> tuple[float, float, float]:
    """Return top-1, top-5 and the top-1 among the classes of the folder."""
    top1, top5, top1_of_folder = map(float, re.findall(r"top-\d (\d+\.\d\d)", out))
    return top1, top5, top1_of_folder


# ---- made classifiers


@pytest.fixture
def images(tmp_path) -> Path:
    """Write class folders of one image each, of one color."""
    for name, color in COLORS.items():
        (tmp_path / "images" / name).mkdir(parents=True)
        Image.new("RGB", (50, 40), color).save(tmp_path / f"images/{name}/image.png")
    return tmp_path / "images"


@pytest.fixture
def file(tmp_path) -> str:
    """Save a ResNet-18 whose classifier takes the class with the nearest features, when images are prepared as assumed."""
    net = tamed(ResNet(18, "b", base_channels=8))
    weight, bias = torch.zeros(1000, net.channels[-1]), torch.full((1000,), -1e9)
    mean, std = (torch.tensor(ASSUMED[name]).view(1, 3, 1, 1) for name in ("mean", "std"))
    for name, color in COLORS.items():
        pixels = torch.tensor(color).view(1, 3, 1, 1).expand(1, 3, 64, 64)
        with torch.no_grad():
            features = net((pixels - mean) / std)[-1].mean((2, 3))[0]
        place = wordnet_ids().index(name)
        weight[place], bias[place] = features, -features @ features / 2
    return save(tmp_path / "net.pth", net.state_dict() | {"fc.weight": weight, "fc.bias": bias})


def test_an_import_prints_the_accuracy_of_its_classifier(file, images, tmp_path):
    out = evaluated(file, "--size", 64, "--out", tmp_path / "card", "--evaluate", images)
    assert figures(out) == (100, 100, 100) and "among the 4 of the folder (4 images)" in out and SENTENCE in out
    assert (
        f"{images}, by the card's classifier: short side 73 (bilinear, since the card names no resampler), center 64, mean" in out
    )
    assert (tmp_path / "card/card.json").is_file()


def test_a_wrong_channel_order_lowers_the_figures(file, images, tmp_path):
    out = evaluated(file, "--size", 64, "--channel-order", "bgr", "--out", tmp_path / "card", "--evaluate", images)
    assert figures(out)[0] == 50  # red and blue are taken for each other


def test_a_card_is_evaluated_as_its_import_was(file, images, tmp_path):
    first = evaluated(file, "--size", 64, "--out", tmp_path / "card", "--evaluate", images)
    before = (tmp_path / "card/card.json").read_bytes()
    assert (
        evaluated(tmp_path / "card", "--evaluate", images)
        == first[first.index(f"{images}, by the card's") : first.index("Use it")]
    )
    assert (tmp_path / "card/card.json").read_bytes() == before


def test_layers_behind_the_features_are_evaluated_though_no_card_has_them(images, tmp_path):
    """An EfficientNet has a convolution between its last stage and its classifier."""
    whole = calibrated(timm.create_model("tf_efficientnet_lite0"))
    whole.classifier.weight.data.zero_()
    whole.classifier.bias.data = -torch.arange(1000.0)  # the class of output 0 is first for any image
    file = save(tmp_path / "net.pth", whole.state_dict())
    options = ("--network", "timm:tf_efficientnet_lite0", "--size", 64, "--out", tmp_path / "card", "--evaluate", images)
    out = evaluated(file, *options)
    assert (
        "no classifier; probe by timm" in out and f"{images}, by timm's whole network: " in out and figures(out) == (25, 25, 25)
    )


# ---- true weights


@pytest.fixture(params=["lite0", "lite1", "lite2"])
def true_file(request) -> str:
    return true_weights(request.param)


def test_true_weights_recognise_photographs(true_file, tmp_path):
    """A cat, a cup of coffee and a rocket, from scikit-image."""
    skimage = pytest.importorskip("skimage")
    photographs = {"n02123045": "chelsea.png", "n07920052": "coffee.png", "n04008634": "rocket.jpg"}
    for name, photograph in photographs.items():
        (tmp_path / "images" / name).mkdir(parents=True)
        shutil.copy(Path(skimage.__file__).parent / "data" / photograph, tmp_path / "images" / name)
    top1, top5, top1_of_folder = figures(evaluated(true_file, "--out", tmp_path / "card", "--evaluate", tmp_path / "images"))
    assert top5 == top1_of_folder == 100
