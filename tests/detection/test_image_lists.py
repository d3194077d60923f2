"""Test that the image lists of a VOCdevkit are read alike by the check of a run, by training and by its key."""

import os
import re
import socket
from pathlib import Path

import pytest
from mmengine.config import ConfigDict
from mmengine.registry import init_default_scope
from PIL import Image

from detection.annotations import check_split
from detection.image_lists import list_lines, read_list, split_of
from detection.task import check_data, data_files
from tests.helpers.voc import GOOD, annotation
from tests.helpers.voc import devkit as devkit

CLASSES = ("cat", "dog")


def config(folder: Path, train: str = "train", test: str = "test", **options) -> ConfigDict:
    """Return the data of a detector's config that reads these lists of a devkit."""

    def data(name: str) -> dict:
        return dict(
            data_root=str(folder.parent),
            ann_file=f"VOC2007/ImageSets/Main/{name}.txt",
            data_prefix=dict(sub_data_root="VOC2007/"),
            metainfo=dict(classes=CLASSES),
            **options,
        )

    return ConfigDict(
        batch=1, classes=CLASSES, train_dataloader=dict(dataset=data(train)), test_dataloader=dict(dataset=data(test))
    )


def put(folder: Path, name: str, content: str | bytes) -> Path:
    path = folder / f"ImageSets/Main/{name}.txt"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


LISTS = {
    "as published": "a\nb c\n",
    "without a last line end": "a\nb c",
    "Windows line ends": "a\r\nb c\r\n",
    "old line ends": "a\rb c\r",
    "a byte order mark": "\ufeffa\nb c\n",
    "blanks around": " a\t\n  b c  \n",
    "empty lines": "\n\na\n\n \nb c\n\n",
}


@pytest.mark.parametrize("kind", LISTS)
def test_check_training_and_key_read_the_same_names(devkit, kind):  # noqa: F811
    import backbones.mmcv_ops  # noqa: F401
    from detection import VOCDataset

    init_default_scope("mmdet")
    folder = devkit(**{"a": GOOD, "b c": GOOD, "d": GOOD})
    put(folder, "train", LISTS[kind])
    put(folder, "test", "d\n")
    cfg = config(folder)
    names = ["a", "b c"]
    assert check_data(cfg) == [] and [split.names for split in split_of(cfg.train_dataloader.dataset)] == [names]
    trained = VOCDataset(**cfg.train_dataloader.dataset, pipeline=[])
    assert [trained.get_data_info(i)["img_id"] for i in range(len(trained))] == names
    assert [Path(trained.get_data_info(i)["img_path"]).is_file() for i in range(len(trained))] == [True, True]
    keyed = data_files(cfg)[0]
    assert keyed.content == ("ImageSets/Main/train.txt", "Annotations/a.xml", "Annotations/b c.xml")
    assert keyed.images == ("JPEGImages/a.jpg", "JPEGImages/b c.jpg") and keyed.folder == folder


@pytest.mark.parametrize(
    "line",
    ["../a", "x/../../a", "/etc/passwd", "..", "a\0b", "a\x1bb"],
    ids=["above", "inside", "absolute", "dots", "null", "esc"],
)
def test_a_name_that_leaves_the_image_folder_is_refused(devkit, line):  # noqa: F811
    path = put(devkit(a=GOOD), "test", f"a\n{line}\n")
    with pytest.raises(ValueError, match="lists names that lead out of JPEGImages") as error:
        read_list(path)
    assert str(path) in str(error.value) and str(error.value).isprintable()


def test_a_name_in_a_subfolder_is_read(devkit):  # noqa: F811
    folder = devkit(a=GOOD)
    for part, suffix in (("JPEGImages", "jpg"), ("Annotations", "xml")):
        (folder / part / "sub").mkdir()
        (folder / part / f"a.{suffix}").rename(folder / part / f"sub/a..b.{suffix}")
    put(folder, "test", "sub/a..b\n")
    assert check_split(split_of(config(folder).test_dataloader.dataset)[0], CLASSES, training=False) == []


def special(path: Path, kind: str) -> None:
    path.unlink(missing_ok=True)
    if kind == "a pipe":
        os.mkfifo(path)
    elif kind == "a socket":
        with socket.socket(socket.AF_UNIX) as server:
            place = os.getcwd()
            os.chdir(path.parent)  # the path of a socket must be short
            server.bind(path.name)
            os.chdir(place)
    elif kind == "a device":
        path.symlink_to("/dev/zero")
    else:
        path.mkdir()


