"""Test cards on disk: they are read back as written, and damaged, foreign or misplaced ones are refused with a reason."""

import hashlib
import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

import backbones.mmcv_ops  # noqa: F401  (before mmdet and mmseg, which are imported below)
from backbones import BackboneCard, ResNet
from backbones import card as card_module
from backbones.card import CLASSIFIER, JSON, PROBE, WEIGHTS
from backbones.card_facts import find_card
from backbones.probe import TOLERANCE, probe_image
from classification import ImagePreprocessor
from tests.helpers.card import edit_json, one_sentence
from tests.helpers.networks import MEAN, STD

ANEW = r"write the card anew with tools/export_backbone\.py, or import_backbone\.py if it was imported\."  # a wrong card.json


def sign(card: BackboneCard) -> None:
    """Write the sha256 of the current files to card.json."""
    digests = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in card.path.glob("*.safetensors")}
    edit_json(card, sha256=digests)


# ---- the card on disk


@pytest.mark.parametrize("variant", ["a", "b", "c", "d"])
def test_a_card_is_read_back_as_written(make_card, variant):
    recipe = [["resnet_d", {}], ["label_smoothing", {"eps": 0.1}]]
    facts = dict(recipe=recipe, seed=3, top1=43.125, source={"run": "abc", "classes": 12})
    written = make_card(variant, **facts)
    for path in (written.path, str(written.path), written.path / JSON):
        card = BackboneCard.load(path)
        assert card.arch == {"depth": 50, "variant": variant, "base_channels": 8}
        assert {k: getattr(card, k) for k in facts} == facts
        assert (card.mean, card.std, card.channel_order, card.input_size) == (MEAN, STD, "rgb", 64)
        assert card.weights.keys() == written.weights.keys()
        assert all(torch.equal(card.weights[k], v) and card.weights[k].dtype == v.dtype for k, v in written.weights.items())
        assert all(torch.equal(mine, other) for mine, other in zip(card.probe, written.probe, strict=True))
        assert card.sha256 == written.sha256 == hashlib.sha256((written.path / JSON).read_bytes()).hexdigest()
    assert sorted(p.name for p in written.path.iterdir()) == sorted((JSON, WEIGHTS, PROBE))


def test_a_classifier_travels_with_its_card(make_card):
    layer = torch.nn.Linear(256, 7)
    written = make_card("d", classifier={"weight": layer.weight, "bias": layer.bias})
    card = BackboneCard.load(written.path)
    assert card.classifier.keys() == {"weight", "bias"} and not card.classifier["weight"].requires_grad
    assert torch.equal(card.classifier["weight"], layer.weight) and torch.equal(card.classifier["bias"], layer.bias)
    assert sorted(p.name for p in card.path.iterdir()) == sorted((JSON, WEIGHTS, PROBE, CLASSIFIER))
    assert CLASSIFIER in json.loads((card.path / JSON).read_text())["sha256"]
    other = make_card("d", name="other", classifier={"weight": layer.weight + 1, "bias": layer.bias})
    assert other.sha256 != card.sha256  # a teacher's identity is more than its backbone's
    assert BackboneCard.load(make_card("d", name="none").path).classifier is None


def test_a_classifier_that_is_missing_or_another_is_refused(make_card):
    card = make_card("d", classifier={"weight": torch.zeros(7, 256), "bias": torch.zeros(7)})
    save_file({"weight": torch.ones(7, 256), "bias": torch.zeros(7)}, card.path / CLASSIFIER)
    with pytest.raises(ValueError, match=r"classifier\.safetensors is missing or is not the file that card\.json describes"):
        BackboneCard.load(card.path)
    (card.path / CLASSIFIER).unlink()
    with pytest.raises(ValueError, match=r"classifier\.safetensors is missing"):
        BackboneCard.load(card.path)
    sign(card)
    assert BackboneCard.load(card.path).classifier is None
    save_file({"x": torch.zeros(1)}, card.path / "extra.safetensors")
    sign(card)
    with pytest.raises(ValueError, match=f"must give the sha256 of {WEIGHTS} and {PROBE}, perhaps of {CLASSIFIER}, and no other"):
        BackboneCard.load(card.path)


def spoilt(tensor: torch.Tensor) -> torch.Tensor:
    """Return a copy whose first value is NaN."""
    copy = tensor.clone()
    copy.view(-1)[0] = float("nan")
    return copy


