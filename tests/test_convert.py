"""Weights from elsewhere: files, names, and the same features in timm's, torchvision's and mm's networks and in ours."""

import argparse
import json
import subprocess
import sys
from collections import OrderedDict
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from urllib.error import URLError

import numpy as np
import pytest
import timm
import torch
import torchvision
from conftest import randomise_norms
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import nn

import backbones.mmcv_ops  # noqa: F401  (before mmdet and mmseg, which are imported below)
from backbones import BackboneCard, ResNet, checkpoint, importing, stock
from backbones.card import TOLERANCE, probe_image
from backbones.checkpoint import read_checkpoint
from backbones.convert import our_names
from backbones.exporting import export_card
from backbones.importing import ASSUMED, from_timm, from_torchvision, import_backbone
from backbones.stock import mm_arguments, preprocessor
from tools.engine.config import ROOT

CLASSES = 5


def one_sentence(error: pytest.ExceptionInfo) -> str:
    text = str(error.value)
    assert text.endswith(".") and "\n" not in text
    return text


def tamed(net: nn.Module, seed: int = 0) -> nn.Module:
    """``net`` with random weights, each BN its own, and activations that do not grow from block to block."""
    randomise_norms(net, seed)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.weight.data.mul_(0.5)
    return net.eval()


@torch.no_grad()
def calibrated(net: nn.Module, images: int = 4) -> nn.Module:
    """``net`` whose BN statistics are those of noise, then moved a little."""
    norms = [m for m in net.modules() if isinstance(m, nn.BatchNorm2d)]
    momenta = [m.momentum for m in norms]
    for module in norms:
        module.momentum = 1.0
    net.train()(torch.randn(images, 3, 96, 128))
    for module, momentum in zip(norms, momenta, strict=True):
        module.momentum = momentum
        module.weight.data.uniform_(0.8, 1.2)
        module.bias.data.normal_(0, 0.1)
    return net.eval()


def probe_inputs(card: BackboneCard) -> torch.Tensor:
    return preprocessor(card.mean, card.std, card.channel_order)(probe_image()[None]).double()


@torch.no_grad()
def hooked(net: nn.Module, layers: list[nn.Module], x: torch.Tensor) -> tuple[list[torch.Tensor], torch.Tensor]:
    """Outputs of ``layers`` of ``net`` in float64, and its own output."""
    found = []
    handles = [layer.register_forward_hook(lambda *call: found.append(call[2])) for layer in layers]
    out = net.double().eval()(x)
    for handle in handles:
        handle.remove()
    return found, out


def stages_of(net: nn.Module) -> list[nn.Module]:
    return [net.layer1, net.layer2, net.layer3, net.layer4]


@torch.no_grad()
def features(card: BackboneCard, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
    net = ResNet(**card.arch).double().eval()
    card.place(net)
    return net(x)


def assert_same(ours, theirs, tolerance: float = 1e-10) -> None:
    for a, b in zip(ours, theirs, strict=True):
        assert a.shape == b.shape and b.abs().max() > 0.1
        assert (a - b).abs().max() <= tolerance * b.abs().max()


def assert_equal_tensors(ours: dict, theirs: dict) -> None:
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(v, theirs[k]) for k, v in ours.items())


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
    made = from_timm(whole)
    card = made.write(tmp_path / "card")
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
    assert (card.source["probe"], card.recipe, card.seed, card.top1, made.notes) == ("timm", [], None, None, [])


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
    made = from_timm(whole)
    card = made.write(tmp_path / "card")
    assert card.arch == {"name": name, "width": 1.0} and card.source["probe"] == "timm"
    assert BackboneCard.load(card.path).weights.keys() == made.net.state_dict().keys()
    _, logits = hooked(whole, [], probe_inputs(card))
    if has_classifier:
        pooled = card.probe[-1].double().mean((2, 3))
        assert_same([pooled @ card.classifier["weight"].double().T + card.classifier["bias"].double()], [logits], 1e-5)
        assert made.notes == []
    else:
        assert card.classifier is None and made.notes[0] == "Left out, as no part of the backbone: bn2, conv_head."
        assert "not come right after the pooling" in made.notes[1]


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


