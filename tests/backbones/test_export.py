"""Test the export of cards to files of other libraries, and the tools that import and export."""

import json
import subprocess
import sys
from collections import OrderedDict
from importlib import import_module
from types import SimpleNamespace

import pytest
import timm
import torch
import torchvision
from safetensors import safe_open
from safetensors.torch import load_file

import backbones.mmcv_ops  # noqa: F401  (before mmdet and mmseg, which are imported below)
from backbones import BackboneCard
from backbones.common.project import ROOT
from backbones.interchange.exporter import export_card
from backbones.interchange.importer import from_timm, import_backbone
from backbones.probe import TOLERANCE
from tests.helpers.convert import (
    CLASSES,
    assert_equal_tensors,
    assert_same,
    calibrated,
    features,
    hooked,
    one_sentence,
    probe_inputs,
    stages_of,
    tamed,
)
from tests.helpers.weight_files import save  # noqa: F401
from tests.helpers.weight_files import small as small

# ---- export


@pytest.fixture
def full_card(tmp_path):
    """Return a function that writes the card of a network of timm with random weights: ``full_card('resnet18')``."""

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
    reimported = import_backbone(str(file), network=f"timm:{name}").write(tmp_path / "again")
    assert reimported.arch == card.arch
    assert_equal_tensors(reimported.weights, card.weights)
    assert_equal_tensors(reimported.classifier, card.classifier)


@pytest.mark.parametrize("classes", [CLASSES, 0])
def test_torchvision_takes_an_exported_file_whole(full_card, tmp_path, classes, monkeypatch):
    card = full_card("resnet18", classes)
    with monkeypatch.context() as patch:
        patch.chdir(tmp_path)
        lines = export_card(card, "torchvision", "net.pth")
    names = {"torch": torch, "torchvision": torchvision}
    exec("\n".join(line for line in lines if line.startswith("net")), names)  # the printed lines load the file
    net = names["net"]
    assert len(net.state_dict()) == len(card.weights) + (2 if classes else 0)
    x = probe_inputs(card)
    assert_same(features(card, x), hooked(net, stages_of(net), x)[0])


@pytest.mark.parametrize(
    ("arch", "form", "message"),
    [
        (dict(depth=50, variant="a", base_channels=64), "timm", "timm has no network .*; choose --format mm"),
        (dict(depth=50, variant="b", base_channels=8), "timm", "at full width.; choose --format mm"),
        (dict(depth=18, variant="c", base_channels=64), "timm", "resnet50c is c .*; choose --format mm"),
        (
            dict(depth=50, variant="d", base_channels=64),
            "torchvision",
            "ResNets are variant b .*; choose --format timm or mm",
        ),
        (dict(depth=26, variant="b", base_channels=64), "torchvision", "18, 34, 50, 101 and 152.; choose --format timm"),
        (dict(depth=26, variant="b", base_channels=64), "mm", "mm has no network .*; choose --format timm"),
        (dict(name="densenet121", width=1.0), "mm", "mm has no network .*; choose --format timm"),
        (dict(name="densenet121", width=0.5), "timm", "timm has no network .*; no other library has it, so the card is its only"),
    ],
)
def test_a_network_that_a_library_lacks_is_refused(tmp_path, arch, form, message):
    with pytest.raises(ValueError, match=message) as error:
        export_card(SimpleNamespace(arch=arch), form, tmp_path / "net.pth")
    assert one_sentence(error) and not list(tmp_path.iterdir())


def test_no_file_is_written_unless_the_probe_is_reproduced(make_card, tmp_path):
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

    from backbones.transfer.certificate import TransferHook
    from tools.engine.config import Options, resolve

    card = from_timm(tamed(timm.create_model(name))).write(tmp_path / "card")
    cfg = resolve("configs/detection/faster_rcnn_fpn_toy.py", Options(backbone=str(card.path))).cfg
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
    """Return a function that runs tools/export_backbone.py in this process with its arguments and returns the output."""

    def run(*arguments) -> str:
        monkeypatch.setattr(sys, "argv", ["export_backbone.py", *map(str, arguments)])
        monkeypatch.setattr(sys, "path", list(sys.path))
        import_module("tools.export_backbone").export()
        return capsys.readouterr().out

    return run