@pytest.mark.parametrize(
    ("file", "change", "message"),
    [
        (WEIGHTS, {"bn1.weight": spoilt}, r"weights\.safetensors: the tensor bn1\.weight holds 1 NaN or infinite values of 8"),
        (WEIGHTS, {"bn1.weight": lambda t: t.to(torch.int32)}, r"the tensor bn1\.weight is of torch\.int32"),
        (PROBE, {"stage1": lambda t: t[:, :9].clone()}, r"probe\.safetensors holds features of the shapes .*\(1, 9, 12, 16\)"),
        (PROBE, {"stage1": lambda t: t[0].clone()}, r"probe\.safetensors holds features of the shapes .*\(64, 12, 16\)"),
        (
            CLASSIFIER,
            {"weight": lambda t: t[:, :9].clone()},
            r"classifier\.safetensors does not fit a classifier on .*\(weight\)",
        ),
        (CLASSIFIER, {"bias": lambda t: t[:3].clone()}, r"classifier\.safetensors does not fit a classifier on .*\(weight\)"),
        (CLASSIFIER, {"weight": spoilt}, r"classifier\.safetensors: the tensor weight holds 1 NaN or infinite values"),
    ],
)
def test_tensors_of_a_card_that_do_not_fit_each_other_are_refused(make_card, file, change, message):
    card = make_card("d", classifier={"weight": torch.zeros(7, 256), "bias": torch.zeros(7)})
    tensors = load_file(card.path / file)
    save_file(tensors | {name: edit(tensors[name]) for name, edit in change.items()}, card.path / file)
    sign(card)
    with pytest.raises(ValueError, match=message):
        BackboneCard.load(card.path)


def test_a_probe_by_another_network_must_agree(make_card, tmp_path):
    net = ResNet(50, "b", base_channels=8)
    card = make_card("b", seed=1)
    card.place(net)
    facts = dict(mean=MEAN, std=STD, channel_order="rgb", input_size=64, resampler="bilinear")
    normalise = ImagePreprocessor(MEAN, STD).normalise
    theirs = tuple(f + 0.9 * TOLERANCE for f in card.probe[:1]) + card.probe[1:]
    written = BackboneCard.write(tmp_path / "theirs", net, normalise, probe=theirs, **facts)
    assert torch.equal(written.probe[0], theirs[0])
    wrong = card.probe[:3] + (card.probe[3] + 1e-3,)
    with pytest.raises(ValueError, match=r"No card was written: stage 4 of ResNet\(depth=50, variant=b.* differ by 0\.001"):
        BackboneCard.write(tmp_path / "wrong", net, normalise, probe=wrong, **facts)
    with pytest.raises(ValueError, match="stage 1 .* differ by inf"):
        BackboneCard.write(tmp_path / "wrong", net, normalise, probe=tuple(f[..., 1:] for f in card.probe), **facts)
    assert not (tmp_path / "wrong").exists()


def test_the_card_of_a_run_is_found_in_its_folder(make_card):
    written = make_card(name="card")
    assert BackboneCard.load(written.path.parent).path == written.path


def test_the_probe_is_what_the_network_makes_of_the_fixed_image(make_card):
    card = make_card("b")
    net = ResNet(**card.arch).eval()
    card.place(net)
    image = probe_image()
    assert (image.dtype, tuple(image.shape)) == (torch.uint8, (3, 96, 128))
    inputs = (image.double() - torch.tensor(MEAN).double().view(3, 1, 1)) / torch.tensor(STD).double().view(3, 1, 1)
    with torch.no_grad():
        features = net.double()(inputs[None])
    assert [tuple(f.shape[1:]) for f in card.probe] == [(32, 24, 32), (64, 12, 16), (128, 6, 8), (256, 3, 4)]
    for mine, stored in zip(features, card.probe, strict=True):
        assert stored.dtype == torch.float32 and stored.abs().max() > 0.1
        torch.testing.assert_close(stored.double(), mine, rtol=1e-4, atol=1e-5)


def test_the_probe_image_tells_its_channels_and_directions_apart():
    image = probe_image().float()
    for other in (
        image.flip(0),
        image.flip(1),
        image.flip(2),
        image.roll(1, 0),
        image.roll(1, 1),
        image.roll(1, 2),
    ):
        assert (image - other).abs().mean() > 5


