"""Import checkpoints as training frameworks write them: each names, wraps and accompanies a network in its own way."""

import argparse
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
import torchvision
from torch import nn

from backbones import ResNet
from backbones.interchange.importer import import_backbone
from backbones.probe import difference
from tests.helpers.convert import assert_equal_tensors, calibrated, one_sentence, probe_inputs, tamed
from tests.helpers.weight_files import save, under


@pytest.fixture(scope="module")
def net() -> ResNet:
    """Return a ResNet-18 of width 8, which has the names of torchvision's."""
    return tamed(ResNet(18, "b", base_channels=8))


def other(state: dict) -> dict:
    """Return another network of the same shapes, as the key encoder or the teacher is."""
    return {name: tensor * 2 for name, tensor in state.items()}


def mlp(prefix: str) -> dict:
    """Return a projection head: linear, BN, linear."""
    shapes = {"0.weight": (32, 64), "1.weight": (32,), "1.running_mean": (32,), "1.running_var": (32,), "3.weight": (16, 32)}
    return {prefix + name: torch.ones(shape) for name, shape in shapes.items()}


def fc(prefix: str, classes: int = 5) -> dict:
    return {f"{prefix}fc.weight": torch.ones(classes, 64), f"{prefix}fc.bias": torch.ones(classes)}


def compiled_inside(state: dict) -> dict:
    """Return the names of a network whose stages are compiled one by one."""
    return {name.replace("layer1.", "layer1._orig_mod.").replace("layer4.", "layer4._orig_mod."): t for name, t in state.items()}


def children(state: dict) -> dict:
    numbers = {"conv1": "0", "bn1": "1", "layer1": "4", "layer2": "5", "layer3": "6", "layer4": "7"}
    return {f"{numbers[name.partition('.')[0]]}.{name.partition('.')[2]}": tensor for name, tensor in state.items()}


def detectron2(state: dict) -> dict:
    """Return the names of detectron2, made as its convert-torchvision-to-d2.py makes them, without the counters of BN."""
    renamed = {}
    for old, tensor in state.items():
        name = old if "layer" in old else f"stem.{old}"
        for i in (1, 2, 3, 4):
            name = name.replace(f"layer{i}", f"res{i + 1}")
        for i in (1, 2, 3):
            name = name.replace(f"bn{i}", f"conv{i}.norm")
        name = name.replace("downsample.0", "shortcut").replace("downsample.1", "shortcut.norm")
        renamed[name] = tensor
    return {name: tensor for name, tensor in renamed.items() if "num_batches" not in name}


def c4(state: dict) -> dict:
    """Return the names of a C4 detector of detectron2, whose last stage is in its heads."""
    place = {name: "roi_heads." if name.startswith("res5.") else "backbone." for name in detectron2(state)}
    return {place[name] + name: tensor for name, tensor in detectron2(state).items()}