def test_what_is_downloaded_becomes_a_card(tmp_path, monkeypatch):
    whole = tamed(torchvision.models.resnet18())
    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", lambda *_, **words: whole.state_dict())
    card = import_backbone("torchvision:resnet18", resampler="mine").write(tmp_path / "card")
    assert (card.top1, card.resampler, card.source["classes"]) == (69.758, "mine", 1000)
    assert torch.equal(card.weights["layer4.1.conv2.weight"], whole.layer4[1].conv2.weight)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("timm:resnet18.a1_in1k", r"timm:resnet18\.a1_in1k could not be downloaded \(no route\); .*FILE --network timm:resnet18"),
        ("torchvision:resnet18", r"could not be downloaded \(<urlopen error no route>\)"),
        ("timm:resnet18.nope", "no weights 'resnet18.nope'; it has .*resnet18.a1_in1k"),
        ("timm:resnett50", "no network 'resnett50'; nearest: .*resnet50"),
        ("torchvision:vgg16", "no ResNet of torchvision; allowed: resnet101"),
        ("torchvision:resnet18.V9", "no weights 'resnet18.V9'; it has resnet18.IMAGENET1K_V1"),
    ],
)
def test_a_name_that_cannot_be_had(monkeypatch, source, message):
    def fail(*_, **words):
        raise OSError("no route.\nTry again") if source.startswith("timm") else URLError("no route")

    monkeypatch.setattr(importing.timm, "create_model", fail)
    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", fail)
    with pytest.raises(ValueError, match=message) as error:
        import_backbone(source)
    one_sentence(error)
    with pytest.raises(ValueError, match="are for files"):
        import_backbone(source, ema=True)


# ---- a file of a named network


def test_a_file_of_a_network_of_timm(tmp_path):
    whole = calibrated(timm.create_model("densenet121", num_classes=CLASSES))
    save_file(whole.state_dict(), tmp_path / "model.safetensors")
    made = import_backbone(str(tmp_path / "model.safetensors"), network="timm:densenet121.ra_in1k")
    card = made.write(tmp_path / "card")
    assert card.arch == {"name": "densenet121", "width": 1.0} and made.notes == []
    assert torch.equal(card.weights["net.features_norm0.weight"], whole.state_dict()["features.norm0.weight"])
    source = card.source
    assert (source["imported"], source["network"]) == ("model.safetensors", "timm:densenet121.ra_in1k")
    assert len(source["sha256"]) == 64 and str(tmp_path) not in (card.path / "card.json").read_text()
    with pytest.raises(ValueError, match="for another network of timm add --network timm:NAME"):
        import_backbone(str(tmp_path / "model.safetensors"))
    with pytest.raises(ValueError, match="give timm:NAME or torchvision:NAME"):
        import_backbone(str(tmp_path / "model.safetensors"), network="densenet121")
    with pytest.raises(ValueError, match=r"missing \(conv_stem.weight, .*left over \(features"):
        import_backbone(str(tmp_path / "model.safetensors"), network="timm:mobilenetv1_100")


def test_a_file_without_a_classifier_or_with_an_auxiliary_one(tmp_path):
    whole = tamed(timm.create_model("resnet18", num_classes=0))
    torch.save(whole.state_dict() | {"AuxLogits.fc.weight": torch.zeros(2)}, tmp_path / "net.pth")
    for network in ("timm:resnet18", "torchvision:resnet18"):
        made = import_backbone(str(tmp_path / "net.pth"), network=network)
        card = made.write(tmp_path / "card")
        assert card.classifier is None and card.source["classes"] is None
        assert "Left out, as no part of the backbone: AuxLogits." in made.notes
        assert any("taken to be those of" in note for note in made.notes)


def test_a_file_of_torchvision_is_known_by_its_sha256(tmp_path, monkeypatch):
    assert stock.torchvision_file("f37072fd" + "0" * 56) == "resnet18.IMAGENET1K_V1"
    assert stock.torchvision_file("0" * 64) is None
    torch.save(tamed(torchvision.models.resnet18()).state_dict(), tmp_path / "resnet18-f37072fd.pth")
    monkeypatch.setattr(importing, "torchvision_file", lambda sha256: "resnet18.IMAGENET1K_V1")
    made = import_backbone(str(tmp_path / "resnet18-f37072fd.pth"))
    assert "is torchvision:resnet18.IMAGENET1K_V1, by its sha256" in made.notes[0]
    assert (made.facts["top1"], made.facts["resampler"], made.stock.library) == (69.758, "bilinear", "torchvision")
    with pytest.raises(ValueError, match="leave out --variant d"):
        import_backbone(str(tmp_path / "resnet18-f37072fd.pth"), variant="d")


