"""Test the config.py of a run: it states its origin, and resolves again with further options on top."""

import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from backbones.common.project import ROOT
from classification.tricks import flatten
from tools.engine.config import Options, resolve
from tools.engine.config.dumped import printed_text
from tools.engine.training.run import dump

CLASSIFIER = "configs/classification/resnet50_toy.py"


@pytest.fixture
def card(make_card) -> str:
    return str(make_card().path)


def dumped(folder: Path, path: str, **options) -> tuple[Path, object]:
    """Write the config.py of a run, and return its path and the resolved config."""
    resolved = resolve(path, Options(**options))
    file = folder / "config.py"
    file.write_text(dump(resolved))
    return file, resolved


@pytest.mark.parametrize(
    ("path", "options"),
    [
        (CLASSIFIER, dict(tricks=["resnet_d", ("mixup", {"alpha": 0.4}), "cosine"], seed=3, overrides={"batch": 32})),
        ("configs/detection/faster_rcnn_c4_toy.py", dict(seed=2, overrides={"protocol.batch": 4}, hold_out=True)),
        ("configs/detection/faster_rcnn_fpn_toy.py", dict(lr_factor=2.0, overrides={"classes": ["cat", "dog"]})),
        ("configs/segmentation/fcn_paper.py", dict(protocol="mmseg", transfer="frozen", on_bad_image="skip")),
    ],
)
def test_a_dumped_config_resolves_to_what_it_holds(tmp_path, card, path, options):
    options |= {} if path == CLASSIFIER else {"backbone": card}
    file, resolved = dumped(tmp_path, path, **options)
    resolved_again = resolve(file)
    assert flatten(resolved_again.cfg) == flatten(resolved.cfg) and resolved_again.notices == ()
    assert resolved_again.key == resolved.key and resolved_again.origin.run == resolved.key.name


def test_an_override_on_a_dumped_config_acts_as_on_the_original(tmp_path, card):
    for path, first, then in (
        (CLASSIFIER, {"epochs": 8}, {"batch": 32, "size": 96}),
        ("configs/detection/faster_rcnn_fpn_toy.py", {"protocol.lr": 0.01}, {"protocol.batch": 4, "model.neck.out_channels": 32}),
    ):
        backbone = None if path == CLASSIFIER else card
        file, _ = dumped(tmp_path, path, overrides=first, backbone=backbone)
        resolved_again = resolve(file, Options(overrides=then))
        whole = resolve(path, Options(overrides=first | then, backbone=backbone))
        assert flatten(resolved_again.cfg) == flatten(whole.cfg) and resolved_again.key == whole.key


def test_options_on_a_dumped_config_replace_those_of_its_run(tmp_path, card):
    file, _ = dumped(tmp_path, "configs/segmentation/fcn_paper.py", backbone=card, seed=3)
    resolved_again = resolve(file, Options(seed=0, protocol="mmseg", backbone="scratch")).cfg
    assert (resolved_again.randomness.seed, resolved_again.protocol.name, resolved_again.backbone) == (0, "mmseg", "scratch")
    assert resolve(file).cfg.randomness.seed == 3


@pytest.mark.parametrize(("of_the_run", "asked"), [("skip", "stop"), (None, "skip")])
def test_on_bad_image_on_a_dumped_config_replaces_that_of_its_run(tmp_path, of_the_run, asked):
    file, _ = dumped(tmp_path, CLASSIFIER, on_bad_image=of_the_run)
    asked_again = resolve(file, Options(on_bad_image=asked)).cfg
    assert asked_again.to_dict() == resolve(CLASSIFIER, Options(on_bad_image=asked)).cfg.to_dict()
    assert resolve(file).cfg.get("on_bad_image") == of_the_run


def test_a_key_edited_by_hand_counts_as_an_override_and_is_reported(tmp_path):
    file, resolved = dumped(tmp_path, CLASSIFIER)
    text = file.read_text()
    assert "momentum=0.9" in text and "interval=20" in text
    file.write_text(text.replace("momentum=0.9", "momentum=0.8", 1).replace("persistent_workers=True,\n", "", 1))
    resolved_again = resolve(file, Options(overrides={"batch": 32}))
    assert resolved_again.cfg.optim_wrapper.optimizer.momentum == 0.8 and resolved_again.cfg.optim_wrapper.optimizer.lr == 0.00625
    assert "persistent_workers" not in resolved_again.cfg.train_dataloader
    (notice,) = resolved_again.notices
    assert "was edited by hand" in notice and "optim_wrapper.optimizer.momentum, train_dataloader.persistent_workers" in notice
    assert resolved_again.key != resolved.key


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ("max_epochs=12", "max_epochs=9", "/config.py, edited by hand: train_cfg.max_epochs: it follows from epochs"),
        ("lr=0.003125", "lr='fast'", "/config.py, edited by hand: .*the config has 0.003125 there; give a number"),
        ("drop_last=True,\n", "", "train_dataloader.drop_last: it follows from batch"),
        (
            "type='backbones.ShuffleSampler'",
            "type='DefaultSampler'",
            "train_dataloader.sampler.type: it follows from seed and batch",
        ),
        ("resolved_from = dict(", "resolved_from = dict(when=3, ", "resolved_from.when, which is unknown"),
    ],
)
def test_an_edit_that_cannot_act_is_refused(tmp_path, old, new, sentence):
    file, _ = dumped(tmp_path, CLASSIFIER)
    assert old in file.read_text()
    file.write_text(file.read_text().replace(old, new, 1))
    with pytest.raises(ValueError, match=sentence) as error:
        resolve(file)
    assert "--cfg-options" not in str(error.value)


