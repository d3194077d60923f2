"""Check that user errors give one clear sentence and exit status 2, and leave no record or card behind."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from backbones.common.project import ROOT
from tests.helpers.bad_input import CLASSIFIER, DETECTOR, SEGMENTER, SMALL, SMALL_DENSE
from tests.helpers.bad_input import refused as refused
from tests.helpers.bad_input import world as world


def test_a_missing_data_root_says_what_was_expected_where(refused, tmp_path, monkeypatch):
    monkeypatch.setenv("DATA_ROOT", str(tmp_path / "nowhere"))
    for config, part in ((CLASSIFIER, "imagenet"), (DETECTOR, "VOCdevkit"), (SEGMENTER, "ADEChallengeData2016")):
        args = [] if config == CLASSIFIER else ["--backbone", "scratch"]
        text = refused("train", config, *args)
        assert str(tmp_path / "nowhere/toy") in text and part in text and "DATA_ROOT" in text and "holds" in text
    assert "do not exist; DATA_ROOT is" in refused("study", "run", "configs/studies/demo.py")
    assert not (tmp_path / "work_dirs").exists()


def test_a_misplaced_data_root_says_what_was_found(refused, world, monkeypatch):
    monkeypatch.setenv("DATA_ROOT", str(world))
    text = refused("train", CLASSIFIER)
    assert "VOCdevkit" in text and "imagenet" in text and "toy/toy/imagenet does not exist" in text


@pytest.mark.parametrize(
    "args, message",
    [
        ([CLASSIFIER, "--tricks", "cosin"], "no trick 'cosin'; nearest: cosine"),
        ([CLASSIFIER, "--tricks", "label_smoothing:epsilon=1"], "no option 'epsilon'; its options: eps, form"),
        ([CLASSIFIER, "--tricks", "resnet_b", "resnet_d"], "exclude each other"),
        (["configs/classification/resnet50_toi.py"], "nearest: configs/classification/resnet50_toy.py"),
        ([DETECTOR], "detection needs --backbone"),
        ([SEGMENTER], "segmentation needs --backbone"),
        ([DETECTOR, "--backbone", "nosuchcard"], "no backbone card at nosuchcard"),
        ([DETECTOR, "--backbone", "scratch", "--tricks", "cosine"], "--tricks belong to pretraining"),
        ([DETECTOR, "--backbone", "scratch", "--transfer", "frozen"], "would never train the backbone"),
        ([DETECTOR, "--backbone", "scratch", "--transfer", "freeze"], "allowed: finetune, frozen"),
        ([CLASSIFIER, "--backbone", "scratch"], "classification trains its own backbone"),
        ([CLASSIFIER, "--cfg-options", "num_classes=7"], "8 class folders and the config 7 classes"),
    ],
)
def test_unknown_and_misused_names_are_refused(refused, world, args, message):
    assert message in refused("train", *args)
    assert not Path("work_dirs").exists()


@pytest.mark.parametrize(
    ("config", "override", "counts"),
    [
        (CLASSIFIER, "batch=17 micro_batch=17", "imagenet/train has 16 images, fewer than one batch of 17"),
        (CLASSIFIER, "batch=4096", "imagenet/train has 16 images, fewer than one batch of 4096"),
        (DETECTOR, "protocol.batch=9", "The training list has 8 images, fewer than one batch of 9"),
        (SEGMENTER, "protocol.batch=5", "images/training has 4 images, fewer than one batch of 5"),
    ],
)
def test_a_training_set_smaller_than_a_batch_is_refused_before_a_folder_is_made(refused, world, config, override, counts):
    backbone = [] if config == CLASSIFIER else ["--backbone", "scratch"]
    error = refused("train", config, *backbone, "--cfg-options", *override.split())
    assert counts in error and "batch=N" in error
    assert not Path("work_dirs").exists()


@pytest.mark.parametrize(
    "args, message",
    [
        (["run", "configs/studies/demo.py", "--scale", "toi"], "no scale 'toi'; nearest: toy"),
        (["run", "configs/studies/demo.py", "--recipes", "smoth"], "no recipe 'smoth'; nearest: smooth"),
        (["status", "configs/studies/dmeo.py"], "nearest: configs/studies/demo.py"),
    ],
)
def test_unknown_names_of_a_study_are_refused(refused, world, args, message):
    assert message in refused("study", *args)


def test_a_class_folder_without_images_is_named(refused, world):
    for image in (world / "imagenet/val/solid_star").iterdir():
        image.unlink()
    assert "imagenet/val/solid_star holds no image" in refused("train", CLASSIFIER)


def test_other_classes_in_validation_are_named(refused, world):
    (world / "imagenet/val/solid_star").rename(world / "imagenet/val/solid_stars")
    assert "solid_star, solid_stars" in refused("train", CLASSIFIER)


def test_an_image_that_cannot_be_decoded_is_named(refused, world, make_card):
    broken = next((world / "imagenet/train/solid_star").iterdir())
    broken.write_bytes(b"no image")
    assert str(broken) in refused("train", CLASSIFIER, *SMALL)
    photo = sorted((world / "VOCdevkit/VOC2007/JPEGImages").iterdir())[0]
    photo.write_bytes(photo.read_bytes()[:50])
    assert str(photo) in refused("train", DETECTOR, "--backbone", "scratch", *SMALL_DENSE)


def test_an_image_that_a_worker_cannot_decode_is_named(refused, world):
    broken = next((world / "imagenet/train/solid_star").iterdir())
    broken.write_bytes(b"no image")
    two_workers = [word for word in SMALL if word != "num_workers=0"]
    assert str(broken) in refused("train", CLASSIFIER, *two_workers, "test_dataloader.num_workers=0")


def test_an_xml_of_an_unknown_class_is_named(refused, world):
    path = sorted((world / "VOCdevkit/VOC2007/Annotations").iterdir())[0]
    text = path.read_text()
    name = text.split("<name>")[1].split("<")[0]
    path.write_text(text.replace(name, "zebra", 1))
    error = refused("train", DETECTOR, "--backbone", "scratch")
    assert str(path) in error and "'zebra'" in error and "solid_disc" in error


@pytest.mark.parametrize(
    "spoil", [lambda p: p.unlink(), lambda p: p.write_text("<annotation>"), lambda p: p.write_text("<a><object/></a>")]
)
def test_an_xml_that_is_missing_or_broken_is_named(refused, world, spoil):
    path = sorted((world / "VOCdevkit/VOC2007/Annotations").iterdir())[0]
    spoil(path)
    assert str(path) in refused("train", DETECTOR, "--backbone", "scratch")


def test_a_mask_id_above_150_is_refused(refused, world):
    for path in (world / "ADEChallengeData2016/annotations/training").iterdir():
        mask = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        cv2.imwrite(str(path), np.where(mask > 0, 151, 0).astype(np.uint8))
    error = refused("train", SEGMENTER, "--backbone", "scratch", *SMALL_DENSE)
    assert "has the id 151" in error and "ADE_train_" in error


def test_an_image_without_its_mask_is_refused(refused, world):
    mask = sorted((world / "ADEChallengeData2016/annotations/training").iterdir())[0]
    mask.unlink()
    assert str(mask) in refused("train", SEGMENTER, "--backbone", "scratch", *SMALL_DENSE)


def test_cards_that_are_damaged_or_do_not_fit_are_refused(refused, world, make_card):
    card = make_card(name="truncated").path
    weights = card / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    assert "sha256 differs" in refused("train", DETECTOR, "--backbone", card, *SMALL_DENSE)

    card = make_card(name="variant").path
    about = json.loads((card / "card.json").read_text())
    about["arch"]["variant"] = "b"
    (card / "card.json").write_text(json.dumps(about))
    error = refused("train", SEGMENTER, "--backbone", card, *SMALL_DENSE)
    assert "does not fit ResNet" in error and "conv1.weight" in error


@pytest.mark.parametrize("field, value", [("mean", [0.0, 0.0, 0.0]), ("channel_order", "bgr")])
@pytest.mark.parametrize("config", [DETECTOR, SEGMENTER])
def test_a_certificate_that_fails_stops_the_training(refused, world, make_card, field, value, config):
    card = make_card().path
    about = json.loads((card / "card.json").read_text())
    about[field] = value
    (card / "card.json").write_text(json.dumps(about))
    assert "transfer refused" in refused("train", config, "--backbone", card, *SMALL_DENSE)


def test_a_config_that_no_run_has_dumped_cannot_be_tested(refused, world):
    assert "is no run's config" in refused("test", CLASSIFIER, ROOT / "README.md")
    assert "There is no checkpoint" in refused("export_backbone", ROOT / "README.md", "--out", "card")


def test_a_folder_without_synthetic_data_is_not_overwritten(refused, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/photo.jpg").write_bytes(b"x")
    assert str(tmp_path / "mine") in refused("prepare_data", "toy", "--out", tmp_path / "mine")
    assert [p.name for p in (tmp_path / "mine").iterdir()] == ["photo.jpg"]