def test_a_training_network_is_left_as_it_was(make_card, tmp_path):
    net = ResNet(50, "b", base_channels=8).train()
    before = {k: v.clone() for k, v in net.state_dict().items()}
    facts = dict(mean=MEAN, std=STD, channel_order="rgb", input_size=64, resampler="bilinear")
    BackboneCard.write(tmp_path / "card", net, ImagePreprocessor(MEAN, STD).normalise, **facts)
    assert net.training and all(torch.equal(before[k], v) for k, v in net.state_dict().items())


def test_a_file_cut_short_is_refused(make_card):
    card = make_card()
    whole = (card.path / WEIGHTS).read_bytes()
    (card.path / WEIGHTS).write_bytes(whole[:-100])
    with pytest.raises(
        ValueError, match=r"weights\.safetensors is missing or is not the file that card\.json describes"
    ) as error:
        BackboneCard.load(card.path)
    assert str(card.path) in one_sentence(error)
    (card.path / WEIGHTS).write_bytes(whole)
    BackboneCard.load(card.path)
    (card.path / PROBE).unlink()
    with pytest.raises(ValueError, match=r"probe\.safetensors is missing"):
        BackboneCard.load(card.path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda w: {"backbone." + k: v for k, v in w.items()},
            r"\d+ missing \(conv1\.0\.weight,.*, \.\.\.\); \d+ left over \(backbone\.",
        ),
        (lambda w: {k: v for k, v in w.items() if k != "bn1.weight"}, r"1 missing \(bn1\.weight\)\."),
        (lambda w: w | {"fc.weight": torch.zeros(2, 2)}, r"1 left over \(fc\.weight\)\."),
        (lambda w: w | {"bn1.weight": torch.zeros(9)}, r"1 of another shape \(bn1\.weight\)\."),
    ],
)
def test_foreign_tensors_are_refused_by_name(make_card, change, message):
    card = make_card()
    save_file(change(load_file(card.path / WEIGHTS)), card.path / WEIGHTS)
    sign(card)
    with pytest.raises(ValueError, match=message) as error:
        BackboneCard.load(card.path)
    assert "does not fit ResNet(depth=50, variant=d, base_channels=8)" in one_sentence(error)


@pytest.mark.parametrize(("true", "claimed", "tensor"), [("d", "c", "downsample"), ("d", "b", "conv1"), ("b", "d", "conv1")])
def test_another_variant_in_the_json_is_refused_by_its_tensors(make_card, true, claimed, tensor):
    card = make_card(true)
    edit_json(card, arch=card.arch | {"variant": claimed})
    with pytest.raises(ValueError, match=f"does not fit ResNet.*variant={claimed}.*{tensor}"):
        BackboneCard.load(card.path)


@pytest.mark.parametrize("name", ["mean", "channel_order", "sha256", "format", "arch"])
def test_a_missing_field_is_refused(make_card, name):
    card = make_card()
    edit_json(card, **{name: None})
    with pytest.raises(ValueError, match=rf"card\.json lacks {name}; .*{ANEW}") as error:
        BackboneCard.load(card.path)
    assert str(card.path) in one_sentence(error)


@pytest.mark.parametrize("arch", [dict(depth=50, variant="q"), dict(deepth=50), dict(depth=50, base_channels="wide")])
def test_an_architecture_that_cannot_be_built_is_refused(make_card, arch):
    card = make_card()
    edit_json(card, arch=arch)
    with pytest.raises(ValueError) as error:
        BackboneCard.load(card.path)
    assert str(card.path) in one_sentence(error)


def test_another_format_and_broken_json_are_refused(make_card):
    card = make_card()
    edit_json(card, format=1)
    with pytest.raises(ValueError, match=rf"card\.json has format=1; give 2; {ANEW}"):
        BackboneCard.load(card.path)
    (card.path / JSON).write_text('{"arch": ')
    with pytest.raises(ValueError, match=rf"card\.json is not JSON \(.*\); {ANEW}"):
        BackboneCard.load(card.path)


def test_a_file_in_place_of_a_card_says_how_to_make_one(tmp_path):
    (tmp_path / "resnet50.pth").touch()
    with pytest.raises(
        ValueError, match=r"which is a file .*make a card of it: python tools/import_backbone\.py .*resnet50\.pth --out"
    ):
        BackboneCard.load(tmp_path / "resnet50.pth")


