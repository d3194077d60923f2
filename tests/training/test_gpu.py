"""Test what differs on a GPU. Each test also runs on the CPU, which checks the test itself on machines without a GPU."""

import contextlib
import math

import pytest
import torch
from mmengine.registry import init_default_scope
from torch import nn

import backbones.mmcv_ops  # noqa: F401  (before mmdet and mmseg)
from backbones.resolving import Machine
from classification.metrics import rank_of_truth
from tests.helpers.devices import each_device, each_run_device
from tests.helpers.exact import CLASSIFIER, DETECTOR, SEGMENTER, config, resolved_config
from tools.engine.config import Options, resolve
from tools.engine.config.signatures import check_signatures
from tools.engine.doctor.selftest import check_certificate, check_nms, check_roi_align, selftest
from tools.engine.training.acceleration import TF32_DEFAULT, set_tf32
from tools.engine.training.building import build_model, build_runner
from tools.engine.training.checkpoints import check_checkpoint, last_checkpoint
from tools.engine.training.hooks import Stopped
from tools.engine.training.run import run
from tools.engine.training.runner import end_workers, start_from_zero

LOW = {  # optim_wrapper of low precision
    "cpu": {"optim_wrapper.type": "classification.LowPrecisionOptimWrapper", "optim_wrapper.dtype": "bfloat16"},
    "cuda": {"optim_wrapper.type": "AmpOptimWrapper", "optim_wrapper.loss_scale": "dynamic"},
}
PRECISION = {"cpu": "bfloat16", "cuda": "float16"}


@pytest.fixture(autouse=True)
def data(monkeypatch, toy_root):
    monkeypatch.setenv("DATA_ROOT", str(toy_root.parent))


@pytest.fixture
def whole_digits():
    """Compute in float32 without TF32."""
    set_tf32("none")
    yield
    set_tf32(TF32_DEFAULT)


def low_precision(path: str, device: str) -> dict:
    """Return the options of a run in low precision: the trick in a classifier, the wrapper itself in the other tasks."""
    return {"tricks": [("low_precision", {"dtype": PRECISION[device]})]} if path == CLASSIFIER else LOW[device]


def on(device: str, value):
    """Move tensors in dicts and lists to a device."""
    if isinstance(value, torch.Tensor):
        return value.to(device)
    if isinstance(value, dict):
        return {key: on(device, item) for key, item in value.items()}
    return [on(device, item) for item in value] if isinstance(value, list) else value


# ---- runs


@pytest.mark.slow
@each_run_device
@pytest.mark.parametrize("path", [CLASSIFIER, DETECTOR, SEGMENTER])
def test_a_run_in_low_precision_stops_after_two_updates_resumes_and_tests(path, device, tmp_path):
    runner = build_runner(config(path, tmp_path, kill=2, **low_precision(path, device)))
    assert next(runner.model.parameters()).device.type == device
    try:
        with pytest.raises(Stopped):
            runner.train()
    finally:
        end_workers(runner)
    state = check_checkpoint(last_checkpoint(tmp_path))
    assert state["meta"]["iter"] == 2 and ("loss_scaler" in state["optimizer"]) is (device == "cuda")
    runner = build_runner(config(path, tmp_path, **low_precision(path, device)), resume=True)
    try:
        runner.train()
        metrics = runner.test()
    finally:
        end_workers(runner)
    assert runner.iter == runner.max_iters > 2 and metrics and all(math.isfinite(value) for value in metrics.values())
    assert all(weight.dtype == torch.float32 and torch.isfinite(weight).all() for weight in runner.model.parameters())


@each_run_device
def test_the_record_names_the_device_and_its_memory(device, tmp_path):
    resolved = resolved_config(CLASSIFIER, epochs=1)
    record = run(resolved, tmp_path / "run")
    assert (record["machine"]["device"] == "cpu") is (device == "cpu") and record["peak_memory_gb"] > 0
    assert resolved.machine.cuda is (device == "cuda") and resolved.cfg.optim_wrapper.optimizer.get("fused", False) is (
        device == "cuda"
    )


