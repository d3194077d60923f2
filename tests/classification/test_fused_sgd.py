"""Check fused SGD under a gradient scaler whose first update overflows."""

import copy

import pytest
import torch
from mmengine.optim import AmpOptimWrapper
from torch import nn

from tools.engine.training.runner import start_from_zero

SGD = dict(lr=0.1, momentum=0.9, weight_decay=1e-4)


def trained(net: nn.Module, losses: list[float], fused: bool, nesterov: bool) -> list[torch.Tensor]:
    """Train a copy of ``net`` by MMEngine's wrapper with a scaler on the CPU; ``losses`` are factors of the updates' loss."""
    net = copy.deepcopy(net)
    optimizer = torch.optim.SGD(net.parameters(), fused=fused, nesterov=nesterov, **SGD)
    start_from_zero(optimizer)
    wrapper = AmpOptimWrapper.__new__(AmpOptimWrapper)  # its __init__ requires an accelerator
    super(AmpOptimWrapper, wrapper).__init__(optimizer=optimizer)
    wrapper.loss_scaler, wrapper.cast_dtype, wrapper._scale_update_param = torch.amp.GradScaler("cpu"), None, None
    for factor in losses:
        inputs = torch.linspace(-1, 1, 12).view(4, 3)
        wrapper.update_params(factor * net(inputs).square().mean())
    return [parameter.detach() for parameter in net.parameters()]


@pytest.mark.parametrize("nesterov", [False, True])
@pytest.mark.parametrize("losses", [[1.0, 1.0, 1.0], [float("inf"), 1.0, 1.0], [float("inf"), float("inf"), 1.0]])
def test_fused_sgd_gives_the_weights_of_plain_sgd_also_after_an_overflow(losses, nesterov):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(3, 5), nn.ReLU(), nn.Linear(5, 2))
    junk = [torch.full((64, 64), 1e9) for _ in range(64)]  # uninitialised buffers would reuse this memory
    del junk
    plain, fused = (trained(net, losses, is_fused, nesterov) for is_fused in (False, True))
    for expected, weight in zip(plain, fused, strict=True):
        torch.testing.assert_close(expected, weight, rtol=1e-6, atol=1e-7)
