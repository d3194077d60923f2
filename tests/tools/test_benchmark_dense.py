"""Test training steps of segmenters and detectors: loss equal to mmseg's, no waiting for the device, equal work of rivals."""

import ctypes
import sys

import backbones.mmcv_ops  # noqa: F401  (before anything imports mmseg or mmdet)

# isort: split
import pytest
import torch
from mmseg.models import EncoderDecoder, FCNHead

from segmentation.losses import is_plain, pixel_loss
from tools.benchmarks import dense, segment

PLAIN = dict(type="CrossEntropyLoss")


def head_of(**loss) -> FCNHead:
    torch.manual_seed(0)
    options = dict(in_channels=4, channels=4, num_convs=1, concat_input=False, num_classes=21, align_corners=False)
    return FCNHead(loss_decode=PLAIN | loss, **options)


def both(head: FCNHead, logits: torch.Tensor, masks: list[torch.Tensor]):
    """Yield (terms, gradient of the logits) of ours and of mmseg."""
    samples = segment.samples([], masks)["data_samples"]
    for loss in (lambda x: pixel_loss(head, x, torch.stack(masks)), lambda x: head.loss_by_feat(x, samples)):
        leaf = logits.clone(memory_format=torch.preserve_format).requires_grad_()
        terms = loss(leaf)
        terms["loss_ce"].backward()
        yield {name: value.detach() for name, value in terms.items()}, leaf.grad


@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
@pytest.mark.parametrize("loss", [dict(avg_non_ignore=True), dict(avg_non_ignore=False, loss_weight=0.4)])
def test_the_loss_is_mmsegs(loss, layout):
    logits = torch.randn(2, 21, 6, 8).contiguous(memory_format=layout)
    masks = [torch.randint(21, (24, 32)) for _ in range(2)]
    masks[0][:9] = 255
    (ours, gradient), (theirs, expected) = both(head_of(**loss), logits, masks)
    assert ours.keys() == theirs.keys() and all(ours[name].shape == theirs[name].shape for name in ours)
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(gradient, expected, rtol=1e-4, atol=1e-8)


def test_a_batch_without_a_labelled_pixel_has_no_loss():
    masks = [torch.full((8, 8), 255)]
    (ours, gradient), (theirs, _) = both(head_of(avg_non_ignore=True), torch.randn(1, 21, 2, 2), masks)
    assert ours["loss_ce"] == theirs["loss_ce"] == 0 and not gradient.any() and ours["acc_seg"] == 0


def test_the_accuracy_counts_labelled_pixels_only():
    logits = torch.zeros(1, 21, 2, 2)
    logits[0, 3] = 1
    mask = torch.tensor([[3, 3], [5, 255]])
    terms = pixel_loss(head_of(), logits, mask[None])
    torch.testing.assert_close(terms["acc_seg"], torch.tensor([200 / 3]))


@pytest.mark.parametrize("loss", [dict(class_weight=[1.0] * 21), dict(use_sigmoid=True)])
def test_another_loss_stays_mmsegs_own(loss):
    assert is_plain(head_of()) and not is_plain(head_of(**loss))
    assert not is_plain(torch.nn.ModuleList())


@pytest.fixture
def segmenter():
    """Return (model of small width, batch, config)."""
    from tools.engine.config import Options, resolve
    from tools.engine.training.building import build_model

    options = Options(backbone="scratch", overrides={"scratch_backbone.base_channels": 8})
    cfg = resolve("configs/segmentation/fcn_toy.py", options).cfg
    cfg.model.data_preprocessor.size = (64, 64)
    torch.manual_seed(0)
    model = build_model(cfg).to(memory_format=torch.channels_last).train()
    return model, segment.samples(dense.made_images(2, 64), segment.made_masks(2, 64)), cfg


def test_a_step_of_the_segmenter_waits_for_no_device(segmenter):
    from torch.profiler import profile

    model, data, cfg = segmenter
    wrapper = dense.wrapper_of(model, cfg.optim_wrapper)
    with profile() as profiler:
        model.train_step(data, wrapper)
    names = {event.key for event in profiler.key_averages()}
    assert "aten::convolution_backward" in names
    assert not names & {"aten::item", "aten::_local_scalar_dense", "aten::nonzero", "aten::is_nonzero"}


def test_the_segmenters_terms_are_mmsegs(segmenter):
    model, data, _ = segmenter
    with dense.without_dropout(model), torch.no_grad():
        ready = model.data_preprocessor(data, True)
        ours, theirs = model.loss(**ready), EncoderDecoder.loss(model, **ready)
    assert list(ours) == list(theirs) == ["decode.loss_ce", "decode.acc_seg", "aux.loss_ce", "aux.acc_seg"]
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)


@pytest.mark.slow
def test_the_segmenters_compared_do_equal_work(tmp_path):
    from tools.engine.config import Options, resolve

    overrides = {"protocol.crop": 64, "protocol.batch": 2}
    comparison = segment.compare(resolve(segment.CONFIG, Options(backbone="scratch", overrides=overrides)).cfg, str(tmp_path))
    assert len(comparison.equal) == 3 and comparison.equal[0] == "trainable parameters 35421548"
    ours, plain, stock, _ = comparison.contenders
    for contender in (ours, plain, stock):
        contender.run()
    assert set(comparison.aims) == {plain.name, stock.name}


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["fpn", "c4"])
def test_the_detectors_compared_do_equal_work(kind, tmp_path, monkeypatch):
    from tools.benchmarks import detect

    monkeypatch.setattr(detect, "SIZE", 128)
    monkeypatch.setitem(detect.REGIONS, kind, 16)
    comparison = detect.compare(kind, detect.product_config(kind), str(tmp_path))
    regions = detect.REGIONS[kind] * detect.BATCH
    assert f"regions of torchvision {regions}" in comparison.equal and f"regions of mmdet {regions}" in comparison.equal
    comparison.contenders[0].run()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only glibc has the switch")
def test_freed_memory_is_reused():
    import subprocess

    if not hasattr(ctypes.CDLL(None), "mallopt"):
        pytest.skip("another C library")
    code = (
        "import resource, torch\n"
        "from tools.engine.training.acceleration import keep_freed_memory\n"
        "assert keep_freed_memory()\n"
        "def faults(): return resource.getrusage(resource.RUSAGE_SELF).ru_minflt\n"
        "for _ in range(10): torch.ones(2**24)\n"
        "before = faults()\n"
        "for _ in range(10): torch.ones(2**24)\n"
        "print(faults() - before)\n"
    )
    process = subprocess.run([sys.executable, "-c", code], text=True, capture_output=True, check=True)
    assert int(process.stdout) < 1000  # 163,840 if the system provides each 64 MB anew, in pages of 4 KB
