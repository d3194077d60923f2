"""Test cards of timm networks, the certificate (equal features downstream, or the run stops), and cards in the real configs."""

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from mmengine.logging import MessageHub

import backbones.mmcv_ops  # noqa: F401  (before mmdet and mmseg, which are imported below)
from backbones import BackboneCard, ResNet, TimmBackbone
from backbones.probe import TOLERANCE
from backbones.transfer.certificate import TransferHook, certify, downstream_preprocessor
from classification import ImagePreprocessor
from tests.helpers.card import DETECTION, LOADER, SEGMENTATION, edit_json, one_sentence
from tests.helpers.networks import MEAN, STD, randomise_norms
from tools.engine.config import Options, resolve
from tools.engine.training.run import dump

# ---- networks of timm


def plugged(path: str, backbone, transfer: str | None = None):
    """Return a dense task's resolved config with the backbone of a card, or with 'scratch'."""
    return resolve(path, Options(backbone=str(getattr(backbone, "path", backbone)), transfer=transfer)).cfg


def assert_channels_follow(cfg, channels: tuple[int, ...]) -> None:
    """Assert that neck or heads take maps with the channels of the backbone's four stages."""
    model = cfg.model
    if "neck" in model:
        assert tuple(model.neck.in_channels) == channels
    else:
        assert (model.auxiliary_head.in_channels, model.decode_head.in_channels) == channels[2:]


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
    with pytest.raises(ValueError, match="another arch than a network can have: timm has no network 'mobilenetv1_1000'") as error:
        BackboneCard.load(card.path)
    one_sentence(error)


def test_a_network_of_timm_is_certified_as_it_is_and_dilated(timm_card):
    for options in (
        {},
        {"output_stride": 8},
        {"output_stride": 16, "out_indices": (1, 3)},
        {"frozen_stages": 2, "norm_eval": True},
    ):
        net = TimmBackbone(**timm_card.arch, **options)
        timm_card.place(net)
        assert certify(net, timm_card, preprocessor("mmseg")) < 1e-6
    with pytest.raises(ValueError, match="channel order"):
        certify(net, timm_card, preprocessor("mmdet", bgr_to_rgb=False))


@pytest.mark.parametrize("path", ["configs/detection/faster_rcnn_fpn_toy.py", "configs/segmentation/fcn_toy.py"])
def test_a_network_of_timm_takes_its_place_in_a_config(timm_card, path):
    cfg = plugged(path, timm_card)
    assert_channels_follow(cfg, (32, 64, 128, 256))
    backbone = cfg.model.backbone
    assert (backbone.type, backbone.name, backbone.width) == ("backbones.TimmBackbone", "mobilenetv1_100", 0.25)
    assert "depth" not in backbone and "variant" not in backbone


# ---- the certificate


def preprocessor(kind: str, **changes):
    """Return the preprocessing of a model that has mmdet's or mmseg's own data preprocessor."""
    from mmdet.models.data_preprocessors import DetDataPreprocessor
    from mmseg.models.data_preprocessor import SegDataPreProcessor

    arguments = dict(mean=MEAN, std=STD, bgr_to_rgb=True) | changes
    if kind == "mmdet":
        module = DetDataPreprocessor(pad_size_divisor=32, **arguments)
    else:
        module = SegDataPreProcessor(size=(64, 64), **arguments)
    return downstream_preprocessor(SimpleNamespace(data_preprocessor=module), LOADER)


def filled(card: BackboneCard, **options) -> ResNet:
    net = ResNet(**card.arch | options)
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
        settings = plugged(path, card).model.data_preprocessor
        edited = BackboneCard.load(card.path)
        preprocess = preprocessor("mmdet", mean=settings.mean, std=settings.std, bgr_to_rgb=settings.bgr_to_rgb)
        with pytest.raises(ValueError, match=field):
            certify(filled(edited), edited, preprocess)


def test_variant_b_filled_from_a_card_of_variant_a_is_refused(make_card):
    card = make_card("a")
    net = ResNet(50, "b", base_channels=8)
    card.place(net)  # keys and shapes are the same, only the features differ
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


