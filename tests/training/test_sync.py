"""Check that a training step does not wait for a GPU, logs what MMEngine logs, and that speed options change nothing else."""

import math
from types import SimpleNamespace

import pytest
import torch
from mmengine.hooks import Hook
from mmengine.logging import MessageHub
from mmengine.runner import LogProcessor
from torch.profiler import ProfilerActivity, profile

from backbones.resolving import Machine
from tests.helpers.exact import CLASSIFIER, SEGMENTER, config
from tools.engine.config import Options, resolve
from tools.engine.config.signatures import check_signatures
from tools.engine.training.acceleration import set_tf32
from tools.engine.training.building import build_runner
from tools.engine.training.checkpoints import check_checkpoint, last_checkpoint
from tools.engine.training.deferred_logging import DeferredInfoHook, DeferredLogProcessor
from tools.engine.training.hooks import DivergenceHook, ProgressHook
from tools.engine.training.runner import ExactRunner

WAITS = ("aten::item", "aten::_local_scalar_dense", "aten::nonzero", "aten::is_nonzero")
UPDATE = 3  # the update that is profiled: no line of the log or of the curve is due


class Look:
    """Profile a whole update, from the first hook before it to the last one after it, by a pair of hooks."""

    def __init__(self, runner):
        self.profile = profile(activities=[ProfilerActivity.CPU])
        for name, priority, act in (("before_train_iter", "HIGHEST", self.start), ("after_train_iter", "LOWEST", self.stop)):
            hook = Hook()
            hook.priority = priority
            setattr(hook, name, act)
            runner.register_hook(hook)

    def start(self, runner, batch_idx, data_batch=None) -> None:
        if runner.iter + 1 == UPDATE:
            self.profile.__enter__()

    def stop(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        if runner.iter + 1 == UPDATE:
            self.profile.__exit__(None, None, None)
            raise StopIteration


def waits(cfg, hook: type | None = None) -> list[str]:
    """Return the operations of one update for which a GPU would make the host wait; ``hook`` replaces ``DeferredInfoHook``."""
    runner = build_runner(cfg)
    for i, run_hook in enumerate(runner.hooks):
        if isinstance(run_hook, DivergenceHook):
            run_hook.sync = SimpleNamespace(due=lambda update: False)
        if hook and isinstance(run_hook, DeferredInfoHook):
            runner._hooks[i] = hook()
    look = Look(runner)
    with pytest.raises(StopIteration):
        runner.train()
    # one_hot reads its labels only on a CPU
    return [event.name for event in look.profile.events() if event.name in WAITS and "aten::one_hot" not in callers(event)]


def callers(event) -> list[str]:
    """Return the names of the operation that called ``event`` and of the one that called that."""
    parent = event.cpu_parent
    grandparent = parent.cpu_parent if parent else None
    return [caller.name for caller in (parent, grandparent) if caller]


@pytest.fixture
def as_on_a_gpu(monkeypatch, toy_root) -> None:
    monkeypatch.setenv("DATA_ROOT", str(toy_root.parent))
    monkeypatch.setattr("tools.engine.training.hooks.on_gpu", lambda terms: True)
    monkeypatch.setattr("tools.engine.training.hooks.CurveHook.LINES", 1)


@pytest.mark.parametrize("tricks", [[], ["no_bias_decay", "label_smoothing", ("mixup", {"schedule": "same"}), "warmup"]])
def test_no_update_of_a_classifier_waits(as_on_a_gpu, tmp_path, tricks):
    cfg = config(CLASSIFIER, tmp_path, tricks=tricks)
    cfg.optim_wrapper.clip_grad = dict(max_norm=1.0)
    assert waits(cfg) == []


def test_mmengines_own_hook_waits(as_on_a_gpu, tmp_path):
    from mmengine.hooks import RuntimeInfoHook

    assert waits(config(CLASSIFIER, tmp_path), RuntimeInfoHook).count("aten::_local_scalar_dense") == 1  # the loss


@pytest.mark.slow
def test_no_update_of_a_segmenter_waits(as_on_a_gpu, tmp_path):
    assert waits(config(SEGMENTER, tmp_path)) == []


@pytest.mark.parametrize("interval", [4, 20])
def test_the_log_has_the_values_that_mmengine_logs(interval):
    """Compare with MMEngine's own processor, which gets each value at each update."""
    rng = torch.Generator().manual_seed(0)
    late, plain = DeferredLogProcessor(), LogProcessor()
    ours, theirs = (SimpleNamespace(message_hub=MessageHub(name)) for name in ("ours", "theirs"))
    for update in range(1, 61):
        for name in ("loss", "grad_norm", "acc"):
            value = torch.rand((), generator=rng)
            late.later(f"train/{name}", value)
            theirs.message_hub.update_scalar(f"train/{name}", value)
        if update % interval == 0:
            late._read(ours.message_hub)
            assert late._collect_scalars([], ours, "train") == plain._collect_scalars([], theirs, "train")
    histories = ours.message_hub.log_scalars.values()
    assert max(len(history.data[0]) for history in histories) == late.window_size and not late.unread


def test_gradients_are_clipped_and_their_norm_is_logged():
    weight = torch.nn.Parameter(torch.zeros(2))
    weight.grad, processor = torch.tensor([3.0, 4.0]), DeferredLogProcessor()
    wrapper = SimpleNamespace(clip_grad_kwargs={"max_norm": 1.0}, grad_name="grad_norm", clip_func=torch.nn.utils.clip_grad_norm_)
    dataset = SimpleNamespace()
    facts = dict(epoch=0, iter=0, max_epochs=1, max_iters=1, message_hub=MessageHub("clip"))
    DeferredInfoHook().before_train(
        SimpleNamespace(
            **facts, optim_wrapper=wrapper, log_processor=processor, train_dataloader=SimpleNamespace(dataset=dataset)
        )
    )
    assert wrapper.clip_func([weight], **wrapper.clip_grad_kwargs) is None
    assert torch.allclose(weight.grad, torch.tensor([0.6, 0.8])) and float(*processor.unread["train/grad_norm"]) == 5.0


@pytest.mark.parametrize("cuda", [False, True])
@pytest.mark.parametrize("path", [CLASSIFIER, SEGMENTER])
def test_sgd_is_fused_on_a_gpu_only(cuda, path):
    """On a CPU fused SGD would change the last digits."""
    backbone, machine = "scratch" if path == SEGMENTER else None, Machine(threads=1, cuda=cuda, bf16=False)
    optimiser = resolve(path, Options(backbone=backbone), machine).cfg.optim_wrapper.optimizer
    assert optimiser.type == "SGD" and optimiser.get("fused", False) is cuda
    unfused = Options(backbone=backbone, overrides={"optim_wrapper.optimizer.fused": False})
    assert resolve(path, unfused, machine).cfg.optim_wrapper.optimizer.fused is False


@pytest.fixture
def own_tf32():
    """Restore the TF32 settings after a test."""
    before = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
    yield
    torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = before


@pytest.mark.parametrize(("where", "allowed"), [("convolutions", (True, False)), ("all", (True, True)), ("none", (False, False))])
def test_tf32_is_used_where_the_config_says(own_tf32, where, allowed):
    set_tf32(where)
    assert (torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32) == allowed


def test_another_word_for_tf32_is_refused():
    with pytest.raises(ValueError, match="tf32 is 'yes'. Set it to one of convolutions, all, none"):
        set_tf32("yes")


def test_the_default_of_tf32_is_torchs():
    """torch uses TF32 in convolutions and in no matrix product."""
    assert (torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32) == (True, False)


def test_copies_to_a_gpu_wait_for_nothing(monkeypatch, toy_root, tmp_path):
    monkeypatch.setenv("DATA_ROOT", str(toy_root.parent))
    runner = build_runner(config(SEGMENTER, tmp_path))
    assert runner.model.data_preprocessor._non_blocking
    loader = config(CLASSIFIER, tmp_path).train_dataloader
    loader.persistent_workers = False
    for cuda in (False, True):
        monkeypatch.setattr("torch.cuda.is_available", lambda cuda=cuda: cuda)
        assert ExactRunner.build_dataloader(loader.copy()).pin_memory is cuda


def test_speed_options_are_accepted_and_change_the_key(monkeypatch, toy_root):
    monkeypatch.setenv("DATA_ROOT", str(toy_root.parent))
    keys = set()
    for overrides in ({}, {"compile": True}, {"compile.mode": "max-autotune"}, {"tf32": "none"}):
        resolved = resolve(CLASSIFIER, Options(overrides=overrides))
        check_signatures(resolved.cfg, CLASSIFIER)
        keys.add(resolved.key.name)
    assert len(keys) == 4
    with pytest.raises(ValueError, match="--cfg-options compil: there is no compil; nearest: compile"):
        resolve(CLASSIFIER, Options(overrides={"compil": True}))


@pytest.mark.slow
def test_a_compiled_run_is_the_eager_one_but_for_rounding(monkeypatch, toy_root, tmp_path):
    monkeypatch.setenv("DATA_ROOT", str(toy_root.parent))
    weights, backbones = {}, {}
    for name, options in (("eager", {}), ("compiled", {"compile": {"backend": "aot_eager"}})):
        overrides = {"epochs": 1, "model.backbone.depth": 18, "model.backbone.variant": "b"}
        runner = build_runner(config(CLASSIFIER, tmp_path / name, **overrides, **options))
        runner.train()
        runner.test()
        weights[name] = check_checkpoint(last_checkpoint(tmp_path / name))["state_dict"]
        backbones[name] = runner.model.backbone
    assert backbones["compiled"]._compiled_call_impl and not backbones["eager"]._compiled_call_impl
    assert weights["compiled"].keys() == weights["eager"].keys()
    for name, value in weights["eager"].items():
        torch.testing.assert_close(weights["compiled"][name], value, rtol=1e-3, atol=1e-4)


def test_the_pace_of_each_epoch_is_logged_once():
    """Train on 8 images an update: updates of 2 s, half of it waiting for data, then updates of 4 s, a quarter of it waiting."""
    lines, hook = [], ProgressHook()
    logger = SimpleNamespace(info=lines.append)
    runner = SimpleNamespace(cfg=SimpleNamespace(batch=8), logger=logger, iter=0, train_loop=SimpleNamespace())
    for step in (2.0, 4.0):
        for _ in range(3):
            runner.iter += 1
            last = hook.ends[-1] if hook.ends else 0.0
            hook.begins.append(last + 1)
            hook.ends.append(last + step)
        hook.before_val_epoch(runner)  # a run that counts epochs logs nothing here
        hook.after_train_epoch(runner)
    assert lines == [
        "Pace of updates 1 to 3, images/s: total 4, compute 8, data 8",
        f"Pace of updates 4 to 6, images/s: total 2, compute {8 / 3:.5g}, data 8",
    ]
    assert math.isclose(hook.logged_updates, 6)