def test_the_tools_import_and_export(small, tmp_path, export):  # noqa: F811
    state = {f"module.{k}": v for k, v in small.state_dict().items()}
    file = save(tmp_path / "net.pth", OrderedDict(state))

    def import_file(*arguments) -> subprocess.CompletedProcess:
        command = [sys.executable, "tools/import_backbone.py", *map(str, arguments), "--out", str(tmp_path / "card")]
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)

    done = import_file(ROOT / "README.md")
    assert done.returncode == 2 and done.stderr.startswith("error: ") and "it starts with" in done.stderr
    assert len(done.stderr.splitlines()) == 1 and not (tmp_path / "card").exists()
    done = import_file(file, "--mean", 10, 20, 30, "--channel-order", "bgr", "--top1", 71.5)
    assert done.returncode == 0 and "Assumed" in done.stdout and "no classifier; probe by mmseg" in done.stdout, done.stderr
    about = json.loads((tmp_path / "card/card.json").read_text())
    assert (about["mean"], about["channel_order"], about["top1"]) == ([10.0, 20.0, 30.0], "bgr", 71.5)
    assert str(tmp_path) not in json.dumps(about)

    out = export(tmp_path / "card", "--format", "mm", "--out", tmp_path / "mm.pth")
    assert "mmdet: backbone=dict(type='ResNetV1d', depth=50, style='pytorch', base_channels=8, stem_channels=8" in out
    assert torch.load(tmp_path / "mm.pth", weights_only=True)["state_dict"]["stem.7.weight"].shape == (8,)
    with pytest.raises(ValueError, match="is a folder; give a checkpoint"):
        export(tmp_path / "card", "--out", tmp_path / "no")


def test_a_checkpoint_of_a_run_is_exported(toy_root, tmp_path, monkeypatch, export):
    from tools.engine.config import Options, resolve
    from tools.engine.training.building import build_model
    from tools.engine.training.run import dump

    monkeypatch.setenv("DATA_ROOT", str(toy_root.parent))
    narrow = {"model.backbone.base_channels": 8}
    resolved = resolve("configs/classification/resnet50_toy.py", Options([("resnet_d", {})], overrides=narrow))
    (tmp_path / "config.py").write_text(dump(resolved))
    torch.manual_seed(0)
    model = build_model(resolved.cfg)
    save(tmp_path / "epoch_1.pth", {"state_dict": model.state_dict(), "run_key": resolved.key.name})

    assert "ResNet(depth=50, variant=d, base_channels=8)" in export(tmp_path / "epoch_1.pth", "--out", tmp_path / "new")
    card = BackboneCard.load(tmp_path / "new")
    assert card.source["run"] == resolved.key.name and card.top1 is None
    assert_equal_tensors(card.weights, model.backbone.state_dict())
    assert torch.equal(card.classifier["weight"], model.fc.weight)
    assert "mmseg" in export(tmp_path / "epoch_1.pth", "--format", "mm", "--out", tmp_path / "mm.pth")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["config.py", "epoch_1.pth", "mm.pth", "new"]
    with pytest.raises(ValueError, match="There is no checkpoint .*epoch_2.pth; in that folder: epoch_1.pth, mm.pth"):
        export(tmp_path / "epoch_2.pth", "--out", tmp_path / "x")
    save(tmp_path / "epoch_3.pth", {"state_dict": {"fc.weight": torch.zeros(2)}, "run_key": resolved.key.name})
    with pytest.raises(
        ValueError, match=r"epoch_3\.pth does not fit the ImageClassifier.* missing .*of another shape \(fc\.weight\)"
    ):
        export(tmp_path / "epoch_3.pth", "--out", tmp_path / "x")
