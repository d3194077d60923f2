"""Test that any DATA_ROOT works or is refused in one sentence, and that a run finds data that was moved."""

import os
import shutil
from pathlib import Path

import pytest

from tests.helpers.bad_input import CLASSIFIER, DETECTOR, SEGMENTER
from tests.helpers.bad_input import refused as refused
from tests.helpers.bad_input import world as world
from tools.engine.config import Options, resolve
from tools.engine.training.run import dump

CONFIGS = (CLASSIFIER, DETECTOR, SEGMENTER)
ROOTS = ["it's", 'so "it" is', "a\\b", "line\nend", "donn\u00e9es", "rel/", "./here", "deep//er", "100%", "{{x}}", "$HOME", "~"]


def resolved_of(config: str):
    if config == CLASSIFIER:
        return resolve(config)
    return resolve(config, Options(backbone="scratch", overrides={"protocol.batch": 2}))


@pytest.mark.parametrize(("root", "config"), zip(ROOTS, CONFIGS * 4, strict=True))
def test_any_characters_and_any_form_of_a_path_work(world, tmp_path, monkeypatch, root, config):  # noqa: F811
    plain = resolved_of(config)
    (tmp_path / root).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / "data").rename(tmp_path / root)
    monkeypatch.setenv("DATA_ROOT", root)
    resolved = resolved_of(config)
    assert resolved.task.check_data(resolved.cfg) == [] and resolved.hashable == plain.hashable
    (tmp_path / "config.py").write_text(dump(resolved))
    assert resolve(tmp_path / "config.py").notices == ()  # nothing counts as edited by hand


@pytest.mark.parametrize(
    ("root", "sentence"),
    [
        ("", "The variable DATA_ROOT is empty; set it to the folder that holds the datasets, or unset it for data/."),
        (os.fsdecode(b"donn\xe9es"), "no text in UTF-8; rename the folder, or link to it."),
        ("x" * 5000, "(File name too long); set it to the folder that holds the datasets."),
        ("notes.txt", "The variable DATA_ROOT is 'notes.txt' (it is no folder); set it to"),
        ("/dev/null", "The variable DATA_ROOT is '/dev/null' (it is no folder); set it to"),
        ("notes.txt/data", "(Not a directory)"),
        ("loop", "(Too many levels of symbolic links)"),
        ("nowhere", "nowhere/toy/imagenet does not exist, and configs/classification/resnet50_toy.py reads it; DATA_ROOT is now"),
        ("dangling", "dangling/toy/imagenet does not exist, and "),
        ("line\nend", "line\\nend/toy/imagenet does not exist"),
    ],
)
def test_what_is_no_folder_of_datasets_is_refused_in_one_sentence(refused, tmp_path, monkeypatch, root, sentence):  # noqa: F811
    monkeypatch.chdir(tmp_path)
    Path("notes.txt").write_text("x")
    Path("loop").symlink_to("loop")
    Path("dangling").symlink_to("gone")
    monkeypatch.setenv("DATA_ROOT", root)
    assert sentence in refused("train", CLASSIFIER)


def test_a_folder_that_may_not_be_entered_is_refused_in_one_sentence(refused, world, tmp_path, monkeypatch):  # noqa: F811
    monkeypatch.setattr(os, "access", lambda path, mode: str(path) != str(tmp_path / "data"))  # the superuser may enter all
    assert f"DATA_ROOT is '{tmp_path}/data' (Permission denied); set it to the folder" in refused("train", CLASSIFIER)


@pytest.mark.parametrize("config", CONFIGS)
def test_the_config_of_a_run_finds_moved_data(world, tmp_path, monkeypatch, config):  # noqa: F811
    monkeypatch.setenv("DATA_ROOT", "data/")
    resolved = resolved_of(config)
    (tmp_path / "config.py").write_text(dump(resolved))
    shutil.move(tmp_path / "data", tmp_path / "elsewhere")
    with pytest.raises(ValueError, match="data/toy/.* does not exist"):
        resolved.task.check_data(resolved.cfg)
    monkeypatch.setenv("DATA_ROOT", str(tmp_path / "elsewhere/"))
    moved = resolve(tmp_path / "config.py")
    assert moved.notices == () and moved.task.check_data(moved.cfg) == [] and moved.hashable == resolved.hashable


def test_a_card_in_the_folder_of_the_data_does_not_move_with_it(world, tmp_path, monkeypatch, make_card):  # noqa: F811
    card = make_card(name="data/card").path
    resolved = resolve(DETECTOR, Options(backbone=str(card)))
    (tmp_path / "config.py").write_text(dump(resolved))
    monkeypatch.setenv("DATA_ROOT", "/elsewhere")
    moved = resolve(tmp_path / "config.py")
    assert moved.cfg.backbone == str(card) and moved.notices == ()
    assert moved.cfg.train_dataloader.dataset.data_root == "/elsewhere/toy/VOCdevkit"


def test_an_absolute_folder_of_data_stays_where_it_is(world, tmp_path, monkeypatch):  # noqa: F811
    resolved = resolve(CLASSIFIER, Options(overrides={"data_root": str(world / "imagenet")}))
    (tmp_path / "config.py").write_text(dump(resolved))
    monkeypatch.setenv("DATA_ROOT", "/elsewhere")
    stayed = resolve(tmp_path / "config.py")
    assert stayed.cfg.train_dataloader.dataset.root == str(world / "imagenet/train") and stayed.notices == ()