ONE = {  # framework: the content of its file, where the network lies in it, and the parts beside it
    "torch.compile": (lambda s: under("_orig_mod.", s | fc("")), "", ""),
    "torch.compile of stages": (lambda s: {"model": compiled_inside(s)}, "model", ""),
    "DDP of torch.compile": (lambda s: {"model_state_dict": under("module._orig_mod.", s)}, "model_state_dict.module", ""),
    "FSDP": (lambda s: {"model": under("_fsdp_wrapped_module.", s)}, "model", ""),
    "a training script": (lambda s: {"net": under("module.", s), "acc": 71.2, "epoch": 9}, "net.module", ""),
    "SimSiam": (
        lambda s: {
            "arch": "resnet50",
            "state_dict": under("module.encoder.", s) | mlp("module.encoder.fc.") | mlp("module.predictor."),
        },
        "state_dict.module.encoder",
        "module.encoder.fc (5), module.predictor (5)",
    ),
    "SwAV": (
        lambda s: under("module.", s) | mlp("module.projection_head.") | {"module.prototypes.weight": torch.ones(30, 16)},
        "module",
        "module.projection_head (5), module.prototypes (1)",
    ),
    "Barlow Twins": (
        lambda s: {"epoch": 1, "model": under("module.backbone.", s) | mlp("module.projector.")},
        "model.module.backbone",
        "module.projector (5)",
    ),
    "VISSL": (
        lambda s: {
            "classy_state_dict": {"base_model": {"model": {"trunk": under("_feature_blocks.", s), "heads": mlp("0.clf.")}}}
        },
        "classy_state_dict.base_model.model.trunk._feature_blocks",
        "",
    ),
    "Lightning": (
        lambda s: {
            "epoch": 3,
            "pytorch-lightning_version": "2.1.0",
            "hyper_parameters": {"lr": 0.1, "name": "resnet18", "betas": (0.9, 0.99)},
            "callbacks": {"ModelCheckpoint": {"best_model_score": torch.tensor(1.0), "dirpath": "x"}},
            "optimizer_states": [{"state": {0: {"momentum_buffer": torch.ones(3)}}}],
            "state_dict": under("model.", s | fc("")) | {"criterion.weight": torch.ones(5), "val_acc.tp": torch.zeros(5)},
        },
        "state_dict.model",
        "criterion (1), val_acc (1)",
    ),
    "lightly": (
        lambda s: {"state_dict": under("backbone.", children(s)) | mlp("projection_head.layers.")},
        "state_dict.backbone",
        "projection_head (5)",
    ),
    "solo-learn": (
        lambda s: {
            "state_dict": under("backbone.", s) | mlp("projector.") | {f"classifier.{k[3:]}": v for k, v in fc("").items()}
        },
        "state_dict.backbone",
        "projector (5)",
    ),
    "SparK": (
        lambda s: {
            "module": under("sparse_encoder.sp_cnn.", s)
            | {"dense_decoder.dec.0.up_sample.weight": torch.ones(4, 4, 4, 4), "mask_tokens.0": torch.ones(1, 64, 1, 1)}
            | {"imn_m": torch.ones(1, 3, 1, 1), "config": {"mask_ratio": 0.6}},
            "is_pretrain": True,
        },
        "module.sparse_encoder.sp_cnn",
        "dense_decoder (1), imn_m (1), mask_tokens (1)",
    ),
    "detectron2": (
        lambda s: {
            "model": under("backbone.bottom_up.", detectron2(s)) | {"backbone.fpn_lateral2.weight": torch.ones(4, 4, 1, 1)},
            "iteration": 5,
        },
        "model.backbone.bottom_up",
        "backbone.fpn_lateral2 (1)",
    ),
    "detectron2, C4": (
        lambda s: {"model": c4(s) | {"roi_heads.box_predictor.x": torch.ones(1)}},
        "model.backbone",
        "roi_heads (1)",
    ),
    "torchvision's detectors": (
        lambda s: under("backbone.body.", s) | {"backbone.fpn.w": torch.ones(1, 1, 1, 1)},
        "backbone.body",
        "backbone.fpn (1)",
    ),
}


@pytest.mark.parametrize("framework", ONE)
def test_the_network_of_a_framework_is_found(net, tmp_path, framework):
    write, label, beside = ONE[framework]
    imported = import_backbone(save(tmp_path / "net.pth", write(net.state_dict())))
    assert imported.facts["source"]["prefix"] == label
    assert (f"Taken: the network under {label}." in imported.notes) == bool(label)
    assert_equal_tensors(without_counters(imported.net.state_dict()), without_counters(net.state_dict()))
    (note,) = [note for note in imported.notes if note.startswith("Left out")] or [""]
    assert note == (f"Left out, as no part of the backbone (tensors): {beside}." if beside else "")


def without_counters(state: dict) -> dict:
    return {name: tensor for name, tensor in state.items() if "num_batches" not in name}


