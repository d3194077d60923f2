"""The benchmark of a classifier's step compares equal work: the same network, loss and updates, through our real runner."""

from contextlib import ExitStack

import pytest
import torch

from tools.benchmarks.limit import limit, peak_flops, product
from tools.benchmarks.train import compared, equal_work, made_batches, product_config


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    """Ours and timm's ResNet-50-D, an update of four images a round: on a CPU without bfloat16, and on one with it."""
    with ExitStack() as stack, pytest.MonkeyPatch.context() as patch:
        found = []
        for bf16 in (False, True):
            patch.setattr(torch.cpu, "get_capabilities", lambda bf16=bf16: {"avx512_bf16": bf16})
            cfg = product_config("resnet50d", tmp_path_factory.mktemp("run"), px=64, batch=4)
            found.append(stack.enter_context(compared("resnet50d", cfg, updates=1)))
        yield found


@pytest.fixture(scope="module")
def resnet(both):
    """In float32, as on a CPU without bfloat16."""
    return both[0]


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


def weights(contender) -> dict[str, torch.Tensor]:
    """A copy of all tensors of a contender's network, by timm's names."""
    return {name.removeprefix("backbone."): value.clone() for name, value in network(contender).state_dict().items()}


def distance(one: dict, other: dict, names: list[str]) -> float:
    return sum(float((one[name] - other[name]).square().sum()) for name in names) ** 0.5


def test_a_round_makes_the_same_update_in_all(both):
    """Each is compared with ours of its own precision: in bfloat16 BN over four images makes rounding as large as the update."""
    names = [name for name, _ in network(both[0].contenders[1]).named_parameters()]
    before, ours, moved = weights(both[0].contenders[0]), {}, {}
    for comparison, dtype in zip(both, ("float32", "bfloat16"), strict=True):
        own, *rivals, _ = comparison.contenders
        assert [c.units for c in comparison.contenders[:3]] == [4, 4, 4] and len(comparison.equal) >= 2
        assert [c.name for c in (own, *rivals)] == [
            *(f"{whose}, {dtype}, channels last" for whose in ("ours", "timm")),
            "timm, float32, NCHW",
        ]
        done = weights(own)["bn1.num_batches_tracked"]
        for contender in (own, *rivals):
            assert distance(weights(contender), before, names) == 0  # all start from the same weights, in both precisions
            contender.run()
        ours[dtype] = weights(own)
        moved[dtype] = distance(ours[dtype], before, names)
        for rival in rivals:  # rounding differs, and BN makes much of it
            same = rival.name.split(", ")[1]
            assert moved[same] and distance(weights(rival), ours[same], names) <= 0.1 * moved[same]
        assert ours[dtype]["bn1.num_batches_tracked"] - done == 1
    assert distance(ours["float32"], ours["bfloat16"], names) > 0.1 * moved["float32"]  # the second did compute in 16 bits
    hooks = {type(hook).__name__ for hook in own.run.__self__.runner.hooks}
    assert hooks >= {"ExactHook", "DivergenceHook", "ProgressHook", "CurveHook", "StopHook", "UpdateHook", "LoggerHook"}
    assert hooks >= {"CheckpointHook", "ParamSchedulerHook", "IterTimerHook"}


def test_the_limit_counts_operations(monkeypatch):
    """A product of 64 x 64 matrices has 64^3 multiply-adds, as much as a step of an image with a third of that forward."""
    monkeypatch.setitem(__import__("tools.benchmarks.limit", fromlist=["SIDE"]).SIDE, "cpu", 64)
    assert product(torch.float32, "cpu")[1] == 2 * 64**3
    assert limit(64**3 / 3, torch.float32, "cpu").units == pytest.approx(1)
    assert peak_flops(torch.float32, "cpu") > 0
