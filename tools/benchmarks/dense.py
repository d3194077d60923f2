"""Share synthetic images and training steps between the stages ``detect`` and ``segment``."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import torch
from mmengine.optim import OptimWrapper, build_optim_wrapper
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from classification.dtypes import resolve_dtype, set_precision
from tools.benchmarks.driven import Rounds, started

LR = 1e-5  # so small that no loss explodes in any number of rounds; it does not change the time of a step


def made_images(number: int, size: int) -> list[Tensor]:
    """Return images of noise, each uint8 (3, size, size) in BGR, as mmcv decodes."""
    rng = np.random.default_rng(0)
    return [torch.from_numpy(rng.integers(0, 256, (3, size, size), np.uint8)) for _ in range(number)]


def device() -> str:
    return "cuda" if torch.cuda.is_available() else "cpu"


def low_precision(optim_wrapper: dict) -> dict:
    """Return a copy of an optimiser's config as the trick ``low_precision`` with dtype 'auto' sets it on this machine."""
    from mmengine.config import ConfigDict

    wrapper = ConfigDict(optim_wrapper)
    return ConfigDict(optim_wrapper) if set_precision(wrapper, "auto") == "float32" else wrapper


def started_runner(cfg, folder: str, data: dict):
    """Return the runner of a config, ready to train on one batch as its epoch.

    ``runner.train_loop.run_epoch()`` is then a step with all hooks.

    Args:
        cfg: resolved config; changed to train in low precision where that is faster, at ``LR``, and to write no checkpoint.
        folder: folder for the files of the run.
        data: a batch as the loader of the task returns it.
    """
    cfg.optim_wrapper = low_precision(cfg.optim_wrapper)
    cfg.optim_wrapper.optimizer.lr = LR
    cfg.param_scheduler = []
    cfg.train_cfg = dict(type=Rounds, max_epochs=10**6)
    cfg.default_hooks.checkpoint.interval = 10**9
    cfg.work_dir, cfg.run, cfg.launcher = folder, "benchmark", "none"
    cfg.randomness = dict(seed=0)
    return started(cfg, [data])


def wrapper_of(model: nn.Module, cfg: dict) -> OptimWrapper:
    """Build the optimiser of a config for a rival, at the learning rate ``LR``. torch chooses whether its SGD is fused."""
    cfg = dict(cfg, optimizer=dict(cfg["optimizer"], lr=LR, fused=None))
    return build_optim_wrapper(model, cfg)


class PlainStep:
    """Train one step as torchvision's own scripts do: autocast, scaled backward, clipping, SGD.

    Args:
        model: model to train.
        loss: function that returns the loss of a forward pass, a scalar tensor.
        clip: function that clips the gradients of a list of parameters; None clips nothing.
        sgd: further arguments of SGD.
    """

    def __init__(self, model: nn.Module, loss: Callable[[], Tensor], clip: Callable[[list], None] | None = None, **sgd):
        self.loss, self.clip = loss, clip
        self.trained = [p for p in model.parameters() if p.requires_grad]
        fused = torch.cuda.is_available() or None  # as in our runs; None leaves the choice to torch
        self.optimizer = torch.optim.SGD(self.trained, lr=LR, fused=fused, **sgd)
        self.dtype = getattr(torch, resolve_dtype("auto"))
        self.scaler = torch.amp.GradScaler(device(), enabled=self.dtype == torch.float16)

    def __call__(self) -> None:
        self.optimizer.zero_grad()
        with torch.autocast(device(), self.dtype, enabled=self.dtype != torch.float32):
            loss = self.loss()
        self.scaler.scale(loss).backward()
        if self.clip:
            self.scaler.unscale_(self.optimizer)
            self.clip(self.trained)
        self.scaler.step(self.optimizer)
        self.scaler.update()


def trainable(model: nn.Module) -> int:
    """Return the number of values of ``model`` that get a gradient."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad)


def multiply_adds(loss: Callable[[], Tensor]) -> int:
    """Return the multiply-adds of a call of ``loss``."""
    with FlopCounterMode(display=False) as counter:
        loss()
    return counter.get_total_flops() // 2


def total_loss(model: nn.Module, data: dict) -> Tensor:
    """Return the training loss of a model of mmdet or mmseg, without an update."""
    return model.parse_losses(model(**model.data_preprocessor(data, True), mode="loss"))[0]


@contextmanager
def without_dropout(*models: nn.Module) -> Iterator[None]:
    """Turn the dropout of ``models`` off inside, so that their losses can be compared."""
    dropouts = [m for model in models for m in model.modules() if isinstance(m, nn.modules.dropout._DropoutNd)]
    try:
        for module in dropouts:
            module.eval()
        yield
    finally:
        for module in dropouts:
            module.train()
