"""Test the import of weights: by file and by name, with the same features in the networks of timm, torchvision, mm and ours."""

import pytest
import timm
import torch
import torchvision
from safetensors.torch import save_file
from torch import nn

import backbones.mmcv_ops  # noqa: F401  (before mmdet and mmseg, which are imported below)
from backbones import BackboneCard
from backbones.interchange import importer as importing
from backbones.interchange import reference_networks as stock
from backbones.interchange.exporter import export_card
from backbones.interchange.importer import from_timm, from_torchvision, import_backbone
from backbones.interchange.key_maps import our_names
from backbones.interchange.reference_networks import mm_arguments
from tests.helpers.convert import (
    CLASSES,
    assert_equal_tensors,
    assert_same,
    calibrated,
    features,
    hooked,
    probe_inputs,
    stages_of,
    tamed,
)

# ---- networks of timm and torchvision


@pytest.mark.parametrize(
    ("name", "depth", "variant"),
    [
        *(("resnet18", 18, "b"), ("resnet34d", 34, "d"), ("resnet26", 26, "b"), ("resnet26d", 26, "d")),
        *(("resnet50c", 50, "c"), ("resnet50d", 50, "d")),
        pytest.param("resnet101", 101, "b", marks=pytest.mark.slow),
    ],
)
def test_a_resnet_of_timm_is_ours(tmp_path, name, depth, variant):
    whole = tamed(timm.create_model(name, num_classes=CLASSES))
    imported = from_timm(whole)
    card = imported.write(tmp_path / "card")
    assert card.arch == {"depth": depth, "variant": variant, "base_channels": 64}
    x = probe_inputs(card)
    theirs, logits = hooked(whole, stages_of(whole), x)
    ours = features(card, x)
    assert_same(ours, theirs)
    assert_same([f.float() for f in theirs], card.probe, 1e-6)
    assert_same([ours[-1].mean((2, 3)) @ card.classifier["weight"].double().T + card.classifier["bias"].double()], [logits])
    cfg = timm.models.get_pretrained_cfg(name)
    assert card.mean == pytest.approx([255 * m for m in cfg.mean]) and card.channel_order == "rgb"
    assert (card.input_size, card.resampler) == (cfg.input_size[-1], cfg.interpolation)
    assert card.source["imported"] == f"timm:{name}.{cfg.tag}" and card.source["classes"] == CLASSES
    assert (card.source["probe"], card.recipe, card.seed, card.top1, imported.notes) == ("timm", [], None, None, [])


@pytest.mark.parametrize(
    ("name", "has_classifier"),
    [
        *(("mobilenetv1_100", True), ("densenet121", True), ("efficientnet_b0", False)),
        pytest.param("inception_v3", True, marks=pytest.mark.slow),
        pytest.param("seresnet50", True, marks=pytest.mark.slow),
        pytest.param("xception41", True, marks=pytest.mark.slow),
    ],
)
def test_another_network_of_timm_is_wrapped(tmp_path, name, has_classifier):
    whole = calibrated(timm.create_model(name, num_classes=CLASSES))
    imported = from_timm(whole)
    card = imported.write(tmp_path / "card")
    assert card.arch == {"name": name, "width": 1.0} and card.source["probe"] == "timm"
    assert BackboneCard.load(card.path).weights.keys() == imported.net.state_dict().keys()
    _, logits = hooked(whole, [], probe_inputs(card))
    if has_classifier:
        pooled = card.probe[-1].double().mean((2, 3))
        assert_same([pooled @ card.classifier["weight"].double().T + card.classifier["bias"].double()], [logits], 1e-5)
        assert imported.notes == []
    else:
        assert card.classifier is None and imported.notes[0] == "Left out, as no part of the backbone: bn2, conv_head."
        assert "not come right after the pooling" in imported.notes[1]


