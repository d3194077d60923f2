"""Test files of weights: prefixes, containers, precisions, and files that are refused."""

import argparse
import gzip
import io
import os
import pickle
import struct
import tarfile
import zipfile
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
import torchvision
from safetensors.torch import save_file
from torch import nn

import backbones.mmcv_ops  # noqa: F401  (before mmdet and mmseg, which are imported below)
from backbones import ResNet
from backbones.interchange import checkpoint_files as checkpoint
from backbones.interchange.checkpoint_files import read_checkpoint
from backbones.interchange.importer import ASSUMED, import_backbone
from tests.helpers.convert import CLASSES, assert_equal_tensors, one_sentence, tamed
from tests.helpers.weight_files import save, under
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
    assert imported.facts["source"]["prefix"] == f"{container + '.' if container else ''}{prefix}".rstrip(".")


@pytest.mark.parametrize("heads", [("decode_head", "auxiliary_head"), ("neck", "rpn_head", "roi_head")])
def test_the_backbone_of_a_detector_or_segmenter_is_imported(small, tmp_path, heads):
    state = {f"backbone.{k}": v for k, v in small.state_dict().items()}
    state |= {f"{head}.conv.weight": torch.zeros(2, 2, 1, 1) for head in heads}
    imported = import_backbone(save(tmp_path / "net.pth", {"state_dict": state}))
    counts = ", ".join(f"{head} (1)" for head in sorted(heads))
    assert f"Left out, as no part of the backbone (tensors): {counts}." in imported.notes
    assert imported.facts["classifier"] is None
    assert_equal_tensors(imported.net.state_dict(), small.state_dict())


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
    assert_equal_tensors(read_checkpoint(file).content["ema_state_dict"], {"steps": torch.tensor(2)} | under("module.", weights))
    imported = import_backbone(str(file), prefix="ema_state_dict.module.backbone")
    assert_equal_tensors(imported.net.state_dict(), runner.model.backbone.state_dict())
    averaged = import_backbone(str(file), prefix="state_dict.backbone").net.state_dict()
    assert not torch.equal(averaged["layer1.0.conv1.weight"], weights["backbone.layer1.0.conv1.weight"])
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
    named = "std, channel_order, input_size, resampler"
    assert imported.notes[-1] == f"Assumed, since the file does not state them: {named}; options change them."


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: {k: v for k, v in s.items() if k != "layer3.2.bn2.bias"}, r"1 missing \(layer3\.2\.bn2\.bias\)\."),
        (lambda s: {k: v for k, v in s.items() if k != "bn1.num_batches_tracked"}, r"1 missing \(bn1\.num_batches_tracked\)\."),
        (
            lambda s: s | {"layer1.0.se.fc1.weight": torch.zeros(1)},
            r"1 left over \(layer1\.0\.se\.fc1\.weight\); if it is .* add --network timm:NAME\.",
        ),
        (lambda s: s | {"layer2.0.bn1.weight": torch.zeros(9)}, r"1 of another shape \(layer2\.0\.bn1\.weight\)\."),
        (lambda s: s | {"bn1.weight": s["bn1.bias"], "bn1.bias": s["conv1.0.weight"]}, r"of another shape \(bn1\.bias\)\."),
        (lambda s: s | {"fc.weight": torch.zeros(5, 128), "fc.bias": torch.zeros(5)}, "classifier takes 128 features"),
        (lambda s: {k: v for k, v in s.items() if "layer4" not in k}, r"no ResNet of depth .*\(blocks .*\(3, 4, 6, 0\)"),
        (lambda s: {k.replace("layer1.0", "block"): v for k, v in s.items()}, r"holds no ResNet .*first names: conv1\.0\.weight"),
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
    assert_equal_tensors(read_checkpoint(file).content["state_dict"], small.state_dict())
    assert [type(value) for value in read_checkpoint(file).content["meta"]] == [checkpoint.Ignored] * 4
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
    with pytest.raises(ValueError, match="is empty; download or copy it again"):
        import_backbone(str(file))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            b"<!DOCTYPE html><html><body>404</body></html>",
            "is a web page, as a failed download leaves it; download the file itself",
        ),
        (b"\n <html><head></head></html>", "is a web page"),
        (b'<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>', "is a web page"),
        (
            b"version https://git-lfs.github.com/spec/v1\noid sha256:0",
            "is a pointer of Git LFS .*; run git lfs pull in its clone",
        ),
        (gzip.compress(b"weights", mtime=0), "is compressed; unpack it, and give the file of weights in it"),
        (b"\x89HDF\r\n\x1a\n" + bytes(99), "is an HDF5 file, as Keras writes it"),
        (b"not weights at all", "is no file of weights .it starts with 'not weights at all'.; give a .safetensors or torch file"),
    ],
)
def test_files_that_hold_no_weights_are_named(tmp_path, content, message):
    (tmp_path / "net.pth").write_bytes(content)
    with pytest.raises(ValueError, match=message) as error:
        import_backbone(str(tmp_path / "net.pth"))
    one_sentence(error)


