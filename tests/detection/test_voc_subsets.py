"""Subsets of a VOCdevkit: lists that follow the choice, and boxes that follow the resize."""

import random
import xml.etree.ElementTree as ET
from collections import Counter
from fractions import Fraction
from pathlib import Path

import pytest

from detection.annotations import read_annotation
from detection.dataset_check import VOC, check_devkit
from detection.subset import resized_box
from tests.helpers.subsets import contents, make_devkit, size_of, source_of, take

MAIN = "VOC2007/ImageSets/Main"


def covered(low: int, high: int, old: int, new: int) -> tuple[int, int] | None:
    """Return the first and last of the pixels 1..new of which at least half lies in the pixels low..high of 1..old.

    An independent computation: the area of each pixel is measured. None if a pixel is covered by exactly half.
    """
    shares = []
    for pixel in range(1, new + 1):
        left, right = Fraction((pixel - 1) * old, new), Fraction(pixel * old, new)  # in source pixels
        overlap = min(right, Fraction(high)) - max(left, Fraction(low - 1))
        shares.append(max(overlap, Fraction(0)) / (right - left))
    if Fraction(1, 2) in shares:
        return None
    inside = [pixel for pixel, share in enumerate(shares, 1) if share > Fraction(1, 2)]
    return (inside[0], inside[-1]) if len(inside) > 1 else None


def test_a_box_has_the_pixels_that_it_covers_by_half():
    draw, compared = random.Random(0), 0
    for _ in range(300):
        old = draw.randint(20, 120)
        new = draw.randint(10, old)
        low, high = sorted(draw.sample(range(1, old + 1), 2))
        if expected := covered(low, high, old, new):
            assert resized_box([low, 1, high, 30], (old, 40), (new, 40)) == [expected[0], 1, expected[1], 30]
            compared += 1
    assert compared > 200


@pytest.mark.parametrize(
    ("box", "expected"),
    [
        ([1, 1, 100, 90], [1, 1, 20, 18]),  # the whole image
        ([41, 50, 42, 51], [9, 11, 10, 12]),  # two pixels stay two
        ([100, 89, 100, 90], [19, 17, 20, 18]),  # in the corner
        ([95, 80, 130, 99], [20 - 1, 17, 20, 18]),  # reaches out
        ([-3, 0, 40, 30], [1, 1, 8, 6]),
    ],
)
def test_a_box_stays_in_its_image_and_keeps_two_pixels(box, expected):
    assert resized_box(box, (100, 90), (20, 18)) == expected


@pytest.fixture
def devkit(tmp_path) -> Path:
    return make_devkit(tmp_path / "VOCdevkit", dict(train=10, val=5, test=10))


def boxless(xml: Path) -> list[tuple[str, str]]:
    """Return all tags and texts of an XML but for numbers of the size and of boxes."""
    moved = ("width", "height", "xmin", "ymin", "xmax", "ymax")
    return [(e.tag, (e.text or "").strip()) for e in ET.parse(xml).iter() if e.tag not in moved]


def test_a_subset_passes_the_check_and_keeps_all_but_sizes_and_boxes(toy_root, tmp_path):
    source, out = source_of("voc", toy_root), tmp_path / "VOCdevkit"
    take("voc", source, out, short_side=100 if "toy" not in source.parts else 40, images=dict(train=4, val=2, test=3))
    wrong = [str(finding) for finding in check_devkit(out, 1, VOC) if finding.level == "WRONG" and not finding.published]
    assert wrong == []
    xmls = list(out.rglob("*.xml"))
    assert len(xmls) == len(list(out.rglob("*.jpg"))) == 9
    for xml in xmls:
        original = source / xml.relative_to(out)
        (size, things), (old, before) = read_annotation(xml), read_annotation(original)
        assert size == size_of(out / "VOC2007/JPEGImages" / f"{xml.stem}.jpg") and min(size) < min(old)
        assert boxless(xml) == boxless(original) and {"difficult", "truncated", "pose"} <= {tag for tag, _ in boxless(xml)}
        for thing, other in zip(things, before, strict=True):
            for axis in (0, 1):
                if ends := covered(other.box[axis], other.box[axis + 2], old[axis], size[axis]):
                    assert (thing.box[axis], thing.box[axis + 2]) == ends


def test_all_lists_follow_the_choice(devkit, tmp_path):
    recipe = take("voc", devkit, tmp_path / "out", images=dict(train=6, val=3)).recipe
    lists = {path.stem: path.read_text().splitlines() for path in (tmp_path / "out" / MAIN).iterdir()}
    assert {name: len(lines) for name, lines in lists.items() if "_" not in name} == dict(train=6, val=3, trainval=9, test=10)
    assert lists["trainval"] == lists["train"] + lists["val"]
    for name in ("train", "val", "trainval", "test"):
        original = (devkit / MAIN / f"dog_{name}.txt").read_text().splitlines()
        assert lists[f"dog_{name}"] == [line for line in original if line.split()[0] in lists[name]]
    images = {path.stem for path in (tmp_path / "out/VOC2007/JPEGImages").iterdir()}
    assert images == {*lists["trainval"], *lists["test"]} and recipe.chosen["VOC2007 trainval"] == 9