@pytest.mark.parametrize("name", ["resnet18.IMAGENET1K_V1", "resnet50", pytest.param("resnext50_32x4d", marks=pytest.mark.slow)])
def test_a_resnet_of_torchvision_is_ours(tmp_path, name):
    base = name.split(".")[0]
    whole = tamed(torchvision.models.get_model(base, num_classes=CLASSES))
    card = from_torchvision(whole, name).write(tmp_path / "card")
    x = probe_inputs(card)
    theirs, _ = hooked(whole, stages_of(whole), x)
    assert_same([f.float() for f in theirs], card.probe, 1e-6)
    if base.startswith("resnet"):
        assert card.arch == {"depth": int(base[6:]), "variant": "b", "base_channels": 64}
        assert_same(features(card, x), theirs)
    assert card.source["imported"] == f"torchvision:{base}.IMAGENET1K_V{1 if base == 'resnet18' else 2}"
    assert (card.source["probe"], card.resampler, card.input_size) == ("torchvision", "bilinear", 224)
    assert card.mean == [123.675, 116.28, 103.53] and card.std == [58.395, 57.12, 57.375]


# ---- a file of a named network


def test_a_file_of_a_network_of_timm_is_imported_strictly(tmp_path):
    whole = calibrated(timm.create_model("densenet121", num_classes=CLASSES))
    save_file(whole.state_dict(), tmp_path / "model.safetensors")
    imported = import_backbone(str(tmp_path / "model.safetensors"), network="timm:densenet121.ra_in1k")
    card = imported.write(tmp_path / "card")
    assert card.arch == {"name": "densenet121", "width": 1.0} and imported.notes == []
    assert torch.equal(card.weights["net.features_norm0.weight"], whole.state_dict()["features.norm0.weight"])
    source = card.source
    assert (source["imported"], source["network"]) == ("model.safetensors", "timm:densenet121.ra_in1k")
    assert len(source["sha256"]) == 64 and str(tmp_path) not in (card.path / "card.json").read_text()
    with pytest.raises(
        ValueError, match="holds no ResNet and no EfficientNet .*if timm has this network, .* add --network timm:NAME"
    ):
        import_backbone(str(tmp_path / "model.safetensors"))
    with pytest.raises(ValueError, match="give timm:NAME or torchvision:NAME"):
        import_backbone(str(tmp_path / "model.safetensors"), network="densenet121")
    with pytest.raises(ValueError, match=r"holds no timm:mobilenetv1_100 .*leave out --network or give the right one"):
        import_backbone(str(tmp_path / "model.safetensors"), network="timm:mobilenetv1_100")


def test_a_file_without_a_classifier_or_with_an_auxiliary_one_is_imported(tmp_path):
    whole = tamed(timm.create_model("resnet18", num_classes=0))
    torch.save(whole.state_dict() | {"AuxLogits.fc.weight": torch.zeros(2)}, tmp_path / "net.pth")
    for network in ("timm:resnet18", "torchvision:resnet18"):
        imported = import_backbone(str(tmp_path / "net.pth"), network=network)
        card = imported.write(tmp_path / "card")
        assert card.classifier is None and card.source["classes"] is None
        assert "Left out, as no part of the backbone (tensors): AuxLogits (1)." in imported.notes
        assert any("taken to be those of" in note for note in imported.notes)


def test_a_file_of_torchvision_is_known_by_its_sha256(tmp_path, monkeypatch):
    assert stock.torchvision_file("f37072fd" + "0" * 56) == "resnet18.IMAGENET1K_V1"
    assert stock.torchvision_file("0" * 64) is None
    torch.save(tamed(torchvision.models.resnet18()).state_dict(), tmp_path / "resnet18-f37072fd.pth")
    monkeypatch.setattr(importing, "torchvision_file", lambda sha256: "resnet18.IMAGENET1K_V1")
    imported = import_backbone(str(tmp_path / "resnet18-f37072fd.pth"))
    assert "is torchvision:resnet18.IMAGENET1K_V1, by its sha256" in imported.notes[0]
    assert (imported.facts["top1"], imported.facts["resampler"], imported.stock.package) == (69.758, "bilinear", "torchvision")
    with pytest.raises(ValueError, match="leave out --variant d"):
        import_backbone(str(tmp_path / "resnet18-f37072fd.pth"), variant="d")


# ---- mmdet, mmseg, mmpretrain


def mm_net(library: str, arch: dict, **arguments) -> nn.Module:
    if library == "mmseg":
        from mmseg.models import backbones as home
    else:
        from mmdet.models import backbones as home
    arguments = mm_arguments(arch, library) | arguments
    return getattr(home, arguments.pop("type"))(**arguments)


@torch.no_grad()
def mm_features(net: nn.Module, x: torch.Tensor):
    net.double().eval()
    return net(x)