# ---- mmdet, mmseg, mmpretrain


def mm_net(library: str, arch: dict, **words) -> nn.Module:
    if library == "mmseg":
        from mmseg.models import backbones as home
    else:
        from mmdet.models import backbones as home
    words = mm_arguments(arch, library) | words
    return getattr(home, words.pop("type"))(**words)


@torch.no_grad()
def mm_features(net: nn.Module, x: torch.Tensor):
    net.double().eval()
    return net(x)


@pytest.mark.parametrize("variant", ["a", "b", "c", "d"])
def test_a_card_goes_to_mm_and_comes_back(make_card, tmp_path, variant):
    card = make_card(variant, channel_order="bgr")
    file = tmp_path / "mm.pth"
    lines = export_card(card, "mm", file)
    assert "bgr_to_rgb=False" in lines[-1] and lines[1].startswith("mmseg: backbone=dict(type='ResNet")
    saved = torch.load(file, weights_only=True)["state_dict"]
    x = probe_inputs(card)
    for library in ("mmseg", "mmdet"):
        net = mm_net(library, card.arch, init_cfg=dict(type="Pretrained", checkpoint=str(file)))
        net.init_weights()
        assert_equal_tensors(saved, net.state_dict())
        assert_same(features(card, x), mm_features(net, x))
    words = dict(mean=card.mean, std=card.std, channel_order="bgr", input_size=64, resampler="bilinear")
    again = import_backbone(str(file), variant=variant if variant in "ab" else None, **words).write(tmp_path / "again")
    assert again.arch == card.arch and again.source["probe"] == "mmseg" and again.source["assumed"] == []
    assert_equal_tensors(again.weights, card.weights)
    assert all(torch.equal(mine, theirs) for mine, theirs in zip(again.probe, card.probe, strict=True))


def mmpretrain_names(state: dict, variant: str) -> dict:
    """mmseg's tensors as mmpretrain names them: a stem of ConvModules; in D no pool in the shortcut of stage 1."""
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
def test_a_file_of_mmpretrain(tmp_path, depth, variant):
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


# ---- what is in a file


@pytest.fixture
def small() -> ResNet:
    """A ResNet-50-D of width 8."""
    return tamed(ResNet(50, "d", base_channels=8))


def save(path: Path, content) -> str:
    torch.save(content, path)
    return str(path)


@pytest.mark.parametrize("prefix", ["", "module.", "backbone.", "module.backbone.", "model.backbone.", "model.module."])
@pytest.mark.parametrize("container", [None, "state_dict", "model"])
def test_prefixes_and_containers(small, tmp_path, prefix, container):
    state = {prefix + k: v for k, v in small.state_dict().items()}
    outer = prefix.removesuffix("backbone.") if "backbone" in prefix else prefix
    state |= {f"{outer}fc.weight": torch.randn(CLASSES, 256), f"{outer}fc.bias": torch.zeros(CLASSES)}
    file = save(tmp_path / "net.pth", {container: state, "epoch": 3} if container else state)
    made = import_backbone(file)
    assert_equal_tensors(made.net.state_dict(), small.state_dict())
    assert torch.equal(made.facts["classifier"]["weight"], state[f"{outer}fc.weight"])
    assert made.facts["source"]["weights"] == "plain"


@pytest.mark.parametrize("heads", [("decode_head", "auxiliary_head"), ("neck", "rpn_head", "roi_head")])
def test_of_a_detector_or_segmenter_the_backbone_is_taken(small, tmp_path, heads):
    state = {f"backbone.{k}": v for k, v in small.state_dict().items()}
    state |= {f"{head}.conv.weight": torch.zeros(2, 2, 1, 1) for head in heads}
    made = import_backbone(save(tmp_path / "net.pth", {"state_dict": state}))
    assert f"Left out, as no part of the backbone: {', '.join(sorted(heads))}." in made.notes
    assert made.facts["classifier"] is None
    assert_equal_tensors(made.net.state_dict(), small.state_dict())


def averaged(state: dict, **counter) -> dict:
    return {f"module.{k}": v * 0.5 if v.is_floating_point() else v for k, v in state.items()} | counter


