"""``prepare_data.py subset``: the same bytes whatever happens on the way, one recipe for a folder, and records that carry it."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from backbones.common.project import ROOT
from backbones.common.subsets import draw
from tests.helpers.bad_input import CLASSIFIER, world
from tests.helpers.inputs.calls import answer
from tests.helpers.inputs.rows import faults
from tests.helpers.subsets import contents, make_class_folders, make_devkit, size_of, source_of, take, unfinished
from tools.engine.config import Options, load, resolve
from tools.engine.config.fingerprint import forget
from tools.engine.subset.recipe import RECIPE, Recipe, read_recipe
from tools.engine.subset.scales import MINI_CLASSES, SCALES

assert world
KINDS = ("imagenet", "voc", "ade20k")
OPTIONS = {
    "imagenet": dict(every=3, images=dict(train=2, val=1), short_side=24),
    "voc": dict(images=dict(train=3, val=1, test=2), short_side=24),
    "ade20k": dict(images=dict(training=3, validation=1), short_side=24),
}
KILLED = """
import os, signal, sys
from tests.helpers import subsets

replace, calls = os.replace, []
def dying(*paths):  # the file is complete, and has not got its name yet
    calls.append(paths)
    if len(calls) == {calls}:
        os.kill(os.getpid(), signal.SIGKILL)
    replace(*paths)
os.replace = dying
subsets.take({kind!r}, subsets.Path({source!r}), subsets.Path({out!r}), **{options!r})
"""
SLOW = """
import os, time
from functools import partial
from pathlib import Path
from backbones.common import dataset_checks

def work(folder, names):
    Path(folder, str(os.getpid())).touch()
    time.sleep(60)

if __name__ == "__main__":
    list(dataset_checks.map_files(partial(work, {folder!r}), [str(i) for i in range(99)], 2, "slow"))
"""


@pytest.fixture
def folders(tmp_path) -> Path:
    return make_class_folders(tmp_path / "animals", ("cat", "dog"))


@pytest.mark.parametrize("kind", KINDS)
def test_two_workers_write_the_bytes_of_one(kind, toy_root, tmp_path, monkeypatch):
    monkeypatch.setattr("backbones.common.dataset_checks.CHUNK", 2)
    for workers in (1, 2):
        take(kind, source_of(kind, toy_root), tmp_path / str(workers), workers, **OPTIONS[kind])
    assert contents(tmp_path / "1") == contents(tmp_path / "2")


@pytest.mark.parametrize("kind", KINDS)
def test_a_subset_that_was_killed_goes_on_and_ends_like_an_undisturbed_one(kind, toy_root, tmp_path):
    source, out = source_of(kind, toy_root), tmp_path / "out"
    script = KILLED.format(calls=4, kind=kind, source=str(source), out=str(out), options=OPTIONS[kind])
    killed = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    left = [path for path in unfinished(out).rglob("*") if path.is_file() and path.name not in (RECIPE, ".lock")]
    whole = {path: path.stat().st_mtime_ns for path in left if path.suffix != ".part"}
    assert not out.exists() and len(whole) == 2 and len(left) == 3  # one has no name yet
    take(kind, source, out, **OPTIONS[kind])
    take(kind, source, tmp_path / "undisturbed", **OPTIONS[kind])
    assert contents(out) == contents(tmp_path / "undisturbed") and not unfinished(out).exists()
    if kind == "imagenet":  # elsewhere a pair may have been cut
        assert all((out / path.relative_to(unfinished(out))).stat().st_mtime_ns == before for path, before in whole.items())


def test_workers_end_with_a_main_process_that_is_killed(tmp_path):
    script = tmp_path / "slow.py"
    (tmp_path / "pids").mkdir()
    script.write_text(SLOW.format(folder=str(tmp_path / "pids")))
    main = subprocess.Popen([sys.executable, str(script)], cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(ROOT)})
    deadline = time.monotonic() + 60
    while len(pids := [int(path.name) for path in (tmp_path / "pids").iterdir()]) < 2 and time.monotonic() < deadline:
        time.sleep(0.05)
    main.kill()
    main.wait()
    while any(map(is_alive, pids)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert len(pids) == 2 and not any(map(is_alive, pids))


def is_alive(pid: int) -> bool:
    """Return whether a process runs; a dead one that nobody has waited for does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in ("Z", "X")
    except OSError:
        return False


