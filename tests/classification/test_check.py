"""Test that the check of class folders finds and names each fault of a copy, and reports nothing else."""

import os
import shutil
import subprocess
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from PIL import Image

from backbones.common import dataset_checks as checking
from backbones.common.dataset_checks import first_names
from classification import dataset_check as check
from classification.dataset_check import Expected, check_folders, describe
from tests.helpers.findings import texts_by_level
from tests.helpers.networks import ROOT

CLASSES = ("n00000001", "n00000002", "n00000003")
SMALL = Expected(
    name="Small",
    classes=3,
    train=8,
    val=6,
    train_each=(2, 3),
    pattern=r"n\d{8}",
    naming="n and eight digits (n00000001)",
    sort_val="by the list",
    cmyk=1,
    disguised=("n00000002_0.JPEG",),
)


def save(path: Path, mode: str = "RGB", form: str = "JPEG", shade: int = 0) -> None:
    """Save an image of noise, large enough that half of its file cannot be decoded."""
    noise = Image.effect_noise((48, 40), 60 + shade)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.merge(mode, [noise] * len(mode)).save(path, form) if len(mode) > 1 else noise.save(path, form)


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    """Write all that SMALL expects, with its oddities: one CMYK image, one PNG named .JPEG, and a grey image."""
    root = tmp_path_factory.mktemp("whole")
    for k, name in enumerate(CLASSES):
        for i in range(3 if k < 2 else 2):
            mode = {(0, 0): "CMYK", (0, 1): "L"}.get((k, i), "RGB")
            save(root / f"train/{name}/{name}_{i}.JPEG", mode, "PNG" if (k, i) == (1, 0) else "JPEG", i)
        for i in range(2):
            save(root / f"val/{name}/ILSVRC2012_val_{3 * k + i:08d}.JPEG")
    return root


@pytest.fixture
def tree(whole, tmp_path) -> Path:
    """Make a copy that a test may break."""
    return shutil.copytree(whole, tmp_path / "data")


def findings_of(root: Path, expected: Expected = SMALL, workers: int = 1) -> dict[str, list[str]]:
    """Return the texts of the findings by level."""
    return texts_by_level(check_folders(root, workers, expected))


def test_a_complete_copy_has_no_fault_and_its_formats_are_counted(whole):
    assert findings_of(whole) == {
        "WRONG": [],
        "note": [],
        "info": [
            "train: 8 of 8 images decoded; class folders: 3; formats: JPEG 7, PNG 1; modes: RGB 6, CMYK 1, L (grey) 1; "
            "not the format of their suffix: train/n00000002/n00000002_0.JPEG (PNG).",
            "val: 6 of 6 images decoded; class folders: 3; formats: JPEG 6; modes: RGB 6.",
        ],
    }


def first(root: Path, split: str = "train", name: str = CLASSES[0]) -> Path:
    return sorted((root / split / name).iterdir())[0]


def truncate(root: Path, part: float = 0.5) -> None:
    path = first(root, name=CLASSES[2])
    path.write_bytes(path.read_bytes()[: int(part * path.stat().st_size)])


def nest(root: Path, split: str = "train") -> None:
    (root / split).rename(root / "inner")
    (root / split).mkdir()
    (root / "inner").rename(root / split / split)


def nest_one(root: Path) -> None:
    folder = root / "train" / CLASSES[0]
    folder.rename(root / "aside")
    folder.mkdir()
    (root / "aside").rename(folder / CLASSES[0])


def flatten(root: Path) -> None:
    for folder in sorted((root / "val").iterdir()):
        for path in folder.iterdir():
            path.rename(root / "val" / path.name)
        folder.rmdir()


def rename(root: Path, to: str, splits: tuple[str, ...] = ("train", "val")) -> None:
    for split in splits:
        (root / split / CLASSES[2]).rename(root / split / to)


def empty_class(root: Path) -> None:
    for path in (root / "val" / CLASSES[1]).iterdir():
        path.unlink()


def wrong_class(root: Path) -> None:
    path = first(root, "val")
    path.rename(root / "val" / CLASSES[1] / path.name)


