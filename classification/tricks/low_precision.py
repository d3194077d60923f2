"""Declare low-precision training (section 3.2 of the paper)."""

from classification.tricks.declare import Gain, trick


@trick(
    sets=("low_precision",),
    follows=("optim_wrapper.type", "optim_wrapper.dtype", "optim_wrapper.loss_scale", "precision"),
    gain=Gain("table4", ("+ FP16", "bs1024_top1"), ("+ No bias decay", "bs1024_top1")),
)
def low_precision(cfg, dtype: str = "auto") -> None:
    """Compute forward and backward in 16 bits; keep weights, updates and losses in 32. float16 uses dynamic loss scaling.

    Why: GPUs compute faster in 16 bits. With it and a batch of 1024, an epoch of the paper takes a third to three fifths of the
    time (Table 3).

    Args:
        dtype: 'float16' (needs CUDA), 'bfloat16', 'float32', or 'auto': float16 on CUDA, bfloat16 on a CPU with bfloat16
            hardware, else float32. The run's record names the dtype that was used.

    Raises:
        ValueError: an unknown dtype.
    """
    allowed = ("auto", "float16", "bfloat16", "float32")
    if dtype not in allowed:
        raise ValueError(f"low_precision:dtype is {dtype!r}; allowed: {', '.join(allowed)}.")
    cfg.low_precision = dtype