def test_the_choice_depends_on_names_alone():
    names = [f"{i:04d}.jpg" for i in range(500)]
    few, many = draw(names, 20, 0), draw(names, 40, 0)
    assert few == sorted(few) and set(few) < set(many)
    assert set(draw(names[::-1], 20, 0)) == set(few) != set(draw(names, 20, 1))
    assert set(few) - {few[3]} < set(draw([name for name in names if name != few[3]], 20, 0))  # a lost file moves no other
    halves = sum(name < "0250" for name in draw(names, 200, 0))
    assert 70 < halves < 130


def test_a_complete_subset_is_left_as_it_is(folders, tmp_path):
    take("imagenet", folders, tmp_path / "out", short_side=20)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*")}
    outcome = take("imagenet", folders, tmp_path / "out", short_side=20)
    assert outcome.written == 0 and outcome.recipe.chosen["train"] == 6
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*")} == before


def test_another_pillow_leaves_a_complete_subset_and_does_not_go_on_with_an_unfinished_one(folders, tmp_path, monkeypatch):
    take("imagenet", folders, tmp_path / "complete")
    (folders / "val/dog/val_1.JPEG").write_bytes(b"no image")
    with pytest.raises(ValueError, match="val_1.JPEG"):
        take("imagenet", folders, tmp_path / "begun")
    monkeypatch.setattr("PIL.__version__", "99.0")
    assert take("imagenet", folders, tmp_path / "complete").written == 0
    with pytest.raises(ValueError, match="another subset .versions.pillow: .* there, 99.0 now.; finish that one with"):
        take("imagenet", folders, tmp_path / "begun")


def test_an_image_that_changed_after_an_interruption_is_written_again(folders, tmp_path):
    last, first = folders / "val/dog/val_1.JPEG", folders / "train/cat/train_0.JPEG"
    last.rename(tmp_path / "kept.JPEG")
    last.write_bytes(b"no image")
    with pytest.raises(ValueError, match="val_1.JPEG"):
        take("imagenet", folders, tmp_path / "out")
    (tmp_path / "kept.JPEG").rename(last)
    first.write_bytes((folders / "train/cat/train_1.JPEG").read_bytes())
    os.utime(first, (time.time() + 5, time.time() + 5))
    assert take("imagenet", folders, tmp_path / "out").written == 2
    assert (tmp_path / "out/train/cat/train_0.JPEG").read_bytes() == first.read_bytes()


def test_another_recipe_for_a_folder_is_refused(folders, tmp_path):
    take("imagenet", folders, tmp_path / "out", short_side=20)
    sentence = (
        r"out holds another subset \(options.quality: 90 there, 80 now; options.short_side: 20 there, 24 now\); give another"
    )
    with pytest.raises(ValueError, match=sentence):
        take("imagenet", folders, tmp_path / "out", short_side=24, quality=80)


def test_another_recipe_for_an_unfinished_folder_is_refused(folders, tmp_path):
    (folders / "val/dog/val_1.JPEG").write_bytes(b"no image")
    with pytest.raises(ValueError, match="val_1.JPEG"):
        take("imagenet", folders, tmp_path / "out", short_side=20)
    with pytest.raises(
        ValueError, match=r"\.out\.unfinished holds another subset \(options.seed: 0 there, 1 now\); finish that one"
    ):
        take("imagenet", folders, tmp_path / "out", short_side=20, seed=1)