def add(root: Path, path: str, content: bytes = b"x") -> None:
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    (root / path).write_bytes(content)


def inside(root: Path, folder: str) -> None:
    """Move everything into a folder, as if the archive had a folder of its own."""
    entries = list(root.iterdir())
    (root / folder).mkdir(parents=True)
    for path in entries:
        path.rename(root / folder / path.name)


LIST = "train/n00000003/n00000003_0.JPEG"


@pytest.mark.parametrize(
    "spoil, texts",
    [
        (lambda r: first(r, name=CLASSES[2]).write_bytes(b""), [f"train: empty files (0 bytes): {LIST}; unpack or copy them"]),
        (truncate, [f"train: truncated or damaged images, which PIL cannot decode: {LIST}; unpack or copy them again"]),
        (partial(truncate, part=0.02), [f"train: truncated or damaged images, which PIL cannot decode: {LIST}; unpack"]),
        (
            lambda r: first(r, name=CLASSES[2]).write_bytes(b"<html>404</html>"),
            [f"train: files with an image's suffix that are no images: {LIST}; replace them"],
        ),
        (
            lambda r: (first(r, name=CLASSES[2]).unlink(), (r / LIST).symlink_to(r / "gone.JPEG")),
            [f"train: files that cannot be read: {LIST}; fix their permissions or links"],
        ),
        (
            lambda r: (first(r, name=CLASSES[2]).unlink(), os.mkfifo(r / LIST)),
            [f"train: folders, pipes, sockets or devices in the place of files: {LIST}; remove them"],
        ),
        (
            lambda r: Image.new("I;16", (9, 9)).save(first(r, name=CLASSES[2]), "PNG"),
            [f"train: images of more than 8 bits a channel, which training refuses: {LIST}; save them with 8 bits"],
        ),
        (flatten, ["val: 6 of the images lie straight in val (val/ILSVRC2012_val_00000000.JPEG, ", "per class (by the list)."]),
        (nest, ["train: class folders one level too deep, in train/train; move them up into train."]),
        (nest_one, ["train: folders in class folders: train/n00000001/n00000001; move their images up and remove them."]),
        (partial(add, path="train/n00000001.tar"), ["train: archives: train/n00000001.tar; unpack them if that was not done"]),
        (partial(add, path="val/n00000001/list.txt"), ["val: stray files without an image's suffix: val/n00000001/l"]),
        (lambda r: (r / "train/lists").mkdir(), ["train: folders that are no class: train/lists; remove them, since training"]),
        (
            partial(rename, to="tench"),
            [f"{split}: folders named like no class: {split}/tench; a class of Small is n and eight d" for split in check.SPLITS],
        ),
        (
            partial(rename, to="n00000009", splits=("val",)),
            ["train and val hold different classes; only in train: n00000003; only in val: n00000009; labels follow the sorted"],
        ),
        (
            lambda r: [shutil.rmtree(r / split / CLASSES[2]) for split in check.SPLITS],
            [
                "train: class folders: 2, and Small has 3; unpack the missing ones.",
                "train: 6 images, 8 expected; some are missing: unpack them again.",
                "val: class folders: 2, and Small has 3; unpack the missing ones.",
                "val: 4 images, 6 expected; some are missing: unpack them again.",
            ],
        ),
        (
            lambda r: [save(r / split / f"n00000004/{i}.JPEG") for split in check.SPLITS for i in range(2)],
            [
                "train: class folders: 4, and Small has 3; remove those that Small lacks.",
                "train: 10 images, 8 expected; some do not belong here: remove them.",
                "val: class folders: 4, and Small has 3; remove those that Small lacks.",
                "val: 8 images, 6 expected; some do not belong here: remove them.",
            ],
        ),
        (
            lambda r: first(r, "val").unlink(),
            ["val: 5 images, 6 expected; classes with other than 2 images: n00000001 (1); some are missing: unpack them again."],
        ),
        (
            lambda r: save(r / "train/n00000001/more.JPEG"),
            ["train: 9 images, 8 expected; classes with other than 2 to 3 images: n00000001 (4); some do not belong here"],
        ),
        (
            wrong_class,
            ["val: 6 images, 6 expected; classes with other than 2 images: n00000001 (1), n00000002 (3); some lie in the"],
        ),
        (
            empty_class,
            [
                "val: class folders without images: val/n00000002; unpack their images again.",
                "val: 4 images, 6 expected; some are missing: unpack them again.",
            ],
        ),
        (lambda r: shutil.rmtree(r / "val"), ["val: no folder ", "holds train: unpack val there, one folder per class."]),
    ],
)
def test_each_fault_is_found_named_and_found_alone(tree, spoil, texts):
    spoil(tree)
    wrong = findings_of(tree)["WRONG"]
    report = " | ".join(wrong)
    for text in texts:
        assert text in report
    assert len(wrong) == sum(text.startswith(("train", "val")) for text in texts), report
    assert "n00000002_0.JPEG" not in report and "n00000001_1.JPEG" not in report