@pytest.mark.slow
@each_run_device
def test_a_distilled_classifier_makes_its_updates(device, tmp_path, make_card):
    head = {"weight": torch.randn(8, 256), "bias": torch.zeros(8)}
    teacher = make_card(classifier=head, source={"class_names": None})
    runner = build_runner(config(CLASSIFIER, tmp_path, tricks=[("distillation", {"teacher": str(teacher.path)})], epochs=1))
    try:
        runner.train()
    finally:
        end_workers(runner)
    assert runner.iter == runner.max_iters > 0


@pytest.mark.slow
@each_run_device
def test_the_self_test_uses_the_device_and_holds(device):
    findings = selftest()
    assert [finding.fix for finding in findings if finding.fix] == []
    assert sum(f"on {device}" in finding.what for finding in findings) == 4


# ---- an update


def classifier(device: str, tmp_path, **overrides):
    """Return a runner of a classifier, with its optimiser, and a batch on the host."""
    runner = build_runner(config(CLASSIFIER, tmp_path, **overrides))
    runner.optim_wrapper = runner.build_optim_wrapper(runner.optim_wrapper)
    batch = {"inputs": torch.randint(256, (4, 3, 64, 64), dtype=torch.uint8), "labels": torch.arange(4)}
    if device == "cuda":
        batch = {name: value.pin_memory() for name, value in batch.items()}
    return runner, batch


@contextlib.contextmanager
def no_waiting(device: str):
    """Make each operation that waits for the GPU an error."""
    if device == "cpu":
        yield
        return
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


@each_run_device
@pytest.mark.parametrize("tricks", [[], ["low_precision"], ["label_smoothing", "no_bias_decay"]], ids=str)
def test_an_update_of_a_classifier_does_not_wait_for_the_device(device, tricks, tmp_path):
    runner, batch = classifier(device, tmp_path, tricks=tricks, batch=4, micro_batch=4)
    runner.model.train()
    for _ in range(2):  # kernels are chosen and memory is allocated
        runner.model.train_step(batch, runner.optim_wrapper)
    with no_waiting(device):
        losses = runner.model.train_step(batch, runner.optim_wrapper)
    assert losses["loss"].device.type == device and math.isfinite(losses["loss"].item())


@each_run_device
def test_weights_and_images_lie_channels_last(device, tmp_path):
    runner, batch = classifier(device, tmp_path)
    images = runner.model.data_preprocessor(batch, True)["inputs"]
    assert images.device.type == device and images.is_contiguous(memory_format=torch.channels_last)
    convolutions = [module.weight for module in runner.model.modules() if isinstance(module, nn.Conv2d)]
    assert all(weight.is_contiguous(memory_format=torch.channels_last) for weight in convolutions)


@each_run_device
def test_the_loss_in_low_precision_is_near_that_in_float32(device, tmp_path):
    losses = []
    for name, tricks in (("full", []), ("low", [("low_precision", {"dtype": PRECISION[device]})])):
        torch.manual_seed(0)
        runner, batch = classifier(device, tmp_path / name, tricks=tricks, batch=4, micro_batch=4)
        torch.manual_seed(0)
        for parameter in runner.model.parameters():
            parameter.data.copy_(torch.randn(parameter.shape) * 0.05 + (parameter.dim() == 1))
        runner.model.train()
        losses.append(runner.model.train_step(batch, runner.optim_wrapper)["loss"].item())
    assert losses[1] == pytest.approx(losses[0], rel=0.05) and losses[0] != losses[1]


@each_device
def test_an_overflow_at_the_first_update_leaves_no_trace_in_the_momentum(device):
    """Train three updates, of which the first overflows, with fused SGD and a scaler: the weights are those of plain SGD."""
    weights = []
    for fused in (False, True):
        torch.manual_seed(0)
        net = nn.Linear(3, 5).to(device)
        optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-4, fused=fused)
        start_from_zero(optimizer)
        scaler = torch.amp.GradScaler(device)
        inputs = torch.linspace(-1, 1, 12).view(4, 3).to(device)
        for factor in (float("inf"), 1.0, 1.0):
            optimizer.zero_grad()
            scaler.scale(factor * net(inputs).square().mean()).backward()
            scaler.step(optimizer)
            scaler.update()
        weights.append(net.weight.detach().cpu())
    torch.testing.assert_close(weights[0], weights[1], rtol=1e-5, atol=1e-6)