# arguments of the backbone that the config and its protocol decide, independent of the card
COMMON = dict(type="backbones.ResNet", out_indices=(0, 1, 2, 3))
FIXED = {
    DETECTION: COMMON | dict(frozen_stages=1, norm_eval=True, output_stride=None),
    SEGMENTATION: COMMON | dict(frozen_stages=-1, norm_eval=False, output_stride=8),
}


@pytest.mark.parametrize("path", FIXED)
def test_a_card_sets_architecture_and_preprocessing_of_a_config(make_card, tmp_path, path):
    card = make_card("c", channel_order="bgr", mean=[1.0, 2.0, 3.0], std=[4.0, 5.0, 6.0])
    resolved = resolve(path, Options(backbone=str(card.path)))
    cfg = resolved.cfg
    assert_channels_follow(cfg, (32, 64, 128, 256))
    backbone, settings = cfg.model.backbone, cfg.model.data_preprocessor
    assert {k: backbone[k] for k in card.arch} == card.arch
    assert {name: backbone.get(name) for name in FIXED[path]} == FIXED[path]
    assert (settings.mean, settings.std, settings.bgr_to_rgb) == ([1.0, 2.0, 3.0], [4.0, 5.0, 6.0], False)
    hook = cfg.custom_hooks[-1]
    assert (hook["type"], hook["card"], hook["loader"]["type"]) == (
        "backbones.TransferHook",
        str(card.path),
        "backbones.LoadImage",
    )
    assert (cfg.backbone, cfg.transfer) == (str(card.path), "finetune")
    (tmp_path / "config.py").write_text(dump(resolved))
    for options in (Options(), Options(backbone=str(card.path), transfer="finetune")):
        assert resolve(tmp_path / "config.py", options).cfg.to_dict() == cfg.to_dict()


@pytest.mark.parametrize("path", [DETECTION, SEGMENTATION])
def test_frozen_means_the_whole_backbone(make_card, path):
    cfg = plugged(path, make_card("d"), "frozen")
    assert (cfg.model.backbone.frozen_stages, cfg.model.backbone.norm_eval) == (4, True)


@pytest.mark.parametrize("path", [DETECTION, SEGMENTATION])
def test_from_scratch_nothing_is_frozen_or_loaded(path):
    cfg = plugged(path, "scratch", "finetune")
    assert_channels_follow(cfg, (64, 128, 256, 512))
    assert (cfg.model.backbone.frozen_stages, cfg.model.backbone.norm_eval) == (-1, False)
    assert not [hook for hook in cfg.custom_hooks if hook["type"] == "backbones.TransferHook"]


@pytest.mark.parametrize("path", [DETECTION, SEGMENTATION])
def test_a_transfer_that_is_not_possible_is_refused(make_card, path):
    with pytest.raises(ValueError, match="would never train the backbone"):
        plugged(path, "scratch", "frozen")
    with pytest.raises(ValueError, match="--transfer is 'fine'; allowed: finetune, frozen"):
        plugged(path, make_card("d"), "fine")
    with pytest.raises(ValueError, match="no backbone card at nowhere"):
        plugged(path, "nowhere", "finetune")


@pytest.mark.parametrize("path", [DETECTION, SEGMENTATION])
def test_a_backbone_must_be_named(make_card, tmp_path, path):
    with pytest.raises(ValueError, match="needs --backbone"):
        resolve(path)
    with pytest.raises(ValueError, match="--tricks belong to pretraining"):
        resolve(path, Options(["cosine"], "scratch"))
    for backbone in ("scratch", str(make_card("d").path)):
        resolved = resolve(path, Options(backbone=backbone))
        assert resolved.cfg.backbone == backbone
        (tmp_path / "config.py").write_text(dump(resolved))
        assert resolve(tmp_path / "config.py").cfg.backbone == backbone  # a run's config names its own


@pytest.mark.parametrize("path", [DETECTION, SEGMENTATION])
def test_the_built_model_is_filled_and_certified_by_the_hook(make_card, path):
    from mmengine.registry import MODELS, init_default_scope

    card = make_card("d")
    cfg = plugged(path, card)
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