@pytest.mark.parametrize(
    ("out", "sentence"),
    [
        ("full", "full exists and is no subset .it has no .subset.json.; give a new or empty folder"),
        ("animals", "neither may lie in the other"),
        ("animals/train/small", "neither may lie in the other"),
        (".", "neither may lie in the other"),
    ],
)
def test_a_folder_with_other_data_is_refused(folders, tmp_path, out, sentence):
    (tmp_path / "full").mkdir()
    (tmp_path / "full/x.txt").write_text("mine")
    before = contents(tmp_path)
    with pytest.raises(ValueError, match=sentence):
        take("imagenet", folders, tmp_path / out)
    assert contents(tmp_path) == before


def test_an_empty_folder_is_filled(folders, tmp_path):
    (tmp_path / "out").mkdir()
    assert take("imagenet", folders, tmp_path / "out").written == 10 and (tmp_path / "out" / RECIPE).is_file()


def test_two_processes_do_not_make_one_subset_at_once(folders, tmp_path):
    from filelock import FileLock

    unfinished(tmp_path / "out").mkdir()
    with FileLock(unfinished(tmp_path / "out") / ".lock"):
        with pytest.raises(ValueError, match="Another process is making"):
            take("imagenet", folders, tmp_path / "out")
    assert take("imagenet", folders, tmp_path / "out").written == 10


def test_the_recipe_says_how_a_subset_was_made_and_of_what(folders, tmp_path):
    from PIL import __version__

    take("imagenet", folders, tmp_path / "half", every=2)
    take("imagenet", tmp_path / "half", tmp_path / "small", short_side=20)
    recipe = json.loads((tmp_path / "small" / RECIPE).read_text())
    assert (
        recipe["source"] == "half" and recipe["options"]["resampler"] == "lanczos" and recipe["versions"]["pillow"] == __version__
    )
    assert recipe["source_recipe"]["source"] == "animals" and recipe["source_recipe"]["options"]["every"] == 2
    assert recipe["chosen"] == {"classes": 1, "train": 3, "val": 2} and str(tmp_path) not in json.dumps(recipe)


@pytest.mark.parametrize(("text", "word"), [("{", "JSON"), ("[]", "no recipe"), ('{"layout": 3}', "lacks source")])
def test_a_damaged_recipe_is_refused(tmp_path, text, word):
    (tmp_path / RECIPE).write_text(text)
    with pytest.raises(ValueError, match=f"{RECIPE}.*{word}"):
        read_recipe(tmp_path)


def test_each_wrong_field_of_a_recipe_is_refused(folders, tmp_path):
    take("imagenet", folders, tmp_path / "out", images=dict(train=2), short_side=20)
    file = tmp_path / "out" / RECIPE
    wrong = list(faults(Recipe, json.loads(file.read_text())))
    for fault in wrong:
        file.write_text(json.dumps(fault.content))
        with pytest.raises(ValueError, match=f"{RECIPE} .*{fault.path[-1]}"):
            read_recipe(tmp_path / "out")
    assert len(wrong) > 40


def test_a_run_on_a_subset_has_the_recipe_in_its_record_and_not_in_its_key(world, tmp_path, monkeypatch):  # noqa: F811
    from tools.engine.training.run import run

    monkeypatch.setenv("TRICKTRANSFER_DEVICE", "cpu")
    take("imagenet", world / "imagenet", tmp_path / "data/half", every=2, short_side=32)
    changes = {
        "data_root": "half",
        "num_classes": 4,
        "batch": 4,
        "micro_batch": 4,
        "epochs": 1,
        "num_workers": 0,
        "test_batch": 4,
    }
    options = Options(overrides=changes | {"model.backbone.base_channels": 4})
    resolved = resolve(CLASSIFIER, options)
    record = run(resolved, tmp_path / "work_dirs/runs" / resolved.key.name)
    recipe = record["data"]["subset"]
    assert recipe["options"]["every"] == 2 and recipe["source"] == "imagenet" and recipe["chosen"]["classes"] == 4
    sentence = (
        "The data is a subset of imagenet (classes 4 of 8, train 8 of 8, val 4 of 4, short side 32 by lanczos, JPEG quality 90)."
    )
    assert sentence in record["remarks"]
    (tmp_path / "data/half" / RECIPE).unlink()
    forget()
    assert resolve(CLASSIFIER, options).key == resolved.key


