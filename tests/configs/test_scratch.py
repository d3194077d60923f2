"""Test that a row from scratch differs from the rows with a card in nothing but its weights, and in that all of it trains."""

import pytest

from backbones.card_facts import CardFacts
from backbones.common.project import ROOT
from backbones.transfer.protocols import protocol_files
from classification.task import facts_of
from classification.tricks import difference, flatten
from tools.engine.config import Options, load, resolve

CONFIGS = {task: sorted((ROOT / "configs" / task).glob("*_*.py")) for task in ("classification", "detection", "segmentation")}
PREPROCESSING = ("mean", "std", "bgr_to_rgb")
# keys that say where weights come from, and what of the backbone is frozen
PERMITTED = {"backbone", "custom_hooks"} | {
    f"{part}.{key}"
    for part in ("model.backbone", "model.roi_head.shared_head")
    for key in ("frozen_stages", "norm_eval", "norm_frozen", "frozen")
}


def own_card() -> CardFacts:
    """Return the facts of the card that a ResNet-50-B of this project will have."""
    pretraining = resolve("configs/classification/resnet50_paper.py", Options(tricks=["resnet_b"])).cfg
    return CardFacts(**facts_of(pretraining), folder="CARD")


def cases():
    for task in ("detection", "segmentation"):
        for path in CONFIGS[task]:
            named = isinstance(load(path).protocol, str)
            for protocol in [None, *protocol_files(task)] if named else [None]:
                if not ("fpn" in path.name and protocol not in (None, "voc07")):
                    yield pytest.param(path, protocol, id=f"{path.stem}-{protocol}")


@pytest.mark.parametrize(("path", "protocol"), cases())
def test_scratch_differs_in_its_weights_and_in_what_is_frozen_alone(path, protocol):
    card = own_card()
    same_network = {"scratch_backbone": {**card.arch, "_delete_": True}}
    scratch = resolve(path, Options(backbone="scratch", protocol=protocol, overrides=same_network)).cfg
    from_card = resolve(path, Options(backbone="CARD", protocol=protocol), card=card).cfg
    keys = difference(flatten(scratch.to_dict()), flatten(from_card.to_dict()))
    assert [key for key in keys if key not in PERMITTED and not key.startswith("custom_hooks.")] == []
    assert "backbone" in keys and scratch.model.backbone.frozen_stages == -1 and scratch.model.backbone.norm_eval is False


@pytest.mark.parametrize("path", CONFIGS["classification"], ids=lambda path: path.stem)
def test_every_pretraining_has_the_preprocessing_of_scratch(path):
    facts = facts_of(resolve(path).cfg)
    ours = (facts["mean"], facts["std"], facts["channel_order"] == "rgb")
    for config in (*CONFIGS["detection"], *CONFIGS["segmentation"]):
        preprocessor = resolve(config, Options(backbone="scratch")).cfg.model.data_preprocessor
        assert tuple(preprocessor[key] for key in PREPROCESSING) == ours