SEVERAL = {  # framework: its file, all of its networks, and one of them
    "MoCo": (
        lambda s: {
            "state_dict": under("module.encoder_q.", s | fc("", 128))
            | under("module.encoder_k.", other(s) | fc("", 128))
            | {"module.queue": torch.ones(128, 9), "module.queue_ptr": torch.zeros(1)}
        },
        "state_dict.module.encoder_q, state_dict.module.encoder_k",
        "encoder_q",
    ),
    "DINO": (
        lambda s: {
            "student": under("module.backbone.", s) | mlp("module.head."),
            "teacher": under("backbone.", other(s)) | mlp("head."),
            "args": argparse.Namespace(arch="resnet50"),
        },
        "student.module.backbone, teacher.backbone",
        "student.module.backbone.",
    ),
    "BYOL": (
        lambda s: under("online_encoder.net.", s) | under("target_encoder.net.", other(s)) | mlp("online_predictor.net."),
        "online_encoder.net, target_encoder.net",
        "online_encoder.net",
    ),
    "timm": (lambda s: {"state_dict": s, "state_dict_ema": other(s)}, "state_dict, state_dict_ema", "state_dict"),
    "torchvision's script": (
        lambda s: {"model": s, "model_ema": under("module.", other(s)) | {"n_averaged": torch.tensor(3)}},
        "model, model_ema.module",
        "model",
    ),
    "mmengine with EMA": (
        lambda s: {"state_dict": s, "ema_state_dict": under("module.", other(s)) | {"steps": torch.tensor(3)}},
        "state_dict (averaged: mmengine's EMAHook swaps the two), ema_state_dict.module",
        "state_dict",
    ),
}


@pytest.mark.parametrize("framework", SEVERAL)
def test_several_networks_are_listed_and_chosen_by_prefix(net, tmp_path, framework):
    write, labels, prefix = SEVERAL[framework]
    file = save(tmp_path / "net.pth", write(net.state_dict()))
    with pytest.raises(ValueError) as error:
        import_backbone(file)
    assert f"holds 2 networks: {labels}; choose one with --prefix." in one_sentence(error)
    assert_equal_tensors(import_backbone(file, prefix=prefix).net.state_dict(), net.state_dict())


def test_a_projection_of_moco_is_no_classifier(net, tmp_path):
    file = save(tmp_path / "net.pth", SEVERAL["MoCo"][0](net.state_dict()))
    imported = import_backbone(file, prefix="encoder_q")
    assert imported.facts["classifier"] is None
    parts = "module.encoder_k (122), module.encoder_q.fc (2), module.queue (1), module.queue_ptr (1)"
    assert f"Left out, as no part of the backbone (tensors): {parts}." in imported.notes


@pytest.mark.parametrize("prefix", ["", "nowhere", "encoder", "module"])
def test_a_prefix_that_names_no_network_is_refused(net, tmp_path, prefix):
    file = save(tmp_path / "net.pth", SEVERAL["MoCo"][0](net.state_dict()))
    with pytest.raises(ValueError, match=r"choose one of state_dict\.module\.encoder_q, state_dict\.module\.encoder_k\."):
        import_backbone(file, prefix=prefix)


def test_equal_copies_are_one_network(net, tmp_path):
    state = net.state_dict()
    imported = import_backbone(save(tmp_path / "net.pth", under("model.", state) | under("backbone.", state)))
    assert "Equal copies are left out: backbone." in imported.notes
    assert_equal_tensors(imported.net.state_dict(), state)


def test_a_network_of_timm_is_found_under_a_prefix(tmp_path):
    whole = calibrated(timm.create_model("mobilenetv1_100", num_classes=5))
    content = {"state_dict": under("model.", whole.state_dict()) | {"criterion.weight": torch.ones(5)}}
    imported = import_backbone(save(tmp_path / "net.pth", content), network="timm:mobilenetv1_100")
    assert "Left out, as no part of the backbone (tensors): criterion (1)." in imported.notes
    card = imported.write(tmp_path / "card")
    assert torch.equal(card.classifier["weight"], whole.classifier.weight) and card.source["prefix"] == "state_dict.model"


def test_a_stem_of_another_network_keeps_its_names(tmp_path):
    whole = timm.create_model("convnext_atto", num_classes=5)  # has stem.0 and stem.1, as the ResNets of mmseg
    file = save(tmp_path / "net.pth", {"model": whole.state_dict()})
    card = import_backbone(file, network="timm:convnext_atto").write(tmp_path / "card")
    assert torch.equal(card.weights["net.stem_0.weight"], whole.stem[0].weight)


