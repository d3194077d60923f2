"""Which dtype a config's low precision means on this machine."""

from backbones.kept import machine


def bf16_in_hardware() -> bool:
    """Whether this CPU computes in bfloat16 (avx512_bf16 or AMX on x86); elsewhere autocast is many times slower."""
    return machine()["bf16"]


def resolve_dtype(dtype: str) -> str:
    """The dtype that ``dtype`` means on this machine.

    'auto' is float16 where there is CUDA; on a CPU bfloat16 where the hardware has it, and else float32, since emulated
    bfloat16 took 12 to 21 times as long as float32 on a CPU with AVX2 only (ResNet-50-D, 64 px, batch 16, one run a layout).

    Raises:
        ValueError: float16 without CUDA.
    """
    if dtype == "float16" and not machine()["cuda"]:
        raise ValueError("low_precision:dtype=float16 needs CUDA, and there is none here; give bfloat16, float32 or auto.")
    if dtype != "auto":
        return dtype
    if machine()["cuda"]:
        return "float16"
    return "bfloat16" if bf16_in_hardware() else "float32"


def resolve_precision(cfg) -> str:
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
