"""Check the accuracy on class folders of ImageNet: which output is whose, how images are prepared, which folders are refused."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from classification.imagenet_accuracy import Preprocessing, accuracy, check_classes, read_wordnet_folder, wordnet_ids
from tests.helpers.convert import one_sentence
from tests.helpers.images import save_noise

CLASSES = {"n01440764": 0, "n01491361": 3, "n15075141": 999}  # the outputs of tench, tiger shark and toilet tissue


class InOrder(nn.Module):
    """Rank the outputs 0, 1, 2, ... for any image."""

    def forward(self, inputs: Tensor) -> Tensor:
        return -torch.arange(1000.0).expand(len(inputs), -1)


@pytest.fixture
def folder(tmp_path) -> Path:
    """Write class folders with one image of the first two classes, and two of the third."""
    for name, count in zip(CLASSES, (1, 1, 2), strict=True):
        for number in range(count):
            save_noise(tmp_path / f"images/{name}/{number}.png", seed=number)
    return tmp_path / "images"


def test_a_wordnet_id_is_the_output_of_its_class():
    assert {name: wordnet_ids().index(name) for name in CLASSES} == CLASSES and len(set(wordnet_ids())) == 1000


def test_figures_follow_from_the_ranks_of_the_true_classes(folder, make_card):
    figures = accuracy(InOrder(), Preprocessing(make_card()), folder, read_wordnet_folder(folder))
    assert (figures.images, figures.classes) == (4, 3)
    assert (figures.top1, figures.top5) == (25, 50)  # ranks 0, 3, 999, 999
    assert figures.top1_of_folder == 25  # ranks 0, 1, 2, 2


@pytest.mark.parametrize("order", ["rgb", "bgr"])
@pytest.mark.parametrize("resampler", ["bicubic", "bilinear", "lanczos"])
def test_images_are_prepared_as_the_card_says(tmp_path, make_card, resampler, order):
    path = save_noise(tmp_path / "noise.png", (48, 32))
    facts = dict(mean=[10.0, 20.0, 30.0], std=[2.0, 3.0, 4.0], input_size=20, resampler=resampler)
    prepare = Preprocessing(made(make_card, channel_order=order, source={"crop_pct": 0.8333}, **facts))
    with Image.open(path) as image:
        pixels = np.asarray(image.resize((36, 24), Image.Resampling[resampler.upper()]).crop((8, 2, 28, 22)), np.float64)
    expected = (pixels[:, :, :: -1 if order == "bgr" else 1] - facts["mean"]) / facts["std"]
    np.testing.assert_allclose(prepare([str(path)])[0].numpy(), expected.transpose(2, 0, 1), rtol=1e-6)
    assert prepare.text.startswith(f"short side 24 ({resampler}), center 20, mean 10 20 30, std 2 3 4")


def made(make_card, **facts):
    """Return a card with facts that it need not have been trained with."""
    card = make_card()
    for name, value in facts.items():
        setattr(card, name, value)
    return card


@pytest.mark.parametrize(
    ("resampler", "text"),
    [
        ("bilinear, antialiased (torchvision on PIL images)", "short side 256 (bilinear), center 224"),
        ("unknown", "short side 256 (bilinear, since the card names no resampler), center 224"),
        ("", "short side 256 (bilinear, since the card names no resampler), center 224"),
    ],
)
def test_what_a_card_does_not_say_has_a_default(make_card, resampler, text):
    assert Preprocessing(made(make_card, resampler=resampler, input_size=224)).text.startswith(text)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["n01440764", "dogs", "cats"], r"named by its WordNet id \(n01440764\) .*, and holds cats, dogs; rename or remove them"),
        (["n00000001"], "and holds n00000001"),
        (["train", "val"], r"holds the folder val and no class folders; give \S+/val\."),
        ([], "should hold one folder of images per class, and holds no folder"),
        (["n01440764"], "n01440764 holds no image"),
    ],
)
def test_a_folder_that_is_not_sorted_by_wordnet_ids_is_refused(tmp_path, names, message):
    for name in names:
        (tmp_path / "images" / name).mkdir(parents=True)
    (tmp_path / "images").mkdir(exist_ok=True)
    with pytest.raises(ValueError, match=message) as error:
        read_wordnet_folder(tmp_path / "images")
    one_sentence(error)


def test_a_missing_folder_is_refused(tmp_path):
    with pytest.raises(ValueError, match="nowhere does not exist; it should hold one folder of images per class"):
        read_wordnet_folder(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("classes", "outputs", "message"),
    [
        (None, None, "net has no classifier to evaluate"),
        (20, None, "net has a classifier of 20 classes that are not ImageNet's 1,000"),
        (1001, None, "net has a classifier of 1,001 classes"),
        (1000, [str(number) for number in range(1000)], "net has a classifier of 1,000 classes that are not ImageNet's"),
    ],
)
def test_a_classifier_of_other_classes_is_refused(classes, outputs, message):
    with pytest.raises(ValueError, match=message) as error:
        check_classes("net", classes, outputs)
    one_sentence(error)


@pytest.mark.parametrize("outputs", [None, "known"])
def test_a_classifier_of_imagenet_is_accepted(outputs):
    check_classes("net", 1000, wordnet_ids() if outputs else None)