def test_a_torchscript_program_is_named(tmp_path):
    torch.jit.script(nn.Linear(2, 1)).save(str(tmp_path / "net.pt"))
    with pytest.raises(ValueError, match=r"is a TorchScript program .*torch\.jit\.load\('net\.pt'\)\.state_dict\(\)") as error:
        import_backbone(str(tmp_path / "net.pt"))
    one_sentence(error)


def test_the_weights_of_a_torchscript_program_are_imported_as_the_message_says(tmp_path):
    net = tamed(torchvision.models.resnet18(num_classes=CLASSES))
    torch.jit.trace(net, torch.zeros(1, 3, 64, 64)).save(str(tmp_path / "net.pt"))
    torch.save(torch.jit.load(tmp_path / "net.pt").state_dict(), tmp_path / "weights.pth")
    imported = import_backbone(str(tmp_path / "weights.pth"))
    assert torch.equal(imported.net.layer4[1].conv2.weight, net.layer4[1].conv2.weight)


def test_a_zip_of_other_files_is_named(tmp_path):
    with zipfile.ZipFile(tmp_path / "net.zip", "w") as archive:
        archive.writestr("net/resnet50.pth", b"x")
    with pytest.raises(ValueError, match=r"is a zip archive that torch\.save has not written \(it holds net/resnet50\.pth\)"):
        import_backbone(str(tmp_path / "net.zip"))


def test_a_pipe_is_refused_without_waiting(tmp_path):
    os.mkfifo(tmp_path / "net.pth")
    with pytest.raises(ValueError, match="is a pipe or a device and no file"):
        import_backbone(str(tmp_path / "net.pth"))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_a_tensor_that_is_not_finite_is_named(small, tmp_path, value):
    state = small.state_dict()
    state["layer3.0.bn1.running_var"][:2] = value
    with pytest.raises(ValueError, match=r"the tensor layer3\.0\.bn1\.running_var holds 2 NaN or infinite values of 32") as error:
        import_backbone(save(tmp_path / "net.pth", state))
    one_sentence(error)


def test_a_negative_variance_gives_no_card(small, tmp_path):
    state = small.state_dict()
    state["layer3.0.bn1.running_var"][:] = -1
    with pytest.raises(ValueError, match="stage 3 of ResNet.* gives features that are NaN or infinite"):
        import_backbone(save(tmp_path / "net.pth", state)).write(tmp_path / "card")


