"""Cards: what is read back, what is refused and why; the certificate through the real data preprocessors."""

import copy
import hashlib
import json
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from conftest import MEAN, STD, randomise_norms
from mmengine.logging import MessageHub
from safetensors.torch import load_file, save_file

import backbones.mmcv_ops  # noqa: F401  (before mmdet and mmseg, which are imported below)
from backbones import BackboneCard, ResNet, TimmBackbone
from backbones import card as card_module
from backbones.card import CLASSIFIER, JSON, PROBE, TOLERANCE, WEIGHTS, probe_image
from backbones.transfer import TransferHook, certify, downstream_preprocessor, plug, require_backbone
from classification import ImagePreprocessor
from detection import task as detection
from segmentation import task as segmentation
from tools.engine.config import Options, load, set_protocol

LOADER = dict(type="backbones.LoadImage")
DETECTION, SEGMENTATION = "configs/detection/faster_rcnn_fpn_toy.py", "configs/segmentation/fcn_toy.py"


def edit_json(card: BackboneCard, **changes) -> None:
    """Changes fields of card.json; None removes one."""
    about = json.loads((card.path / JSON).read_text()) | changes
    (card.path / JSON).write_text(json.dumps({k: v for k, v in about.items() if v is not None}))


def sign(card: BackboneCard) -> None:
    """Makes card.json describe the files as they are now."""
    digests = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in card.path.glob("*.safetensors")}
    edit_json(card, sha256=digests)


def one_sentence(error: pytest.ExceptionInfo) -> str:
    text = str(error.value)
    assert text.endswith(".") and "\n" not in text
    return text


# ---- the card on disk


@pytest.mark.parametrize("variant", ["a", "b", "c", "d"])
def test_what_is_written_is_read(make_card, variant):
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
    with pytest.raises(ValueError, match=r"does not hold the fields of a card of format 2 \(.*" + name) as error:
        BackboneCard.load(card.path)
    one_sentence(error)


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
    with pytest.raises(ValueError, match="card of format 2"):
        BackboneCard.load(card.path)
    (card.path / JSON).write_text('{"arch": ')
    with pytest.raises(ValueError, match=r"card\.json is not JSON"):
        BackboneCard.load(card.path)


def test_a_missing_card_names_the_nearest(make_card, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match="There is no backbone card at work_dirs/runs/0a1b/card .*no run under work_dirs"):
        BackboneCard.load("work_dirs/runs/0a1b/card")
    for key in ("0a1c", "ffff"):
        make_card(name=f"work_dirs/runs/{key}/card")
    with pytest.raises(ValueError, match="nearest: work_dirs/runs/0a1c/card"):
        BackboneCard.load("work_dirs/runs/0a1b/card")


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


# ---- networks of timm


def with_protocol(path: str):
    """A dense task's config before a backbone is plugged in."""
    cfg = load(path)
    set_protocol(cfg, Options())
    return cfg


@pytest.fixture
def timm_card(tmp_path) -> BackboneCard:
    torch.manual_seed(0)
    net = TimmBackbone("mobilenetv1_100", width=0.25)
    randomise_norms(net)
    facts = dict(mean=MEAN, std=STD, channel_order="rgb", input_size=64, resampler="bilinear", seed=0, top1=50.0)
    return BackboneCard.write(tmp_path / "card", net, ImagePreprocessor(MEAN, STD).normalise, **facts)


def test_a_network_of_timm_travels_by_its_name_and_width(timm_card):
    card = BackboneCard.load(timm_card.path)
    assert card.arch == {"name": "mobilenetv1_100", "width": 0.25}
    assert [f.shape[1] for f in card.probe] == [32, 64, 128, 256]
    net = TimmBackbone(**card.arch)
    card.place(net)
    assert all(torch.equal(card.weights[k], v) for k, v in net.state_dict().items())
    for arch, message in (
        (dict(name="mobilenetv1_100", width=0.5), r"TimmBackbone\(name=mobilenetv1_100, width=0.5\): \d+ of another shape"),
        (dict(name="resnet18", width=0.25), r"missing \(net\.conv1\.weight.*left over \(net\.blocks\.0\.0\."),
    ):
        with pytest.raises(ValueError, match=message) as error:
            card.place(TimmBackbone(**arch))
        one_sentence(error)
    edit_json(card, arch={"name": "mobilenetv1_1000", "width": 0.25})
    with pytest.raises(ValueError, match="describes no network .timm has no network 'mobilenetv1_1000'") as error:
        BackboneCard.load(card.path)
    one_sentence(error)