def test_rare_classes_stay_in_each_list(devkit, tmp_path):
    take("voc", devkit, tmp_path / "out", images=dict(train=4, test=4))
    for name in ("train", "test"):
        names = (tmp_path / "out" / MAIN / f"{name}.txt").read_text().split()
        things = [read_annotation(tmp_path / f"out/VOC2007/Annotations/{image}.xml")[1] for image in names]
        assert Counter(thing.name for image in things for thing in image if thing.difficult == "0")["dog"] >= 1


def test_named_classes_keep_the_images_and_objects_that_show_them(devkit, tmp_path):
    take("voc", devkit, tmp_path / "out", classes=("dog",))
    xmls = sorted((tmp_path / "out/VOC2007/Annotations").iterdir())
    assert [xml.stem for xml in xmls] == [f"{number:06d}" for number in range(5, 26, 5)]
    for xml in xmls:
        (thing,) = read_annotation(xml)[1]
        original = read_annotation(devkit / "VOC2007/Annotations" / xml.name)[1]
        assert thing.name == "dog" and thing in original and len(original) == 2
    take("voc", devkit, tmp_path / "cats", classes=("cat",), images=dict(train=4))
    lists = {path.stem for path in (tmp_path / "cats" / MAIN).iterdir()}
    assert lists == {"train", "val", "trainval", "test"}  # those of dogs are gone


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (dict(classes=("cow",)), "No image in a list of .* shows the class 'cow'; nearest: cat, dog"),
        (dict(images=dict(vall=2)), "--images names 'vall', which .* does not have; allowed: test, train, trainval, val"),
        (dict(classes=("dog",), images=dict(trainval=1)), "The subset would have no image in the list VOC2007 (train|val); take"),
    ],
)
def test_what_leaves_a_list_empty_or_is_not_there_is_refused(devkit, tmp_path, options, sentence):
    with pytest.raises(ValueError, match=sentence):
        take("voc", devkit, tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


def test_only_the_years_that_are_asked_for_are_taken(devkit, tmp_path):
    make_devkit(tmp_path / "more", dict(train=2))
    (tmp_path / "more/VOC2007").rename(devkit / "VOC2012")
    take("voc", devkit, tmp_path / "a", years=("VOC2012",))
    take("voc", devkit, tmp_path / "b")
    assert [sorted(path.name for path in (tmp_path / out).glob("VOC*")) for out in "ab"] == [["VOC2012"], ["VOC2007", "VOC2012"]]
    with pytest.raises(ValueError, match="has no VOC2010/ImageSets/Main; there are: VOC2007, VOC2012"):
        take("voc", devkit, tmp_path / "c", years=("VOC2010",))


def test_without_a_short_side_all_files_are_copied_byte_for_byte(devkit, tmp_path):
    take("voc", devkit, tmp_path / "out")
    copied = contents(tmp_path / "out")
    del copied[".subset.json"]
    assert copied == contents(devkit)


def test_points_and_boxes_of_parts_are_moved_too(devkit, tmp_path):
    xml = devkit / "VOC2007/Annotations/000001.xml"
    part = "<part><name>head</name><bndbox><xmin>11.5</xmin><ymin>21</ymin><xmax>30</xmax><ymax>40</ymax></bndbox></part>"
    xml.write_text(xml.read_text().replace("</object>", f"{part}<point><x>50</x><y>45</y></point></object>", 1))
    take("voc", devkit, tmp_path / "out", short_side=45)
    thing = ET.parse(tmp_path / "out/VOC2007/Annotations/000001.xml").find("object")
    assert [e.text for e in thing.find("part/bndbox")] == ["6", "11", "15", "20"]
    assert [e.text for e in thing.find("point")] == ["25", "23"]


FAULTS = {
    "no box": ("<xmin>10</xmin>", "<xmin>ten</xmin>", "is no VOC annotation .*'ten', not a number"),
    "flat": ("<xmax>60</xmax>", "<xmax>10</xmax>", "has a box with xmax <= xmin or ymax <= ymin"),
    "outside": (
        "<xmin>10</xmin><ymin>20</ymin><xmax>60<",
        "<xmin>101</xmin><ymin>20</ymin><xmax>120<",
        "has a box that lies outside its image",
    ),
    "size": ("<width>100<", "<width>90<", "says 90 x 90, and its image is 100 x 90"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_faulty_xml_is_named(devkit, tmp_path, name):
    old, new, sentence = FAULTS[name]
    xml = devkit / "VOC2007/Annotations/000007.xml"
    xml.write_text(xml.read_text().replace(old, new, 1))
    with pytest.raises(ValueError, match=f"1 of the 25 images cannot be used, such as: .*000007.xml {sentence}"):
        take("voc", devkit, tmp_path / "out", short_side=45)