def test_a_missing_card_names_the_nearest(make_card, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=r"no backbone card at work_dirs/runs/0a1b/card\. Give the folder of a card, or a run"):
        BackboneCard.load("work_dirs/runs/0a1b/card")
    for key in ("0a1c", "ffff"):
        make_card(name=f"work_dirs/runs/{key}/card")
    with pytest.raises(ValueError, match="nearest: work_dirs/runs/0a1c/card"):
        BackboneCard.load("work_dirs/runs/0a1b/card")


def test_a_folder_of_cards_names_the_cards_in_it(make_card, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("cards/tv", "cards/d", "runs/0a1b/card"):
        make_card(name=name)
    with pytest.raises(ValueError, match=r"^cards is no card, but holds the cards cards/d, cards/tv; name one\.$"):
        find_card("cards")
    with pytest.raises(ValueError, match=r"^runs is no card, but holds the cards runs/0a1b/card; name one\.$"):
        find_card("runs")
    for number in range(5):
        shutil.copytree("cards/d", f"cards/e{number}")
    with pytest.raises(ValueError, match=r"cards/d, cards/e0, cards/e1, cards/e2, cards/e3 and 2 more; name one\.$"):
        find_card("cards")
    Path("empty").mkdir()
    with pytest.raises(ValueError, match=r"^There is no backbone card at empty, a folder without card\.json\. Give this\.$"):
        find_card("empty", "Give this.")


def test_a_missing_file_names_its_folder_and_the_nearest_stem(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("first.pth", "other.pth"):
        Path(name).touch()
    with pytest.raises(ValueError) as error:
        find_card("firts.pth", "Give a file.")
    assert str(error.value) == f"There is no file firts.pth in {tmp_path}; nearest: first.pth. Give a file."
    with pytest.raises(ValueError) as error:
        find_card("a/x.pth", "Give a file.")
    assert str(error.value) == f"There is no file x.pth in {tmp_path}/a. Give a file."


@pytest.mark.parametrize("call", [1, 2, 3])
def test_a_save_that_fails_leaves_the_old_card(make_card, tmp_path, monkeypatch, call):
    old = make_card(seed=1)
    layer = {"weight": torch.zeros(7, 256), "bias": torch.zeros(7)}
    files = {p.name: p.read_bytes() for p in old.path.iterdir()}
    calls = []

    def fail(*args):
        calls.append(args)
        if len(calls) == call:
            raise OSError("No space left on device")
        save_file(*args)

    monkeypatch.setattr(card_module, "save_file", fail)
    with pytest.raises(OSError, match="No space left"):
        make_card(seed=2, classifier=layer)
    assert {p.name: p.read_bytes() for p in old.path.iterdir()} == files
    assert [p.name for p in tmp_path.iterdir()] == ["card"]  # nothing half-written beside it


def test_a_card_replaces_a_card_as_a_whole(make_card, tmp_path):
    make_card("d", seed=1)
    new = make_card("b", seed=2)
    assert BackboneCard.load(tmp_path / "card").sha256 == new.sha256
    assert [p.name for p in tmp_path.iterdir()] == ["card"]


def test_a_folder_that_is_no_card_is_never_replaced(make_card, tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "only_copy.jpg").write_bytes(b"mine")
    with pytest.raises(ValueError, match="photos.* is no card"):
        make_card(name="photos")
    assert [p.name for p in tmp_path.rglob("*")] == ["photos", "only_copy.jpg"]


def test_place_fills_every_tensor_or_says_which_do_not_fit(make_card):
    card = make_card("d")
    net = ResNet(50, "d", base_channels=8)
    card.place(net)
    assert all(torch.equal(card.weights[k], v) for k, v in net.state_dict().items())
    for arch, message in (
        (
            dict(depth=50, variant="b", base_channels=8),
            r"missing \(conv1\.weight.*left over \(conv1\.0\.weight",
        ),
        (dict(depth=50, variant="d", base_channels=16), r"of another shape \(conv1\.0\.weight"),
        (dict(depth=26, variant="d", base_channels=8), r"left over \(layer1\.2\."),
        (dict(depth=101, variant="d", base_channels=8), r"missing \(layer3\.6\."),
    ):
        other = ResNet(**arch)
        before = {k: v.clone() for k, v in other.state_dict().items()}
        with pytest.raises(ValueError, match=message) as error:
            card.place(other)
        assert "the backbone to fill does not fit" in one_sentence(error)
        assert all(torch.equal(before[k], v) for k, v in other.state_dict().items())