def test_a_network_of_timm_is_certified_as_it_is_and_dilated(timm_card):
    for words in (
        {},
        {"output_stride": 8},
        {"output_stride": 16, "out_indices": (1, 3)},
        {"frozen_stages": 2, "norm_eval": True},
    ):
        net = TimmBackbone(**timm_card.arch, **words)
        timm_card.place(net)
        assert certify(net, timm_card, preprocessor("mmseg")) < 1e-6
    with pytest.raises(ValueError, match="channel order"):
        certify(net, timm_card, preprocessor("mmdet", bgr_to_rgb=False))


@pytest.mark.parametrize("path", ["configs/detection/faster_rcnn_fpn_toy.py", "configs/segmentation/fcn_toy.py"])
def test_a_network_of_timm_takes_its_place_in_a_config(timm_card, path):
    cfg = with_protocol(path)
    assert plug(cfg, str(timm_card.path), "finetune") == (32, 64, 128, 256)
    backbone = cfg.model.backbone
    assert (backbone.type, backbone.name, backbone.width) == ("backbones.TimmBackbone", "mobilenetv1_100", 0.25)
    assert "depth" not in backbone and "variant" not in backbone


# ---- the certificate


def preprocessor(kind: str, **changes):
    """mmdet's or mmseg's own data preprocessor as the model of a detector or segmenter holds it."""
    from mmdet.models.data_preprocessors import DetDataPreprocessor
    from mmseg.models.data_preprocessor import SegDataPreProcessor

    words = dict(mean=MEAN, std=STD, bgr_to_rgb=True) | changes
    made = DetDataPreprocessor(pad_size_divisor=32, **words) if kind == "mmdet" else SegDataPreProcessor(size=(64, 64), **words)
    return downstream_preprocessor(SimpleNamespace(data_preprocessor=made), LOADER)


def filled(card: BackboneCard, **words) -> ResNet:
    net = ResNet(**card.arch | words)
    card.place(net)
    return net


KINDS = pytest.mark.parametrize("kind", ["mmdet", "mmseg"])


@KINDS
@pytest.mark.parametrize("variant", ["a", "d"])
def test_the_right_backbone_is_certified(make_card, kind, variant):
    card = make_card(variant)
    net = filled(card, norm_eval=True, frozen_stages=1).train()
    before = {k: v.clone() for k, v in net.state_dict().items()}
    assert 0 <= certify(net, card, preprocessor(kind)) < 1e-6
    assert net.training and all(torch.equal(before[k], v) for k, v in net.state_dict().items())


@KINDS
def test_a_card_fed_bgr_is_certified_with_bgr(make_card, kind):
    card = make_card("b", channel_order="bgr")
    assert certify(filled(card), card, preprocessor(kind, bgr_to_rgb=False)) < 1e-6
    with pytest.raises(ValueError, match="channel order"):
        certify(filled(card), card, preprocessor(kind))


@KINDS
@pytest.mark.parametrize(
    "changes",
    [
        dict(bgr_to_rgb=False),
        dict(mean=[123.675, 116.28, 103.53]),
        dict(mean=[MEAN[0] + 0.01, *MEAN[1:]]),
        dict(std=[58.393, 57.12, 57.38]),
        dict(mean=[0, 0, 0], std=[1, 1, 1]),
    ],
)
def test_another_preprocessing_is_refused(make_card, kind, changes):
    card = make_card("d")
    with pytest.raises(ValueError, match=r"transfer refused, since stage 1 .* differ by .* \(allowed 1e-05\)") as error:
        certify(filled(card), card, preprocessor(kind, **changes))
    assert "mean, std or channel order" in one_sentence(error)