@pytest.mark.parametrize(
    ("plain", "ema", "counter"),
    [("state_dict", "state_dict_ema", {}), ("model", "model_ema", {"n_averaged": torch.tensor(3)})],
)
def test_averaged_weights_are_taken_when_asked_for(small, tmp_path, plain, ema, counter):
    state = small.state_dict()
    file = save(tmp_path / "net.pth", {plain: state, ema: averaged(state, **counter), "args": argparse.Namespace(lr=0.1)})
    ordinary, other = read_checkpoint(file), read_checkpoint(file, ema=True)
    assert_equal_tensors(ordinary.state, state)
    assert other.state.keys() == state.keys() and torch.equal(other.state["bn1.weight"], 0.5 * state["bn1.weight"])
    assert (ordinary.weights, other.weights) == ("plain", "ema")
    assert ordinary.notes[0].endswith(f"the ordinary weights ({plain}) are taken, the averaged ones ({ema}) left out.")
    assert other.notes[0].endswith(f"the averaged ones ({ema}) are taken, the ordinary weights ({plain}) left out.")
    assert import_backbone(file, ema=True).facts["source"]["weights"] == "ema"
    with pytest.raises(ValueError, match=r"no averaged weights \(looked for state_dict_ema, ema_state_dict, model_ema\)"):
        read_checkpoint(save(tmp_path / "plain.pth", {plain: state}), ema=True)
    with pytest.raises(ValueError, match="averaged weights alone .*add --ema"):
        read_checkpoint(save(tmp_path / "ema.pth", {ema: state}))


def test_a_runner_checkpoint_of_mmengine(tmp_path):
    """With its message hub, optimiser and EMAHook, which swaps the two state dicts when it saves."""
    from mmengine.model import BaseModel
    from mmengine.runner import Runner

    class Net(BaseModel):
        def __init__(self):
            super().__init__()
            self.backbone = ResNet(26, "d", base_channels=2)
            self.fc = nn.Linear(64, CLASSES)

        def forward(self, x, data_samples=None, mode="tensor"):
            return {"loss": self.fc(self.backbone(torch.stack(x))[-1].mean((2, 3))).square().mean()}

    data = [{"x": torch.randn(3, 64, 64)} for _ in range(4)]
    runner = Runner(
        Net(),
        str(tmp_path / "run"),
        train_dataloader=dict(batch_size=2, dataset=data, sampler=dict(type="DefaultSampler")),
        train_cfg=dict(by_epoch=True, max_epochs=1),
        optim_wrapper=dict(optimizer=dict(type="SGD", lr=0.1, momentum=0.9)),
        default_hooks=dict(logger=dict(type="LoggerHook", interval=1)),
        custom_hooks=[dict(type="EMAHook", momentum=0.5)],
        default_scope="mmengine",
        experiment_name="runner_checkpoint",
        log_level="ERROR",
    )
    runner.train()
    file = tmp_path / "run/epoch_1.pth"
    assert "HistoryBuffer" in str(torch.serialization.get_unsafe_globals_in_checkpoint(str(file)))
    own = runner.model.state_dict()
    assert_equal_tensors(read_checkpoint(file).state, own)
    ema = read_checkpoint(file, ema=True).state
    assert ema.keys() == own.keys() and not torch.equal(ema["fc.weight"], own["fc.weight"])
    made = import_backbone(str(file))
    assert_equal_tensors(made.net.state_dict(), runner.model.backbone.state_dict())
    card = made.write(tmp_path / "card")
    assert card.arch == {"depth": 26, "variant": "d", "base_channels": 2}
    assert card.source["probe"] == "backbones" and "no other library here has that network" in made.notes[-1]


def test_old_and_half_precision_files(small, tmp_path):
    old = {k: v for k, v in small.state_dict().items() if not k.endswith("num_batches_tracked")}
    made = import_backbone(save(tmp_path / "old.pth", old))
    assert "num_batches_tracked) are not in the file; they are set to 0" in made.notes[0]
    assert_equal_tensors(made.net.state_dict(), small.state_dict())
    made.write(tmp_path / "card")
    half = {k: v.half() if v.is_floating_point() else v for k, v in small.state_dict().items()}
    made = import_backbone(save(tmp_path / "half.pth", half))
    assert made.notes[0] == "Tensors of torch.float16 are converted to float32."
    assert made.net.bn1.weight.dtype == torch.float32
    made.write(tmp_path / "card")


