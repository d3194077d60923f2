"""Low-precision training, section 3.2 of the paper."""

from classification.tricks.declare import trick


@trick(sets=("optim_wrapper.type", "optim_wrapper.dtype"))
def low_precision(cfg, dtype: str = "auto") -> None:
    """Forward and backward in 16 bits, weights and updates in 32 (Table 3: FP16).

    Args:
        dtype: 'float16' (loss scaling, needs CUDA), 'bfloat16', 'float32', or 'auto': float16 on CUDA, bfloat16 on a CPU
            that computes in it, else float32. The dtype used is in the run's record.

    Raises:
        ValueError: another dtype.
    """
    allowed = ("auto", "float16", "bfloat16", "float32")
    if dtype not in allowed:
        raise ValueError(f"low_precision:dtype is {dtype!r}; allowed: {', '.join(allowed)}.")
    cfg.optim_wrapper.type = "classification.LowPrecisionOptimWrapper"
    cfg.optim_wrapper.dtype = dtype
