"""Test C4 detectors: stage 4 of the backbone is the head of the regions, and the certificate covers both parts."""

import pytest
import torch
from mmengine.registry import MODELS, init_default_scope

from backbones import BackboneCard, LastStage, ResNet, TimmBackbone
from backbones.transfer.certificate import certify, downstream_preprocessor, parts_of, place
from backbones.transfer.holdout import test_pipeline as pipeline_of
from classification import ImagePreprocessor
from tests.helpers.networks import MEAN, STD, randomise_norms
from tools.engine.config import Options, resolve

CONFIG = "configs/detection/faster_rcnn_c4_toy.py"
LAST = "roi_head.shared_head"


def built(card, transfer=None):
    cfg = resolve(CONFIG, Options(backbone=str(card.path), transfer=transfer)).cfg
    init_default_scope(cfg.default_scope)
    return cfg, MODELS.build(cfg.model)


@pytest.fixture
def timm_card(tmp_path):
    def make(name: str):
        torch.manual_seed(0)
        net = TimmBackbone(name, width=0.25)
        randomise_norms(net)
        facts = dict(mean=MEAN, std=STD, channel_order="rgb", input_size=64, resampler="bilinear")
        return BackboneCard.write(tmp_path / name, net, ImagePreprocessor(MEAN, STD).normalise, **facts)

    return make


@pytest.mark.parametrize("variant", "abcd")
def test_every_tensor_arrives_in_one_of_the_two_parts(make_card, variant):
    card = make_card(variant)
    cfg, model = built(card)
    assert not hasattr(model.backbone, "layer4") and cfg.custom_hooks[-1]["last_stage"] == LAST
    net = place(card, parts_of(model, LAST))
    tensors = dict(model.backbone.state_dict()) | {
        f"layer4.{k}": v for k, v in model.roi_head.shared_head.stage.state_dict().items()
    }
    assert tensors.keys() == card.weights.keys() and all(torch.equal(tensors[k], card.weights[k]) for k in tensors)
    assert certify(net, card, downstream_preprocessor(model, pipeline_of(cfg)[0])) < 1e-6
    images = torch.randn(2, 3, 65, 97)
    whole = ResNet(**card.arch).eval()
    card.place(whole)
    model.eval()
    with torch.no_grad():
        (third,) = model.backbone(images)
        torch.testing.assert_close([third, model.roi_head.shared_head(third)], list(whole(images)[2:]))


@pytest.mark.parametrize("part", ["backbone.layer3.0.conv1", "roi_head.shared_head.stage.2.conv3"])
def test_a_tensor_that_is_not_the_cards_is_refused_in_both_parts(make_card, part):
    from backbones.networks.factory import build
    from backbones.transfer.certificate import assembled

    card = make_card("d")
    cfg, model = built(card)
    parts = parts_of(model, LAST)
    place(card, parts)
    torch.nn.init.normal_(model.get_submodule(part).weight)
    with pytest.raises(ValueError, match="is not the card's; it was not placed"):
        certify(assembled(build(card.arch), parts), card, downstream_preprocessor(model, pipeline_of(cfg)[0]))


def test_channels_of_the_heads_follow_the_card(make_card):
    _, model = built(make_card("d"))
    assert model.rpn_head.rpn_conv.in_channels == model.roi_head.bbox_roi_extractor.out_channels == 128
    assert model.roi_head.bbox_head.in_channels == 256


def test_frozen_transfer_trains_neither_part(make_card):
    _, model = built(make_card("d"), "frozen")
    model.train()
    for part in (model.backbone, model.roi_head.shared_head):
        assert not any(p.requires_grad for p in part.parameters())
        assert not any(m.training for m in part.modules() if isinstance(m, torch.nn.BatchNorm2d))
    assert any(p.requires_grad for p in model.parameters())


def test_fine_tuning_keeps_bn_as_the_config_says(make_card):
    _, model = built(make_card("d"))
    model.train()
    head = model.roi_head.shared_head
    assert all(p.requires_grad for p in head.parameters())
    assert not any(m.training for m in head.modules() if isinstance(m, torch.nn.BatchNorm2d))


def test_from_scratch_freezes_nothing():
    cfg = resolve(CONFIG, Options(backbone="scratch")).cfg
    init_default_scope(cfg.default_scope)
    model = MODELS.build(cfg.model).train()
    for part in (model.backbone, model.roi_head.shared_head):
        assert all(p.requires_grad for p in part.parameters())
        assert all(m.training for m in part.modules() if isinstance(m, torch.nn.BatchNorm2d))


@pytest.mark.parametrize("name", ["resnet50d", "seresnext50_32x4d"])
def test_resnets_of_timm_can_be_split(timm_card, name):
    card = timm_card(name)
    cfg, model = built(card)
    net = place(card, parts_of(model, LAST))
    assert certify(net, card, downstream_preprocessor(model, pipeline_of(cfg)[0])) < 1e-6
    whole = TimmBackbone(**card.arch).eval()
    card.place(whole)
    images = torch.randn(1, 3, 64, 96)
    model.eval()
    with torch.no_grad():
        (third,) = model.backbone(images)
        torch.testing.assert_close([third, model.roi_head.shared_head(third)], list(whole(images)[2:]))


@pytest.mark.parametrize("name", ["mobilenetv1_100", "densenet121", "inception_v3"])
def test_other_networks_are_refused_by_name(timm_card, name):
    card = timm_card(name)
    with pytest.raises(ValueError, match=f"The last stage of {name} cannot be split off for a C4 detector; take a ResNet"):
        resolve(CONFIG, Options(backbone=str(card.path)))


@pytest.mark.parametrize("options", [dict(out_indices=(3,)), dict(output_stride=16, out_indices=(2,))])
def test_a_network_without_its_last_stage_cannot_return_or_dilate_it(options):
    with pytest.raises(ValueError, match="without its last stage"):
        ResNet(50, "d", base_channels=8, last_stage=False, **options)


def test_the_last_stage_halves_the_map():
    stage = LastStage(dict(depth=50, variant="d", base_channels=8))
    assert stage(torch.randn(3, 128, 14, 14)).shape == (3, 256, 7, 7)
