"""Test the check of a downloaded VOCdevkit: it finds and names each fault, and reports nothing else."""

import os
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
from PIL import Image

from backbones.common import dataset_checks as checking
from detection import dataset_check as check
from detection.annotations import read_annotation
from detection.dataset_check import Expected, ImageList, check_devkit, describe
from tests.helpers.findings import texts_by_level
from tests.helpers.networks import ROOT

SMALL = Expected(
    "Small",
    (
        ImageList("VOC2007", "trainval", 3, "to train", "one.tar"),
        ImageList("VOC2007", "test", 2, "to test", "two.tar"),
        ImageList("VOC2012", "trainval", 2, "to train on both", "three.tar"),
    ),
)
WIDTH, HEIGHT = 48, 40
IMAGES = {  # list -> its images
    "VOC2007/trainval": ("000001", "000002", "000003"),
    "VOC2007/test": ("000004", "000005"),
    "VOC2012/trainval": ("2008_000001", "2008_000002"),
}
PERSON = """<object><name>person</name><difficult>1</difficult><bndbox><xmax>48</xmax><ymax>40</ymax><xmin>1</xmin><ymin>1</ymin>
</bndbox><part><name>head</name><bndbox><xmin>-3</xmin><ymin>2</ymin><xmax>1</xmax><ymax>9</ymax></bndbox></part></object>"""


def cat(box: str = "1.5 2 48 39", name: str = "cat", difficult: str = "<difficult>0</difficult>") -> str:
    corners = zip(("xmin", "ymin", "xmax", "ymax"), box.split(), strict=True)
    sides = "".join(f"<{side}>{value}</{side}>" for side, value in corners)
    return f"<object><name>{name}</name>{difficult}<bndbox>{sides}</bndbox></object>"


def xml(*objects: str, width: int | str = WIDTH) -> str:
    size = f"<size><width>{width}</width><height>{HEIGHT}</height><depth>3</depth></size>"
    return f"<annotation>{size}{''.join(objects)}</annotation>"


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    """Write all that SMALL expects, with fractions, boxes from edge to edge, parts of a person, an object without difficult."""
    root = tmp_path_factory.mktemp("whole")
    noise = Image.merge("RGB", [Image.effect_noise((WIDTH, HEIGHT), 60)] * 3)
    for path, names in IMAGES.items():
        year, name = path.split("/")
        for folder in ("JPEGImages", "Annotations", "ImageSets/Main"):
            (root / year / folder).mkdir(parents=True, exist_ok=True)
        (root / year / "ImageSets/Main" / f"{name}.txt").write_text("".join(f"{image}\n" for image in names))
        for image in names:
            noise.save(root / year / "JPEGImages" / f"{image}.jpg")
            (root / year / "Annotations" / f"{image}.xml").write_text(xml(cat(), PERSON, cat(difficult="")))
    return root


@pytest.fixture
def tree(whole, tmp_path) -> Path:
    """Return a copy that a test may break."""
    return shutil.copytree(whole, tmp_path / "VOCdevkit")


def findings_of(root: Path, workers: int = 1) -> dict[str, list[str]]:
    """Return the texts of the findings by level."""
    return texts_by_level(check_devkit(root, workers, SMALL))


def test_a_complete_copy_has_no_fault_and_its_objects_are_counted(whole):
    assert findings_of(whole) == {
        "WRONG": [],
        "note": [],
        "info": [
            f"{name}: {n} of {n} images decoded; objects: {3 * n}, of which difficult: {n}; formats: JPEG {n}; modes: RGB {n}."
            for name, n in (("VOC2007 trainval", 3), ("VOC2007 test", 2), ("VOC2012 trainval", 2))
        ],
    }


JPG, XML, LIST = (f"VOC2007/{path}" for path in ("JPEGImages/000002.jpg", "Annotations/000002.xml", "ImageSets/Main/test.txt"))
BROKEN = f"VOC2007 trainval: XML files that are no VOC annotation (1): {XML} ("
BOMB = '<!DOCTYPE annotation [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;">]>'


def put(root: Path, path: str, text: str | bytes) -> None:
    (root / path).write_bytes(text if isinstance(text, bytes) else text.encode())


def annotate(*objects: str, **changes):
    return partial(put, path=XML, text=xml(*objects, **changes))


