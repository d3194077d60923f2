"""Make random weights of other libraries, and compare features."""

import pytest
import torch
from torch import nn

import backbones.mmcv_ops  # noqa: F401  (before mmdet and mmseg, which are imported below)
from backbones import BackboneCard, ResNet
from backbones.interchange.reference_networks import preprocessor
from backbones.probe import probe_image
from tests.helpers.networks import randomise_norms

CLASSES = 5


def one_sentence(error: pytest.ExceptionInfo) -> str:
    """Assert that an error message is one line that ends with a full stop, and return it."""
    text = str(error.value)
    assert text.endswith(".") and "\n" not in text
    return text


def tamed(net: nn.Module, seed: int = 0) -> nn.Module:
    """Give each BN of ``net`` its own random weights, such that activations do not grow from block to block."""
    randomise_norms(net, seed)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.weight.data.mul_(0.5)
    return net.eval()


@torch.no_grad()
def calibrated(net: nn.Module, images: int = 4) -> nn.Module:
    """Set the BN statistics of ``net`` to those of noise, and draw gamma and beta near 1 and 0."""
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
    """Return the outputs of ``layers`` of ``net`` in float64, and the output of ``net``."""
    outputs = []
    handles = [layer.register_forward_hook(lambda *call: outputs.append(call[2])) for layer in layers]
    out = net.double().eval()(x)
    for handle in handles:
        handle.remove()
    return outputs, out


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
