"""Low precision on the device at hand."""

from contextlib import contextmanager

import torch
from mmengine.config import ConfigDict
from mmengine.optim import OptimWrapper


class LowPrecisionOptimWrapper(OptimWrapper):
    """Autocast without loss scaling, on any device: for bfloat16, whose range is float32's, and for a CPU.

    MMEngine's ``AmpOptimWrapper`` cannot be built without an accelerator. Weights, gradients and updates stay float32.

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


def bf16_in_hardware() -> bool:
    """Whether this CPU computes in bfloat16 (avx512_bf16 or AMX on x86); elsewhere autocast is many times slower."""
    flags = torch.cpu.get_capabilities()
    return any(flags.get(name, False) for name in ("avx512_bf16", "amx_bf16", "bf16"))


def resolve_dtype(dtype: str) -> str:
    """The dtype that ``dtype`` means on this machine.

    'auto' is float16 where there is CUDA; on a CPU bfloat16 where the hardware has it, and else float32, since emulated
    bfloat16 took 12 to 21 times as long as float32 on a CPU with AVX2 only (ResNet-50-D, 64 px, batch 16, one run a layout).

    Raises:
        ValueError: float16 without CUDA.
    """
    if dtype == "float16" and not torch.cuda.is_available():
        raise ValueError("low_precision:dtype=float16 needs CUDA, and there is none here; give bfloat16, float32 or auto.")
    if dtype != "auto":
        return dtype
    if torch.cuda.is_available():
        return "float16"
    return "bfloat16" if bf16_in_hardware() else "float32"


def resolve_precision(cfg: ConfigDict) -> str:
    """Settles ``optim_wrapper.dtype`` of a config for this machine, and returns the dtype that training uses.

    float16 becomes MMEngine's ``AmpOptimWrapper`` with dynamic loss scaling and float32 master weights.
    """
    wrapper = cfg.optim_wrapper
    if "dtype" not in wrapper:
        return "float32"
    wrapper.dtype = resolve_dtype(wrapper.dtype)
    if wrapper.dtype == "float16":
        wrapper.update(type="AmpOptimWrapper", loss_scale="dynamic")
    return wrapper.dtype