@pytest.mark.parametrize(
    "spoil, texts",
    [
        (partial(put, path=JPG, text=b""), [f"VOC2007 trainval: empty files (0 bytes) (1): {JPG}; unpack or copy"]),
        (
            lambda r: put(r, JPG, (r / JPG).read_bytes()[:900]),
            [f"VOC2007 trainval: truncated or damaged images, which PIL cannot decode (1): {JPG}; unpack or copy"],
        ),
        (
            partial(put, path=JPG, text="<html>"),
            [f"VOC2007 trainval: files with an image's suffix that are no images (1): {JPG};"],
        ),
        (lambda r: (r / JPG).unlink(), [f"VOC2007 trainval: listed images that are not in JPEGImages (1): {JPG}; unpack their"]),
        (
            lambda r: ((r / JPG).unlink(), (r / JPG).symlink_to(r / "gone.jpg")),
            [f"VOC2007 trainval: files that cannot be read (1): {JPG}; fix their permissions"],
        ),
        (
            lambda r: ((r / JPG).unlink(), os.mkfifo(r / JPG)),
            [f"VOC2007 trainval: folders, pipes, sockets or devices in the place of files (1): {JPG}; remove them"],
        ),
        (
            lambda r: Image.new("I;16", (WIDTH, HEIGHT)).save(r / JPG, "PNG"),
            [f"VOC2007 trainval: images of more than 8 bits a channel, which training refuses (1): {JPG}; save them with 8"],
        ),
        (
            lambda r: Image.new("RGB", (51, 1)).save(r / JPG),
            [f"VOC2007 trainval: images too narrow for their length, which training refuses (1): {JPG}; cut them"],
        ),
        (
            lambda r: ((r / XML).unlink(), os.mkfifo(r / XML)),
            [f"{BROKEN}it is a pipe); restore"],
        ),
        (lambda r: (r / XML).unlink(), [f"VOC2007 trainval: listed images without an XML in Annotations (1): {XML}; unpack"]),
        (
            partial(put, path=XML, text="<annotation>"),
            [f"{BROKEN}no element found: line 1, column 12); restore"],
        ),
        (
            partial(put, path=XML, text=b"\xff\xff"),
            [f"{BROKEN}not well"],
        ),
        (
            partial(put, path=XML, text='<?xml version="1.0" encoding="none"?><a/>'),
            [BROKEN],
        ),
        (
            partial(put, path=XML, text="<html/>"),
            [f"{BROKEN}its outerm"],
        ),
        (
            partial(put, path=XML, text=BOMB + xml(cat(name="&b;"))),
            [f"{BROKEN}it has a DOCTYPE, which no VOC annotation has,"],
        ),
        (
            partial(put, path=XML, text=("<!DOCTYPE annotation>" + xml(cat())).encode("utf-16")),
            [BROKEN],
        ),
        (
            annotate(cat("1 2 x 4")),
            [f"{BROKEN}bndbox/xmax of <object>"],
        ),
        (annotate(cat("1 2 nan 4")), [f"{BROKEN}bndbox/xmax of <obj"]),
        (annotate("<object><name>cat</name></object>"), [BROKEN]),
        (annotate(cat(), width=""), [f"{BROKEN}size/width of <anno"]),
        (
            annotate(cat(), width=47),
            [f"VOC2007 trainval: images of another size than their XML says (1): {JPG} (48 x 40, in its XML 47 x 40); unpack"],
        ),
        (annotate(), [f"VOC2007 trainval: annotations without an object (1): {XML}; restore the published ones."]),
        (
            annotate(cat(), cat(name="zebra"), cat(name=" cat")),
            [f"VOC2007 trainval: objects of another class than VOC's (2): {XML} ('zebra'), {XML} (' cat'); restore"],
        ),
        (
            annotate(cat("5 2 5 9"), cat("5 9 7 2"), cat("5 9 7 9")),
            [
                f"VOC2007 trainval: boxes with xmax <= xmin or ymax <= ymin in whole pixels (3): {XML} ('cat' 5 2 5 9), {XML} "
                "('cat' 5 9 7 2), "
            ],
        ),
        (
            annotate(cat("0 1 48 40"), cat("1 1 49 40"), cat("1 0.5 9 9"), cat("1 1 9 41")),
            [
                f"VOC2007 trainval: boxes not inside their image (1 <= xmin, xmax <= width, likewise y) (4): {XML} ('cat' 0 1 48 "
                "40, image 48 x 40), "
            ],
        ),
        (
            annotate(cat(difficult="<difficult>2</difficult>"), cat(difficult="<difficult/>")),
            [f"VOC2007 trainval: objects whose difficult is neither 0 nor 1 (2): {XML} ('2'), {XML} (''); restore"],
        ),
        (
            partial(put, path=LIST, text="000004\n"),
            ["VOC2007 test: 1 images listed, 2 expected; restore VOC2007/ImageSets/Main/test.txt from two.tar."],
        ),
        (
            partial(put, path=LIST, text="000004\r\n000005\n000004\n"),
            ["VOC2007 test: images listed twice (1): 000004; restore VOC2007/ImageSets/Main/test.txt from two.tar."],
        ),
        (
            partial(put, path=LIST, text="000004\n../x\n/etc/x\n000005\n"),
            ["VOC2007 test: names that lead out of JPEGImages (2): '../x', '/etc/x'; restore VOC2007/ImageSets/Main/test.txt"],
        ),
        (
            partial(put, path=LIST, text="000004\n000002\n"),
            ["VOC2007 test: images that are also in VOC2007 trainval (1): 000002; restore both lists, since a network must not"],
        ),
        (
            lambda r: (r / LIST).unlink(),
            ["VOC2007 test: no list ", "ImageSets/Main/test.txt, needed to test; unpack two.tar, whose"],
        ),
        (lambda r: shutil.rmtree(r / "VOC2007/Annotations"), ["VOC2007: no folder ", "; unpack one.tar and two.tar again."]),
        (
            lambda r: shutil.rmtree(r / "VOC2012"),
            ["VOC2012: no folder ", ", needed to train on both; ", " holds VOC2007: unpack thr"],
        ),
    ],
)
def test_each_fault_is_found_named_and_found_alone(tree, spoil, texts):
    spoil(tree)
    wrong = findings_of(tree)["WRONG"]
    report = " | ".join(wrong)
    for text in texts:
        assert text in report
    assert len(wrong) == 1, report
    assert "000001" not in report and "000003" not in report


