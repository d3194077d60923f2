"""Check what of the data counts in a run's key, and that what is cached is read again once it has changed."""

import json
import os
import shutil
import sys
import time
from pathlib import Path

import pytest

from backbones.common.dataset_checks import Release
from tests.helpers.bad_input import CLASSIFIER, DETECTOR, SEGMENTER
from tools.engine.config import Options, data_fingerprint, fingerprint, resolve
from tools.engine.config.fingerprint import DIGESTS, MISSING, forget, read_digest, rescan


@pytest.fixture
def data(toy_root, tmp_path, monkeypatch) -> Path:
    """Copy the small synthetic data, which a test may change, and set the user's cache to an empty folder."""
    shutil.copytree(toy_root, tmp_path / "data/toy")
    monkeypatch.setenv("DATA_ROOT", str(tmp_path / "data"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "data/toy"


def read(path: str) -> str:
    """Return the fingerprint of a config's data, as a new process finds it."""
    forget()
    return data_fingerprint(resolve(path, Options(backbone=None if path == CLASSIFIER else "scratch")).cfg)


def first(folder: Path, pattern: str) -> Path:
    return sorted(folder.rglob(pattern))[0]


def rewrite(path: Path, old: bytes, new: bytes) -> None:
    """Replace text of a file by other text of the same length."""
    content = path.read_bytes()
    assert old in content and len(old) == len(new)
    path.write_bytes(content.replace(old, new, 1))


def swap_ids(path: Path) -> None:
    lines = path.read_text().split()
    path.write_text("\n".join([lines[1], lines[0], *lines[2:]]) + "\n")


def change_pixel(path: Path) -> None:
    """Change a byte of an image and keep its size."""
    content = bytearray(path.read_bytes())
    content[-20] ^= 1
    path.write_bytes(content)


CHANGES = {  # each keeps all names and sizes
    "difficult": (DETECTOR, "Annotations/*.xml", lambda path: rewrite(path, b"<difficult>0", b"<difficult>1")),
    "order of a list": (DETECTOR, "VOC2007/ImageSets/Main/trainval.txt", swap_ids),
    "mask": (SEGMENTER, "annotations/*/*.png", change_pixel),
}


@pytest.mark.parametrize("name", CHANGES)
def test_lists_annotations_and_masks_count_by_content(data, name):
    config, pattern, change = CHANGES[name]
    before = read(config)
    change(first(data, pattern))
    assert read(config) != before


@pytest.mark.parametrize("config", [CLASSIFIER, DETECTOR, SEGMENTER])
def test_images_count_by_name_and_size(data, config):
    before, place = read(config), {CLASSIFIER: "imagenet/train", DETECTOR: "VOCdevkit", SEGMENTER: "ADEChallengeData2016/images"}
    image = first(data / place[config], "*.jpg")
    change_pixel(image)
    assert read(config) == before
    image.write_bytes(image.read_bytes() + b"\0")
    assert read(config) != before


@pytest.mark.parametrize("name", [".hidden.jpg", "._n.jpg", "notes.txt"])
def test_files_that_nobody_reads_do_not_count(data, name):
    before = read(CLASSIFIER)
    (first(data / "imagenet/train", "*.jpg").parent / name).write_bytes(b"x")
    assert read(CLASSIFIER) == before


def test_annotations_of_images_that_no_list_names_do_not_count(data):
    before = read(DETECTOR)
    (first(data, "Annotations/*.xml").parent / "unlisted.xml").write_text("<annotation/>")
    assert read(DETECTOR) == before


def test_folders_behind_links_are_entered(data):
    train = data / "imagenet/train"
    shutil.move(train, data / "elsewhere")
    train.mkdir()
    for folder in (data / "elsewhere").iterdir():
        (train / folder.name).symlink_to(folder)
    before = read(CLASSIFIER)
    first(data / "elsewhere", "*.jpg").unlink()
    assert read(CLASSIFIER) != before


def test_a_linked_folder_counts_as_the_folder_itself(data):
    before, train = read(CLASSIFIER), data / "imagenet/train"
    shutil.move(train, data / "elsewhere")
    train.symlink_to(data / "elsewhere")
    assert read(CLASSIFIER) == before


def test_a_loop_of_links_is_refused(data):
    folder = first(data / "imagenet/train", "*.jpg").parent
    (folder / "again").symlink_to(folder)
    with pytest.raises(ValueError, match=r"The link .*again leads to a folder above it"):
        read(CLASSIFIER)


@pytest.mark.parametrize("root", ["données", 'a "quoted" one', "a\\b", "x y"])
def test_the_name_of_the_data_root_does_not_count(data, tmp_path, monkeypatch, root):
    before = [resolve(path, Options(backbone=back)).key for path, back in ((CLASSIFIER, None), (DETECTOR, "scratch"))]
    shutil.copytree(tmp_path / "data", tmp_path / root)
    monkeypatch.setenv("DATA_ROOT", str(tmp_path / root))
    forget()
    assert [resolve(path, Options(backbone=back)).key for path, back in ((CLASSIFIER, None), (DETECTOR, "scratch"))] == before


def test_a_run_without_data_has_a_provisional_fingerprint(data, monkeypatch):
    monkeypatch.setenv("DATA_ROOT", "nowhere")
    assert read(CLASSIFIER) == MISSING


def age(folder: Path) -> None:
    """Let all files and folders have changed an hour ago, as far as their times say."""
    then = time.time() - 3600
    for path in (folder, *folder.rglob("*")):
        os.utime(path, (then, then))


@pytest.fixture
def settled(monkeypatch):
    """Trust the times of files that have just changed."""
    monkeypatch.setattr("tools.engine.config.content_hashes.SETTLED", -(10**12))
    monkeypatch.setattr(fingerprint, "SETTLED", -(10**12))


def test_a_file_that_has_not_changed_is_not_read_again(data, settled, monkeypatch):
    before = read(SEGMENTER)
    monkeypatch.setattr("tools.engine.config.content_hashes.sha256", lambda path: pytest.fail(f"{path} was read again"))
    assert read(SEGMENTER) == before


def test_a_change_that_keeps_size_and_time_is_seen(data, settled):
    before, mask = read(SEGMENTER), first(data, "annotations/*/*.png")
    times = mask.stat()
    change_pixel(mask)
    os.utime(mask, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert read(SEGMENTER) != before


def test_a_file_that_has_just_changed_is_read_again(data, monkeypatch):
    read(SEGMENTER)
    names = []
    sha256 = sys.modules["tools.engine.config.content_hashes"].sha256
    monkeypatch.setattr("tools.engine.config.content_hashes.sha256", lambda path: names.append(path) or sha256(path))
    read(SEGMENTER)
    assert len(names) == len(list((data / "ADEChallengeData2016/annotations").rglob("*.png")))


@pytest.fixture
def large(settled, monkeypatch):
    """Take the small synthetic data for one of more than a hundred thousand images."""
    monkeypatch.setattr(fingerprint, "LARGE", 3)


def test_a_large_dataset_is_known_by_the_times_of_its_folders(data, large, monkeypatch):
    before = read(CLASSIFIER)
    monkeypatch.setattr("classification.task.data_files", lambda cfg: pytest.fail("it was listed again"))
    assert read(CLASSIFIER) == before


@pytest.mark.parametrize("change", ["added", "removed", "renamed", "new folder"])
def test_a_change_of_the_names_in_a_large_dataset_is_seen(data, large, change):
    before, image = read(CLASSIFIER), first(data / "imagenet/train", "*.jpg")
    if change == "added":
        shutil.copy(image, image.with_name("new.jpg"))
    elif change == "removed":
        image.unlink()
    elif change == "renamed":
        image.rename(image.with_name("new.jpg"))
    else:
        (image.parent / "deep").mkdir()
        shutil.copy(image, image.parent / "deep/new.jpg")
    assert read(CLASSIFIER) != before


def test_a_change_of_size_in_a_large_dataset_is_seen_by_a_rescan(data, large):
    before, image = read(CLASSIFIER), first(data / "imagenet/train", "*.jpg")
    with open(image, "ab") as file:
        file.write(b"\0")
    assert read(CLASSIFIER) == before
    rescan()
    assert read(CLASSIFIER) != before


@pytest.mark.parametrize("text", ["", "[]", "{", '{"folders": 1}', '{"a.xml": 3}'])
def test_a_damaged_cache_is_not_used(data, large, tmp_path, text):
    before = [read(path) for path in (CLASSIFIER, DETECTOR)]
    for path in (tmp_path / "cache").rglob("data-*.json"):
        path.write_text(text)
    assert [read(path) for path in (CLASSIFIER, DETECTOR)] == before


def released(*findings) -> Release:
    """Return a dataset whose check finds ``findings``."""
    return Release("imagenet", "made", "a test", "DIR", lambda root, workers: iter(findings))


def test_a_check_leaves_a_digest_that_holds_for_this_very_data(data, capsys):
    from tools.prepare_data import report

    root = data / "imagenet"
    assert report(released(), ("configs/classification/resnet50_paper.py",), root, 2, False) == 0
    digest = read_digest(root, read(CLASSIFIER))
    assert digest and f"Digest of its content: {digest[:12]} (" in capsys.readouterr().out
    image = first(root / "train", "*.jpg")
    change_pixel(image)
    report(released(), ("configs/classification/resnet50_paper.py",), root, 2, False)
    assert read_digest(root, read(CLASSIFIER)) != digest
    image.unlink()
    assert read_digest(root, read(CLASSIFIER)) is None


def test_a_check_that_finds_a_fault_leaves_no_digest(data):
    from types import SimpleNamespace

    from tools.prepare_data import report

    fault = SimpleNamespace(level="WRONG")
    assert report(released(fault), ("configs/classification/resnet50_paper.py",), data / "imagenet", 1, False) == 1
    assert not (data / "imagenet" / DIGESTS).exists()


def test_a_digest_of_a_devkit_is_of_the_lists_that_a_config_reads(data):
    from tools.prepare_data import READERS, report

    report(released(), READERS["voc"][1:], data / "VOCdevkit", 1, False)
    assert len(json.loads((data / "VOCdevkit" / DIGESTS).read_text())) == 1
