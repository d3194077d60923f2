"""Test large batch and its micro-batches, low precision, and which parameters decay."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmengine.config import ConfigDict
from mmengine.optim import build_optim_wrapper
from mmengine.registry import MODELS
from torch import nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm

from backbones.resolving import Machine, Request, divide
from classification import ImageClassifier, LowPrecisionOptimWrapper, UpdateHook
from classification.dtypes import resolve_dtype, set_precision
from classification.micro_batches import micro_batches
from classification.resolve import resolve as resolve_values
from tests.helpers.networks import MEAN, STD
from tools.engine.config import Options, load, resolve

SCALES = ("paper", "mini", "toy")
PREPROCESSOR = dict(type="classification.ImagePreprocessor", mean=MEAN, std=STD)


def composed(tricks: list, scale: str = "toy", machine: Machine | None = None, **overrides):
    """Return the resolved config of ResNet-50 with these tricks."""
    return resolve(f"configs/classification/resnet50_{scale}.py", Options(tricks=tricks, overrides=overrides), machine).cfg


# ---- large batch


@pytest.mark.parametrize("factor", [2, 4, 8])
@pytest.mark.parametrize("scale", SCALES)
def test_large_batch_scales_the_learning_rate_and_the_micro_batch(scale, factor):
    cfg, base = composed([("large_batch", {"factor": factor})], scale), composed([], scale)
    values = load(f"configs/classification/resnet50_{scale}.py")
    assert (base.batch, base.micro_batch) == (values.batch, values.micro_batch)
    assert (cfg.batch, cfg.micro_batch) == (factor * base.batch, factor * base.micro_batch)
    assert cfg.optim_wrapper.optimizer.lr == pytest.approx(factor * base.optim_wrapper.optimizer.lr)


def test_batch_and_learning_rate_are_those_of_the_paper():
    paper = composed([], "paper")
    assert (paper.batch, paper.micro_batch, paper.optim_wrapper.optimizer.lr, paper.epochs) == (256, 32, 0.1, 120)
    paper = composed(["large_batch"], "paper")
    assert (paper.batch, paper.micro_batch, paper.optim_wrapper.optimizer.lr) == (1024, 128, pytest.approx(0.4))
    assert paper.model.micro_batch == 128 and paper.optim_wrapper.accumulative_counts == 8


@pytest.mark.parametrize(
    ("batch", "micro", "world", "parts"),
    [
        *((256, 32, world, (256 // world, 8 // world)) for world in (1, 2, 4, 8)),
        *((1024, 128, world, (1024 // world, 8 // world)) for world in (1, 2, 4, 8)),
        *((96, 16, 3, (32, 2)), (96, 16, 6, (16, 1)), (16, 16, 1, (16, 1)), (16, 1, 4, (4, 4)), (8, 16, 1, (8, 1))),
        *((12, None, 1, (12, 1)), (12, None, 4, (3, 1))),
    ],
)
def test_a_batch_is_divided_among_processes_and_then_into_micro_batches(batch, micro, world, parts):
    cfg = ConfigDict(batch=batch, micro_batch=micro) if micro else ConfigDict(batch=batch)
    images, count = divide(cfg, world)
    assert (images, count) == parts
    assert images * world == batch and (not micro or images == count * min(micro, batch))


@pytest.mark.parametrize(
    ("batch", "micro", "world", "message"),
    [
        (256, 32, 3, r"batch of 256 in parts of 32, .*\(micro_batch\), can be divided among 1, 2, 4, 8 processes, not 3;"),
        (1024, 128, 16, r"can be divided among 1, 2, 4, 8 processes, not 16; .*--cfg-options micro_batch=N"),
        (96, 16, 4, r"can be divided among 1, 2, 3, 6 processes, not 4"),
        (16, 16, 2, r"can be divided among 1 processes, not 2"),
        (100, 32, 1, r"batch of 100 is no multiple of micro_batch, 32"),
        (12, None, 5, r"batch of 12 images can be divided among 1, 2, 3, 4, 6, 12 processes, not 5; .*protocol.batch=N"),
    ],
)
def test_a_batch_that_cannot_be_divided_is_refused(batch, micro, world, message):
    with pytest.raises(ValueError, match=message):
        divide(ConfigDict(batch=batch) if micro is None else ConfigDict(batch=batch, micro_batch=micro), world)


def test_a_batch_is_split_into_parts_that_restore_it():
    data = {"inputs": torch.arange(24.0).view(12, 2), "labels": torch.arange(12)}
    for size, count in ((3, 4), (4, 3), (12, 1), (None, 1), (1, 12)):
        parts = micro_batches(data, size)
        assert len(parts) == count
        for key, whole in data.items():
            assert torch.equal(torch.cat([part[key] for part in parts]), whole)
    for size in (5, 24):
        with pytest.raises(ValueError, match=f"batch of 12 images cannot be divided into parts of {size} .micro_batch."):
            micro_batches(data, size)


# ---- micro-batches


def batches(count: int, size: int = 16) -> list[dict]:
    """Return batches of random images and labels."""
    rng = torch.Generator().manual_seed(7)
    images = torch.randint(256, (count, size, 3, 12, 12), generator=rng, dtype=torch.uint8)
    labels = torch.randint(5, (count, size), generator=rng)
    return [{"inputs": x, "labels": y} for x, y in zip(images, labels, strict=True)]


def small_classifier(micro: int | None, norm: bool = False) -> ImageClassifier:
    """Build a classifier in float64 that is always initialised alike."""
    torch.manual_seed(0)
    loss = dict(type="torch.nn.CrossEntropyLoss", label_smoothing=0.1)
    model = ImageClassifier(dict(type="tests.helpers.batch.TwoConvolutions", norm=norm), 5, loss, PREPROCESSOR, micro_batch=micro)
    return model.double().train()


def train(model, data: list[dict], kind: dict, count: int) -> list[float]:
    """Train as a run of this project does, and return the losses."""
    optimiser = dict(type="SGD", lr=0.1, momentum=0.9, nesterov=True, weight_decay=1e-2)
    wrapper = build_optim_wrapper(model, ConfigDict(kind | dict(optimizer=optimiser, accumulative_counts=count)))
    steps = []
    wrapper.optimizer.register_step_post_hook(lambda *_: steps.append(1))
    wrapper.initialize_count_status(model, 0, len(data))  # as MMEngine's runner does
    UpdateHook().before_train(SimpleNamespace(model=model, optim_wrapper=wrapper))
    losses = [float(model.train_step(part, wrapper)["loss"].detach()) for part in data]
    assert len(steps) == len(data)
    return losses


def train_plainly(data: list[dict]) -> tuple[list[float], dict]:
    """Train alike in plain torch on whole batches, and return losses and weights."""
    model = small_classifier(None)
    optimiser = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, nesterov=True, weight_decay=1e-2)
    losses = []
    for part in data:
        x = (part["inputs"].double() - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1)
        logits = model.fc(model.backbone(x)[-1].mean((2, 3)))
        loss = F.cross_entropy(logits, part["labels"], label_smoothing=0.1)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    return losses, model.state_dict()


@pytest.mark.parametrize(
    "kind", [dict(type="OptimWrapper"), dict(type="classification.LowPrecisionOptimWrapper", dtype="float32")]
)
@pytest.mark.parametrize("micro", [None, 16, 8, 4, 2])
@pytest.mark.parametrize("updates", [6, 7])
def test_micro_batches_train_as_one_batch_does(kind, micro, updates):
    """Train without BN; the number of updates need not be a multiple of that of the micro-batches."""
    data = batches(updates)
    model = small_classifier(micro)
    losses = train(model, data, kind, 16 // (micro or 16))
    expected, weights = train_plainly(data)
    np.testing.assert_allclose(losses, expected, rtol=1e-10, atol=1e-10)
    start = small_classifier(None).state_dict()
    for name, value in model.state_dict().items():
        torch.testing.assert_close(value, weights[name], rtol=1e-10, atol=1e-10)
        assert (value - start[name]).abs().max() > 1e-3


@pytest.mark.parametrize("micro", [16, 8, 4])
def test_running_statistics_move_once_an_update_by_the_mean_over_its_micro_batches(micro):
    data = batches(1)
    model = small_classifier(micro, norm=True)
    weight, bias = (p.detach().numpy().copy() for p in model.backbone.conv1.parameters())
    train(model, data, dict(type="OptimWrapper"), 16 // micro)
    x = (data[0]["inputs"].numpy() - np.float32(MEAN)[:, None, None].astype(float)) / np.float32(STD)[:, None, None].astype(float)
    patches = np.lib.stride_tricks.sliding_window_view(x, (3, 3), axis=(2, 3))[:, :, ::2, ::2]
    values = np.einsum("nchwij,kcij->nkhw", patches, weight) + bias[:, None, None]
    parts = np.split(values, 16 // micro)
    mean = np.mean([part.mean((0, 2, 3)) for part in parts], axis=0)
    variance = np.mean([part.transpose(1, 0, 2, 3).reshape(5, -1).var(1, ddof=1) for part in parts], axis=0)
    norm = model.backbone.bn
    np.testing.assert_allclose(norm.running_mean.numpy(), 0.1 * mean, rtol=1e-9)
    np.testing.assert_allclose(norm.running_var.numpy(), 0.9 + 0.1 * variance, rtol=1e-9)
    assert norm.num_batches_tracked == 1


# ---- decay


SMALL = [
    *((dict(depth=50, variant=v, base_channels=16), 53 if v in "ab" else 55) for v in "abcd"),
    *((dict(depth=d, base_channels=8), norms) for d, norms in ((18, 20), (101, 104), (152, 155))),
    *((dict(name=n, width=0.25), norms) for n, norms in (("inception_v3", 94), ("mobilenetv1_100", 27), ("densenet201", 201))),
    *((dict(name=n, width=0.25), 53) for n in ("resnext50_32x4d", "seresnet50")),
]


@pytest.mark.parametrize(("arch", "norms"), SMALL, ids=lambda value: "-".join(map(str, getattr(value, "values", list)())))
def test_no_bias_decay_spares_every_bias_and_every_norm(arch, norms):
    values = load("configs/classification/resnet50_toy.py")
    values.model.backbone = dict(type="backbones.TimmBackbone" if "name" in arch else "backbones.ResNet", **arch)
    toy = resolve_values(values, Request(Machine.here(), tricks=["no_bias_decay"]))
    model = MODELS.build(toy.model)
    groups = build_optim_wrapper(model, toy.optim_wrapper).optimizer.param_groups
    decay = {id(p): group["weight_decay"] for group in groups for p in group["params"]}
    assert len(decay) == len(list(model.parameters()))
    modules = {_BatchNorm: 0, nn.Conv2d: 0, nn.Linear: 0}
    for module in model.modules():
        for kind in (k for k in modules if isinstance(module, k)):
            modules[kind] += 1
            assert decay.pop(id(module.weight)) == (0.0 if kind is _BatchNorm else 1e-4)
            assert module.bias is None or decay.pop(id(module.bias)) == 0.0
    assert not decay  # no parameter belongs to any other module
    assert (modules[_BatchNorm], modules[nn.Linear]) == (norms, 1)
    assert {group["lr"] for group in groups} == {toy.optim_wrapper.optimizer.lr}


def test_without_the_trick_everything_decays():
    toy = composed([])
    groups = build_optim_wrapper(MODELS.build(toy.model), toy.optim_wrapper).optimizer.param_groups
    assert {group["weight_decay"] for group in groups} == {1e-4}
    assert toy.optim_wrapper.optimizer.to_dict() == dict(type="SGD", lr=0.003125, momentum=0.9, nesterov=True, weight_decay=1e-4)


# ---- precision


@pytest.mark.parametrize(
    ("cuda", "hardware", "dtype"),
    [(True, True, "float16"), (True, False, "float16"), (False, True, "bfloat16"), (False, False, "float32")],
)
def test_auto_chooses_a_dtype_that_the_machine_supports(monkeypatch, cuda, hardware, dtype):
    monkeypatch.delenv("TRICKTRANSFER_DEVICE", raising=False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx2": True, "avx512_bf16": hardware})
    for machine in (None, Machine(threads=1, cuda=cuda, bf16=hardware)):
        assert resolve_dtype("auto", machine) == dtype
        assert [resolve_dtype(d, machine) for d in ("bfloat16", "float32")] == ["bfloat16", "float32"]
        assert composed(["low_precision"], machine=machine).precision == dtype


def test_float16_needs_cuda(monkeypatch):
    monkeypatch.delenv("TRICKTRANSFER_DEVICE", raising=False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    for machine in (None, Machine(threads=1, cuda=False, bf16=True)):
        with pytest.raises(ValueError, match="dtype=float16 needs CUDA.*give bfloat16"):
            composed([("low_precision", {"dtype": "float16"})], machine=machine)


def test_float16_is_mmengines_own_wrapper_with_loss_scaling():
    toy = composed(["low_precision"], machine=Machine(threads=1, cuda=True, bf16=False))
    assert (toy.precision, toy.optim_wrapper.type, toy.optim_wrapper.loss_scale) == ("float16", "AmpOptimWrapper", "dynamic")


def test_the_precision_of_a_config_without_the_trick_is_float32():
    toy = composed([])
    before = toy.optim_wrapper.to_dict()
    assert toy.precision == "float32" and toy.optim_wrapper.type == "OptimWrapper" and "dtype" not in toy.optim_wrapper
    assert set_precision(toy.optim_wrapper, None) == "float32" and toy.optim_wrapper.to_dict() == before


@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
def test_low_precision_computes_in_16_bits_and_keeps_weights_in_32(dtype):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 36, 4))
    cfg = ConfigDict(type="classification.LowPrecisionOptimWrapper", dtype=dtype, optimizer=dict(type="SGD", lr=0.1))
    wrapper = build_optim_wrapper(net, cfg)
    assert isinstance(wrapper, LowPrecisionOptimWrapper)
    before = {k: v.clone() for k, v in net.state_dict().items()}
    x = torch.randn(4, 3, 8, 8)
    exact = net(x).detach()
    with wrapper.optim_context(net):
        logits = net(x)
        loss = logits.float().square().mean()
    assert logits.dtype == getattr(torch, dtype) and net[0](x).dtype == torch.float32
    assert torch.equal(logits.float(), exact) == (dtype == "float32")
    torch.testing.assert_close(logits.float(), exact, rtol=0.05, atol=0.05)
    wrapper.update_params(loss)
    for name, parameter in net.named_parameters():
        assert parameter.dtype == torch.float32 and not torch.equal(before[name], parameter)


def loss_curve(dtype: str, updates: int) -> list[float]:
    """Train a ResNet-50-D at an eighth of the width on noisy images coloured by class, and return its losses."""
    tricks = ["resnet_d", "zero_gamma", ("low_precision", {"dtype": dtype})]
    cfg = composed(tricks, **{"model.backbone.base_channels": 8, "batch": 32, "micro_batch": 32})
    cfg.optim_wrapper.optimizer.lr = 0.005
    torch.manual_seed(0)
    model = MODELS.build(cfg.model).train()
    wrapper = build_optim_wrapper(model, cfg.optim_wrapper)
    computed = []
    model.fc.register_forward_hook(lambda module, inputs, output: computed.append(output.dtype))
    rng, labels = torch.Generator().manual_seed(1), torch.arange(32) % 8
    colours = F.interpolate(256 * torch.rand(8, 3, 4, 4, generator=rng), size=32)[labels]
    losses = []
    for _ in range(updates):
        noise = 256 * torch.rand(32, 3, 32, 32, generator=rng)
        data = {"inputs": (0.5 * colours + 0.5 * noise).to(torch.uint8), "labels": labels}
        losses.append(float(model.train_step(data, wrapper)["loss"].detach()))
    assert set(computed) == {getattr(torch, dtype)}
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    return losses


def test_the_loss_curve_in_bfloat16_is_close_to_that_in_float32():
    half, full = (np.array(loss_curve(dtype, 16)) for dtype in ("bfloat16", "float32"))
    assert 0 < np.abs(half - full).mean() < 0.05 and np.abs(half - full).max() < 0.15
    assert full[0] > 2 and full[-1] < 0.5


def test_a_classifier_trains_one_step_with_all_tricks(make_card):
    rng = torch.Generator().manual_seed(0)
    classifier = {"weight": torch.randn(8, 256, generator=rng) / 16, "bias": torch.randn(8, generator=rng)}
    chosen = [
        *("resnet_d", "zero_gamma", "large_batch", "mixup", "label_smoothing", "no_bias_decay", "cosine", "warmup"),
        ("low_precision", {"dtype": "bfloat16"}),
        ("distillation", {"teacher": str(make_card(classifier=classifier).path)}),
    ]
    toy = composed(chosen, **{"model.backbone.base_channels": 4, "batch": 2, "micro_batch": 1})
    assert toy.precision == "bfloat16" and toy.optim_wrapper.accumulative_counts == divide(toy, 1)[1] == 2
    torch.manual_seed(0)
    model = MODELS.build(toy.model).train()
    wrapper = build_optim_wrapper(model, toy.optim_wrapper)
    before = {k: v.clone() for k, v in model.named_parameters()}
    data = {"inputs": torch.randint(256, (8, 3, 32, 32), dtype=torch.uint8), "labels": torch.arange(8)}
    logs = model.train_step(data, wrapper)
    assert abs(float(logs["loss_hard"].detach()) - math.log(8)) < 1.5
    assert abs(float(logs["loss_soft"].detach()) / (400 * math.log(8)) - 1) < 0.02
    assert float(logs["loss"].detach()) == pytest.approx(float((logs["loss_hard"] + logs["loss_soft"]).detach()))
    moved = [k for k, v in model.named_parameters() if not torch.equal(before[k], v)]
    assert "fc.weight" in moved and "backbone.layer4.2.bn3.weight" in moved
    with torch.no_grad():
        samples = model.eval().test_step(data)
    assert [s["label"] for s in samples] == list(range(8)) and samples[0]["scores"].shape == (8,)
    assert (toy.model.data_preprocessor["mean"], toy.model.data_preprocessor["std"]) == (MEAN, STD)