@pytest.mark.parametrize("folder", ["unzipped", "ILSVRC/Data/CLS-LOC"])
def test_splits_that_lie_deeper_are_pointed_at(tree, folder):
    inside(tree, folder)
    wrong = findings_of(tree)["WRONG"]
    assert len(wrong) == 2
    assert f"there is a {tree / folder / 'train'}: check {tree / folder} instead" in wrong[0]


def test_a_split_given_instead_of_the_root_points_to_the_folder_above(tree):
    wrong = findings_of(tree / "train")["WRONG"]
    assert len(wrong) == 2 and "itself holds class folders: check the folder above it" in wrong[0]


def test_folders_by_letter_are_taken_as_one_level_too_deep(tmp_path):
    places = replace(SMALL, pattern=check.PLACES365.pattern, cmyk=None, disguised=None)
    classes = {"abbey": 3, "arena-hockey": 3, "bar": 2}
    for name, count in classes.items():
        for i in range(count):
            save(tmp_path / f"train/{name[0]}/{name}/{i:08d}.jpg")
        for i in range(2):
            save(tmp_path / f"val/{name}/Places365_val_{i:08d}.jpg")
    texts = findings_of(tmp_path, places)
    assert texts["WRONG"] == ["train: class folders one level too deep, in train/a, train/b; move them up into train."]
    assert texts["note"] == []


def test_a_class_folder_that_holds_another_keeps_its_own_images(tree):
    (tree / "train" / CLASSES[2]).rename(tree / "train" / CLASSES[0] / CLASSES[2])
    report = " | ".join(findings_of(tree)["WRONG"])
    assert "folders in class folders: train/n00000001/n00000003;" in report and "class folders: 2, and Small has 3" in report
    assert "only in val: n00000003" in report and "too deep" not in report


def test_copies_that_were_saved_again_give_notes_only(tree):
    for path in (tree / "train").rglob("*.JPEG"):
        save(path)
    texts = findings_of(tree)
    assert texts["WRONG"] == [] and len(texts["note"]) == 2
    assert texts["note"][0].startswith("train: 0 CMYK images, and 1 as published; expected if the images were resized")
    assert "suffix: none, and as published n00000002_0.JPEG; expected if" in texts["note"][1]


def test_other_suffixes_are_accepted(tree):
    path = first(tree, name=CLASSES[2])
    Image.open(path).save(path.with_suffix(".webp"))
    path.unlink()
    texts = findings_of(tree)
    assert texts["WRONG"] == [] and "formats: JPEG 6, PNG 1, WEBP 1" in texts["info"][0]


def test_archives_beside_the_splits_are_noted(tree):
    add(tree, "ILSVRC2012_img_val.tar")
    texts = findings_of(tree)
    assert texts["WRONG"] == []
    assert texts["note"] == ["archives beside train and val: ILSVRC2012_img_val.tar; nothing reads them once they are unpacked."]