KINDS = ["a pipe", "a socket", "a device", "a folder"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_list_that_is_no_file_is_refused_without_a_wait(devkit, kind):  # noqa: F811
    path = put(devkit(a=GOOD), "test", "a\n")
    special(path, kind)
    with pytest.raises(ValueError, match=re.escape(f"The list {path} cannot be read (it is {kind}); restore the file")):
        list_lines(path)


@pytest.mark.parametrize("kind", KINDS)
def test_an_annotation_that_is_no_file_is_refused_without_a_wait(devkit, kind):  # noqa: F811
    folder = devkit(a=GOOD)
    put(folder, "test", "a\n")
    special(folder / "Annotations/a.xml", kind)
    with pytest.raises(ValueError, match=re.escape(f"a.xml is no VOC annotation (it is {kind}); restore the file")):
        check_split(split_of(config(folder).test_dataloader.dataset)[0], CLASSES, training=False)


@pytest.mark.parametrize("kind", [*KINDS, "empty"])
def test_a_test_image_that_is_no_file_with_content_is_refused_before_training(devkit, kind):  # noqa: F811
    folder = devkit(a=GOOD, b=GOOD)
    put(folder, "train", "b\n")
    put(folder, "test", "a\n")
    image = folder / "JPEGImages/a.jpg"
    if kind == "empty":
        image.write_bytes(b"")
    else:
        special(image, kind)
    with pytest.raises(ValueError, match=re.escape(f"The image {image} cannot be read (it is {kind}); replace it, or take it")):
        check_data(config(folder))


@pytest.mark.parametrize("content", ["a\n".encode("utf-16"), b"caf\xe9\n"], ids=["UTF-16", "Latin-1"])
def test_a_list_that_is_no_text_in_utf_8_is_refused(devkit, content):  # noqa: F811
    path = put(devkit(a=GOOD), "test", content)
    with pytest.raises(ValueError, match=f"The list {path} is no text in UTF-8; save it as UTF-8, with one image name a line."):
        read_list(path)


@pytest.mark.parametrize("suffix", [".png", ".jpeg", ".JPG"])
def test_images_with_another_suffix_are_named(devkit, suffix):  # noqa: F811
    folder = devkit(a=GOOD)
    put(folder, "test", "a\n")
    (folder / "JPEGImages/a.jpg").rename(folder / f"JPEGImages/a{suffix}")
    with pytest.raises(ValueError, match=f"a.jpg does not exist, but a{suffix} does: the names of images must end in .jpg"):
        check_split(split_of(config(folder).test_dataloader.dataset)[0], CLASSES, training=False)


@pytest.mark.parametrize("line", ["a -1", "a  1", "a 0"])
def test_a_list_of_one_class_is_told_from_a_list_of_names(devkit, line):  # noqa: F811
    folder = devkit(a=GOOD)
    put(folder, "test", f"{line}\n")
    with pytest.raises(ValueError, match=f"test.txt has the line '{line}', as in a list that says by 1, 0 or -1"):
        check_split(split_of(config(folder).test_dataloader.dataset)[0], CLASSES, training=False)


def test_a_test_image_that_is_listed_twice_is_refused(devkit):  # noqa: F811
    folder = devkit(a=GOOD, b=GOOD)
    put(folder, "test", "a\nb\na\n")
    (split,) = split_of(config(folder).test_dataloader.dataset)
    with pytest.raises(ValueError, match=r"test.txt lists images twice \(1\): a; each would count twice in mAP, so remove the"):
        check_split(split, CLASSES, training=False)
    (remark,) = check_split(split, CLASSES, training=True)
    assert remark.endswith("test.txt lists images twice (1), which are trained on as often: a.")


def test_images_that_are_trained_and_tested_on_are_named(devkit):  # noqa: F811
    folder = devkit(a=GOOD, b=GOOD, c=GOOD)
    put(folder, "train", "a\nb\n")
    put(folder, "test", "b\nc\n")
    (remark,) = check_data(config(folder))
    assert remark == "Images to test on that are also trained on (1 of 2): b."


def test_a_test_on_nothing_but_training_images_is_refused(devkit):  # noqa: F811
    folder = devkit(a=GOOD, b=GOOD)
    put(folder, "train", "a\nb\n")
    put(folder, "test", "b\na\n")
    with pytest.raises(ValueError, match="Each of the 2 images to test on is also trained on, such as b; test on others"):
        check_data(config(folder))
    parts = config(folder)
    parts.train_dataloader.dataset.part, parts.test_dataloader.dataset.part = "held_out", "rest"
    with pytest.raises(ValueError, match="too short to hold images out"):  # the two parts of a list share no image
        check_data(parts)


# ---- boxes


def test_boxes_are_those_of_mmdet(devkit):  # noqa: F811
    """On data without a fault our reader gives what mmdet's own gives, from fractions to difficult and small objects."""
    import backbones.mmcv_ops  # noqa: F401
    from detection import VOCDataset

    # isort: split
    from mmdet.datasets import VOCDataset as Reference

    init_default_scope("mmdet")
    texts = {
        "a": annotation(("cat", (1.7, 20.2, 60.9, 80.5), 0), ("dog", (1, 1, 100, 90), 1)),
        "b": annotation(("dog", ("1e1", " 12 ", 60, 80), 0)).replace("<difficult>0</difficult>", ""),
        "c": annotation(("cat", (1, 1, 9, 50), 0), ("cat", (1, 1, 50, 60), 1)),
        "d": annotation(),
    }
    folder = devkit(**texts)
    put(folder, "train", "c\na\nb\nd\n")
    for test_mode, smallest in ((False, None), (False, 20), (True, None)):
        filters = dict(filter_empty_gt=True, bbox_min_size=smallest) if not test_mode else None
        data = config(folder, filter_cfg=filters, test_mode=test_mode, pipeline=[]).train_dataloader.dataset
        expected, ours = Reference(**data), VOCDataset(difficult_in_training=False, **data)
        assert len(ours) == len(expected) == (4 if test_mode else 3)
        assert [ours.get_data_info(i) for i in range(len(ours))] == [expected.get_data_info(i) for i in range(len(ours))]


def test_small_boxes_are_left_out_of_training_also_where_difficult_ones_are_not(devkit):  # noqa: F811
    import backbones.mmcv_ops  # noqa: F401
    from detection import VOCDataset

    folder = devkit(a=annotation(("cat", (1, 1, 9, 50), 0), ("cat", (1, 1, 50, 60), 1)))
    put(folder, "train", "a\n")
    data = config(folder, filter_cfg=dict(bbox_min_size=20), pipeline=[]).train_dataloader.dataset
    flags = {
        hard: [i["ignore_flag"] for i in VOCDataset(difficult_in_training=hard, **data).get_data_info(0)["instances"]]
        for hard in (True, False)
    }
    assert flags == {True: [1, 0], False: [1, 1]}


@pytest.mark.parametrize("box", [(10.2, 20, 10.9, 80), (10, 20.5, 60, 20.9), (10, 20, 10.9, 80), (-0.9, 20, 0.9, 80)])
def test_a_box_without_a_whole_pixel_is_refused_as_it_would_be_trained_on(devkit, box):  # noqa: F811
    folder = devkit(a=annotation(("cat", box, 0)))
    put(folder, "test", "a\n")
    with pytest.raises(ValueError, match="a.xml has a box with xmax <= xmin or ymax <= ymin in whole pixels: 'cat' "):
        check_split(split_of(config(folder).test_dataloader.dataset)[0], CLASSES, training=False)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("<xmax>60</xmax>", "", "bndbox/xmax of <object> is '', not a number"),
        ("<xmax>60</xmax>", "<xmax>1e30</xmax>", "bndbox/xmax of <object> is '1e30', more than 16,777,216"),
        ("<xmax>60</xmax>", "<xmax>inf</xmax>", "bndbox/xmax of <object> is 'inf', not a number"),
        ("<width>100</width>", "<width>0</width>", "size/width of <annotation> is 0, not a number of pixels"),
        ("<width>100</width>", "<width>99.5</width>", "size/width of <annotation> is 99.5, not a number of pixels"),
        ("<name>cat</name>", "", "has an object of the unknown class ''; allowed: cat, dog"),
        ("<name>cat</name>", "<name/>", "has an object of the unknown class ''; allowed: cat, dog"),
        ("<difficult>0</difficult>", "<difficult>2</difficult>", "whose difficult is neither 0 nor 1: '2'"),
        ("<difficult>0</difficult>", "<difficult>false</difficult>", "whose difficult is neither 0 nor 1: 'false'"),
    ],
)
def test_a_field_that_is_missing_or_out_of_range_is_named(devkit, old, new, message):  # noqa: F811
    assert old in GOOD
    folder = devkit(a=GOOD.replace(old, new))
    put(folder, "test", "a\n")
    with pytest.raises(ValueError, match=re.escape(message)):
        check_split(split_of(config(folder).test_dataloader.dataset)[0], CLASSES, training=False)