def test_what_no_file_says_is_assumed_and_said(small, tmp_path):
    file = save(tmp_path / "net.pth", small.state_dict())
    made = import_backbone(file, mean=[1.0, 2.0, 3.0])
    card = made.write(tmp_path / "card")
    assert card.mean == [1.0, 2.0, 3.0] and card.std == ASSUMED["std"]
    assert card.source["assumed"] == ["channel_order", "input_size", "resampler", "std"]
    assert "Assumed" in made.notes[-1] and "std [58.395, 57.12, 57.375]" in made.notes[-1] and "mean" not in made.notes[-1]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: {k: v for k, v in s.items() if k != "layer3.2.bn2.bias"}, r"1 missing \(layer3\.2\.bn2\.bias\)\."),
        (lambda s: {k: v for k, v in s.items() if k != "bn1.num_batches_tracked"}, r"1 missing \(bn1\.num_batches_tracked\)\."),
        (lambda s: s | {"layer1.0.se.fc1.weight": torch.zeros(1)}, r"1 left over \(layer1\.0\.se\.fc1\.weight\)\."),
        (lambda s: s | {"layer2.0.bn1.weight": torch.zeros(9)}, r"1 of another shape \(layer2\.0\.bn1\.weight\)\."),
        (lambda s: s | {"bn1.weight": s["bn1.bias"], "bn1.bias": s["conv1.0.weight"]}, r"of another shape \(bn1\.bias\)\."),
        (lambda s: s | {"fc.weight": torch.zeros(5, 128), "fc.bias": torch.zeros(5)}, "classifier takes 128 features"),
        (lambda s: s | {"fc.weight": torch.zeros(5, 256)}, r"left over \(fc\.weight\)"),
        (lambda s: {k: v for k, v in s.items() if "layer4" not in k}, r"no ResNet of depth .*\(blocks .*\(3, 4, 6, 0\)"),
        (lambda s: {f"body.{k}": v for k, v in s.items()}, r"first names: body\.conv1\.0\.weight"),
    ],
)
def test_tensors_that_do_not_fit_are_refused_by_name(small, tmp_path, change, message):
    with pytest.raises(ValueError, match=message) as error:
        import_backbone(save(tmp_path / "net.pth", change(small.state_dict())))
    assert str(tmp_path / "net.pth") in one_sentence(error)


def test_another_deep_stem_is_refused(tmp_path):
    wide = timm.create_model("resnet50s", num_classes=0)  # 64, 64, 128 in place of 32, 32, 64
    with pytest.raises(ValueError, match=r"ResNet\(depth=50, variant=c, base_channels=64\).*of another shape \(conv1\.0\.weight"):
        import_backbone(save(tmp_path / "net.pth", wide.state_dict()))


def test_a_and_b_are_told_apart_by_the_user(tmp_path):
    net = tamed(ResNet(50, "b", base_channels=8))
    file = save(tmp_path / "net.pth", net.state_dict())
    with pytest.raises(
        ValueError, match="same tensors and compute different features; add --variant b .* or --variant a"
    ) as error:
        import_backbone(file)
    one_sentence(error)
    probes = [import_backbone(file, variant=v).write(tmp_path / v).probe for v in "ab"]
    assert (probes[0][1] - probes[1][1]).abs().max() > 0.01
    with pytest.raises(ValueError, match="holds the tensors of variant a or b, not of d"):
        import_backbone(file, variant="d")
    deep = save(tmp_path / "deep.pth", ResNet(50, "c", base_channels=8).state_dict())
    with pytest.raises(ValueError, match="holds the tensors of variant c, not of b; leave out --variant"):
        import_backbone(deep, variant="b")
    basic = save(tmp_path / "basic.pth", ResNet(18, "a", base_channels=8).state_dict())
    assert import_backbone(basic).net.arch["variant"] == "b"  # there the two are one network
    assert import_backbone(basic, variant="a").net.arch["variant"] == "a"


# ---- files that are not what they should be


