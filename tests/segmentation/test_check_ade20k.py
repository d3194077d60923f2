"""Test that the check of a downloaded ADE20K finds and names each fault, and reports nothing else.

Training refuses the same masks, with its own message.
"""

import os
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
from PIL import Image

from backbones.common import dataset_checks as checking
from segmentation import dataset_check as check
from segmentation.dataset_check import Expected, check_release, describe
from segmentation.masks import FAULTS
from tests.helpers.check_ade20k import JPG, MASKS, PNG, STEMS, cut, ids, lead_nowhere, palette, put
from tests.helpers.check_ade20k import tree as tree
from tests.helpers.check_ade20k import whole as whole
from tests.helpers.findings import texts_by_level
from tests.helpers.networks import ROOT

SMALL = Expected("Small", 3, 2)
VAL = "ADE_val_00000002"


def findings_of(root: Path, workers: int = 1) -> dict[str, list[str]]:
    """Return the texts of the findings by level."""
    return texts_by_level(check_release(root, workers, SMALL))


def test_a_complete_copy_has_no_fault_and_its_ids_are_counted(whole):
    assert findings_of(whole) == {
        "WRONG": [],
        "note": [],
        "info": [
            f"{split}: {n} of {n} images decoded; formats: JPEG {n}; modes: RGB {n}; {n} of {n} masks are PNG of mode L with ids "
            "0..150; of the ids 1..150 there are 3; pixels ignored (0): 25.0 %."
            for split, n in (("training", 3), ("validation", 2))
        ],
    }


OTHERS = [  # how to break a copy, and the text that its one finding must contain
    (partial(put, path=JPG, data=b""), [f"training: empty files (0 bytes) (1): {JPG}; unpack or copy"]),
    (cut(JPG, 800), [f"training: truncated or damaged images, which PIL cannot decode (1): {JPG}; unpack or copy"]),
    (partial(put, path=JPG, data=b"<html>"), [f"training: files with an image's suffix that are no images (1): {JPG};"]),
    (lead_nowhere(JPG), [f"training: files that cannot be read (1): {JPG}; fix their permissions"]),
    (
        lambda r: ((r / JPG).unlink(), os.mkfifo(r / JPG)),
        [f"training: folders, pipes, sockets or devices in the place of files (1): {JPG}; remove them"],
    ),
    (
        lambda r: ((r / PNG).unlink(), os.mkfifo(r / PNG)),
        [f"training: masks that cannot be read (1): {PNG} (it is a pipe); fix"],
    ),
    (lambda r: (r / PNG).unlink(), [f"training: images without a mask of the same name (1): {JPG}; unpack ADEChallengeData"]),
    (lambda r: (r / JPG).unlink(), [f"training: masks without an image of the same name (1): {PNG}; unpack ADEChallenge"]),
    (
        lambda r: (r / JPG).rename((r / JPG).with_suffix(".JPG")),
        [f"training: masks without an image of the same name (1): {PNG}"],
    ),
    (
        lambda r: [(r / path).unlink() for path in (JPG, PNG)],
        ["training: 2 images and 2 masks, 3 of each expected; unpack ADEChallengeData2016.zip again."],
    ),
    (
        lambda r: [shutil.copy(r / p, (r / p).with_stem("own")) for p in (JPG, PNG)],
        ["training: 4 images and 4 masks, 3 of each expected; remove those that the release lacks."],
    ),
    (
        lambda r: [path.unlink() for path in (r / "annotations/validation").iterdir()],
        ["validation: 2 images and 0 masks, 2 of each expected; unpack ADEChallengeData2016.zip again."],
    ),
    (
        lambda r: (r / "images/training/more").mkdir(),
        ["training: folders where only files should be (1): images/training/more; move up"],
    ),
    (
        lambda r: shutil.rmtree(r / "annotations/training"),
        ["no folder annotations/training in ", " holds annotations, images, objectInfo150.txt: unpack ADEChallengeData2016.zip"],
    ),
]


def swap(root: Path, stem: str, other: str) -> None:
    """Rename an image of a split and its mask to ``other``."""
    split = "training" if stem in STEMS["training"] else "validation"
    for kind, suffix in check.SUFFIXES.items():
        path = root / kind / split / f"{stem}{suffix}"
        path.rename(path.with_stem(other))


