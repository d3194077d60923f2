"""Test how training handles a faulty VOCdevkit: it refuses a fault in one sentence, or counts and names an oddity."""

import re
from pathlib import Path

import pytest
from mmengine.config import ConfigDict

from detection.annotations import check_annotation, check_split
from detection.image_lists import ListedImages, split_of
from tests.helpers.voc import BOX, GOOD, annotation
from tests.helpers.voc import devkit as devkit

CLASSES = ("cat", "dog")
FLAT = "a.xml has a box with xmax <= xmin or ymax <= ymin in whole pixels"


def of(folder: Path, *names: str) -> ListedImages:
    """Return the images with these names, as if a list named them."""
    return ListedImages(folder, folder / "ImageSets/Main/test.txt", list(names))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "a.xml does not exist, though it is listed in ImageSets/Main; complete the VOCdevkit."),
        ("", "a.xml is no VOC annotation (no element found"),
        ("<annotation>", "a.xml is no VOC annotation (no element found"),
        ("<html/>", "a.xml is no VOC annotation (its outermost tag is 'html', not 'annotation'"),
        ("<annotation/>", "a.xml is no VOC annotation (size/width of <annotation> is '', not a number"),
        ('<!DOCTYPE a [<!ENTITY b "c">]><annotation>&b;</annotation>', "it has a DOCTYPE, which no VOC annotation has"),
        (annotation(("zebra", BOX, 0)), "a.xml has an object of the unknown class 'zebra'; allowed: cat, dog. Correct the file"),
        (
            annotation(("cat", (10, 20, 10, 80), 0)),
            f"{FLAT}: 'cat' 10 20 10 80; correct",
        ),
        (
            annotation(("cat", (60, 20, 10, 80), 0)),
            f"{FLAT}: 'cat' 60 20 10 80; correct",
        ),
        (
            annotation(("cat", (10, 80, 60, 80), 0)),
            f"{FLAT}: 'cat' 10 80 60 80; correct",
        ),
        (
            annotation(("cat", (101, 20, 130, 80), 0)),
            "a.xml has a box that lies outside its image: 'cat' 101 20 130 80, image 100 x 90",
        ),
        (
            annotation(("cat", (-9, 20, 0, 80), 0)),
            "a.xml has a box that lies outside its image: 'cat' -9 20 0 80, image 100 x 90",
        ),
        (annotation(("cat", (10, 91, 60, 95), 0)), "a.xml has a box that lies outside its image"),
        (annotation(("cat", (10, "x", 60, 80), 0)), "a.xml is no VOC annotation (bndbox/ymin of <object> is 'x', not a number"),
        (annotation(("cat", (10, "nan", 60, 80), 0)), "is 'nan', not a number"),
        (annotation(("cat", BOX, 2)), "a.xml has an object whose difficult is neither 0 nor 1: '2'; correct the file."),
    ],
)
def test_a_faulty_annotation_is_refused_in_one_line_with_its_path(devkit, text, message):
    folder = devkit(a=text)
    with pytest.raises(ValueError, match=re.escape(message)) as error:
        check_split(of(folder, "a"), CLASSES, training=True)
    assert str(error.value).startswith(str(folder / "Annotations/a.xml")) and "\n" not in str(error.value)


def test_a_valid_annotation_passes(devkit):
    folder = devkit(a=annotation(("cat", (1, 1, 100, 90), 0), ("dog", BOX, 1)))
    _, things, reaching = check_annotation(folder / "Annotations/a.xml", CLASSES)
    assert [(t.name, t.box, t.difficult) for t in things] == [("cat", (1, 1, 100, 90), "0"), ("dog", BOX, "1")]
    assert reaching == [] and check_split(of(folder, "a"), CLASSES, training=False) == []


@pytest.mark.parametrize(("training", "use"), [(True, "clipped to it in training"), (False, "tested whole")])
def test_boxes_that_reach_out_are_counted_and_named(devkit, training, use):
    folder = devkit(
        a=annotation(("cat", (0, 5, 30, 40), 0), ("dog", (50, 50, 101, 90), 0)), b=GOOD, c=annotation(("cat", (5, 5, 9, 91), 0))
    )
    (text,) = check_split(of(folder, "a", "b", "c"), CLASSES, training)
    assert text.startswith("VOC2007: boxes that reach out of their image (3), " + use)
    assert "a.xml ('cat' 0 5 30 40, image 100 x 90)" in text and "c.xml ('cat' 5 5 9 91, image 100 x 90)" in text