@pytest.mark.parametrize(
    ("name", "change", "fault"),
    [
        ("bn1.weight", lambda t: t.to_sparse(), "is sparse; save the weights as plain floating-point tensors"),
        ("bn1.weight", lambda t: torch.quantize_per_tensor(t, 0.1, 0, torch.qint8), "is quantised"),
        ("bn1.weight", lambda t: t.to("meta"), "has no values"),
        ("bn1.weight", lambda t: t.to(torch.int8), r"is of torch\.int8, and weights are floating-point numbers"),
        ("bn1.weight", lambda t: t.to(torch.complex64), r"is of torch\.complex64"),
        ("fc.weight", lambda t: torch.zeros(CLASSES, 256, dtype=torch.int32), r"is of torch\.int32"),
        ("fc.weight", lambda t: torch.full((CLASSES, 256), float("nan")), "holds 1280 NaN or infinite values"),
        ("fc.bias", lambda t: torch.zeros(1).expand(CLASSES), "claims 5 values and holds fewer"),
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_a_tensor_without_plain_numbers_is_named(small, tmp_path, name, change, fault):
    state = small.state_dict() | {"fc.weight": torch.zeros(CLASSES, 256), "fc.bias": torch.zeros(CLASSES)}
    state[name] = change(state[name])
    with pytest.raises(ValueError, match=rf"net\.pth: the tensor {name} {fault}") as error:
        import_backbone(save(tmp_path / "net.pth", state))
    one_sentence(error)


def test_names_that_break_lines_are_shown_on_one(small, tmp_path):
    imported = import_backbone(save(tmp_path / "net.pth", under("my\nnet.", small.state_dict())))
    assert imported.notes[0] == r"Taken: the network under 'my\nnet'."
    with pytest.raises(ValueError, match="1 left over") as error:
        import_backbone(save(tmp_path / "net.pth", small.state_dict() | {"layer1.0.\n" + "x" * 999: torch.zeros(1)}))
    assert len(one_sentence(error)) < 400


def test_many_networks_are_counted(small, tmp_path):
    content = {f"net{i}": {"layer1.0.conv1.weight": torch.full((2,), float(i))} for i in range(30)}
    with pytest.raises(ValueError, match=r"holds 30 networks: net0, net1, .*, net7 and 22 more; choose one with --prefix\."):
        import_backbone(save(tmp_path / "net.pth", content))


def write_all_formats(folder: Path, state: dict) -> dict[str, Path]:
    """Write a state dict in each format that is read."""
    paths = {name: folder / name for name in ("zip", "old", "tar", "pickle", "safetensors")}
    write_archive(paths["tar"], state)
    torch.save(state, paths["zip"])
    torch.save(state, paths["old"], _use_new_zipfile_serialization=False)
    paths["pickle"].write_bytes(pickle.dumps({name: tensor.numpy() for name, tensor in state.items()}))
    save_file(state, paths["safetensors"])
    return paths


@pytest.mark.parametrize("form", ["zip", "old", "tar", "pickle", "safetensors"])
@pytest.mark.filterwarnings("ignore")
def test_damaged_bytes_of_any_format_give_one_sentence(tmp_path, form):
    path = write_all_formats(tmp_path, {"layer1.0.conv1.weight": torch.ones(2, 3), "bn1.bias": torch.ones(4)})[form]
    whole, random = path.read_bytes(), np.random.default_rng(0)
    for i in range(100):
        damaged = bytearray(whole[: random.integers(len(whole))] if i % 3 == 0 else whole)
        for place in random.integers(max(1, len(damaged)), size=1 + i % 5):
            damaged[place : place + 1] = random.bytes(1)
        (tmp_path / "net.pth").write_bytes(damaged)
        try:
            read_checkpoint(tmp_path / "net.pth")
        except ValueError as error:
            assert "\n" not in str(error) and str(error).startswith(str(tmp_path / "net.pth"))


@pytest.mark.parametrize("width", [0, 1, 7])
def test_a_width_that_no_resnet_has_is_refused(small, tmp_path, width):
    state = small.state_dict() | {"layer1.0.conv1.weight": torch.zeros(width, 8, 1, 1)}
    with pytest.raises(ValueError, match=f"holds no ResNet: layer1.0.conv1.weight has {width} output channels"):
        import_backbone(save(tmp_path / "net.pth", state))


def test_a_network_too_wide_for_the_memory_is_refused_by_its_tensors(small, tmp_path):
    state = small.state_dict() | {"layer1.0.conv1.weight": torch.zeros(10**6, 1, 1, 1)}
    with pytest.raises(ValueError, match=r"does not fit ResNet\(depth=50, variant=d, base_channels=1000000\)"):
        import_backbone(save(tmp_path / "net.pth", state))


def test_a_dict_that_contains_itself_is_searched_once(small, tmp_path):
    content = {"state_dict": small.state_dict()}
    content["self"] = content
    assert_equal_tensors(import_backbone(save(tmp_path / "net.pth", content)).net.state_dict(), small.state_dict())


# ---- old torch


def test_a_file_of_torch_before_1_6_is_imported(small, tmp_path):
    torch.save(small.state_dict(), tmp_path / "net.pth.tar", _use_new_zipfile_serialization=False)
    assert_equal_tensors(import_backbone(str(tmp_path / "net.pth.tar")).net.state_dict(), small.state_dict())


class Name:
    """Stand in a pickle for a class by its name, such as torch.FloatStorage."""

    def __init__(self, name: str):
        self.name = name


class Tensor0:
    """Stand in a pickle for a tensor by its number."""

    def __init__(self, number: int):
        self.number = number


class Pickler0(pickle._Pickler):
    """Pickle as torch before 0.1.10 did: classes by name, tensors as persistent numbers."""

    def persistent_id(self, value):
        return str(value.number) if isinstance(value, Tensor0) else None

    def save_name(self, value: Name) -> None:
        module, _, name = value.name.rpartition(".")
        self.write(b"c" + f"{module}\n{name}\n".encode())
        self.memoize(value)

    dispatch = pickle._Pickler.dispatch | {Name: save_name}


def write_archive(path: Path, state: dict, attack: object = None) -> None:
    """Write a tar archive as torch before 0.1.10 did; torch.load reads it, without ``weights_only``."""
    files = {name: io.BytesIO() for name in ("sys_info", "pickle", "tensors", "storages")}

    def dump(name: str, value) -> None:
        Pickler0(files[name], 2).dump(value)

    kinds = {torch.float32: "Float", torch.int64: "Long"}
    numbers = {name: Tensor0(100 + i) for i, name in enumerate(state)}
    dump("sys_info", {"protocol_version": 1000, "little_endian": True})
    dump("pickle", OrderedDict(numbers) if attack is None else {"state_dict": numbers, "meta": attack})
    dump("tensors", len(state))
    dump("storages", len(state))
    for name, tensor in state.items():
        number, kind = numbers[name].number, kinds[tensor.dtype]
        dump("storages", (number + 1000, "cpu", Name(f"torch.{kind}Storage")))
        flat = tensor.contiguous().flatten()
        files["storages"].write(struct.pack("<q", len(flat)) + flat.numpy().tobytes())
        dump("tensors", (number, number + 1000, Name(f"torch.{kind}Tensor")))
        size, stride = tensor.shape, tensor.contiguous().stride()
        layout = struct.pack("<ii", tensor.ndim, 0) + struct.pack(f"<{2 * tensor.ndim}q", *size, *stride) + struct.pack("<q", 0)
        files["tensors"].write(layout)
    dump("storages", [])
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as archive:
        for name, file in files.items():
            info = tarfile.TarInfo(name)
            info.size = file.tell()
            file.seek(0)
            archive.addfile(info, file)


def test_an_archive_of_torch_before_0_1_10_is_imported(small, tmp_path):
    state = {name: tensor for name, tensor in small.state_dict().items() if "num_batches" not in name}
    write_archive(tmp_path / "net.pth", state)
    assert_equal_tensors(torch.load(tmp_path / "net.pth", weights_only=False), state)  # torch reads the test's file alike
    imported = import_backbone(str(tmp_path / "net.pth"))
    assert_equal_tensors({k: v for k, v in imported.net.state_dict().items() if "num_batches" not in k}, state)


def test_an_archive_of_old_torch_runs_no_code(small, tmp_path):
    trace = tmp_path / "trace"
    write_archive(tmp_path / "net.pth", {"fc.bias": torch.zeros(2)}, Hostile(trace))
    with pytest.raises(ValueError, match=r"net\.pth names (io|_io)\.open, .*add --unpickle, which runs code from the file"):
        import_backbone(str(tmp_path / "net.pth"))
    assert not trace.exists()


def test_an_archive_of_old_torch_cut_short_is_refused(small, tmp_path):
    write_archive(tmp_path / "net.pth", {"a": torch.ones(9999)})
    whole = (tmp_path / "net.pth").read_bytes()
    for length in (600, len(whole) // 2, len(whole) - 20000):
        (tmp_path / "net.pth").write_bytes(whole[:length])
        with pytest.raises(ValueError, match="damaged, or cut short") as error:
            import_backbone(str(tmp_path / "net.pth"))
        one_sentence(error)


def test_a_tar_of_other_files_is_named(tmp_path):
    with tarfile.open(tmp_path / "net.tar", "w") as archive:
        archive.addfile(tarfile.TarInfo("resnet50.pth"))
    with pytest.raises(ValueError, match=r"is a tar archive of resnet50\.pth; unpack it, and give the file of weights in it"):
        import_backbone(str(tmp_path / "net.tar"))


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
