"""The benchmark of a classifier's step compares equal work: the same network, loss and updates, through our real runner."""

import pytest
import torch

from tools.benchmarks.limit import limit, peak_flops, product
from tools.benchmarks.train import compared, equal_work, made_batches, product_config


@pytest.fixture(scope="module")
def resnet(tmp_path_factory):
    """Ours and timm's ResNet-50-D, an update of four images a round."""
    cfg = product_config("resnet50d", tmp_path_factory.mktemp("run"), px=64, batch=4)
    with compared("resnet50d", cfg, updates=1) as comparison:
        yield comparison


def network(contender) -> torch.nn.Module:
    owner = getattr(contender.run, "__self__", None)
    return owner.runner.model if owner else contender.run.__defaults__[0].net


def test_other_weights_are_refused(resnet):
    ours, rival = (network(contender) for contender in resnet.contenders[:2])
    loop = resnet.contenders[1].run.__defaults__[0]
    weight = rival.fc.weight.data.clone()
    rival.fc.weight.data *= 1.1
    with pytest.raises(ValueError, match="The work is not equal: loss from the same weights"):
        equal_work(ours, {"timm": loop}, made_batches(1, 4, 64)[0])
    rival.fc.weight.data = weight


def test_a_round_makes_the_same_update_in_all(resnet):
    ours, *rivals, _ = resnet.contenders
    assert [c.units for c in resnet.contenders[:3]] == [4, 4, 4] and len(resnet.equal) >= 2
    before = {name: value.clone() for name, value in network(ours).state_dict().items()}
    for contender in (ours, *rivals):
        contender.run()
    state = network(ours).state_dict()
    for rival in rivals:  # rounding differs, and BN over four images makes much of it
        moved = off = 0.0
        for name, value in network(rival).named_parameters():
            found, old = (values[name if name in values else f"backbone.{name}"] for values in (state, before))
            moved, off = moved + float((found - old).square().sum()), off + float((found - value.detach()).square().sum())
        assert moved and off**0.5 <= 0.1 * moved**0.5
    assert state["backbone.bn1.num_batches_tracked"] - before["backbone.bn1.num_batches_tracked"] == 1
    hooks = {type(hook).__name__ for hook in ours.run.__self__.runner.hooks}
    assert hooks >= {"ExactHook", "DivergenceHook", "ProgressHook", "CurveHook", "StopHook", "UpdateHook", "LoggerHook"}
    assert hooks >= {"CheckpointHook", "ParamSchedulerHook", "IterTimerHook"}


def test_the_limit_counts_operations(monkeypatch):
    """A product of 64 x 64 matrices has 64^3 multiply-adds, as much as a step of an image with a third of that forward."""
    monkeypatch.setitem(__import__("tools.benchmarks.limit", fromlist=["SIDE"]).SIDE, "cpu", 64)
    assert product(torch.float32, "cpu")[1] == 2 * 64**3
    assert limit(64**3 / 3, torch.float32, "cpu").units == pytest.approx(1)
    assert peak_flops(torch.float32, "cpu") > 0