@pytest.mark.parametrize(("changes", "field"), [({"mean": [0.0, 0.0, 0.0]}, "mean"), ({"channel_order": "bgr"}, "channel order")])
def test_a_card_with_an_edited_json_is_refused(make_card, changes, field):
    card = make_card("d")
    edit_json(card, **changes)
    for path in (DETECTION, SEGMENTATION):
        cfg = with_protocol(path)
        plug(cfg, str(card.path), "finetune")
        words = cfg.model.data_preprocessor
        edited = BackboneCard.load(card.path)
        own = preprocessor("mmdet", mean=words.mean, std=words.std, bgr_to_rgb=words.bgr_to_rgb)
        with pytest.raises(ValueError, match=field):
            certify(filled(edited), edited, own)


def test_variant_b_filled_from_a_card_of_variant_a_is_refused(make_card):
    card = make_card("a")
    net = ResNet(50, "b", base_channels=8)
    card.place(net)  # the same keys and shapes: nothing to see here
    with pytest.raises(ValueError, match="stage 2 of the backbone .*architecture"):
        certify(net, card, preprocessor("mmdet"))


@pytest.mark.parametrize(
    "name",
    ["conv1.0.weight", "layer4.2.bn3.running_var", "layer2.0.downsample.1.weight", "bn1.num_batches_tracked"],
)
def test_one_changed_value_is_refused_by_name(make_card, name):
    card = make_card("d")
    net = filled(card)
    net.state_dict()[name].view(-1)[0] += 1e-3 if name != "bn1.num_batches_tracked" else 1
    with pytest.raises(ValueError, match=f"the tensor {name} of the backbone is not the card's"):
        certify(net, card, preprocessor("mmdet"))


@pytest.mark.parametrize("variant", ["a", "b", "d"])
@pytest.mark.parametrize("stride", [16, 8])
@pytest.mark.parametrize("indices", [(0, 1, 2, 3), (2, 3), (3,)])
def test_a_dilated_backbone_is_certified(make_card, stride, variant, indices):
    card = make_card(variant)
    net = filled(card, output_stride=stride, out_indices=indices)
    assert certify(net, card, preprocessor("mmseg")) < 1e-6


def test_a_dilated_backbone_that_computes_its_early_stages_wrong_is_refused(make_card):
    card = make_card("d")
    net = filled(card, output_stride=8)
    net.layer2[0].conv2.stride = (1, 1)
    net.layer2[0].downsample[0] = torch.nn.Identity()
    with pytest.raises(ValueError, match="stage 2"):
        certify(net, card, preprocessor("mmseg"))


def test_features_without_numbers_are_refused(make_card):
    card = make_card("d")
    with pytest.raises(ValueError, match="differ by nan"):
        certify(filled(card), card, lambda image: torch.full((1, 3, *image.shape[1:]), float("nan")))


# ---- cards in the real configs


@pytest.mark.parametrize("path", [DETECTION, SEGMENTATION])
def test_a_card_sets_architecture_and_preprocessing_of_a_config(make_card, path):
    card = make_card("c", channel_order="bgr", mean=[1.0, 2.0, 3.0], std=[4.0, 5.0, 6.0])
    cfg = with_protocol(path)
    before = copy.deepcopy(cfg.model)
    assert plug(cfg, str(card.path), "finetune") == (32, 64, 128, 256)
    backbone, own = cfg.model.backbone, cfg.model.data_preprocessor
    assert {k: backbone[k] for k in card.arch} == card.arch
    for name in ("type", "out_indices", "frozen_stages", "norm_eval"):
        assert backbone[name] == before.backbone[name]
    assert backbone.get("output_stride") == before.backbone.get("output_stride")
    assert (own.mean, own.std, own.bgr_to_rgb) == ([1.0, 2.0, 3.0], [4.0, 5.0, 6.0], False)
    hook = cfg.custom_hooks[-1]
    assert (hook.type, hook.card, hook.loader.type) == (
        "backbones.TransferHook",
        str(card.path),
        "backbones.LoadImage",
    )
    assert (cfg.backbone, cfg.transfer) == (str(card.path), "finetune")
    again = copy.deepcopy(cfg)
    plug(again, str(card.path), "finetune")
    assert again.to_dict() == cfg.to_dict()


