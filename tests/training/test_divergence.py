"""Check that a run whose loss or weights are NaN or infinite ends as diverged, says where, and leaves a good checkpoint."""

import json
import math
import re
from types import SimpleNamespace

import pytest
import torch
from mmengine.hooks import Hook
from mmengine.registry import HOOKS

from tests.helpers.exact import CLASSIFIER, DETECTOR, resolved_config
from tools.engine.training.checkpoints import check_checkpoint, last_checkpoint
from tools.engine.training.hooks import Diverged, DivergenceHook, SyncSchedule, not_finite
from tools.engine.training.run import run


class Spoil(Hook):
    """Put ``value`` into the loss, a weight or a running statistic at one update, as a wrong step does.

    ``value`` is text, such as 'nan': a config is stored as JSON, which has no such number.
    """

    priority = "HIGHEST"

    def __init__(self, target: str, update: int, value: str):
        self.target, self.update, self.value = target, update, float(value)

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        if runner.iter + 1 == self.update:
            if self.target == "loss":
                outputs["loss"] = torch.tensor(self.value)
            else:
                tensor = runner.model.state_dict()[self.target]
                tensor[(0,) * tensor.ndim] = self.value


HOOKS.register_module(module=Spoil)


def spoiled(path: str, folder, target: str, update: int, value: float) -> dict:
    """Run the config ``path`` with a ``Spoil`` hook and return its record."""
    resolved = resolved_config(path)
    resolved.cfg.custom_hooks.append(dict(type="Spoil", target=target, update=update, value=str(value)))
    return run(resolved, folder)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("target", "update", "value", "message"),
    [
        (
            "loss",
            3,
            math.nan,
            r"loss is not finite at update 3 of 16 \(.*loss nan; learning rate 0\.0003906\); the last good .* none",
        ),
        ("loss", 10, math.inf, r"loss is not finite at update 10 of 16 \(loss inf; .* checkpoint is epoch_1\.pth\. Lower the "),
        ("loss", 16, -math.inf, r"at update 16 of 16 \(loss -inf"),
        ("fc.weight", 16, math.nan, r"tensor fc\.weight of the model is not finite after update 16; .* is epoch_1\.pth"),
        (
            "backbone.bn1.running_var",
            16,
            math.inf,
            r"tensor backbone\.bn1\.running_var of the model is not finite after update 16",
        ),
        ("backbone.conv1.weight", 9, math.nan, r"loss is not finite at update 10 of 16 \(loss nan"),
    ],
)
def test_a_run_with_a_loss_or_weight_that_is_not_finite_diverged(toy_root, tmp_path, monkeypatch, target, update, value, message):
    monkeypatch.setenv("DATA_ROOT", str(toy_root.parent))
    record = spoiled(CLASSIFIER, tmp_path, target, update, value)
    assert record["status"] == "diverged" and record["metrics"] == {}
    assert json.loads((tmp_path / "record.json").read_text()) == record
    (remark,) = record["remarks"]
    assert re.search(message, remark)
    assert "Lower the learning rate." in remark and not (tmp_path / "card").exists()
    checkpoint = last_checkpoint(tmp_path)
    if update <= 8:
        assert checkpoint is None
    else:
        assert checkpoint.name == "epoch_1.pth"
        weights = check_checkpoint(checkpoint)["state_dict"].values()
        assert all(tensor.isfinite().all() for tensor in weights if tensor.is_floating_point())


@pytest.mark.slow
def test_a_detector_that_fails_on_its_weights_has_diverged(toy_root, tmp_path, monkeypatch):
    """Put a NaN into the boxes, which makes mmdet raise an error of its own or return a NaN loss."""
    monkeypatch.setenv("DATA_ROOT", str(toy_root.parent))
    record = spoiled(DETECTOR, tmp_path, "rpn_head.rpn_reg.weight", 2, math.nan)
    assert record["status"] == "diverged" and "not finite" in record["remarks"][0]


@pytest.mark.slow
def test_another_error_is_no_divergence(toy_root, tmp_path, monkeypatch):
    monkeypatch.setenv("DATA_ROOT", str(toy_root.parent))
    resolved = resolved_config(CLASSIFIER)
    monkeypatch.setattr("tools.engine.training.hooks.CurveHook.after_train_iter", lambda *_, **__: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        run(resolved, tmp_path)
    assert not (tmp_path / "record.json").exists()


def small_runner(scale: float | None = None) -> SimpleNamespace:
    """Return the parts of a runner that ``DivergenceHook`` reads, with a gradient scaler if ``scale`` is given."""
    wrapper = SimpleNamespace(get_lr=lambda: {"lr": [0.25]})
    if scale is not None:
        wrapper.loss_scaler = SimpleNamespace(get_scale=lambda: wrapper.scale)
        wrapper.scale = scale
    facts = dict(iter=0, max_iters=40, last="epoch_2.pth", losses=[])
    return SimpleNamespace(**facts, optim_wrapper=wrapper, model=torch.nn.Linear(2, 2))


def test_a_scaler_that_halves_without_end_has_diverged():
    """Halve the scale as torch's GradScaler does at each overflow, from 65,536: after 17 overflows it is below 1."""
    runner, hook = small_runner(65536.0), DivergenceHook()
    with pytest.raises(Diverged, match=r"scaler is down to 0\.5 at update 17 of 40 \(learning rate 0\.25\); .* is epoch_2\.pth"):
        while runner.iter < 40:
            runner.optim_wrapper.scale /= 2
            hook.after_train_iter(runner, 0, outputs={"loss": torch.tensor(1.0)})
            runner.iter += 1
    assert runner.iter == 16
    hook = DivergenceHook()
    runner.optim_wrapper.scale = 1.0
    hook.after_train_iter(runner, 0, outputs={"loss": torch.tensor(1.0)})


def test_the_first_bad_term_of_several_unread_updates_is_named(monkeypatch):
    """Leave updates unread, as on a GPU, where reading them would wait."""
    runner, hook = small_runner(), DivergenceHook()
    monkeypatch.setattr("tools.engine.training.hooks.get_world_size", lambda: 2)
    monkeypatch.setattr("tools.engine.training.hooks.all_reduce_max", lambda *values: list(values))
    hook.sync.next = 100
    for value in (1.0, math.inf, math.nan, 2.0):
        hook.after_train_iter(runner, 0, outputs={"loss": torch.tensor(value), "loss_cls": torch.tensor(0.5)})
        runner.iter += 1
    with pytest.raises(Diverged, match=r"at update 2 of 40 \(loss inf, loss_cls 0\.5; learning rate 0\.25\)"):
        hook.before_saving(runner)
    assert runner.losses == [1.0]  # what is shown of a run is finite


def test_weights_that_are_not_finite_are_named():
    model = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 1), torch.nn.BatchNorm2d(2))
    assert not_finite(model) is None
    model[1].running_mean[1] = -math.inf
    assert not_finite(model) == "1.running_mean"
    model[0].weight.data[0] = math.nan
    assert not_finite(model) == "0.weight"


def test_processes_ask_each_other_about_once_a_second(monkeypatch):
    clock = [0.0]
    monkeypatch.setattr("tools.engine.training.hooks.time", SimpleNamespace(time=lambda: clock[0]))
    schedule, exchanges = SyncSchedule(), []
    for update in range(1, 61):  # updates of an eighth of a second, then of 5 seconds
        clock[0] += 0.125 if update <= 40 else 5
        if schedule.due(update):
            assert schedule.ask(update, 3.0) == [3.0]
            exchanges.append(update)
    assert exchanges == [1, 2, 10, 18, 26, 34, *range(42, 61)]