OTHERS += [
    (
        partial(swap, stem=VAL, other="ADE_train_00000002"),
        ["validation: images that are also in training (1): ADE_train_00000002; restore both from ADEChallengeData2016.zip"],
    ),
    (
        partial(swap, stem="ADE_train_00000002", other="ADE_val_00000009"),
        ["training: names that belong to validation (1): ADE_val_00000009; restore both"],
    ),
]


@pytest.mark.parametrize(
    "spoil, texts", OTHERS + [(spoil, [f"training: {text.format(PNG)}"]) for spoil, text, _ in MASKS.values()]
)
def test_each_fault_is_found_named_and_found_alone(tree, spoil, texts):
    spoil(tree)
    wrong = findings_of(tree)["WRONG"]
    report = " | ".join(wrong)
    for text in texts:
        assert text in report
    assert len(wrong) == 1, report
    assert "00000001" not in report and "00000003" not in report


def test_every_fault_of_a_mask_is_tried():
    assert {name.split(",")[0] for name in MASKS} == set(FAULTS)


def test_an_exif_orientation_is_no_fault_since_training_ignores_it(tree):
    image = Image.open(tree / JPG)
    exif = image.getexif()
    exif[0x0112] = 6
    image.save(tree / JPG, exif=exif)
    assert findings_of(tree)["WRONG"] == []


def test_the_first_names_are_given_and_the_rest_counted(tree):
    more = Expected("More", 8, 2)
    for i in range(4, 9):
        shutil.copy(tree / JPG, tree / f"images/training/ADE_train_0000000{i}.jpg")
        Image.new("RGB", (4, 4)).save(tree / f"annotations/training/ADE_train_0000000{i}.png")
    Image.new("RGB", (4, 4)).save(tree / PNG)
    (finding,) = (finding for finding in check_release(tree, 1, more) if finding.level == "WRONG")
    assert f"masks of more than one channel (6): {PNG} (mode RGB), " in finding.text and " and 1 more; use" in finding.text


def test_oddities_are_reported_and_archives_noted(tree):
    Image.open(tree / JPG).convert("L").save(tree / JPG, "PNG")
    Image.fromarray(ids() * 0).save(tree / PNG)
    (tree / "ADEChallengeData2016.zip").write_bytes(b"x")
    (tree / "images/validation/notes.txt").write_bytes(b"x")
    for name in ("Thumbs.db", "._x.jpg", ".ipynb_checkpoints"):
        (tree / "images/validation" / name).write_bytes(b"x")
    for kind, suffix in check.SUFFIXES.items():
        (tree / kind / f"validation/{VAL}{suffix}").rename(tree / kind / f"validation/mine{suffix}")
    texts = findings_of(tree)
    assert texts["WRONG"] == [] and texts["note"] == [
        "archives beside images and annotations: ADEChallengeData2016.zip; nothing reads them once they are unpacked.",
        "validation: files that training does not read (1): images/validation/notes.txt; an image's name must end in .jpg, and a "
        "mask's in .png.",
        "validation: names unlike the published ADE_val_00000001 (1): mine; they can be trained on, but are not part of the "
        "release.",
        "training: 0, which is ignored, is the most frequent id in the masks (50 %); if 0 is a class, add 1 to every pixel of "
        "all masks.",
    ]
    assert (
        "formats: JPEG 2, PNG 1; modes: RGB 2, L (grey) 1; not the format of their suffix: ADE_train_00000002.jpg (PNG);"
        in (texts["info"][0])
    )
    assert texts["info"][0].endswith(
        "pixels ignored (0): 50.0 %; masks without a labelled pixel (a few published ones are said to have none): "
        "ADE_train_00000002.png."
    )


