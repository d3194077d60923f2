"""Check named tensors: whether they are exactly those of a network, and whether their values are numbers."""

from collections.abc import Mapping

from torch import Tensor

NAMED = 4  # tensors of one kind that a message names


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
            f"{len(names)} {fault} ({', '.join(map(str, names[:NAMED]))}{', ...' if len(names) > NAMED else ''})"
            for fault, names in faults.items()
            if names
        ]
        raise ValueError(f"{where} does not fit {network}: {'; '.join(parts)}.")


def check_finite(where: str, weights: Mapping[str, Tensor]) -> None:
    """Raise ValueError if a tensor holds NaN or infinite values; name the first such tensor and their number."""
    for name, tensor in weights.items():
        if tensor.is_floating_point() and not (finite := tensor.isfinite()).all():
            raise ValueError(
                f"{where}: the tensor {name} holds {int((~finite).sum())} NaN or infinite values of {tensor.numel()}; its "
                "training diverged, so use an earlier checkpoint or other weights."
            )
