"""Test that a row from scratch differs from the rows with a card in nothing but its weights, and in that all of it trains."""

import shutil

import pytest

from backbones.card_facts import CardFacts
from backbones.common.project import ROOT
from backbones.transfer.protocols import protocol_files, read_protocol
from classification.task import facts_of
from classification.tricks import difference, flatten
from tools.engine.config import Options, load, resolve
from tools.engine.config.dumped import dumped_text, printed_text
from tools.engine.training.run import run

FCN = "configs/segmentation/fcn_toy.py"
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
                if protocol is None or path.stem.removesuffix("_paper") in read_protocol(task, protocol)["networks"]:
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


# ---- the network of a card from random weights


def of_odd_card(make_card) -> str:
    """Return the folder of a card that differs from a config's own network in all that its facts say."""
    return str(make_card("d", channel_order="bgr", mean=[1.0, 2.0, 3.0], std=[4.0, 5.0, 6.0]).path)


@pytest.mark.parametrize("config", ["detection/faster_rcnn_c4_toy", "detection/faster_rcnn_fpn_toy", "segmentation/fcn_toy"])
def test_scratch_of_a_card_differs_from_the_card_in_its_weights_and_in_what_is_frozen_alone(config, make_card):
    folder, path = of_odd_card(make_card), f"configs/{config}.py"
    from_card, random = (resolve(path, Options(backbone=name)).cfg for name in (folder, f"scratch:{folder}"))
    keys = difference(flatten(random.to_dict()), flatten(from_card.to_dict()))
    assert [key for key in keys if key not in PERMITTED and not key.startswith("custom_hooks.")] == []
    assert random.backbone == "scratch" and random.model.backbone.frozen_stages == -1
    assert not any(hook["type"] == "backbones.TransferHook" for hook in random.custom_hooks)
    assert random.model.data_preprocessor.mean == [1.0, 2.0, 3.0] and not random.model.data_preprocessor.bgr_to_rgb
    assert random.model.backbone.variant == "d" and random.model.backbone.base_channels == 8


def test_the_key_of_scratch_of_a_card_follows_its_network_and_not_its_weights(make_card):
    cards = [make_card("b", name, seed=seed).path for name, seed in (("one", 0), ("two", 1))]
    first, second = (resolve(FCN, Options(backbone=f"scratch:{card}")).key for card in cards)
    own = resolve(FCN, Options(backbone="scratch", overrides={"scratch_backbone.base_channels": 8})).key
    assert first == second == own
    assert resolve(FCN, Options(backbone=f"scratch:{make_card('d').path}")).key != own


def test_a_printed_or_dumped_config_of_scratch_of_a_card_resolves_to_the_same_run(make_card, tmp_path):
    card = make_card("d")
    resolved = resolve(FCN, Options(backbone=f"scratch:{card.path}"))
    dumped = dumped_text(resolved.cfg, resolved.origin, resolved.machine, resolved.card, resolved.key.name)
    shutil.rmtree(card.path)  # neither needs the card any more
    for text in (dumped, printed_text(resolved)):
        (tmp_path / "config.py").write_text(text)
        assert resolve(tmp_path / "config.py").key == resolved.key


def test_a_run_from_scratch_of_a_card_has_its_network_and_random_weights(make_card, toy_root, monkeypatch, tmp_path):
    monkeypatch.setenv("DATA_ROOT", str(toy_root.parent))
    monkeypatch.chdir(tmp_path)
    overrides = {"protocol.batch": 2, "protocol.length": {"epochs": 1}}
    resolved = resolve(ROOT / FCN, Options(backbone=f"scratch:{make_card('d').path}", overrides=overrides))
    record = run(resolved, tmp_path / "run")
    assert record["status"] == "done" and record["backbone"] == "scratch" and "certificate" not in record


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(backbone="scratch:nowhere"), "There is no backbone card at nowhere"),
        (dict(backbone="scratch:"), "There is no backbone card at"),
        (dict(transfer="frozen"), "would never train the backbone"),
        (dict(overrides={"model.backbone.norm_eval": True}), "trains all of the backbone"),
    ],
)
def test_what_scratch_of_a_card_cannot_be_is_refused(options, message, make_card):
    with pytest.raises(ValueError, match=message):
        resolve(FCN, Options(**(dict(backbone=f"scratch:{make_card('d').path}") | options)))
