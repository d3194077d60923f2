"""Test that the benchmark of a classifier's step compares equal work: the same network, loss and updates, in our real runner."""

from contextlib import ExitStack

import pytest
import torch

from tools.benchmarks.dense import wrapper_of
from tools.benchmarks.limit import limit, peak_flops, product
from tools.benchmarks.train import PlainLoop, compared, equal_work, made_batches, product_config

LAST = ["fc.weight", "fc.bias"]  # of timm's network


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    """Yield the comparisons with timm's ResNet-50-D, first on a CPU without bfloat16, then on one with it.

    A round is one update of four images.
    """
    with ExitStack() as stack, pytest.MonkeyPatch.context() as patch:
        comparisons = []
        for bf16 in (False, True):
            patch.setattr(torch.cpu, "get_capabilities", lambda bf16=bf16: {"avx512_bf16": bf16})
            cfg = product_config("resnet50d", tmp_path_factory.mktemp("run"), px=64, batch=4)
            comparisons.append(stack.enter_context(compared("resnet50d", cfg, updates=1)))
        yield comparisons


@pytest.fixture(scope="module")
def resnet(both):
    """Return the comparison in float32, as on a CPU without bfloat16."""
    return both[0]


def network(contender) -> torch.nn.Module:
    owner = getattr(contender.run, "__self__", None)
    return owner.runner.model if owner else contender.run.__defaults__[0].net


def test_rivals_with_other_weights_are_refused(resnet):
    ours, rival = (network(contender) for contender in resnet.contenders[:2])
    loop = resnet.contenders[1].run.__defaults__[0]
    weight = rival.fc.weight.data.clone()
    rival.fc.weight.data *= 1.1
    with pytest.raises(ValueError, match="The work is not equal: loss from the same weights"):
        equal_work(ours, {"timm": loop}, made_batches(1, 4, 64)[0])
    rival.fc.weight.data = weight


def test_a_config_for_a_gpu_does_not_decide_whether_the_rivals_sgd_is_fused(tmp_path):
    cfg = product_config("resnet50d", tmp_path, px=64, batch=4)
    cfg.optim_wrapper.optimizer.fused = True
    loop = PlainLoop(torch.nn.Conv2d(3, 4, 1), cfg, "float32", torch.contiguous_format)
    assert loop.optimizer.param_groups[0]["fused"] is None
    wrapper = wrapper_of(torch.nn.Conv2d(3, 4, 1), cfg.optim_wrapper)
    assert wrapper.optimizer.param_groups[0]["fused"] is None and wrapper.optimizer.param_groups[0]["momentum"] == 0.9


def weights(contender) -> dict[str, torch.Tensor]:
    """Copy all tensors of a contender's network, by timm's names."""
    return {name.removeprefix("backbone."): value.clone() for name, value in network(contender).state_dict().items()}


def distance(one: dict, other: dict, names: list[str]) -> float:
    return sum(float((one[name] - other[name]).square().sum()) for name in names) ** 0.5


def test_a_round_makes_the_same_update_in_all(both):
    """Compare each rival's update with ours in the same precision.

    BN over four images amplifies rounding, by an amount that depends on the kernels of the CPU. So the norm of the whole update
    is compared, and the update of the last layer, which no BN follows: in float32 to a hundredth, and in bfloat16 to twice what
    that precision itself changes in our update.
    """
    names = [name for name, _ in network(both[0].contenders[1]).named_parameters()]
    before, ours, theirs = weights(both[0].contenders[0]), {}, []
    for comparison, dtype in zip(both, ("float32", "bfloat16"), strict=True):
        product, *rivals, _ = comparison.contenders
        assert [c.units for c in comparison.contenders[:3]] == [4, 4, 4] and len(comparison.equal) >= 2
        assert [c.name for c in (product, *rivals)] == [
            *(f"{whose}, {dtype}, channels last" for whose in ("ours", "timm")),
            "timm, float32, NCHW",
        ]
        updates = weights(product)["bn1.num_batches_tracked"]
        for contender in (product, *rivals):
            assert distance(weights(contender), before, names) == 0  # all start from the same weights, in both precisions
            contender.run()
        ours[dtype] = weights(product)
        theirs += [(rival.name.split(", ")[1], weights(rival)) for rival in rivals]
        assert ours[dtype]["bn1.num_batches_tracked"] - updates == 1
    moved = {dtype: distance(ours[dtype], before, LAST) for dtype in ours}
    rounding = distance(ours["float32"], ours["bfloat16"], LAST)
    assert 0.001 * moved["float32"] < rounding < 0.5 * moved["float32"]  # so the second computed in 16 bits
    allowed = {"float32": 0.01 * moved["float32"], "bfloat16": 2 * rounding}
    for dtype, rival in theirs:
        assert distance(rival, ours[dtype], LAST) <= allowed[dtype]
        assert distance(rival, before, names) == pytest.approx(distance(ours[dtype], before, names), rel=0.2)
    hooks = {type(hook).__name__ for hook in product.run.__self__.runner.hooks}
    assert hooks >= {"ExactHook", "DivergenceHook", "ProgressHook", "CurveHook", "StopHook", "UpdateHook", "LoggerHook"}
    assert hooks >= {"CheckpointHook", "ParamSchedulerHook", "IterTimerHook"}


def test_the_limit_counts_operations(monkeypatch):
    """Check that a product of 64 x 64 matrices, 64^3 multiply-adds, counts as a step of an image with a third of that forward."""
    monkeypatch.setitem(__import__("tools.benchmarks.limit", fromlist=["SIDE"]).SIDE, "cpu", 64)
    assert product(torch.float32, "cpu")[1] == 2 * 64**3
    assert limit(64**3 / 3, torch.float32, "cpu").units == pytest.approx(1)
    assert peak_flops(torch.float32, "cpu") > 0
