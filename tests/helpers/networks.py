"""Constants and random networks that many tests share."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
MEAN, STD = [123.68, 116.779, 103.939], [58.393, 57.12, 57.375]


def randomise_norms(net, seed: int = 0) -> None:
    """Give every BN of ``net`` random gamma, beta, mean and variance, so that a test notices when one is not copied."""
    import torch
    from torch import nn

    rng = torch.Generator().manual_seed(seed)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.weight.data.uniform_(0.5, 1.5, generator=rng)
            module.bias.data.normal_(0, 0.2, generator=rng)
            module.running_mean.normal_(0, 0.2, generator=rng)
            module.running_var.uniform_(0.5, 1.5, generator=rng)
