"""Give all tests one thread, the repository on the path, and a very small synthetic dataset and card."""

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from backbones.common import fact_cache
from tests.helpers.networks import MEAN, ROOT, STD, randomise_norms

os.environ["OMP_NUM_THREADS"] = "1"  # read when torch is loaded: equal sums from run to run
os.environ.pop("COLUMNS", None)  # GNU readline, which pytest loads, sets it for the workers of xdist
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

fact_cache.PATIENCE = 3600.0  # else the first slow test would say on stderr that it measures networks

HANDLED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGALRM)
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as a shell starts what it puts behind: what a test starts would not stop
    signal.signal(signal.SIGINT, signal.default_int_handler)
if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:  # as nohup starts it
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


@pytest.fixture(autouse=True)
def own_globals():
    """MMEngine keeps a process's default scope, and visualisers and loggers by name and second; a test starts without any."""
    yield
    if "mmengine" in sys.modules:
        from mmengine.logging import MessageHub, MMLogger
        from mmengine.registry import DefaultScope
        from mmengine.visualization import Visualizer

        for kind in (DefaultScope, Visualizer, MessageHub, MMLogger):
            kind._instance_dict.clear()


@pytest.fixture(autouse=True)
def own_signals():
    """A run that ends early in this process leaves its signal handlers, which the next test's processes would inherit."""
    before = {number: signal.getsignal(number) for number in HANDLED}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture(scope="session")
def toy_root(tmp_path_factory) -> Path:
    """A made world with a handful of images in each split; what ``DATA_ROOT/toy`` is at full size."""
    from tools.engine.toy_data.writer import ToySizes, make_toy

    root = tmp_path_factory.mktemp("data") / "toy"
    make_toy(
        root,
        sizes=ToySizes(2, 1, voc_train=6, voc_val=2, voc_test=3, ade_training=4, ade_validation=2),
        processes=1,
    )
    return root


@pytest.fixture
def make_card(tmp_path) -> Callable:
    """``make_card(variant='d', name='card', channel_order='rgb', **facts)``: of a ResNet-50 of width 8."""

    def make(variant: str = "d", name: str = "card", channel_order: str = "rgb", seed: int = 0, **facts):
        import torch

        from backbones import BackboneCard, ResNet
        from classification import ImagePreprocessor

        torch.manual_seed(seed)
        net = ResNet(50, variant, base_channels=8)
        randomise_norms(net, seed)
        normalise = ImagePreprocessor(MEAN, STD).normalise
        facts = dict(mean=MEAN, std=STD, input_size=64, resampler="bilinear", seed=seed, top1=50.0) | facts
        return BackboneCard.write(
            tmp_path / name,
            net,
            normalise if channel_order == "rgb" else lambda image: normalise(image.flip(1)),
            channel_order=channel_order,
            **facts,
        )

    return make
