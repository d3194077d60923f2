"""Test which files of a dataset are read: hidden ones, links, odd ones, and images that two splits share."""

import os
from pathlib import Path

import pytest
from PIL import Image

from backbones.common.data_files import check_overlap, is_hidden, oddity, walk
from backbones.common.images import BadImage, read_bgr, read_rgb


def put(path: Path, content: bytes = b"x") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def test_hidden_files_and_folders_are_passed_over(tmp_path):
    for name in ("a.jpg", "sub/b.jpg", "._a.jpg", ".DS_Store", "Thumbs.db", ".ipynb_checkpoints/a.jpg", "__MACOSX/._a.jpg"):
        put(tmp_path / name)
    assert walk(tmp_path) == [("", ["a.jpg"]), ("sub", ["b.jpg"])]
    assert [is_hidden(name) for name in ("a.jpg", "..jpg", "desktop.ini", "__a")] == [False, True, True, False]


def test_linked_folders_are_entered(tmp_path):
    put(tmp_path / "elsewhere/b.jpg")
    put(tmp_path / "data/a.jpg")
    (tmp_path / "data/first").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "data/second").symlink_to("../elsewhere")
    assert walk(tmp_path / "data") == [("", ["a.jpg"]), ("first", ["b.jpg"]), ("second", ["b.jpg"])]


@pytest.mark.parametrize(("link", "target"), [("sub/loop", "."), ("sub/loop", ".."), ("loop", "../data")])
def test_a_link_to_a_folder_above_is_refused(tmp_path, link, target):
    (tmp_path / "data/sub").mkdir(parents=True)
    (tmp_path / "data" / link).symlink_to(target)
    with pytest.raises(ValueError, match="The link .*loop leads to a folder above it, so it would be read without end; remove"):
        walk(tmp_path / "data")


def test_a_folder_that_cannot_be_listed_is_named(tmp_path):
    with pytest.raises(ValueError, match=f"The folder {tmp_path}/gone cannot be listed \\(No such file or directory\\); correct"):
        walk(tmp_path / "gone")


def odd_paths(folder: Path) -> dict[str, Path]:
    os.mkfifo(folder / "pipe.png")
    (folder / "folder.png").mkdir()
    (folder / "zero.png").symlink_to("/dev/zero")
    (folder / "self.png").symlink_to("self.png")
    (folder / "dangling.png").symlink_to("gone")
    return {
        "it is a pipe": folder / "pipe.png",
        "it is a folder": folder / "folder.png",
        "it is a device": folder / "zero.png",
        "it is empty": put(folder / "empty.png", b""),
        "there is no such file": folder / "dangling.png",
        "Too many levels of symbolic links": folder / "self.png",
        "File name too long": folder / f"{'x' * 300}.png",
        "its name holds a null character": folder / "a\0b.png",
    }


def test_an_odd_file_is_described_and_never_opened(tmp_path):
    paths = odd_paths(tmp_path)
    assert {oddity(path) for path in paths.values()} == set(paths) and oddity(put(tmp_path / "good.png")) == ""
    for reason, path in paths.items():
        for read in (read_rgb, read_bgr):
            with pytest.raises(BadImage) as error:
                read(path)
            assert reason in str(error.value)


def test_the_same_images_are_found_by_name_and_content(tmp_path):
    first = {name: put(tmp_path / "train" / name, name.encode() * 9999) for name in ("a", "b", "c")}
    (tmp_path / "val").mkdir()
    second = {
        "a": put(tmp_path / "val/a", first["a"].read_bytes()),  # a copy
        "b": put(tmp_path / "val/b", first["b"].read_bytes()[:-1] + b"!"),  # as long
        "c": tmp_path / "val/c",  # a link
        "d": put(tmp_path / "val/d", first["a"].read_bytes()),  # another name
    }
    second["c"].symlink_to(first["c"])
    (remark,) = check_overlap(first.items(), second.items())
    assert remark == "Images to test on that are also trained on (2 of 4): a, c."
    assert check_overlap(first.items(), [("b", second["b"]), ("d", second["d"])]) == []
    with pytest.raises(ValueError, match="Each of the 2 images to test on is also trained on, such as a; test on others"):
        check_overlap(first.items(), [("a", second["a"]), ("c", second["c"])])


def test_an_image_too_narrow_to_be_resized_is_refused(tmp_path):
    path = tmp_path / "line.png"
    for size, reads in (
        ((1001, 1), ()),
        ((1, 1000), (read_rgb,)),
        ((1, 50), (read_rgb, read_bgr)),
        ((1, 1), (read_rgb, read_bgr)),
    ):
        Image.new("RGB", size).save(path)
        for read in (read_rgb, read_bgr):
            if read in reads:
                read(path)
            else:
                with pytest.raises(BadImage, match=f"it is {size[0]} x {size[1]}, more than .* times as long as wide"):
                    read(path)
