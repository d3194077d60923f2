"""Test that the configs of docs/openmmlab.md build with mmdet and mmseg, and give the features of the card."""

import importlib.util
import re
from pathlib import Path
from types import SimpleNamespace

import pytest
import timm
import torch
from mmengine.config import Config
from mmengine.registry import HOOKS, MODELS, init_default_scope

from backbones.common.project import ROOT
from backbones.interchange.importer import from_timm
from backbones.probe import probe_image
from tests.helpers.convert import assert_same, hooked, stages_of, tamed

PAGE = (ROOT / "docs/openmmlab.md").read_text()
MMSEG = importlib.util.find_spec("mmseg").submodule_search_locations[0]
pytestmark = pytest.mark.slow
DETECTOR, SEGMENTER = re.findall(r"```python\n(.*?)```", PAGE, re.S)


@pytest.fixture(scope="module")
def source():
    """Return a network of timm, small enough for a test, with the channels of ResNet-50."""
    torch.manual_seed(0)
    return tamed(timm.create_model("resnet26d", num_classes=0))


@pytest.fixture(scope="module")
def card(source, tmp_path_factory) -> Path:
    return from_timm(source).write(tmp_path_factory.mktemp("cards") / "mine")


def built(text: str, card, folder: Path):
    """Write a config of the page for ``card``, build its model and run its hook; return the model."""
    path = folder / "own.py"
    text = text.replace("cards/mine", str(card.path)).replace("depth=50", "depth=26")
    path.write_text(text.replace('"configs/', f'"{MMSEG}/.mim/configs/'))
    cfg = Config.fromfile(path)
    init_default_scope(cfg.default_scope)
    model = MODELS.build(cfg.model)
    (hook,) = cfg.custom_hooks
    assert hook.pop("priority") == "VERY_HIGH"  # as the runner takes it out
    HOOKS.build(hook).before_train(SimpleNamespace(iter=0, model=model))
    return model.eval()


def image(model) -> torch.Tensor:
    """Return the probe image as the model's preprocessor gives it to the backbone; pipelines read BGR."""
    return model.data_preprocessor({"inputs": [probe_image().flip(0)], "data_samples": None}, training=False)["inputs"]


@pytest.mark.parametrize(("text", "stages"), [(DETECTOR, 4), (SEGMENTER, 2)], ids=["mmdet", "mmseg"])
def test_a_config_of_the_page_gives_the_features_of_the_card(card, source, tmp_path, text, stages):
    model = built(text, card, tmp_path)
    inputs = image(model).double()
    with torch.no_grad():
        features = model.backbone.double()(inputs)
    expected, _ = hooked(source, stages_of(source), inputs)
    assert_same(features[:stages], expected[:stages])  # the last stages of the segmenter are dilated


def test_a_config_with_another_variant_is_refused(card, tmp_path):
    with pytest.raises(ValueError, match="transfer refused|is not|missing"):
        built(DETECTOR.replace('variant="d"', 'variant="b"'), card, tmp_path)


def test_a_config_with_another_mean_is_refused(card, tmp_path):
    with pytest.raises(ValueError, match=r"transfer refused, since stage 1 .* mean, std or channel order"):
        built(DETECTOR.replace("123.675", "103.675"), card, tmp_path)