@pytest.mark.parametrize("variant", ["a", "b", "c", "d"])
def test_a_card_goes_to_mm_and_comes_back(make_card, tmp_path, variant, monkeypatch):
    card = make_card(variant, channel_order="bgr")
    file = tmp_path / "mm.pth"
    monkeypatch.chdir(tmp_path)
    lines = export_card(card, "mm", "mm.pth")
    assert "bgr_to_rgb=False" in lines[-1]
    printed = [line.split(": backbone=") for line in lines if "backbone=" in line]
    configs = {library: eval(config) for libraries, config in printed for library in libraries.split(" and ")}
    assert len(printed) == (2 if variant == "c" else 1)  # mmdet has no ResNetV1c; all else is the same in both
    saved = torch.load(file, weights_only=True)["state_dict"]
    x = probe_inputs(card)
    for library in ("mmseg", "mmdet"):
        assert configs[library] == mm_arguments(card.arch, library) | {"init_cfg": dict(type="Pretrained", checkpoint=str(file))}
        net = mm_net(library, card.arch, init_cfg=configs[library]["init_cfg"])
        net.init_weights()
        assert_equal_tensors(saved, net.state_dict())
        assert_same(features(card, x), mm_features(net, x))
    facts = dict(mean=card.mean, std=card.std, channel_order="bgr", input_size=64, resampler="bilinear")
    reimported = import_backbone(str(file), variant=variant if variant in "ab" else None, **facts).write(tmp_path / "again")
    assert reimported.arch == card.arch and reimported.source["probe"] == "mmseg" and reimported.source["assumed"] == []
    assert_equal_tensors(reimported.weights, card.weights)
    assert all(torch.equal(mine, theirs) for mine, theirs in zip(reimported.probe, card.probe, strict=True))


def mmpretrain_names(state: dict, variant: str) -> dict:
    """Rename mmseg's tensors as mmpretrain does: a stem of ConvModules; in D no pool in the shortcut of stage 1."""
    renamed = {}
    for name, tensor in state.items():
        parts = name.split(".")
        if parts[0] == "stem":
            parts[1:2] = [str(int(parts[1]) // 3), ("conv", "bn")[int(parts[1]) % 3]]
        if variant == "d" and name.startswith("layer1.0.downsample."):
            parts[3] = str(int(parts[3]) - 1)
        renamed["backbone." + ".".join(parts)] = tensor
    return renamed


@pytest.mark.parametrize(("depth", "variant"), [(50, "b"), (50, "c"), (50, "d"), (18, "d")])
def test_a_file_of_mmpretrain_gives_the_features_of_mmseg(tmp_path, depth, variant):
    arch = {"depth": depth, "variant": variant, "base_channels": 8}
    net = mm_net("mmseg", arch)
    tamed(net)
    state = mmpretrain_names(net.state_dict(), variant)
    width = 8 * 8 * (4 if depth == 50 else 1)
    head = {"head.fc.weight": torch.randn(CLASSES, width), "head.fc.bias": torch.randn(CLASSES)}
    torch.save({"meta": {"epoch": 100}, "state_dict": state | head}, tmp_path / "net.pth")
    card = import_backbone(str(tmp_path / "net.pth"), variant="b" if variant == "b" else None).write(tmp_path / "card")
    assert card.arch == arch and card.source["names"] == ("torchvision" if variant == "b" else "mmpretrain")
    assert torch.equal(card.classifier["weight"], head["head.fc.weight"]) and card.source["classes"] == CLASSES
    x = probe_inputs(card)
    assert_same(features(card, x), mm_features(net, x))


def test_a_key_map_that_swaps_two_tensors_of_one_shape_is_refused(make_card, tmp_path, monkeypatch):
    export_card(make_card("d"), "mm", tmp_path / "mm.pth")

    def swapped(state):
        weights, names = our_names(state)
        weights["conv1.1.weight"], weights["conv1.4.weight"] = weights["conv1.4.weight"], weights["conv1.1.weight"]
        return weights, names

    monkeypatch.setattr(importing, "our_names", swapped)
    with pytest.raises(ValueError, match=r"No card was written: stage 1 of ResNet\(depth=50, variant=d"):
        import_backbone(str(tmp_path / "mm.pth")).write(tmp_path / "again")
    assert not (tmp_path / "again").exists()