@pytest.mark.parametrize("path", [DETECTION, SEGMENTATION])
def test_frozen_means_the_whole_backbone_and_scratch_means_nothing(make_card, path):
    card = make_card("d")
    cfg = with_protocol(path)
    plug(cfg, str(card.path), "frozen")
    assert (cfg.model.backbone.frozen_stages, cfg.model.backbone.norm_eval) == (4, True)
    cfg = with_protocol(path)
    assert plug(cfg, "scratch", "finetune") == (64, 128, 256, 512)
    assert (cfg.model.backbone.frozen_stages, cfg.model.backbone.norm_eval) == (-1, False)
    assert not [hook for hook in cfg.custom_hooks if hook.type == "backbones.TransferHook"]
    with pytest.raises(ValueError, match="would never train the backbone"):
        plug(with_protocol(path), "scratch", "frozen")
    with pytest.raises(ValueError, match="--transfer is 'fine'; allowed: finetune, frozen"):
        plug(with_protocol(path), str(card.path), "fine")
    with pytest.raises(ValueError, match="no backbone card at nowhere"):
        plug(with_protocol(path), "nowhere", "finetune")


@pytest.mark.parametrize("path", [DETECTION, SEGMENTATION])
def test_a_backbone_must_be_named(path):
    cfg = with_protocol(path)
    with pytest.raises(ValueError, match="needs --backbone"):
        require_backbone(cfg, [], None)
    with pytest.raises(ValueError, match="--tricks belong to pretraining"):
        require_backbone(cfg, ["cosine"], "scratch")
    assert require_backbone(cfg, [], "scratch") == "scratch"
    cfg.backbone = "work_dirs/runs/abc/card"
    assert require_backbone(cfg, [], None) == "work_dirs/runs/abc/card"


@pytest.mark.parametrize(("path", "task"), [(DETECTION, detection), (SEGMENTATION, segmentation)])
def test_the_built_model_is_filled_and_certified_by_the_hook(make_card, path, task):
    from mmengine.registry import MODELS, init_default_scope

    card = make_card("d")
    cfg = with_protocol(path)
    task.configure(cfg, backbone=str(card.path))
    init_default_scope(cfg.default_scope)
    model = MODELS.build(cfg.model)
    hook = TransferHook(**{k: v for k, v in cfg.custom_hooks[-1].items() if k not in ("type", "priority")})
    hook.before_train(SimpleNamespace(iter=7, model=model))
    assert not all(torch.equal(card.weights[k], v) for k, v in model.backbone.state_dict().items())  # a resumed run's own
    hook.before_train(SimpleNamespace(iter=0, model=model))
    assert all(torch.equal(card.weights[k], v) for k, v in model.backbone.state_dict().items())
    certificate = MessageHub.get_current_instance().get_info("certificate")
    assert (certificate["card"], certificate["tensors"]) == (card.sha256, len(card.weights))
    assert 0 <= certificate["max_abs_difference"] < 1e-6 < TOLERANCE
    model.data_preprocessor.mean += 1
    with pytest.raises(ValueError, match="transfer refused"):
        hook.before_train(SimpleNamespace(iter=0, model=model))


def test_an_image_that_cannot_be_decoded_is_named(tmp_path):
    from backbones import LoadImage

    bad = tmp_path / "bad.jpg"
    bad.write_bytes(b"no image")
    for path in (bad, Path(tmp_path / "none.jpg")):
        with pytest.raises(ValueError, match=f"{path.name} cannot be decoded"):
            LoadImage()({"img_path": str(path)})
