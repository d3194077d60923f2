"""Test files of weights: prefixes, containers, precisions, and files that are refused."""

import argparse
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import nn

import backbones.mmcv_ops  # noqa: F401  (before mmdet and mmseg, which are imported below)
from backbones import ResNet
from backbones.interchange import checkpoint_files as checkpoint
from backbones.interchange.checkpoint_files import read_checkpoint
from backbones.interchange.importer import ASSUMED, import_backbone
from tests.helpers.convert import CLASSES, assert_equal_tensors, one_sentence, tamed
from tests.helpers.weight_files import save
from tests.helpers.weight_files import small as small
from tools.engine.config import resolve
from tools.engine.training.run import dump

# ---- contents of a file


@pytest.mark.parametrize("prefix", ["", "module.", "backbone.", "module.backbone.", "model.backbone.", "model.module."])
@pytest.mark.parametrize("container", [None, "state_dict", "model"])
def test_prefixes_and_containers_are_removed(small, tmp_path, prefix, container):
    state = {prefix + k: v for k, v in small.state_dict().items()}
    outer = prefix.removesuffix("backbone.") if "backbone" in prefix else prefix
    state |= {f"{outer}fc.weight": torch.randn(CLASSES, 256), f"{outer}fc.bias": torch.zeros(CLASSES)}
    file = save(tmp_path / "net.pth", {container: state, "epoch": 3} if container else state)
    imported = import_backbone(file)
    assert_equal_tensors(imported.net.state_dict(), small.state_dict())
    assert torch.equal(imported.facts["classifier"]["weight"], state[f"{outer}fc.weight"])
    assert imported.facts["source"]["weights"] == "plain"


@pytest.mark.parametrize("heads", [("decode_head", "auxiliary_head"), ("neck", "rpn_head", "roi_head")])
def test_the_backbone_of_a_detector_or_segmenter_is_imported(small, tmp_path, heads):
    state = {f"backbone.{k}": v for k, v in small.state_dict().items()}
    state |= {f"{head}.conv.weight": torch.zeros(2, 2, 1, 1) for head in heads}
    imported = import_backbone(save(tmp_path / "net.pth", {"state_dict": state}))
    assert f"Left out, as no part of the backbone: {', '.join(sorted(heads))}." in imported.notes
    assert imported.facts["classifier"] is None
    assert_equal_tensors(imported.net.state_dict(), small.state_dict())


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


def test_a_runner_checkpoint_of_mmengine_is_imported(tmp_path):
    """Read a checkpoint with message hub, optimiser, and an EMAHook, which swaps the two state dicts on saving."""
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
    weights = runner.model.state_dict()
    assert_equal_tensors(read_checkpoint(file).state, weights)
    ema = read_checkpoint(file, ema=True).state
    assert ema.keys() == weights.keys() and not torch.equal(ema["fc.weight"], weights["fc.weight"])
    imported = import_backbone(str(file))
    assert_equal_tensors(imported.net.state_dict(), runner.model.backbone.state_dict())
    card = imported.write(tmp_path / "card")
    assert card.arch == {"depth": 26, "variant": "d", "base_channels": 2}
    assert card.source["probe"] == "backbones" and "no other library here has that network" in imported.notes[-1]


def test_old_and_half_precision_files_are_converted(small, tmp_path):
    old = {k: v for k, v in small.state_dict().items() if not k.endswith("num_batches_tracked")}
    imported = import_backbone(save(tmp_path / "old.pth", old))
    assert "num_batches_tracked) are not in the file; they are set to 0" in imported.notes[0]
    assert_equal_tensors(imported.net.state_dict(), small.state_dict())
    imported.write(tmp_path / "card")
    half = {k: v.half() if v.is_floating_point() else v for k, v in small.state_dict().items()}
    imported = import_backbone(save(tmp_path / "half.pth", half))
    assert imported.notes[0] == "Tensors of torch.float16 are converted to float32."
    assert imported.net.bn1.weight.dtype == torch.float32
    imported.write(tmp_path / "card")


def test_facts_that_a_file_lacks_are_assumed_and_reported(small, tmp_path):
    file = save(tmp_path / "net.pth", small.state_dict())
    imported = import_backbone(file, mean=[1.0, 2.0, 3.0])
    card = imported.write(tmp_path / "card")
    assert card.mean == [1.0, 2.0, 3.0] and card.std == ASSUMED["std"]
    assert card.source["assumed"] == ["channel_order", "input_size", "resampler", "std"]
    note = imported.notes[-1]
    assert "Assumed" in note and "std [58.395, 57.12, 57.375]" in note and "mean" not in note


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
    assert import_backbone(basic).net.arch["variant"] == "b"  # at this depth the two are the same network
    assert import_backbone(basic, variant="a").net.arch["variant"] == "a"


# ---- refused files


class Hostile:
    """Create a file when unpickled."""

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
    """Read an attribute when unpickled: getattr is in every runner checkpoint."""

    def __reduce__(self):
        return getattr, (OrderedDict, "__init__")


def test_objects_allowed_beside_tensors_are_not_called(small, tmp_path):
    beside = [Attribute(), np.float64(0.5), np.arange(3), argparse.Namespace(lr=0.1)]
    file = save(tmp_path / "net.pth", {"state_dict": small.state_dict(), "meta": beside})
    assert_equal_tensors(read_checkpoint(file).state, small.state_dict())
    assert [type(value) for value in checkpoint._read(Path(file), unpickle=False)["meta"]] == [checkpoint.Ignored] * 4
    assert checkpoint.Ignored not in torch.serialization.get_safe_globals()  # allowed only during the read


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
def test_the_remains_of_a_failed_download_are_refused(tmp_path, text):
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
    (run / "config.py").write_text(dump(resolve("configs/classification/resnet50_toy.py")))
    (run / "epoch_1.pth").touch()
    for path in (run, run / "epoch_1.pth"):
        with pytest.raises(ValueError, match="belongs to a run of this project; tools/export_backbone.py"):
            import_backbone(str(path))
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="is a folder; give a file"):
        import_backbone(str(tmp_path / "empty"))