# ---- operators, metrics, certificate


@each_device
def test_nms_keeps_what_a_plain_loop_keeps(device):
    assert "keeps the same" in check_nms(device)


@each_device
def test_roi_align_gives_bilinear_samples(device):
    assert "at most" in check_roi_align(device)


@each_device
@pytest.mark.parametrize("aligned", [False, True])
def test_roi_align_and_its_gradient_are_those_of_the_cpu(device, aligned):
    from mmcv.ops import RoIAlign

    torch.manual_seed(0)
    maps, rois = torch.randn(2, 4, 24, 32), torch.tensor([[0, 8.0, 8, 56, 40], [1, 20.5, 12.25, 33, 37], [1, 0, 0, 63, 47]])
    results = []
    for place in ("cpu", device):
        inputs = maps.clone().to(place).requires_grad_()
        features = RoIAlign(7, 0.5, 2, aligned=aligned, use_torchvision=True)(inputs, rois.to(place))
        features.square().sum().backward()
        results.append((features.detach().cpu(), inputs.grad.cpu()))
    for expected, value in zip(*results, strict=True):
        torch.testing.assert_close(value, expected, rtol=1e-4, atol=1e-4)


@each_device
def test_the_ranks_of_a_classifier_are_those_of_the_cpu(device, whole_digits):
    cfg = resolved_config(CLASSIFIER).cfg
    init_default_scope(cfg.default_scope)
    torch.manual_seed(0)
    model = build_model(cfg).eval()
    batch = {"inputs": torch.randint(256, (6, 3, 64, 64), dtype=torch.uint8), "labels": torch.arange(6)}
    with torch.no_grad():
        expected, actual = (model.to(place).val_step(on(place, batch)) for place in ("cpu", device))
    for one, other in zip(expected, actual, strict=True):
        torch.testing.assert_close(one["scores"], other["scores"], rtol=1e-3, atol=1e-3)
        assert rank_of_truth(one["scores"].numpy(), one["label"]) == rank_of_truth(other["scores"].numpy(), other["label"])


@each_device
def test_a_segmenter_predicts_the_labels_of_the_cpu(device, whole_digits):
    """Check that hardly a pixel changes its class by rounding."""
    cfg = resolved_config(SEGMENTER).cfg
    init_default_scope(cfg.default_scope)
    torch.manual_seed(0)
    model = build_model(cfg).eval()
    image = torch.randn(1, 3, 128, 160)
    with torch.no_grad():
        one, other = (model.to(place).encode_decode(image.to(place), [META]).argmax(1).cpu() for place in ("cpu", device))
    assert (one == other).float().mean() > 0.99


META = dict(img_shape=(128, 160), ori_shape=(128, 160), pad_shape=(128, 160), padding_size=[0, 0, 0, 0])


@each_device
def test_a_card_is_certified_and_swapped_channels_are_refused(device):
    assert "swapped channels are refused" in check_certificate(device)


@each_device
def test_float32_products_keep_their_digits_with_tf32_off(device, whole_digits):
    torch.manual_seed(0)
    a, b = torch.randn(64, 256), torch.randn(256, 64)
    product = (a.to(device) @ b.to(device)).cpu()
    torch.testing.assert_close(product.double(), a.double() @ b.double(), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("path", [CLASSIFIER, DETECTOR, SEGMENTER])
def test_a_config_for_a_gpu_resolves_on_a_machine_without_one(path):
    options = Options(tricks=["low_precision"]) if path == CLASSIFIER else Options(backbone="scratch", overrides=LOW["cuda"])
    cfg = resolve(path, options, Machine(1, cuda=True, bf16=True)).cfg
    check_signatures(cfg, path)
    assert cfg.optim_wrapper.type == "AmpOptimWrapper" and cfg.optim_wrapper.optimizer.fused is True
