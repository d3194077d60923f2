"""Compute the probe of a card: the features that a network gives for one fixed image.

The same features downstream prove that the weights, the architecture and the preprocessing all arrived.
"""

import torch
from torch import Tensor

from backbones.networks.base import Backbone
from backbones.networks.factory import build

TOLERANCE = 1e-5  # largest absolute difference between a feature of the probe and the same feature downstream


def probe_image() -> Tensor:
    """Return the fixed image of every probe: uint8 (3, 96, 128), RGB. Inception-V3 needs at least 75 pixels a side.

    Each channel has waves of another period and direction, so swapped channels, a transposed image, another mean or a shifted
    stride each change the features. Integer arithmetic makes the image identical on every machine.
    """
    y, x = torch.meshgrid(torch.arange(96), torch.arange(128), indexing="ij")
    waves = [(7 * x + 3 * y) % 256, (x * y + 11 * y) % 256, (x * x + 5 * y * y) // 16 % 256]
    return torch.stack(waves).to(torch.uint8)


@torch.no_grad()
def probe_features(net: Backbone, inputs: Tensor) -> tuple[Tensor, ...]:
    """Return the features of all stages of ``net`` at output stride 32 for preprocessed ``inputs`` (1, 3, H, W).

    A copy of the network computes them in evaluation mode and in float64, and the result is rounded to float32: in float32 two
    convolution kernels may differ by more than ``TOLERANCE``.
    """
    copy = build(net.arch).double().eval()
    copy.load_state_dict({k: v.detach().cpu().double() for k, v in net.state_dict().items()}, strict=True)
    return tuple(f.float().contiguous() for f in copy(inputs.detach().cpu().double()))


def difference(a: Tensor, b: Tensor) -> float:
    """Return the largest absolute difference of two features, or infinity if their shapes differ."""
    return float((a - b).abs().max()) if a.shape == b.shape else float("inf")