def test_images_without_an_object_are_counted_and_named(devkit):
    folder = devkit(a=annotation(), b=GOOD, c=annotation())
    for training, use in ((True, "left out of training: a, c."), (False, "is a false alarm: a, c.")):
        (text,) = check_split(of(folder, "a", "b", "c"), CLASSES, training)
        assert text.startswith("VOC2007: images without an object (2)") and text.endswith(use)


def test_a_split_in_which_nothing_counts_is_refused(devkit):
    folder = devkit(a=annotation(("cat", BOX, 1)), b=annotation())
    with pytest.raises(ValueError, match="None of the 2 images of VOC2007 to test on has an object that is not difficult"):
        check_split(of(folder, "a", "b"), CLASSES, training=False)
    assert len(check_split(of(folder, "a", "b"), CLASSES, training=True)) == 1  # difficult ones are trained on
    with pytest.raises(ValueError, match="None of the 1 images of VOC2007 to train on has an object: there is nothing to learn"):
        check_split(of(folder, "b"), CLASSES, training=True)


def test_a_missing_image_is_refused(devkit):
    folder = devkit(a=GOOD, b=GOOD)
    (folder / "JPEGImages/b.jpg").unlink()
    with pytest.raises(ValueError, match="JPEGImages/b.jpg does not exist, though it is listed in ImageSets/Main; complete"):
        check_split(of(folder, "a", "b"), CLASSES, training=True)


def listed(devkit, lines: str | None) -> tuple[Path, dict]:
    """Make a devkit of the images a and b whose test.txt has these lines (None: no file); return it and its data set."""
    folder = devkit(a=GOOD, b=GOOD)
    if lines is not None:
        (folder / "ImageSets/Main/test.txt").write_text(lines)
    data = dict(
        data_root=str(folder.parent), ann_file="VOC2007/ImageSets/Main/test.txt", data_prefix=dict(sub_data_root="VOC2007/")
    )
    return folder, data


def test_a_missing_list_is_refused(devkit):
    _, data = listed(devkit, None)
    with pytest.raises(ValueError, match="test.txt does not exist"):
        split_of(ConfigDict(data))


def test_an_empty_list_is_refused(devkit):
    _, data = listed(devkit, "\n")
    with pytest.raises(ValueError, match="test.txt lists no image; restore the file"):
        split_of(ConfigDict(data))


def test_lists_are_joined(devkit):
    folder, data = listed(devkit, "a\nb\n")
    assert split_of(ConfigDict(data)) == [of(folder, "a", "b")]
    assert split_of(ConfigDict(type="ConcatDataset", datasets=[data, data])) == 2 * [of(folder, "a", "b")]


def test_a_list_too_short_to_hold_images_out_is_refused(devkit):
    _, data = listed(devkit, "a\nb\n")
    names = split_of(ConfigDict(data, part="rest"))[0].names
    assert names == ["a", "b"]  # crc32 of neither is a multiple of 5
    with pytest.raises(ValueError, match="test.txt is too short to hold images out of training"):
        split_of(ConfigDict(data, part="held_out"))


def test_training_cuts_a_box_at_the_border_and_testing_does_not(devkit):
    import cv2
    import numpy as np
    from mmengine.registry import init_default_scope

    import backbones.mmcv_ops  # noqa: F401
    from detection import VOCDataset

    init_default_scope("mmdet")
    folder = devkit(a=annotation(("cat", (-9, 5, 130, 40), 0)))
    cv2.imwrite(str(folder / "JPEGImages/a.jpg"), np.zeros((90, 100, 3), np.uint8))
    (folder / "ImageSets/Main/test.txt").write_text("a\n")
    steps = [dict(type="LoadImageFromFile"), dict(type="LoadAnnotations", with_bbox=True)]
    resize = dict(type="Resize", scale=(100, 90), keep_ratio=True)
    orders = {False: [*steps, resize], True: [steps[0], resize, steps[1]]}  # as in the configs
    boxes = {}
    for test_mode, order in orders.items():
        data = VOCDataset(
            data_root=str(folder.parent),
            ann_file="VOC2007/ImageSets/Main/test.txt",
            data_prefix=dict(sub_data_root="VOC2007/"),
            metainfo=dict(classes=CLASSES),
            test_mode=test_mode,
            pipeline=[*order, dict(type="PackDetInputs", meta_keys=())],
        )
        boxes[test_mode] = data[0]["data_samples"].gt_instances.bboxes.tensor.tolist()
    assert boxes[False] == [[0, 4, 100, 39]] and boxes[True] == [[-10, 4, 129, 39]]