def test_a_devkit_in_a_subfolder_or_a_year_given_instead_gets_a_hint(tree):
    wrong = findings_of(tree.parent)["WRONG"]
    assert len(wrong) == 2 and f"there is a {tree / 'VOC2007'}: check {tree} instead, or move" in wrong[0]
    wrong = findings_of(tree / "VOC2007")["WRONG"]
    assert len(wrong) == 2 and "needed to train and to test; " in wrong[0]
    assert "itself holds JPEGImages: check the folder above it" in wrong[0]


def test_oddities_and_archives_are_reported_without_a_fault(tree):
    image = Image.open(tree / JPG).convert("L")
    image.save(tree / JPG, "PNG")
    (tree / "VOCtest_06-Nov-2007.tar").write_bytes(b"x")
    texts = findings_of(tree)
    assert texts["WRONG"] == [] and texts["note"] == [
        "archives beside VOC2007 and VOC2012: VOCtest_06-Nov-2007.tar; nothing reads them once they are unpacked."
    ]
    assert texts["info"][0].endswith(
        "formats: JPEG 2, PNG 1; modes: RGB 2, L (grey) 1; not the format of their suffix: 000002.jpg (PNG)."
    )


def test_two_workers_report_the_same_findings(tree, monkeypatch):
    monkeypatch.setattr(checking, "CHUNK", 1)
    put(tree, JPG, b"")
    put(tree, XML, BOMB + xml(cat(name="&b;")))
    alone = list(check_devkit(tree, 1, SMALL))
    assert list(check_devkit(tree, 2, SMALL)) == alone and sum(finding.level == "WRONG" for finding in alone) == 2


