"""Test the learning rate of every update, with MMEngine's schedulers built and stepped as in its runner."""

import copy
import math

import numpy as np
import pytest
import torch
from mmengine.optim import OptimWrapper
from mmengine.registry import MODELS, PARAM_SCHEDULERS
from torch import nn
from torch.optim.optimizer import register_optimizer_step_pre_hook

from classification import WarmupLR
from tools.engine.config import Options, load, resolve
from tools.engine.training.building import build_runner

SCALES = ("paper", "mini", "toy")


def composed(tricks: list, scale: str = "paper", **overrides):
    """Return the resolved config of ResNet-50 with these tricks."""
    return resolve(f"configs/classification/resnet50_{scale}.py", Options(tricks=tricks, overrides=overrides)).cfg


def learning_rates(cfg, updates_per_epoch: int, count: int | None = None, groups: int = 1) -> list[float]:
    """Return the learning rate of every update, or of the first ``count``; assert that all parameter groups have the same."""
    parameters = [{"params": [nn.Parameter(torch.zeros(1))]} for _ in range(groups)]
    optimiser = torch.optim.SGD(parameters, lr=cfg.optim_wrapper.optimizer.lr)
    wrapper = OptimWrapper(optimiser)
    extra = dict(optimizer=wrapper, epoch_length=updates_per_epoch)
    schedulers = [PARAM_SCHEDULERS.build(copy.deepcopy(s), default_args=extra) for s in cfg.param_scheduler]
    assert not any(s.by_epoch for s in schedulers)
    rates = []
    for _ in range(count or cfg.epochs * updates_per_epoch):
        assert len({group["lr"] for group in optimiser.param_groups}) == 1
        rates.append(optimiser.param_groups[0]["lr"])
        wrapper.step()
        for scheduler in schedulers:
            scheduler.step()
    return rates


def expected(cfg, eta: float, n: int, start: str | None, shape: str, milestones=None, warmup_epochs: float = 5) -> np.ndarray:
    """Compute the rate of each update: i eta / m in the warmup, then 0.5 (1 + cos(pi t / T)) eta, or a tenth after each step.

    The many parameters are those of the schedule; n is the number of updates in an epoch.
    """
    m, total = (int(warmup_epochs * n) if start else 0), cfg.epochs * n
    ramp = [(i + (start == "first")) * eta / m for i in range(m)]
    if shape == "cosine":
        span = total - m
        return np.array(ramp + [0.5 * (1 + math.cos(math.pi * t / span)) * eta for t in range(span)])
    steps = [epoch * n for epoch in milestones or [int(cfg.epochs * part / 120) for part in (30, 60, 90)]]
    return np.array(ramp + [eta * 0.1 ** sum(i >= s for s in steps) for i in range(m, total)])


def shaped(shape: str) -> list:
    """Return the trick cosine, or no trick for steps."""
    return ["cosine"] if shape == "cosine" else []


def warm(start: str | None) -> list:
    """Return the trick warmup with this start, or no trick."""
    return [("warmup", {"start": start})] if start else []


@pytest.mark.parametrize("n", [2, 5, 7, 18])
@pytest.mark.parametrize("shape", ["cosine", "steps"])
@pytest.mark.parametrize("start", [None, "first", "zero"])
@pytest.mark.parametrize("big", [False, True])
@pytest.mark.parametrize("scale", SCALES)
def test_every_update_has_the_learning_rate_of_the_formula(scale, big, start, shape, n):
    values = load(f"configs/classification/resnet50_{scale}.py")
    tricks = shaped(shape) + warm(start)
    if big:
        tricks.append("large_batch")
    cfg = composed(tricks, scale)
    assert (cfg.batch, cfg.epochs) == (values.batch * (4 if big else 1), values.epochs)
    rates = expected(cfg, values.lr_at_256 * cfg.batch / 256, n, start, shape, warmup_epochs=values.warmup_epochs)
    np.testing.assert_allclose(learning_rates(cfg, n), rates, rtol=1e-9, atol=1e-14)


@pytest.mark.parametrize("start", ["first", "zero"])
@pytest.mark.parametrize("shape", ["cosine", "steps"])
def test_every_group_of_parameters_has_the_same_rate(start, shape):
    paper = composed(shaped(shape) + warm(start))
    rates = learning_rates(paper, 3, groups=3)
    np.testing.assert_allclose(rates, expected(paper, 0.1, 3, start, shape), rtol=1e-9, atol=1e-14)


@pytest.mark.parametrize("start", ["first", "zero"])
def test_a_warmup_that_ends_at_a_step_does_not_lose_the_step(start):
    paper = composed(warm(start), warmup_epochs=30)
    rates = expected(paper, 0.1, 3, start, "steps", warmup_epochs=30)
    np.testing.assert_allclose(learning_rates(paper, 3), rates, rtol=1e-9, atol=1e-14)


def test_a_warmup_of_one_update_starts_at_the_full_rate():
    paper = composed(["warmup"], warmup_epochs=1)
    np.testing.assert_allclose(learning_rates(paper, 1), expected(paper, 0.1, 1, "first", "steps", warmup_epochs=1))


def test_a_warmup_without_updates_is_refused():
    paper = composed(["warmup"], warmup_epochs=0.5)
    with pytest.raises(ValueError, match="covers no update, with 1 updates an epoch"):
        learning_rates(paper, 1)


def test_the_scheduler_refuses_an_unknown_start():
    optimiser = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.1)
    with pytest.raises(ValueError, match="start of the warmup is 'last'; allowed: first, zero"):
        WarmupLR(optimiser, start="last", end=5, by_epoch=False)


