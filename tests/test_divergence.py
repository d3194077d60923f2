"""A run whose loss or weights are no numbers ends as diverged, says where, and leaves a good checkpoint."""

import json
import math
from types import SimpleNamespace

import pytest
import torch
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from test_exact import CLASSIFIER, DETECTOR, resolved_config

from tools.engine.training.hooks import Diverged, DivergenceHook, SyncSchedule, not_finite
from tools.engine.training.run import run
from tools.engine.training.runner import check_checkpoint, last_checkpoint


class Spoil(Hook):
    """Puts ``value`` into the loss, a weight or a running statistic of one update, as a wrong step does.

    ``value`` is text, such as 'nan': a config is kept as JSON, which has no such number.
    """

    priority = "HIGHEST"

    def __init__(self, what: str, update: int, value: str):
        self.what, self.update, self.value = what, update, float(value)

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        if runner.iter + 1 == self.update:
            if self.what == "loss":
                outputs["loss"] = torch.tensor(self.value)
            else:
                tensor = runner.model.state_dict()[self.what]
                tensor[(0,) * tensor.ndim] = self.value


HOOKS.register_module(module=Spoil)


def spoiled(path: str, folder, *words, **more) -> dict:
    resolved = resolved_config(path, **more)
    resolved.cfg.custom_hooks.append(dict(type="Spoil", what=words[0], update=words[1], value=str(words[2])))
    return run(resolved, folder)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("what", "update", "value", "message"),
    [
        (
            "loss",
            3,
            math.nan,
            r"loss is not finite at update 3 of 16 \(.*loss nan; learning rate 0\.001563\); the last good .* none",
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
def test_no_run_with_a_loss_or_weight_that_is_no_number_is_done(toy_root, tmp_path, monkeypatch, what, update, value, message):
    monkeypatch.setenv("DATA_ROOT", str(toy_root.parent))
    record = spoiled(CLASSIFIER, tmp_path, what, update, value)
    assert record["status"] == "diverged" and record["metrics"] == {}
    assert json.loads((tmp_path / "record.json").read_text()) == record
    (remark,) = record["remarks"]
    pytest.raises(Diverged, lambda: (_ for _ in ()).throw(Diverged(remark))).match(message)
    assert "Lower the learning rate." in remark and not (tmp_path / "card").exists()
    kept = last_checkpoint(tmp_path)
    assert (kept and kept.name) == (None if update <= 8 else "epoch_1.pth")
    if kept:
        assert all(t.isfinite().all() for t in check_checkpoint(kept)["state_dict"].values() if t.is_floating_point())


@pytest.mark.slow
def test_a_detector_that_fails_on_its_weights_has_diverged(toy_root, tmp_path, monkeypatch):
    """NaN in the boxes ends mmdet with an error of its own, or with a loss that is none."""
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
    wrapper = SimpleNamespace(get_lr=lambda: {"lr": [0.25]})
    if scale is not None:
        wrapper.loss_scaler = SimpleNamespace(get_scale=lambda: wrapper.scale)
        wrapper.scale = scale
    return SimpleNamespace(iter=0, max_iters=40, optim_wrapper=wrapper, last="epoch_2.pth", model=torch.nn.Linear(2, 2))


def test_a_scaler_that_halves_without_end_has_diverged():
    """As torch's GradScaler does, which halves at each overflow from 65,536: after 17 of them it is below 1."""
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


def test_terms_that_are_read_later_are_read_all(monkeypatch):
    """On a GPU, where reading waits, the first bad one of several unread updates is named."""
    runner, hook = small_runner(), DivergenceHook()
    monkeypatch.setattr("tools.engine.training.hooks.get_world_size", lambda: 2)
    monkeypatch.setattr("tools.engine.training.hooks.all_reduce_max", lambda *values: list(values))
    hook.pulse.next = 100
    for value in (1.0, math.inf, math.nan, 2.0):
        hook.after_train_iter(runner, 0, outputs={"loss": torch.tensor(value), "loss_cls": torch.tensor(0.5)})
        runner.iter += 1
    with pytest.raises(Diverged, match=r"at update 2 of 40 \(loss inf, loss_cls 0\.5; learning rate 0\.25\)"):
        hook.before_saving(runner)


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
    pulse, asked = SyncSchedule(), []
    for update in range(1, 61):  # of an eighth of a second, then of 5 seconds
        clock[0] += 0.125 if update <= 40 else 5
        if pulse.due(update):
            assert pulse.ask(update, 3.0) == [3.0]
            asked.append(update)
    assert asked == [1, 2, 10, 18, 26, 34, *range(42, 61)]