class Hostile:
    """Makes a file when it is unpickled."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


def test_a_file_that_runs_code_is_refused(small, tmp_path):
    trace = tmp_path / "trace"
    file = save(tmp_path / "net.pth", {"state_dict": small.state_dict(), "meta": Hostile(trace)})
    with pytest.raises(
        ValueError, match=r"net\.pth names (io|_io)\.open, .*add --unpickle, which runs code from the file"
    ) as error:
        import_backbone(file)
    one_sentence(error)
    assert not trace.exists()
    with pytest.raises(ValueError, match="damaged|names"):
        import_backbone(save(tmp_path / "raw.pth", b""))
    assert_equal_tensors(import_backbone(file, unpickle=True).net.state_dict(), small.state_dict())
    assert trace.exists()


class Attribute:
    """Reads an attribute when it is unpickled: getattr is in every runner checkpoint."""

    def __reduce__(self):
        return getattr, (OrderedDict, "__init__")


def test_what_is_allowed_beside_tensors_is_not_called(small, tmp_path):
    beside = [Attribute(), np.float64(0.5), np.arange(3), argparse.Namespace(lr=0.1)]
    file = save(tmp_path / "net.pth", {"state_dict": small.state_dict(), "meta": beside})
    assert_equal_tensors(read_checkpoint(file).state, small.state_dict())
    assert [type(value) for value in checkpoint._read(Path(file), unpickle=False)["meta"]] == [checkpoint.Ignored] * 4
    assert checkpoint.Ignored not in torch.serialization.get_safe_globals()  # allowed for that one reading


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_a_file_cut_short_is_refused(small, tmp_path, suffix):
    file = tmp_path / f"net{suffix}"
    save_file(small.state_dict(), file) if suffix == ".safetensors" else save(file, small.state_dict())
    whole = file.read_bytes()
    for length in (len(whole) - 100, len(whole) // 2, 200):
        file.write_bytes(whole[:length])
        with pytest.raises(ValueError, match=r"damaged, or cut short .*download or copy it again") as error:
            import_backbone(str(file))
        one_sentence(error)
    file.write_bytes(b"")
    with pytest.raises(ValueError, match="no file of weights .*download it again"):
        import_backbone(str(file))


@pytest.mark.parametrize(
    "text", [b"<!DOCTYPE html><html><body>404</body></html>", b"version https://git-lfs.github.com/spec/v1\noid sha256:0"]
)
def test_what_a_failed_download_leaves_is_refused(tmp_path, text):
    (tmp_path / "net.pth").write_bytes(text)
    with pytest.raises(ValueError, match=f"no file of weights .it starts with '{text[:9].decode()}") as error:
        import_backbone(str(tmp_path / "net.pth"))
    one_sentence(error)


def test_a_file_that_is_not_there_names_the_nearest(tmp_path):
    (tmp_path / "resnet50.pth").touch()
    with pytest.raises(ValueError, match=r"There is no file .*resnet5\.pth; nearest: resnet50\.pth"):
        import_backbone(str(tmp_path / "resnet5.pth"))


@pytest.mark.parametrize("content", [{}, {"state_dict": {}}, [torch.zeros(1)], {"lr": 0.1}])
def test_a_file_without_a_state_dict_is_refused(tmp_path, content):
    with pytest.raises(ValueError, match="no state dict") as error:
        import_backbone(save(tmp_path / "net.pth", content))
    one_sentence(error)


def test_runs_and_cards_of_this_project_need_no_import(make_card, tmp_path):
    card = make_card("d")
    for path in (card.path, card.path.parent):
        with pytest.raises(ValueError, match=f"use it as it is: --backbone {path}"):
            import_backbone(str(path))
    run = tmp_path / "run"
    run.mkdir()
    (run / "config.py").write_text('size = 64\nrun = "abc"\n')
    (run / "epoch_1.pth").touch()
    for path in (run, run / "epoch_1.pth"):
        with pytest.raises(ValueError, match="belongs to a run of this project; tools/export_backbone.py"):
            import_backbone(str(path))
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="is a folder; give a file"):
        import_backbone(str(tmp_path / "empty"))


# ---- export


@pytest.fixture
def full_card(tmp_path):
    """``full_card('resnet18')``: the card of a network of timm with random weights."""

    def make(name: str, classes: int = CLASSES) -> BackboneCard:
        return from_timm(tamed(timm.create_model(name, num_classes=classes))).write(tmp_path / name)

    return make


@pytest.mark.parametrize(
    ("name", "suffix"),
    [
        *(("resnet18", ".pth"), ("mobilenetv1_100", ".safetensors")),
        pytest.param("resnet26d", ".safetensors", marks=pytest.mark.slow),
        pytest.param("densenet121", ".safetensors", marks=pytest.mark.slow),
    ],
)
def test_timm_takes_an_exported_file_whole(full_card, tmp_path, name, suffix):
    card = full_card(name)
    file = tmp_path / f"net{suffix}"
    lines = export_card(card, "timm", file)
    assert f"timm.create_model({name!r}, num_classes={CLASSES}, checkpoint_path={str(file)!r})" in lines
    state = load_file(file) if suffix == ".safetensors" else torch.load(file, weights_only=True)
    net = timm.create_model(name, num_classes=CLASSES)
    net.load_state_dict(state, strict=True)
    assert_equal_tensors(timm.create_model(name, num_classes=CLASSES, checkpoint_path=str(file)).state_dict(), net.state_dict())
    assert torch.equal(net.get_classifier().weight, card.classifier["weight"])
    if suffix == ".safetensors":
        with safe_open(file, "pt") as opened:
            assert opened.metadata() == {"timm": name, "num_classes": str(CLASSES), "format": "pt"}
    again = import_backbone(str(file), network=f"timm:{name}").write(tmp_path / "again")
    assert again.arch == card.arch
    assert_equal_tensors(again.weights, card.weights)
    assert_equal_tensors(again.classifier, card.classifier)


@pytest.mark.parametrize("classes", [CLASSES, 0])
def test_torchvision_takes_an_exported_file_whole(full_card, tmp_path, classes):
    card = full_card("resnet18", classes)
    file = tmp_path / "net.pth"
    lines = export_card(card, "torchvision", file)
    names = {"torch": torch, "torchvision": torchvision}
    exec("\n".join(line for line in lines if line.startswith("net")), names)  # what is printed is how it is loaded
    net = names["net"]
    assert len(net.state_dict()) == len(card.weights) + (2 if classes else 0)
    x = probe_inputs(card)
    assert_same(features(card, x), hooked(net, stages_of(net), x)[0])


@pytest.mark.parametrize(
    ("arch", "form", "message"),
    [
        (dict(depth=50, variant="a", base_channels=64), "timm", "timm has no network"),
        (dict(depth=50, variant="b", base_channels=8), "timm", "at full width"),
        (dict(depth=18, variant="c", base_channels=64), "timm", "resnet50c is c"),
        (dict(depth=50, variant="d", base_channels=64), "torchvision", "its ResNets are variant b"),
        (dict(depth=26, variant="b", base_channels=64), "torchvision", "of depth 18, 34, 50, 101 and 152"),
        (dict(depth=26, variant="b", base_channels=64), "mm", "mm has no network"),
        (dict(name="densenet121", width=1.0), "mm", "mm has no network"),
        (dict(name="densenet121", width=0.5), "timm", "timm has no network"),
    ],
)
def test_a_network_that_a_library_has_not_is_refused(tmp_path, arch, form, message):
    with pytest.raises(ValueError, match=message) as error:
        export_card(SimpleNamespace(arch=arch), form, tmp_path / "net.pth")
    assert "choose another format" in one_sentence(error) and not list(tmp_path.iterdir())


def test_a_file_is_written_whole_after_the_probe_came_back(make_card, tmp_path):
    card = make_card("d")
    with pytest.raises(ValueError, match="the format mm is written as .pth"):
        export_card(card, "mm", tmp_path / "net.safetensors")
    card.probe[2].add_(2 * TOLERANCE)
    with pytest.raises(ValueError, match="No file was written: stage 3 of mmseg's network .* differ by 2e-05") as error:
        export_card(card, "mm", tmp_path / "net.pth")
    one_sentence(error)
    assert [p.name for p in tmp_path.iterdir()] == ["card"]


def test_a_network_with_layers_behind_its_features_is_not_exported(tmp_path):
    card = from_timm(calibrated(timm.create_model("efficientnet_b0"))).write(tmp_path / "card")
    with pytest.raises(ValueError, match="bn2, conv_head lie behind its feature maps, and no card has them"):
        export_card(card, "timm", tmp_path / "net.pth")


# ---- certificate and command line


@pytest.mark.parametrize("name", ["mobilenetv1_100", "resnet18"])
def test_an_imported_card_is_certified_in_a_detector(tmp_path, name):
    from mmengine.logging import MessageHub
    from mmengine.registry import MODELS, init_default_scope

    from backbones.transfer import TransferHook
    from detection import task
    from tools.engine.config import load

    card = from_timm(tamed(timm.create_model(name))).write(tmp_path / "card")
    cfg = load("configs/detection/faster_rcnn_fpn_toy.py")
    task.configure(cfg, backbone=str(card.path))
    init_default_scope(cfg.default_scope)
    model = MODELS.build(cfg.model)
    assert list(cfg.model.data_preprocessor.mean) == card.mean
    hook = TransferHook(**{k: v for k, v in cfg.custom_hooks[-1].items() if k not in ("type", "priority")})
    hook.before_train(SimpleNamespace(iter=0, model=model))
    assert_equal_tensors(model.backbone.state_dict(), card.weights)
    certificate = MessageHub.get_current_instance().get_info("certificate")
    assert (certificate["card"], certificate["tensors"]) == (card.sha256, len(card.weights))
    assert certificate["max_abs_difference"] <= TOLERANCE


@pytest.fixture
def export(monkeypatch, capsys):
    """``export(words...)`` runs tools/export_backbone.py in this process and returns what it printed."""

    def run(*words) -> str:
        monkeypatch.setattr(sys, "argv", ["export_backbone.py", *map(str, words)])
        monkeypatch.setattr(sys, "path", list(sys.path))
        import_module("tools.export_backbone").export()
        return capsys.readouterr().out

    return run


def test_the_tools_import_and_export(small, tmp_path, export):
    state = {f"module.{k}": v for k, v in small.state_dict().items()}
    file = save(tmp_path / "net.pth", OrderedDict(state))

    def bring_in(*words) -> subprocess.CompletedProcess:
        words = [sys.executable, "tools/import_backbone.py", *map(str, words), "--out", str(tmp_path / "card")]
        return subprocess.run(words, cwd=ROOT, capture_output=True, text=True)

    done = bring_in(ROOT / "README.md")
    assert done.returncode == 2 and done.stderr.startswith("error: ") and "it starts with" in done.stderr
    assert len(done.stderr.splitlines()) == 1 and not (tmp_path / "card").exists()
    done = bring_in(file, "--mean", 1, 2, 3, "--channel-order", "bgr", "--top1", 71.5)
    assert done.returncode == 0 and "Assumed" in done.stdout and "no classifier; probe by mmseg" in done.stdout, done.stderr
    about = json.loads((tmp_path / "card/card.json").read_text())
    assert (about["mean"], about["channel_order"], about["top1"]) == ([1.0, 2.0, 3.0], "bgr", 71.5)
    assert str(tmp_path) not in json.dumps(about)

    out = export(tmp_path / "card", "--format", "mm", "--out", tmp_path / "mm.pth")
    assert "mmdet: backbone=dict(type='ResNetV1d', depth=50, style='pytorch', base_channels=8, stem_channels=8" in out
    assert torch.load(tmp_path / "mm.pth", weights_only=True)["state_dict"]["stem.7.weight"].shape == (8,)
    with pytest.raises(ValueError, match="is a folder; give a checkpoint"):
        export(tmp_path / "card", "--out", tmp_path / "no")


def test_a_checkpoint_of_a_run_is_exported(toy_root, tmp_path, monkeypatch, export):
    from tools.engine.config import Options, resolve
    from tools.engine.run import build_model

    monkeypatch.setenv("DATA_ROOT", str(toy_root.parent))
    small = {"model.backbone.base_channels": 8}
    cfg = resolve("configs/classification/resnet50_toy.py", Options([("resnet_d", {})], overrides=small))
    cfg.run, cfg.work_dir = "abc", str(tmp_path)
    cfg.dump(str(tmp_path / "config.py"))
    torch.manual_seed(0)
    model = build_model(cfg)
    save(tmp_path / "epoch_1.pth", {"state_dict": model.state_dict(), "meta": {}})

    assert "ResNet(depth=50, variant=d, base_channels=8)" in export(tmp_path / "epoch_1.pth", "--out", tmp_path / "new")
    card = BackboneCard.load(tmp_path / "new")
    assert card.source["run"] == "abc" and card.top1 is None
    assert_equal_tensors(card.weights, model.backbone.state_dict())
    assert torch.equal(card.classifier["weight"], model.fc.weight)
    assert "mmseg" in export(tmp_path / "epoch_1.pth", "--format", "mm", "--out", tmp_path / "mm.pth")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["config.py", "epoch_1.pth", "mm.pth", "new"]
    with pytest.raises(ValueError, match="There is no checkpoint .*epoch_2.pth; in that folder: epoch_1.pth, mm.pth"):
        export(tmp_path / "epoch_2.pth", "--out", tmp_path / "x")
    save(tmp_path / "epoch_3.pth", {"state_dict": {"fc.weight": torch.zeros(2)}})
    with pytest.raises(ValueError, match=r"epoch_3\.pth does not fit ResNet.* missing .*of another shape \(fc\.weight\)"):
        export(tmp_path / "epoch_3.pth", "--out", tmp_path / "x")
