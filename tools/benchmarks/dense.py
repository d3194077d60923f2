"""What the stages ``detect`` and ``segment`` share: made images, and training steps of a product's model and of torchvision's."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import torch
from mmengine.optim import OptimWrapper, build_optim_wrapper
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from classification.dtypes import resolve_dtype, set_precision
from tools.benchmarks.driven import Rounds, started

LR = 1e-5  # so small that no loss explodes, however many rounds there are; no step is faster or slower for it


def made_images(number: int, size: int) -> list[Tensor]:
    """Noise: uint8 (3, size, size) each, BGR as mmcv decodes."""
    rng = np.random.default_rng(0)
    return [torch.from_numpy(rng.integers(0, 256, (3, size, size), np.uint8)) for _ in range(number)]


def device() -> str:
    return "cuda" if torch.cuda.is_available() else "cpu"


def low_precision(optim_wrapper: dict) -> dict:
    """A copy of an optimiser's config as ``low_precision`` with dtype 'auto' leaves it on this machine."""
    from mmengine.config import ConfigDict

    wrapper = ConfigDict(optim_wrapper)
    return ConfigDict(optim_wrapper) if set_precision(wrapper, "auto") == "float32" else wrapper


def started_runner(cfg, folder: str, data: dict):
    """The runner of a config, ready to train on one batch as its epoch.

    ``runner.train_loop.run_epoch()`` is then a step with all hooks.

    Args:
        cfg: resolved; changed so that it trains in low precision where that pays, at ``LR``, and writes no checkpoint.
        folder: where the run puts its files.
        data: a batch as the task's loader makes it.
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
    """The optimiser of a config for ``model``, at the learning rate ``LR``."""
    cfg = dict(cfg, optimizer=dict(cfg["optimizer"], lr=LR))
    return build_optim_wrapper(model, cfg)


class PlainStep:
    """A training step as torchvision's own scripts write it: autocast, scaled backward, clipping, SGD.

    Args:
        model: to train.
        loss: returns the loss of a forward pass, a scalar tensor.
        clip: clips the gradients of a list of parameters; None does not.
    """

    def __init__(self, model: nn.Module, loss: Callable[[], Tensor], clip: Callable[[list], None] | None = None, **sgd):
        self.loss, self.clip = loss, clip
        self.trained = [p for p in model.parameters() if p.requires_grad]
        fused = torch.cuda.is_available() or None  # as our runs have it; None: what torch takes by itself
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
    """How many values of ``model`` get a gradient."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad)


def multiply_adds(loss: Callable[[], Tensor]) -> int:
    """Of what ``loss`` does."""
    with FlopCounterMode(display=False) as counter:
        loss()
    return counter.get_total_flops() // 2


def total_loss(model: nn.Module, data: dict) -> Tensor:
    """The loss of a model of mmdet or mmseg in training, without an update."""
    return model.parse_losses(model(**model.data_preprocessor(data, True), mode="loss"))[0]


@contextmanager
def without_dropout(*models: nn.Module) -> Iterator[None]:
    """Inside, no dropout of ``models`` acts, so that their losses can be compared."""
    found = [m for model in models for m in model.modules() if isinstance(m, nn.modules.dropout._DropoutNd)]
    try:
        for module in found:
            module.eval()
        yield
    finally:
        for module in found:
            module.train()