def test_the_rate_falls_at_the_steps_of_the_paper():
    rates = learning_rates(composed([]), 2)
    assert [rates[2 * e] for e in (0, 29, 30, 59, 60, 89, 90, 119)] == pytest.approx(
        [0.1, 0.1, 0.01, 0.01, 0.001, 0.001, 1e-4, 1e-4]
    )


@pytest.mark.parametrize("start", ["first", "zero"])
def test_the_warmup_has_the_rates_of_the_papers_log(start):
    """Use 1251 updates an epoch, of 1024 images; the log of the paper's code has 0.003133 at batch 49 of the first epoch."""
    rates = learning_rates(composed(["large_batch", "cosine", *warm(start)]), 1251, count=6300)
    first = start == "first"
    assert rates[0] == pytest.approx(0.4 / 6255 if first else 0.0, abs=1e-15)
    assert rates[49] == pytest.approx(0.4 * (50 if first else 49) / 6255, rel=1e-9)
    assert first or round(rates[49], 6) == 0.003133
    assert rates[6254] == pytest.approx(0.4 if first else 0.4 * 6254 / 6255, rel=1e-9)
    assert rates[6255] == pytest.approx(0.4, rel=1e-9)  # start of a cosine over the remaining 115 epochs
    assert rates[6299] == pytest.approx(0.2 * (1 + math.cos(math.pi * 44 / (115 * 1251))), rel=1e-9)


# ---- the longer training of mixup


@pytest.mark.parametrize("start", [None, "first", "zero"])
@pytest.mark.parametrize("n", [2, 7])
def test_mixup_trains_for_200_epochs_with_steps_to_match(start, n):
    paper = composed(["mixup", *warm(start)])
    assert (paper.epochs, paper.train_cfg.max_epochs) == (200, 200)
    assert paper.param_scheduler[-1].milestones == [50, 100, 150]
    rates = expected(paper, 0.1, n, start, "steps", milestones=[50, 100, 150])
    assert len(rates) == 200 * n
    np.testing.assert_allclose(learning_rates(paper, n), rates, rtol=1e-9, atol=1e-14)


@pytest.mark.parametrize("start", [None, "first", "zero"])
@pytest.mark.parametrize("n", [2, 7])
def test_mixup_with_a_cosine_decays_over_200_epochs(start, n):
    paper = composed(["mixup", "cosine", "large_batch", *warm(start)])
    assert (paper.epochs, paper.train_cfg.max_epochs) == (200, 200)
    assert [schedule["end"] for schedule in paper.param_scheduler] == ([5, 200] if start else [200])
    rates = expected(paper, 0.4, n, start, "cosine")
    assert len(rates) == 200 * n
    np.testing.assert_allclose(learning_rates(paper, n), rates, rtol=1e-9, atol=1e-14)


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("others", [[], ["cosine"], ["cosine", "warmup"], ["warmup"]])
def test_mixup_can_keep_the_schedule(scale, others):
    plain, mixed = composed(others, scale), composed([("mixup", {"schedule": "same"}), *others], scale)
    assert mixed.model.mixup and not plain.model.mixup
    assert mixed.param_scheduler == plain.param_scheduler
    assert (mixed.epochs, mixed.train_cfg) == (plain.epochs, plain.train_cfg)


@pytest.mark.parametrize(("scale", "epochs", "steps"), [("mini", 13, [3, 6, 9]), ("toy", 20, [5, 10, 15])])
def test_mixup_scales_epochs_and_steps_at_small_scales(scale, epochs, steps):
    cfg = composed(["mixup"], scale)
    assert (cfg.epochs, cfg.train_cfg.max_epochs, cfg.param_scheduler[0].milestones) == (epochs, epochs, steps)
    np.testing.assert_allclose(
        learning_rates(cfg, 5), expected(cfg, cfg.optim_wrapper.optimizer.lr, 5, None, "steps", steps), rtol=1e-9
    )


# ---- updates of several micro-batches


@MODELS.register_module(force=True)
class OneConvolution(nn.Module):
    """Serve as a backbone without BN, for which micro-batches make no difference."""

    channels = (6,)

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 6, 3, 2)

    def forward(self, x):
        return (self.conv(x).relu(),)


def test_a_runner_does_one_optimiser_step_an_iteration(toy_root, monkeypatch, tmp_path):
    """Compare four iterations of three micro-batches with four whole batches: the same weights and learning rates."""
    monkeypatch.setenv("DATA_ROOT", str(toy_root.parent))
    overrides = dict(batch=6, epochs=2, warmup_epochs=1, num_workers=0)
    results = {}
    for micro in (2, 6):
        cfg = composed(["warmup", "cosine", "label_smoothing"], "toy", **overrides, micro_batch=micro)
        cfg.model.backbone = dict(type="OneConvolution")
        cfg.work_dir, cfg.run, cfg.launcher = str(tmp_path / str(micro)), "test", "none"
        runner = build_runner(cfg)
        rates = []
        watch = register_optimizer_step_pre_hook(lambda optimiser, *_, rates=rates: rates.append(optimiser.param_groups[0]["lr"]))
        runner.train()
        watch.remove()
        assert runner.iter == 4 and runner.optim_wrapper._inner_count == 4 * 6 // micro
        results[micro] = rates, runner.model.state_dict()
    eta = 0.05 * 6 / 256
    expected = [eta / 2, eta, eta, eta / 2]
    for rates, _ in results.values():
        np.testing.assert_allclose(rates, expected, rtol=1e-9)
    for name, value in results[2][1].items():
        torch.testing.assert_close(value, results[6][1][name], rtol=1e-4, atol=1e-6)