def test_workers_find_the_same_and_report_their_progress(tree, monkeypatch, capsys):
    monkeypatch.setattr(checking, "CHUNK", 1)
    monkeypatch.setattr(checking, "SAY_EVERY", 0.0)
    truncate(tree)
    first(tree, "val").write_bytes(b"")
    findings = list(check_folders(tree, 1, SMALL))
    capsys.readouterr()
    assert list(check_folders(tree, 2, SMALL)) == findings
    assert sum(finding.level == "WRONG" for finding in findings) == 2
    out, err = capsys.readouterr()
    assert out == "" and "train: 8 of 8 images decoded, about 0 min left\n" in err and "\r" not in err


def test_findings_of_the_folders_come_before_any_image_is_decoded(tree, monkeypatch):
    add(tree, "val/list.txt")
    monkeypatch.setattr(check, "inspect_image", None)
    assert "stray" in next(check_folders(tree, 1, SMALL)).text


def test_no_worker_is_refused(tree):
    with pytest.raises(ValueError, match="The number of workers is 0: give 1 or more"):
        list(check_folders(tree, 0, SMALL))


def test_a_root_that_is_no_folder_is_refused(tree):
    with pytest.raises(ValueError, match="is a file; give the folder that holds train and val of Small"):
        list(check_folders(first(tree), 1, SMALL))
    with pytest.raises(ValueError, match="does not exist; it should hold train and val of Small"):
        list(check_folders(tree / "gone", 1, SMALL))


def test_long_lists_are_cut_and_odd_names_can_be_printed():
    assert first_names([]) == "" and first_names("ab") == "a, b" and first_names("abcdef") == "a, b, c, d, e and 1 more"
    first_names([os.fsdecode(b"caf\xe9.JPEG")]).encode()


def test_suffixes_are_those_that_training_reads():
    from torchvision.datasets.folder import IMG_EXTENSIONS

    assert tuple(check.FORMATS) == IMG_EXTENSIONS


def test_the_published_counts_are_consistent_and_described():
    for expected in (check.IMAGENET, check.PLACES365):
        low, high = expected.train_each
        assert low * expected.classes < expected.train < high * expected.classes and expected.val % expected.classes == 0
        text = describe(expected)
        assert f"{expected.train:,}" in text and f"{expected.val:,}" in text and expected.naming in text
    assert check.IMAGENET.each("val") == (50, 50) and check.PLACES365.each("val") == (100, 100)


def call(*arguments: str | Path, **env: str) -> subprocess.CompletedProcess:
    """Run the check on the command line, with these environment variables."""
    command = [sys.executable, str(ROOT / "tools/prepare_data.py"), "check", *map(str, arguments)]
    return subprocess.run(command, env={**os.environ, **env}, capture_output=True, text=True)


def test_the_command_exits_with_1_or_2_when_something_is_wrong(tree, tmp_path):
    done = call("imagenet", tree)
    assert (done.returncode, done.stderr) == (1, "")
    assert "WRONG  train: class folders: 3, and ImageNet (ILSVRC2012) has 1,000;" in done.stdout
    assert done.stdout.endswith(f"wrong in {tree}.\n")
    done = call("places365", DATA_ROOT=str(tmp_path / "nowhere"))
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.startswith(f"error: {tmp_path / 'nowhere/places365_standard'} does not exist; it should hold train and")


def test_the_command_exits_with_0_when_all_is_right(whole, monkeypatch, capsys):
    from tools.engine.cli import main

    monkeypatch.setattr(sys, "path", list(sys.path))  # a script puts its own tree on the path
    import tools.prepare_data

    small = replace(check.RELEASES["imagenet"], check=partial(check.check_folders, expected=SMALL))
    monkeypatch.setitem(check.RELEASES, "imagenet", small)
    monkeypatch.setattr(sys, "argv", ["prepare_data.py", "check", "imagenet", str(whole), "--workers", "1"])
    with pytest.raises(SystemExit) as stop:
        main(tools.prepare_data.prepare)
    assert stop.value.code == 0 and capsys.readouterr().out.endswith(f"Nothing is wrong in {whole}.\n")


def test_the_help_describes_the_layout():
    text = call("imagenet", "--help").stdout
    assert "DIR/train/CLASS/*   1,281,167 images" in text and "sorted into class folders" in text and "n01440764" in text
    assert "places365standard_easyformat.tar" in call("places365", "--help").stdout