def test_a_part_of_the_dataset_with_own_classes_has_no_fault_besides_the_differences_from_the_published(tree):
    put(tree, "VOC2007/ImageSets/Main/trainval.txt", "\ufeff000001\r\n\r\nmy photo \r\n")
    for folder, suffix in (("JPEGImages", "jpg"), ("Annotations", "xml")):
        (tree / f"VOC2007/{folder}/000002.{suffix}").rename(tree / f"VOC2007/{folder}/my photo.{suffix}")
    put(tree, "VOC2007/Annotations/my photo.xml", xml(cat(name="zebra")))
    shutil.rmtree(tree / "VOC2012")
    findings = [finding for finding in check_devkit(tree, 1, SMALL) if finding.level != "info"]
    assert len(findings) == 4 and all(finding.published for finding in findings), findings


def test_the_option_own_leaves_out_the_differences_from_the_published(tree, monkeypatch, capsys):
    monkeypatch.setattr(sys, "path", list(sys.path))  # a script puts its own tree on the path
    import tools.prepare_data

    monkeypatch.setattr(sys, "argv", ["prepare_data.py", "check", "voc", str(tree), "--workers", "1", "--own"])
    assert tools.prepare_data.prepare() == 0 and not (tree / ".content.json").exists()
    output = capsys.readouterr().out
    assert "WRONG" not in output and output.endswith(f"Nothing is wrong in {tree}.\n")
    put(tree, XML, xml(cat("5 2 5 9")))
    assert tools.prepare_data.prepare() == 1 and f"{XML} ('cat' 5 2 5 9); restore" in capsys.readouterr().out


def test_no_worker_a_file_or_a_missing_folder_is_refused(tree):
    with pytest.raises(ValueError, match="The number of workers is 0: give 1 or more"):
        list(check_devkit(tree, 0, SMALL))
    with pytest.raises(ValueError, match="is a file; give the folder that holds VOC2007 and VOC2012 of Small"):
        list(check_devkit(tree / JPG, 1, SMALL))
    with pytest.raises(ValueError, match="does not exist; it should hold VOC2007 and VOC2012 of Small"):
        list(check_devkit(tree / "gone", 1, SMALL))


def test_no_entity_is_ever_expanded(tree):
    put(tree, XML, BOMB + xml(cat(name="&b;")))
    with pytest.raises(ValueError, match="it has a DOCTYPE"):
        read_annotation(tree / XML)


def test_the_synthetic_dataset_has_no_fault_when_its_own_classes_are_expected(toy_root):
    world = toy_root / "VOCdevkit"
    names = {name: (world / f"VOC2007/ImageSets/Main/{name}.txt").read_text().split() for name in ("trainval", "test")}
    classes = tuple(f"{t}_{s}" for t in ("solid", "striped", "banded", "checked") for s in ("disc", "star"))
    lists = tuple(ImageList("VOC2007", name, len(images)) for name, images in names.items())
    assert not [f for f in check_devkit(world, 1, Expected("toy", lists, classes)) if f.level == "WRONG"]


def test_the_published_dataset_matches_the_configs():
    from tools.engine.config import load

    assert check.VOC.classes == tuple(load("configs/detection/faster_rcnn_fpn_paper.py").classes) and len(check.CLASSES) == 20
    assert [part.images for part in check.VOC.lists] == [5011, 4952, 11540]


def test_the_help_explains_the_published_layout():
    text = describe(check.VOC)
    for part in check.VOC.lists:
        assert part.path in text and f"{part.images:,} images" in text and part.archive in text


def call(*args: str | Path) -> subprocess.CompletedProcess:
    command = [sys.executable, str(ROOT / "tools/prepare_data.py"), "check", "voc", *map(str, args)]
    return subprocess.run(command, capture_output=True, text=True)


def test_the_command_exits_with_1_or_2_when_something_is_wrong(tree):
    result = call(tree, "--workers", "1")
    assert (result.returncode, result.stderr) == (1, "")
    assert "WRONG  VOC2012 trainval: 2 images listed, 11,540 expected; restore" in result.stdout
    assert result.stdout.endswith(f"3 wrong in {tree}.\n")
    result = call(tree / "gone")
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr.startswith(f"error: {tree / 'gone'} does not exist; it")


def test_the_check_loads_neither_torch_nor_mmdet():
    code = "import sys; import detection.dataset_check; print(sorted({'torch', 'mmdet', 'mmengine', 'mmcv'} & set(sys.modules)))"
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert result.stdout == "[]\n"