def test_the_data_of_mini_is_made_by_one_command(tmp_path, toy_root, monkeypatch):
    data = tmp_path / "data"
    make_class_folders(data / "imagenet", (*MINI_CLASSES, "n00000001"), 1, 1, (160, 150))
    make_devkit(data / "VOCdevkit", dict(train=4, val=2, test=3))
    (data / "ADEChallengeData2016").symlink_to(toy_root / "ADEChallengeData2016")
    given = answer("prepare_data", ("subset", "--for", "mini", "--workers", "1"), {"DATA_ROOT": str(data)})
    assert given.status == 0 and f"Train on them with DATA_ROOT={data / 'mini'}" in given.out, given.err
    monkeypatch.setenv("DATA_ROOT", str(data / "mini"))
    assert {size_of(path) for path in (data / "mini/imagenet-mini").rglob("*.JPEG")} == {(137, 128)}
    counts = {}
    for config in ("classification/resnet50", "detection/faster_rcnn_fpn", "segmentation/fcn"):
        path = f"configs/{config}_mini.py"
        changes = {"batch": 4, "micro_batch": 4} if "resnet" in config else {"protocol.batch": 2}
        backbone = None if "resnet" in config else "scratch"
        resolved = resolve(path, Options(backbone=backbone, overrides=changes))
        resolved.task.check_data(resolved.cfg)
        counts[config] = read_recipe(Path(resolved.data_folder)).chosen
    lists = dict(test=3, train=4, trainval=6, val=2)
    assert counts == {
        "classification/resnet50": {"classes": 20, "train": 20, "val": 20},
        "detection/faster_rcnn_fpn": {f"VOC2007 {name}": count for name, count in lists.items()},
        "segmentation/fcn": {"training": 4, "validation": 2},
    }


def test_mini_asks_for_as_many_images_as_its_configs_name():
    images = {part.layout: part.options.images for part in SCALES["mini"]}
    assert images["imagenet"] == dict(train=200, val=40) and images["voc"] == dict(train=195, val=95, test=140)
    for config, split in (("detection/faster_rcnn_fpn", ("voc", 290, 140)), ("segmentation/fcn", ("ade20k", 357, 85))):
        layout, training, testing = split
        text = (ROOT / f"configs/{config}_mini.py").read_text()
        assert f"{training} training and {testing} test images" in text
        assert sum(images[layout].values()) == training + testing


def test_the_segmenter_of_mini_reads_ade20k_or_else_camvid(tmp_path, monkeypatch):
    monkeypatch.setenv("DATA_ROOT", str(tmp_path))
    ade, camvid = (f"{name}/ADEChallengeData2016" for name in ("ade20k-mini", "camvid-as-ade"))
    read = [load("configs/segmentation/fcn_mini.py").data_root]
    for folder in (camvid, ade):
        (tmp_path / folder).mkdir(parents=True)
        read.append(load("configs/segmentation/fcn_mini.py").data_root)
    assert read == [ade, camvid, ade]


def test_mini_names_the_dataset_that_is_missing(tmp_path):
    make_class_folders(tmp_path / "imagenet", MINI_CLASSES, 1, 1)
    given = answer("prepare_data", ("subset", "--for", "mini", "--workers", "1"), {"DATA_ROOT": str(tmp_path)})
    assert given.status == 1 and f"not made, since {tmp_path / 'VOCdevkit'} does not exist" in given.out
    assert (tmp_path / "mini/imagenet-mini" / RECIPE).is_file()


def test_classes_may_stand_in_a_file(folders, tmp_path):
    (tmp_path / "classes.txt").write_text("dog a domestic animal\n\n")
    line = ("subset", "imagenet", str(folders), "--classes", str(tmp_path / "classes.txt"), "--out", str(tmp_path / "out"))
    given = answer("prepare_data", (*line, "--short-side", "20"), {})
    assert given.status == 0 and f"{tmp_path / 'out'}: 5 images written in " in given.out, given.err
    assert [path.name for path in (tmp_path / "out/train").iterdir()] == ["dog"]