def test_missing_folders_are_looked_for_elsewhere(tree, tmp_path):
    missing = "no folder images/training, images/validation, annotations/training, annotations/validation in "
    deeper = shutil.copytree(tree, tmp_path / "a/b/copy")
    for folder in (deeper.parent, deeper.parent.parent):
        (text,) = findings_of(folder)["WRONG"]
        assert text.startswith(missing) and text.endswith(f": check {deeper} instead.")
    (text,) = findings_of(tree / "images")["WRONG"]
    assert text.endswith("/images itself holds training, validation: check the folder above it.")
    empty = tmp_path / "new/ADEChallengeData2016"
    empty.mkdir(parents=True)
    (text,) = findings_of(empty)["WRONG"]
    assert f"{empty} holds nothing: unpack ADEChallengeData2016.zip, whose folder" in text
    for place in (empty.parent, empty):
        (place / "ADEChallengeData2016.zip").write_bytes(b"x")
        (text,) = findings_of(empty)["WRONG"]
        assert f"{place / 'ADEChallengeData2016.zip'} is not unpacked, or not completely: unpack it, and check" in text
    shutil.rmtree(empty)
    with pytest.raises(
        ValueError, match="new/ADEChallengeData2016 does not exist, but .*ADEChallengeData2016.zip does; unpack it"
    ):
        findings_of(empty)


@pytest.mark.parametrize(
    "path", ["index_ade20k.mat", "images/ADE/training/x.txt", "images/training/a/abbey/ADE_train_00000970_seg.png"]
)
def test_the_full_release_is_recognised_and_refused(tmp_path, path):
    (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / path).write_bytes(b"x")
    (text,) = findings_of(tmp_path)["WRONG"]
    assert "is of the full ADE20K, whose masks have thousands of classes: get SceneParse150, ADEChallengeData2016.zip, in" in text


def test_workers_find_the_same(tree, monkeypatch):
    monkeypatch.setattr(checking, "CHUNK", 1)
    put(tree, JPG, b"")
    palette(tree)
    findings = list(check_release(tree, 1, SMALL))
    assert list(check_release(tree, 2, SMALL)) == findings and sum(finding.level == "WRONG" for finding in findings) == 2


def test_no_worker_is_refused(tree):
    with pytest.raises(ValueError, match="The number of workers is 0: give 1 or more"):
        list(check_release(tree, 0, SMALL))


def test_a_root_that_is_no_folder_is_refused(tree):
    with pytest.raises(ValueError, match="is a file; give the folder that holds images and annotations of Small"):
        list(check_release(tree / JPG, 1, SMALL))
    with pytest.raises(ValueError, match="does not exist; it should hold images and annotations of Small"):
        list(check_release(tree / "gone", 1, SMALL))


def test_the_toy_data_has_no_fault(toy_root):
    findings = list(check_release(toy_root / "ADEChallengeData2016", 1, Expected("toy", 4, 2)))
    assert [finding.level for finding in findings] == ["info", "info"]


def test_the_help_describes_the_layout():
    text = describe(check.ADE20K)
    for part in (
        "images/training/ADE_train_00000001.jpg",
        "annotations/validation/ADE_val_00000001.png",
        "20,210",
        "2,000 masks",
    ):
        assert part in text


def call(root: Path, expected: Expected | None = None) -> subprocess.CompletedProcess:
    """Run tools/prepare_data.py; with ``expected``, as if that were the published dataset."""
    arguments = [str(ROOT / "tools/prepare_data.py"), "check", "ade20k", str(root), "--workers", "1"]
    if expected:
        code = (
            "import dataclasses, functools, runpy, sys; from segmentation import dataset_check as check; "
            f"small = functools.partial(check.check_release, expected=check.{expected!r}); "
            "check.RELEASES['ade20k'] = dataclasses.replace(check.RELEASES['ade20k'], check=small); "
            f"sys.argv = {arguments!r}; "
            "runpy.run_path(sys.argv[0], run_name='__main__')"
        )
        arguments = ["-c", code]
    return subprocess.run([sys.executable, *arguments], cwd=ROOT, capture_output=True, text=True)


def test_the_command_exits_with_0_1_or_2(tree):
    done = call(tree, SMALL)
    assert (done.returncode, done.stderr) == (0, "") and done.stdout.endswith(f"Nothing is wrong in {tree}.\n")
    done = call(tree)
    assert (done.returncode, done.stderr) == (1, "")
    assert "WRONG  training: 3 images and 3 masks, 20,210 of each expected; unpack" in done.stdout
    assert done.stdout.endswith(f"2 wrong in {tree}.\n")
    done = call(tree / "gone")
    assert done.returncode == 2 and done.stdout == "" and done.stderr.startswith(f"error: {tree / 'gone'} does not exist; it")


def test_the_check_loads_neither_torch_nor_mmseg():
    code = (
        "import sys; import segmentation.dataset_check; print(sorted({'torch', 'mmseg', 'mmengine', 'mmcv'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