def test_a_wrong_option_on_an_edited_config_is_named_as_such(tmp_path):
    file, _ = dumped(tmp_path, CLASSIFIER)
    file.write_text(file.read_text().replace("momentum=0.9", "momentum=0.8", 1))
    with pytest.raises(ValueError, match="^--cfg-options train_cfg.max_epochs: it follows from epochs"):
        resolve(file, Options(overrides={"train_cfg.max_epochs": 9}))


def test_an_edit_of_a_protocol_is_checked(tmp_path):
    file, _ = dumped(tmp_path, "configs/detection/faster_rcnn_c4_paper.py", backbone="scratch")
    file.write_text(file.read_text().replace("selection='last'", "selection='best'", 1))
    with pytest.raises(ValueError, match="/config.py, edited by hand: has protocol.selection='best'; give last"):
        resolve(file)


def test_a_second_set_of_tricks_is_refused(tmp_path):
    file, _ = dumped(tmp_path, CLASSIFIER, tricks=["resnet_d"])
    with pytest.raises(ValueError, match="has tricks already: resnet_d; give all tricks at once"):
        resolve(file, Options(tricks=["cosine"]))


@pytest.mark.parametrize("root", ["data", "/data of/all", 'it"s', "it's", "a\\b", "line\nend", "donn\u00e9es"])
def test_the_data_root_follows_the_variable_whatever_its_characters(tmp_path, monkeypatch, root):
    monkeypatch.setenv("DATA_ROOT", root)
    file, resolved = dumped(tmp_path, CLASSIFIER)
    assert repr(root)[1:-1] not in file.read_text() or root == "data"
    assert resolve(file).cfg.train_dataloader.dataset.root == f"{root}/toy/imagenet/train"
    monkeypatch.setenv("DATA_ROOT", "/moved")
    moved = resolve(file)
    assert moved.cfg.train_dataloader.dataset.root == "/moved/toy/imagenet/train" and moved.notices == ()
    assert moved.hashable == resolved.hashable


def test_a_printed_config_has_the_absolute_path_of_its_card(tmp_path, card):
    resolved = resolve("configs/detection/faster_rcnn_c4_toy.py", Options(backbone=os.path.relpath(card)))
    file = tmp_path / "printed.py"
    file.write_text(printed_text(resolved))
    hook = next(hook for hook in resolve(file).cfg.custom_hooks if hook["type"] == "backbones.TransferHook")
    assert Path(hook["card"]).is_absolute() and Path(hook["card"]).samefile(card)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("library", "config", "backbone"),
    [
        ("mmdet", "configs/detection/faster_rcnn_fpn_toy.py", "card"),
        ("mmdet", "configs/detection/faster_rcnn_c4_toy.py", "scratch"),
        ("mmseg", "configs/segmentation/fcn_toy.py", "card"),
        ("mmseg", "configs/segmentation/fcn_toy.py", "scratch"),
    ],
)
def test_the_tools_of_mmdet_and_mmseg_train_a_printed_config(tmp_path, toy_root, card, library, config, backbone):
    command = [sys.executable, str(ROOT / "tools/print_config.py"), config]
    command += ["--backbone", card if backbone == "card" else backbone]
    short = [
        "protocol.batch=2",
        "protocol.length.updates=2",
        "protocol.warmup=1" if library == "mmdet" else "protocol.crop=96",
        "num_workers=0",
    ]
    small = [] if backbone == "card" else ["scratch_backbone.base_channels=8"]
    printed = subprocess.run(
        [*command, "--cfg-options", *short, *small], capture_output=True, text=True, cwd=ROOT, check=True
    ).stdout
    (tmp_path / "printed.py").write_text(printed)
    script = Path(sysconfig.get_paths()["purelib"]) / library / ".mim/tools/train.py"
    env = os.environ | {"PYTHONPATH": str(ROOT), "DATA_ROOT": str(toy_root.parent), "OMP_NUM_THREADS": "1"}
    trained = subprocess.run(
        [sys.executable, str(script), "printed.py", "--work-dir", "work"], capture_output=True, text=True, cwd=tmp_path, env=env
    )
    output = trained.stdout + trained.stderr
    assert trained.returncode == 0 and (tmp_path / "work/iter_2.pth").is_file(), output[-3000:]
    assert ("Transfer certificate: " in output) == (backbone == "card")
