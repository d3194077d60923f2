"""Train in low precision on any device."""

from contextlib import contextmanager

import torch
from mmengine.optim import OptimWrapper


class LowPrecisionOptimWrapper(OptimWrapper):
    """Autocast without loss scaling on any device: for bfloat16, which has the range of float32, and for CPUs.

    Weights, gradients and updates stay float32. MMEngine's ``AmpOptimWrapper`` cannot be built without an accelerator.

    Args:
        dtype: 'bfloat16', or 'float32' for no autocast.
    """

    def __init__(self, dtype: str, **kwargs):
        super().__init__(**kwargs)
        self.dtype = getattr(torch, dtype)

    @contextmanager
    def optim_context(self, model: torch.nn.Module):
        device = next(model.parameters()).device.type
        enabled = self.dtype != torch.float32
        with super().optim_context(model), torch.autocast(device, self.dtype, enabled=enabled):
            yield
