"""Check named tensors: whether they are exactly those of a network, and whether their values are numbers."""

from collections.abc import Mapping

import torch
from torch import Tensor

NAMED = 4  # tensors of one kind that a message names
LENGTH = 100  # characters of a name that a message shows


def check_names(where: str, weights: Mapping[str, Tensor], expected: Mapping[str, Tensor], network: str) -> None:
    """Check that tensors are exactly those of a network.

    Args:
        where: the file, for messages.
        weights: by name.
        expected: the network's state dict; its values are not read, so it may be on the meta device.
        network: its description, for messages.

    Raises:
        ValueError: a tensor is missing, left over or of another shape; names the first of each kind.
    """
    faults = {
        "missing": [k for k in expected if k not in weights],
        "left over": [k for k in weights if k not in expected],
        "of another shape": [k for k in expected if k in weights and expected[k].shape != weights[k].shape],
    }
    if any(faults.values()):
        parts = [
            f"{len(names)} {fault} ({', '.join(map(shown, names[:NAMED]))}{', ...' if len(names) > NAMED else ''})"
            for fault, names in faults.items()
            if names
        ]
        raise ValueError(f"{where} does not fit {network}: {'; '.join(parts)}.")


def check_values(where: str, weights: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> None:
    """Check that tensors hold finite numbers where a network has floating-point numbers.

    Args:
        where: the file, for messages.
        weights: by name, as ``check_names`` has checked them.
        expected: the network's state dict; its values are not read.

    Raises:
        ValueError: a tensor is not stored value by value, or holds integers, NaN or infinite values; names the first such tensor.
    """
    for name, tensor in weights.items():
        if fault := storage_fault(tensor):
            raise ValueError(f"{where}: the tensor {shown(name)} {fault}; save the weights as plain floating-point tensors.")
        if expected[name].is_floating_point() and not tensor.is_floating_point():
            raise ValueError(f"{where}: the tensor {shown(name)} is of {tensor.dtype}, and weights are floating-point numbers.")
        if tensor.is_floating_point() and not (finite := tensor.isfinite()).all():
            raise ValueError(
                f"{where}: the tensor {shown(name)} holds {int((~finite).sum())} NaN or infinite values of {tensor.numel()}; its "
                "training diverged, so use an earlier checkpoint or other weights."
            )


def storage_fault(tensor: Tensor) -> str | None:
    """Return what is wrong if a tensor is not stored value by value, so that reading it may fail or never end; else None."""
    if tensor.is_meta:
        return "has no values"
    if tensor.is_quantized:
        return "is quantised"
    if tensor.layout != torch.strided:
        return "is sparse"
    if tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes():
        return f"claims {tensor.numel():,} values and holds fewer"
    return None


def shown(name: object) -> str:
    """Return a name from a file as text for a message: one line, and not too long."""
    text = str(name) if str(name).isprintable() else repr(name)
    return text if len(text) <= LENGTH else f"{text[:LENGTH]}..."
