"""What a training step on a GPU need not wait for: figures that only a log line wants are read when the line is due."""

from collections import deque
from functools import partial

import torch
from mmengine.hooks import RuntimeInfoHook
from mmengine.logging import MessageHub
from mmengine.runner import LogProcessor
from torch import Tensor


class DeferredLogProcessor(LogProcessor):
    """MMEngine's, with the same lines. It takes the figures of an update as they are on the device, and reads them, all in one
    copy, when a line is due; reading each update's would stop the host until the GPU has done it.

    It also keeps the histories of training no longer than a line needs, ``window_size`` values: MMEngine's keep a million, each
    of which is copied at every update.
    """

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.needed = None if self.custom_cfg else self.window_size  # such an entry may want any number of them
        self.waiting: dict[str, deque[Tensor]] = {}

    def later(self, name: str, value: Tensor | float) -> None:
        """Takes the ``value`` of the figure ``name`` at this update, a scalar."""
        self.waiting.setdefault(name, deque(maxlen=self.needed)).append(torch.as_tensor(value).detach())

    def get_log_after_iter(self, runner, batch_idx: int, mode: str) -> tuple[dict, str]:
        self._read(runner.message_hub)
        return super().get_log_after_iter(runner, batch_idx, mode)

    def _read(self, hub: MessageHub) -> None:
        pairs = [(name, value) for name, values in self.waiting.items() for value in values]
        self.waiting = {}
        device = pairs[-1][1].device if pairs else None
        read = torch.stack([value.to(device) for _, value in pairs]).tolist() if pairs else []
        for (name, _), value in zip(pairs, read, strict=True):
            hub.update_scalar(name, value)
        for name, history in hub.log_scalars.items():
            if self.needed and name.startswith("train/"):
                history.max_length = self.needed


class DeferredInfoHook(RuntimeInfoHook):
    """MMEngine's, but that what the model returns, and the norm of clipped gradients, go to the ``DeferredLogProcessor``."""

    def before_train(self, runner) -> None:
        super().before_train(runner)
        wrapper = runner.optim_wrapper
        if getattr(wrapper, "clip_grad_kwargs", None):
            later = partial(runner.log_processor.later, f"train/{wrapper.grad_name}")
            wrapper.clip_func = partial(_clip, wrapper.clip_func, later)

    def after_train_iter(self, runner, batch_idx: int, data_batch=None, outputs: dict | None = None) -> None:
        for name, value in (outputs or {}).items():
            runner.log_processor.later(f"train/{name}", value)


def _clip(clip, later, parameters: list[Tensor], **how) -> None:
    """Clips gradients as torch's function ``clip`` does; returns nothing, since MMEngine would read it at once."""
    norm = clip(parameters, **how)
    if norm is not None:  # torch's clipping by value knows none
        later(norm)