def test_children_of_a_named_resnet_are_found(tmp_path):
    whole = tamed(timm.create_model("resnet18", num_classes=0))
    file = save(tmp_path / "net.pth", {"state_dict": under("backbone.", children(whole.state_dict()))})
    imported = import_backbone(file, network="timm:resnet18")
    assert torch.equal(imported.net.layer4[1].conv2.weight, whole.layer4[1].conv2.weight)


@pytest.mark.parametrize(
    ("beside", "named"),
    [
        ({"conv2.weight": torch.ones(8, 8, 3, 3), "bn2.running_var": torch.ones(8)}, "bn2, conv2"),
        ({"attention.0.weight": torch.ones(8, 8, 1, 1)}, "attention"),
    ],
)
def test_convolutions_beside_the_stages_are_refused(net, tmp_path, beside, named):
    """A deeper stem has them, and its features would be others."""
    with pytest.raises(ValueError, match=f"convolutions or norms that it does not have: {named}\\."):
        import_backbone(save(tmp_path / "net.pth", net.state_dict() | beside))


def test_a_resnext_is_told_from_a_resnet(tmp_path):
    with torch.device("meta"):
        shapes = {k: v.shape for k, v in timm.create_model("resnext50_32x4d", num_classes=0).state_dict().items()}
    state = {name: torch.zeros(shape) for name, shape in shapes.items()}
    with pytest.raises(ValueError, match=r"of another shape .*if it is a ResNeXt, .*add --network timm:NAME\."):
        import_backbone(save(tmp_path / "net.pth", state), variant="b")


# ---- the same features as the source network


@torch.no_grad()
def source_features(whole: nn.Module, x: torch.Tensor) -> list[torch.Tensor]:
    """Return the features of torchvision's ``whole`` in float64."""
    whole = whole.double().eval()
    x, features = whole.maxpool(whole.relu(whole.bn1(whole.conv1(x)))), []
    for stage in (whole.layer1, whole.layer2, whole.layer3, whole.layer4):
        features.append(x := stage(x))
    return [feature.float() for feature in features]


@pytest.fixture(scope="module")
def resnet18() -> nn.Module:
    return tamed(torchvision.models.resnet18(num_classes=5))


def same_features(file: str, whole: nn.Module, folder: Path, **options) -> None:
    card = import_backbone(file, **options).write(folder)
    for ours, theirs in zip(card.probe, source_features(whole, probe_inputs(card)), strict=True):
        assert theirs.abs().max() > 0.1 and difference(ours, theirs) <= 1e-5


def test_a_sequential_of_children_has_the_features_of_its_network(resnet18, tmp_path):
    backbone = nn.Sequential(*list(resnet18.children())[:-1])  # as lightly's examples build it
    file = save(tmp_path / "net.pth", under("backbone.", backbone.float().state_dict()))
    same_features(file, resnet18, tmp_path / "card")


def test_a_pickle_of_arrays_with_detectron2s_names_has_the_features_of_its_network(resnet18, tmp_path):
    import pickle

    arrays = {name: tensor.numpy() for name, tensor in detectron2(resnet18.float().state_dict()).items()}
    for protocol in (2, 3, 4, 5):
        content = {"model": arrays, "__author__": "torchvision", "matching_heuristics": True}
        (tmp_path / "R-18.pkl").write_bytes(pickle.dumps(content, protocol=protocol))
        same_features(str(tmp_path / "R-18.pkl"), resnet18, tmp_path / str(protocol))


def test_a_pickle_of_objects_is_refused(tmp_path):
    import pickle

    (tmp_path / "net.pkl").write_bytes(pickle.dumps({"model": np.random.default_rng}))
    with pytest.raises(ValueError, match=r"net\.pkl names numpy\.random\.\S*default_rng, .*add --unpickle"):
        import_backbone(str(tmp_path / "net.pkl"))