def test_parts_of_a_person_are_no_objects(devkit):  # noqa: F811
    part = "<part><name>head</name><bndbox><xmin>-3</xmin><ymin>2</ymin><xmax>1</xmax><ymax>9</ymax></bndbox></part></object>"
    folder = devkit(a=GOOD.replace("</object>", part))
    put(folder, "test", "a\n")
    assert check_split(split_of(config(folder).test_dataloader.dataset)[0], CLASSES, training=False) == []


@pytest.mark.parametrize("size", [(1, 1), (2, 1), (1, 50)])
def test_images_of_odd_shapes_are_read(devkit, size):  # noqa: F811
    import backbones.mmcv_ops  # noqa: F401
    from detection import VOCDataset

    init_default_scope("mmdet")
    folder = devkit(a=annotation(size=size))
    Image.new("RGB", size).save(folder / "JPEGImages/a.jpg")
    put(folder, "test", "a\n")
    pipeline = [dict(type="backbones.LoadImage"), dict(type="Resize", scale=(1000, 600), keep_ratio=True)]
    pipeline += [dict(type="LoadAnnotations", with_bbox=True), dict(type="PackDetInputs", meta_keys=("ori_shape",))]
    data = VOCDataset(**config(folder, test_mode=True, pipeline=pipeline).test_dataloader.dataset)
    high, wide = data[0]["inputs"].shape[1:]
    assert min(high, wide) >= 1 and high * wide <= 1000 * 600
