"""Spare a training step the wait for a GPU: read values that only a log line needs when the line is due."""

from collections import deque
from functools import partial

import torch
from mmengine.hooks import RuntimeInfoHook
from mmengine.logging import MessageHub
from mmengine.runner import LogProcessor
from torch import Tensor


class DeferredLogProcessor(LogProcessor):
    """Write the same log lines as MMEngine's processor, but read the values only when a line is due.

    The values of an update stay on the device until then and are read in one copy. Reading them at every update would stop the
    host until the GPU has finished it.

    The histories of training values hold ``window_size`` values, which is all that a line needs. MMEngine keeps a million, and
    copies each history at every update.
    """

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.history_length = None if self.custom_cfg else self.window_size  # a custom entry may need any number of values
        self.unread: dict[str, deque[Tensor]] = {}

    def later(self, name: str, value: Tensor | float) -> None:
        """Note the scalar ``value`` of ``name`` at this update, to be read when a line is due."""
        self.unread.setdefault(name, deque(maxlen=self.history_length)).append(torch.as_tensor(value).detach())

    def get_log_after_iter(self, runner, batch_idx: int, mode: str) -> tuple[dict, str]:
        """Read the noted values, then format the line as MMEngine does."""
        self._read(runner.message_hub)
        return super().get_log_after_iter(runner, batch_idx, mode)

    def _read(self, hub: MessageHub) -> None:
        pairs = [(name, value) for name, values in self.unread.items() for value in values]
        self.unread = {}
        if pairs:
            device = pairs[-1][1].device
            numbers = torch.stack([value.to(device) for _, value in pairs]).tolist()
            for (name, _), number in zip(pairs, numbers, strict=True):
                hub.update_scalar(name, number)
        for name, history in hub.log_scalars.items():
            if self.history_length and name.startswith("train/"):
                history.max_length = self.history_length


class DeferredInfoHook(RuntimeInfoHook):
    """Send the model's outputs and the norm of clipped gradients to the ``DeferredLogProcessor``; else do as MMEngine's hook."""

    def before_train(self, runner) -> None:
        super().before_train(runner)
        wrapper = runner.optim_wrapper
        if getattr(wrapper, "clip_grad_kwargs", None):
            note_norm = partial(runner.log_processor.later, f"train/{wrapper.grad_name}")
            wrapper.clip_func = partial(_clip, wrapper.clip_func, note_norm)

    def after_train_iter(self, runner, batch_idx: int, data_batch=None, outputs: dict | None = None) -> None:
        for name, value in (outputs or {}).items():
            runner.log_processor.later(f"train/{name}", value)


def _clip(clip, note_norm, parameters: list[Tensor], **options) -> None:
    """Clip gradients with torch's function ``clip`` and return nothing, since MMEngine would read the norm at once."""
    norm = clip(parameters, **options)
    if norm is not None:  # torch's clipping by value returns none
        note_norm(norm)
