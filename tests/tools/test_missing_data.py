"""Test that missing data is told before torch and OpenMMLab are loaded, with what is expected and where it comes from."""

import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

from backbones.common.files import MissingData, missing_folder
from backbones.common.project import ROOT
from tests.helpers.inputs.calls import answer
from tools.engine.config import Options, resolve
from tools.engine.config.data_needed import refuse_missing_data, refuse_whole
from tools.engine.config.dumped import dumped_text
from tools.engine.studies.graph import refuse_without_data
from tools.engine.studies.study import load_study

CLASSIFIER, DETECTOR = "configs/classification/resnet50_paper.py", "configs/detection/faster_rcnn_c4_paper.py"
HEAVY = {"torch", "mmdet", "mmseg"}
PROBE = """import runpy, sys
sys.argv = sys.argv[1:]
try:
    runpy.run_path(sys.argv[0], run_name="__main__")
finally:
    print(sorted({name.split(".")[0] for name in sys.modules}))
"""


@pytest.fixture(autouse=True)
def empty(tmp_path, monkeypatch) -> Path:
    """Enter an empty folder without a DATA_ROOT."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DATA_ROOT", raising=False)
    return tmp_path


@pytest.mark.parametrize(
    "line",
    [
        ("train.py", "configs/classification/resnet50_toy.py"),
        ("train.py", DETECTOR, "--backbone", "scratch"),
        ("study.py", "run", "demo"),
        ("study.py", "run", "demo", "--scale", "paper"),
        ("prepare_data.py", "check", "voc"),
        ("study.py", "run", "public_weights"),
    ],
    ids=" ".join,
)
def test_it_is_told_without_torch_even_if_nothing_is_cached(line, empty, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(empty / "cache"))
    done = probe(*line)
    assert done.returncode == 2 and "not exist" in done.stderr
    assert not HEAVY & set(eval(done.stdout.splitlines()[-1]))


def probe(tool: str, *args: str) -> subprocess.CompletedProcess:
    """Return the end of a tool in a process of its own, whose last line lists the packages that it has loaded."""
    command = [sys.executable, "-c", PROBE, str(ROOT / "tools" / tool), *args]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def run_without_data(folder: Path) -> None:
    """Write into ``folder`` the config and a checkpoint of a run whose data is gone."""
    resolved = resolve("configs/segmentation/fcn_paper.py", Options(backbone="scratch"))
    (folder / "config.py").write_text(dumped_text(resolved.cfg, resolved.origin, resolved.machine, None, run="0123456789ab"))
    (folder / "epoch_1.pth").write_bytes(b"PK")


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (("train", CLASSIFIER, "--tricks", "cosin"), "no trick 'cosin'; nearest: cosine"),
        (("train", CLASSIFIER, "--cfg-options", "bach=3"), "there is no bach; nearest: batch"),
        (("train", CLASSIFIER, "--cfg-options", "batch=256"), "batch=256 changes nothing"),
        (("train", CLASSIFIER, "--cfg-options", "micro_batch=3"), "is no multiple of micro_batch"),
        (("train", CLASSIFIER, "--tricks", "distillation:teacher=nope"), "no backbone card at nope"),
        (("train", CLASSIFIER, "--launcher", "pytorch"), "start it with torchrun"),
        (("train", DETECTOR), "detection needs --backbone"),
        (("train", DETECTOR, "--backbone", "nope"), "no backbone card at nope"),
        (("train", DETECTOR, "--backbone", "scratch:nope"), "no backbone card at nope"),
        (("train", DETECTOR, "--backbone", "notes.txt"), "notes.txt is no file of weights"),
        (("train", DETECTOR, "--backbone", "a.pth:variant=z"), "variant=z; give one of a, b, c, d"),
        (("train", DETECTOR, "--backbone", "scratch", "--protocol", "he2018"), "nearest: he2019"),
        (("test", "config.py", "epoch_2.pth"), "no checkpoint epoch_2.pth; in that folder: epoch_1.pth"),
        (("test", "config.py", "--inference", "hole"), "no inference 'hole'"),
        (("test", CLASSIFIER, "epoch_1.pth"), "is no run's config"),
        (("study", "run", "demo", "--scale", "paper", "--processes", "7"), "can be divided among"),
        (("study", "run", "table8", "--scale", "paper", "--teachers", "smooth=nope"), "no backbone card at nope"),
        (("compare", "timm:resnet50.a1_in1k", "notes.txt"), "notes.txt is no file of weights"),
        (("compare", "timm:resnet50.a1_in1k", "scratch", "--time", "60"), "--time is for --executor slurm"),
        (("compare", "timm:resnet50.a1_in1k", "scratch", "--protocol", "voc07"), "--protocol"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_what_else_is_wrong_is_told_first(empty, line, words):
    (empty / "notes.txt").write_text("no weights")
    run_without_data(empty)
    given = answer(line[0], line[1:], {})
    assert given.status == 2 and words in given.err and "not exist" not in given.err, given.err


@pytest.mark.parametrize("line", [(), ("--inference", "whole")], ids=" ".join)
def test_a_test_with_nothing_else_wrong_is_told_of_its_data(empty, line):
    run_without_data(empty)
    given = answer("test", ("config.py", *line), {})
    assert given.status == 2 and "data/ADEChallengeData2016 does not exist" in given.err


def test_a_fault_that_only_the_guess_has_is_not_told():
    """A guess may have another machine, or another network than that of a file: then the data is what is missing."""

    def guess():
        raise ValueError("a guess")

    with pytest.raises(MissingData, match="data/imagenet does not exist"):
        refuse_missing_data([CLASSIFIER], check=guess, confirm=lambda: None)
    with pytest.raises(ValueError, match="^a guess$"):
        refuse_missing_data([CLASSIFIER], check=guess)


def test_data_that_is_there_is_not_read_to_find_what_else_is_wrong(empty, monkeypatch):
    (empty / "data/imagenet").mkdir(parents=True)
    monkeypatch.setattr("tools.engine.config.fingerprint._fingerprint", lambda *_: pytest.fail("data is read"))
    with pytest.raises(MissingData, match="^data/ADEChallengeData2016, data/VOCdevkit do not exist"):
        refuse_without_data(load_study("configs/studies/demo.py", "paper"))


def test_the_layout_and_the_source_of_a_published_dataset_are_shown():
    with pytest.raises(
        MissingData, match=f"^data/imagenet does not exist, and {CLASSIFIER} reads it; there is no folder data"
    ) as e:
        refuse_missing_data([CLASSIFIER])
    lines = "\n".join(e.value.lines)
    assert "  data/imagenet/train/CLASS/*   1,281,167 images" in lines and "image-net.org" in lines


def test_several_datasets_are_named_at_once_with_their_sources():
    with pytest.raises(MissingData, match="^data/imagenet, data/VOCdevkit do not exist") as error:
        refuse_missing_data([CLASSIFIER, DETECTOR])
    assert len(error.value.lines) == 2 and "check voc --help" in error.value.lines[1]


def test_what_lies_in_the_folder_of_datasets_is_named_and_what_lies_beside_it_is_not(empty):
    (empty / "LICENSE").touch()
    with pytest.raises(MissingData, match="there is no folder data") as error:
        refuse_missing_data([DETECTOR])
    assert "LICENSE" not in str(error.value) and "LICENSE" not in missing_folder("data/VOCdevkit", "a part of VOC")
    (empty / "data/VOC").mkdir(parents=True)
    with pytest.raises(MissingData, match="data holds VOC. Put the data there"):
        refuse_missing_data([DETECTOR])


def test_data_that_exists_is_left_to_the_check_of_its_task(empty):
    (empty / "data/VOCdevkit").mkdir(parents=True)
    refuse_missing_data([DETECTOR])


def test_an_override_of_the_folder_counts():
    with pytest.raises(MissingData, match="^data/pets does not exist") as error:
        refuse_missing_data([CLASSIFIER], {"data_root": "pets"})
    assert error.value.lines == ()


def test_the_dumped_config_of_a_run_names_its_data(empty):
    text = 'task = "detection"\nresolved_from = dict(values=dict(task="detection", scale="toy", data_root="toy/VOCdevkit"))\n'
    (empty / "config.py").write_text(text)
    with pytest.raises(MissingData, match="data/toy/VOCdevkit does not exist, .*tools/prepare_data.py toy"):
        refuse_missing_data(["config.py"])


@pytest.mark.parametrize(
    "text",
    [
        'data_root = "pets"',
        'task = "detection"',
        'task = "detection"\ndata_root = 3',
        'task = "detection"\nresolved_from = 3',
        'task = "detection"\nresolved_from = dict(values=[1], overrides=2)',
    ],
)
def test_a_config_that_names_no_data_is_left_to_its_schema(empty, text):
    (empty / "own.py").write_text(text)
    refuse_missing_data(["own.py"])


@pytest.mark.parametrize("task", ["os", "../x", "tools", ""])
def test_data_of_an_unknown_task_has_no_layout(empty, task):
    (empty / "own.py").write_text(f'task = "{task}"\ndata_root = "VOCdevkit"')
    with pytest.raises(MissingData, match="data/VOCdevkit does not exist") as error:
        refuse_missing_data(["own.py"])
    assert error.value.lines == ()


def test_a_study_asks_for_the_data_of_the_runs_that_it_has(empty):
    with pytest.raises(MissingData, match="^data/imagenet, data/ADEChallengeData2016, data/VOCdevkit do not exist"):
        refuse_without_data(load_study("configs/studies/demo.py", "paper"))
    with pytest.raises(MissingData, match="^data/VOCdevkit does not exist"):
        refuse_without_data(load_study("configs/studies/demo.py", "paper", recipes=["scratch"], tasks=["detection"]))
    (empty / "data/imagenet").mkdir(parents=True)
    refuse_without_data(load_study("configs/studies/demo.py", "paper", tasks=["classification"]))


# ---- all of a published dataset at scale mini


def make_voc(images: int, name: str = "trainval") -> None:
    lists = Path("data/VOCdevkit/VOC2007/ImageSets/Main")
    lists.mkdir(parents=True, exist_ok=True)
    (lists / f"{name}.txt").write_text("".join(f"{i:06}\n" for i in range(images)))


def make_ade20k(images: int) -> None:
    folder = Path("data/ade20k-mini/ADEChallengeData2016/images/training")
    folder.mkdir(parents=True)
    for i in range(images):
        (folder / f"ADE_train_{i:08}.jpg").touch()


def make_imagenet(classes: int, images: int = 1300) -> None:
    for i in range(classes):
        Path(f"data/imagenet-mini/train/n{i:08}").mkdir(parents=True)
    for i in range(images):
        Path(f"data/imagenet-mini/train/n00000000/{i}.JPEG").touch()


MINI = {
    "detection": "configs/detection/faster_rcnn_fpn_mini.py",
    "segmentation": "configs/segmentation/fcn_mini.py",
    "classification": "configs/classification/resnet50_mini.py",
}


def plain(task: str, **overrides):
    """Return the resolved config of a task at scale mini."""
    backbone = None if task == "classification" else "scratch"
    return resolve(MINI[task], Options(backbone=backbone, overrides=overrides)).cfg


@pytest.mark.parametrize(
    ("task", "make", "words"),
    [
        ("detection", partial(make_voc, 5011), "5,011 images of VOC2007 trainval"),
        ("segmentation", partial(make_ade20k, 20_210), r"20,210 images of ADE20K \(SceneParse150\)"),
        ("classification", partial(make_imagenet, 1000), r"1,281,167 images of ImageNet \(ILSVRC2012\)"),
    ],
)
def test_scale_mini_does_not_train_on_all_of_a_published_dataset(task, make, words):
    make()
    ways = "prepare_data.py subset --for mini and set DATA_ROOT to data/mini, or train at scale paper"
    with pytest.raises(ValueError, match=f"would train on all {words} in data: .*{ways}"):
        refuse_whole(plain(task))


@pytest.mark.parametrize(
    ("task", "make"),
    [
        ("detection", partial(make_voc, 290)),
        ("detection", partial(make_voc, 5012)),
        ("segmentation", partial(make_ade20k, 357)),
        ("classification", partial(make_imagenet, 20)),
        ("classification", partial(make_imagenet, 1000, 200)),
        ("classification", lambda: None),
    ],
)
def test_scale_mini_trains_on_data_of_any_other_size(task, make):
    make()
    refuse_whole(plain(task))


def test_a_list_of_ones_own_beside_the_published_one_is_no_whole_dataset():
    make_voc(5011)
    make_voc(290, "few")
    refuse_whole(plain("detection", **{"protocol.train": ("VOC2007/few",)}))


def test_scale_paper_trains_on_all():
    make_voc(5011)
    refuse_whole(resolve("configs/detection/faster_rcnn_fpn_paper.py", Options(backbone="scratch")).cfg)


@pytest.mark.parametrize(
    "line",
    [
        ("train.py", MINI["detection"], "--backbone", "scratch"),
        ("study.py", "run", "demo", "--scale", "mini", "--recipes", "scratch", "--tasks", "detection"),
    ],
    ids=" ".join,
)
def test_all_of_voc_is_refused_before_anything_is_read(line):
    make_voc(5011)
    given = answer(line[0].removesuffix(".py"), line[1:], {})
    assert given.status == 2 and "all 5,011 images of VOC2007 trainval" in given.err and not Path("work_dirs").exists()
