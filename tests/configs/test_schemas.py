"""Test that configs, protocols, studies and recipes are checked against declared schemas, and that no key in use is refused."""

import random
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from mmengine.config import Config

from backbones.common.project import ROOT
from backbones.resolving import Machine
from backbones.transfer import protocols
from backbones.transfer.protocols import accept, read_protocol
from detection.schema import DetectionProtocol
from segmentation.schema import SegmentationProtocol
from tests.helpers.resolved_digests import CARDS
from tools.engine.config import Options, load, resolve
from tools.engine.config.signatures import check_signatures
from tools.engine.config.structures import check_structures
from tools.engine.studies import study
from tools.engine.studies.study import load_study, read_catalogue

CONFIGS = sorted(str(p.relative_to(ROOT)) for p in (ROOT / "configs").glob("*ion/*.py"))
CLASSIFIER = "configs/classification/resnet50_toy.py"
C4, FPN = "configs/detection/faster_rcnn_c4_paper.py", "configs/detection/faster_rcnn_fpn_toy.py"
FCN = "configs/segmentation/fcn_toy.py"
TRICKS = [
    *("large_batch", "low_precision", "mixup", "label_smoothing", "no_bias_decay", "cosine", "warmup"),
    ("distillation", {"teacher": "CARD"}),
]
MACHINES = (Machine(1, cuda=False, bf16=False), Machine(1, cuda=True, bf16=True, processes=2))


# ---- configs


def variants(path: str):
    """Yield (options, card) for a config, which together set every key that it can have."""
    if "classification" in path:
        yield Options(), None
        yield Options([*TRICKS, *(["resnet_d", "zero_gamma"] if "resnet" in path else [])]), None
        return
    for name in [None, *protocols.protocol_files(path.split("/")[1])] if isinstance(load(path).protocol, str) else [None]:
        yield Options(backbone="CARD", protocol=name), CARDS["resnet50d"]
        yield Options(backbone="scratch", protocol=name, lr_factor=2.0, hold_out=True), None


@pytest.mark.parametrize("path", CONFIGS)
def test_no_key_in_use_is_refused(path):
    for options, card in variants(path):
        for machine in MACHINES:
            try:
                cfg = resolve(path, options, machine, card).cfg
            except ValueError as error:  # toy's batch in one part, or a protocol of another network
                assert re.search("cannot be divided among|can be divided among|choose another", str(error))
                continue
            check_signatures(cfg, path)


def places(value, path: tuple = ()):
    """Yield (path, key) of every key of a config that is not the name of a class or a module."""
    if isinstance(value, dict):
        for key, item in value.items():
            if path[-1:] != ("custom_keys",) and key != "type":
                yield path, key
            yield from places(item, (*path, key))
    elif isinstance(value, list | tuple):
        for i, item in enumerate(value):
            yield from places(item, (*path, i))


@pytest.mark.parametrize("path", [CLASSIFIER, C4, FPN, FCN])
def test_a_misspelt_key_anywhere_in_a_resolved_config_is_refused(path):
    options = Options(["cosine", "warmup", "no_bias_decay"]) if path == CLASSIFIER else Options(backbone="scratch")
    whole, rng = resolve(path, options).cfg, random.Random(0)
    checked = [(where, key) for where, key in places(whole.to_dict()) if where and where[0] not in ("protocol", "tricks")]
    for where, key in checked:
        cut = rng.randrange(len(key))
        wrong = rng.choice([key[:cut] + key[cut] + key[cut:], key[:cut] + key[cut + 1 :] or "xx", key + "s"])
        cfg = Config(whole.to_dict())
        node = cfg
        for name in where:
            node = node[name]
        if wrong in node:  # by chance the name of another key
            continue
        node[wrong] = node.pop(key)
        full = ".".join(map(str, (*where, wrong)))
        with pytest.raises(ValueError, match=rf"has {re.escape(full)}, which is unknown"):
            check_structures(cfg, path)
            check_signatures(cfg, path)


@pytest.mark.parametrize(
    "overrides",
    [
        {"optim_wrapper.clip_grad.max_norm": 10},  # not in the config, but accepted
        {"optim_wrapper.optimizer._delete_": True, "optim_wrapper.optimizer.type": "AdamW", "optim_wrapper.optimizer.eps": 1e-6},
        {"train_dataloader.prefetch_factor": 4},
        {"val_interval": 1, "custom_hooks": [dict(type="EmptyCacheHook")]},
        {"find_unused_parameters": True},
    ],
)
def test_an_override_of_a_key_that_a_class_takes_is_accepted(overrides):
    resolved = resolve(CLASSIFIER, Options(overrides=overrides))
    check_signatures(resolved.cfg, CLASSIFIER)
    if "optim_wrapper.optimizer._delete_" in overrides:  # replaced as a whole; the learning rate still follows the batch
        assert resolved.cfg.optim_wrapper.optimizer == dict(type="AdamW", eps=1e-6, lr=0.003125)


def test_weights_that_mmengine_would_load_as_far_as_they_fit_are_refused():
    cfg = resolve(FCN, Options(backbone="scratch")).cfg
    cfg.model.decode_head.init_cfg = dict(type="Pretrained", checkpoint="head.pth")
    with pytest.raises(ValueError, match="has model.decode_head.init_cfg.type=Pretrained, which loads the weights that fit"):
        check_structures(cfg, FCN)


OWN_CONFIG = """_base_ = ["{root}/configs/_base_/default_runtime.py", "{root}/configs/_base_/models/resnet50.py",
          "{root}/configs/_base_/datasets/toy_imagenet.py", "{root}/configs/_base_/schedules/toy_12e.py"]
{lines}
"""


@pytest.mark.parametrize(
    ("lines", "sentence"),
    [
        ("_width = 8\nmodel = dict(backbone=dict(base_channels=_width))", None),  # a helper of the file
        ("epoch = 3", "has epoch, which is unknown; nearest: epochs"),
        ("val_intervall = 1", "has val_intervall, which is unknown; nearest: val_interval"),
        ("train_cfg = dict(max_epochs=3)", "has train_cfg, which is unknown;"),
        ("model = dict(backbone=dict(dept=50))", "has model.backbone.dept, which is unknown; nearest: depth; ResNet takes:"),
        (
            "model = dict(backbone=dict(type='backbones.ResNt'))",
            "has model.backbone.type=backbones.ResNt, and nothing has that name",
        ),
        (
            "optim_wrapper = dict(optimizer=dict(type='SDG'))",
            "optim_wrapper.optimizer.type=SDG, and nothing has that name; nearest: SGD",
        ),
        ("batch = '16'", "has batch='16'; give a whole number of at least 1."),
        ("epochs = None", "has epochs=None; give a whole number of at least 1."),
        ("scale = 'big'", "has scale='big'; give one of toy, mini, paper."),
        ("mean = [1, 2]", "has mean=[1, 2]; give a list of 3, each a number."),
        ("model = None", "has model=None; give a dict."),
        ("task = 'clasification'", "has task='clasification'; set task to one of"),
        ("task = '../x'", "has task='../x'; set task to one of"),
        ("x = = 3", "cannot be read as a config (SyntaxError"),
        ("x = 1 / 0", "cannot be read as a config (ZeroDivisionError"),
    ],
)
def test_a_users_own_config_is_checked(tmp_path, lines, sentence):
    path = tmp_path / "own.py"
    path.write_text(OWN_CONFIG.format(root=ROOT, lines=lines))
    if sentence is None:
        assert resolve(path).cfg.model.backbone.base_channels == 8
        return
    with pytest.raises(ValueError, match=re.escape(sentence)):
        check_signatures(resolve(path).cfg, str(path))


def test_a_config_without_a_task_or_that_is_a_base_of_itself_is_refused(tmp_path):
    path = tmp_path / "own.py"
    path.write_text("batch = 3\n")
    with pytest.raises(ValueError, match="lacks task; set task to one of"):
        resolve(path)
    path.write_text("_base_ = 'own.py'\n")
    with pytest.raises(ValueError, match="is a base of itself"):
        resolve(path)


def test_a_wrong_key_is_the_only_error_reported_and_stops_first(monkeypatch, tmp_path):
    monkeypatch.setenv("DATA_ROOT", str(tmp_path / "nowhere"))  # data is not looked for
    for path, arguments in (
        (CLASSIFIER, ["--cfg-options", "model.backbone.dept=50"]),
        (FCN, ["--backbone", "scratch", "--cfg-options", "model.decode_head.num_conv=1"]),
        (FPN, ["--backbone", "scratch", "--cfg-options", "model.neck.out_channel=1"]),
    ):
        ended = subprocess.run(
            [sys.executable, ROOT / "tools/print_config.py", path, *arguments], cwd=tmp_path, capture_output=True, text=True
        )
        assert ended.returncode == 2 and ended.stdout == "" and ended.stderr.count("\n") == 1, ended.stderr
        assert ended.stderr.startswith("error: ") and "which is unknown; nearest: " in ended.stderr
        assert list(tmp_path.iterdir()) == []


# ---- protocols


@pytest.mark.parametrize(("task", "schema"), [("detection", DetectionProtocol), ("segmentation", SegmentationProtocol)])
def test_every_protocol_fits_its_schema(task, schema):
    for name in protocols.protocol_files(task):
        assert accept(read_protocol(task, name), schema, name).name == name


@pytest.mark.parametrize(
    ("path", "name", "old", "new", "sentence"),
    [
        (
            "detection/faster_rcnn_c4_paper",
            "detectron2",
            "warmup=",
            "warmupp=",
            "has warmupp, which is unknown;",
        ),
        ("detection/faster_rcnn_c4_paper", "gluoncv2018", "    gamma=0.1,", "    #", "lacks gamma; add it."),
        ("detection/faster_rcnn_c4_paper", "moco", "3 / 4", "3", "has steps.0=3; give a number above 0 and of at most 1."),
        ("detection/faster_rcnn_c4_paper", "moco", 'base="detectron2"', 'base="detectron"', "There is no protocol 'detectron'"),
        (
            "detection/faster_rcnn_c4_paper",
            "he2019",
            'warmup_start="not',
            'warmup_strt="not',
            "has chosen.warmup_strt,",
        ),
        ("segmentation/fcn_paper", "mmseg", "metric_classes=", "metric_class=", "nearest: metric_classes"),
        ("segmentation/fcn_paper", "mmseg", '"union"', '"onion"', "has metric_classes='onion'; give one of gt, union, all."),
        (
            "segmentation/fcn_paper",
            "mmseg",
            "updates=80000",
            "update=80000",
            "has length.update, which is unknown; nearest: updates",
        ),
    ],
)
def test_a_protocol_file_that_does_not_fit_is_refused(tmp_path, monkeypatch, path, name, old, new, sentence):
    shutil.copytree(ROOT / "configs", tmp_path / "configs")
    monkeypatch.setattr(protocols, "CONFIGS", tmp_path / "configs")
    config, file = str(ROOT / f"configs/{path}.py"), tmp_path / f"configs/{path.split('/')[0]}/protocols/{name}.py"
    options = Options(backbone="scratch", protocol=name)
    resolve(config, options)
    assert old in file.read_text()
    file.write_text(file.read_text().replace(old, new, 1))
    with pytest.raises(ValueError, match=re.escape(sentence)):
        resolve(config, options)


def test_a_protocol_states_only_what_differs_from_its_base():
    moco, detectron2 = read_protocol("detection", "moco"), read_protocol("detection", "detectron2")
    differ = {key for key in moco if moco[key] != detectron2.get(key)}
    assert differ == {"name", "source", "chosen", "length", "steps", "frozen_stages", "norm", "extra_norm"}
    toy = resolve(FPN, Options(backbone="scratch")).cfg.protocol
    assert toy.roi_sample == dict(num=32, positive=0.25, iou=0.5) and toy.length == dict(epochs=10)


# ---- studies and recipes


def test_every_study_and_recipe_fits_its_schema():
    assert len(read_catalogue()[1]) > 20
    for path in sorted((ROOT / "configs/studies").glob("*.py")):
        if path.stem != "recipes":
            assert load_study(str(path), "toy").name == path.stem


@pytest.mark.parametrize(
    ("name", "old", "new", "sentence"),
    [
        ("demo", 'reference = "', 'referense = "', "has referense, which is unknown; nearest: reference"),
        (
            "demo",
            'reference = "b_standard"',
            'reference = "b_standart"',
            "demo has no recipe 'b_standart', which is its reference",
        ),
        ("demo", 'reference = "b_standard"', "reference = 3", "has reference=3; give text."),
        ("demo", "configs =", "config =", "has config, which is unknown; nearest: configs"),
        ("demo", "recipes =", "recipe =", "has recipe, which is unknown; nearest: recipes"),
        ("demo", '"smooth")', '"smoth")', "There is no recipe 'smoth'; nearest: smooth"),
        ("demo", 'recipes = ("scratch", "b_standard", "smooth")', 'recipes = "smooth"', "has recipes='smooth'; give a list."),
        ("demo", 'name = "demo"', "", "lacks name; add it."),
        ("demo", "metrics = (", "metrics_ = (", "has metrics_, which is unknown"),
        ("demo", '"top1", "mAP",', '"topp1", "mAP",', "No task of demo has the metric 'topp1'; nearest: top1"),
        ("demo", '"pixAcc", "mIoU")', '"pixAc", "mIoU")', "No task of demo has the metric 'pixAc'; nearest: pixAcc"),
        (
            "demo",
            'reference = "b_standard"',
            'reference = "b_standart"',
            "demo has no recipe 'b_standart', which is its reference; nearest: b_standard",
        ),
        ("demo", "published = dict(", "published = 3 or dict(", "has published=3; give a dict."),
        ("demo", "segmentation=", "segmentaion=", "has task='segmentaion'; set task to one of"),
        ("demo", "fcn_{scale}", "fnc_{scale}", "There is no config configs/segmentation/fnc_toy.py; nearest:"),
        ("table8", "dict(recipe=r, metric", "dict(recipes_=r, metric", "has published.table8.0.recipes_, which is unknown"),
        ("table5", "row=row", "rwo=row", "has published.table5.0.rwo, which is unknown"),
        ("table1", "overrides=", "override=", "override, which is unknown"),
        ("table1", 'recipes=("baseline",)', "recipes=3", "recipes=3; give a list or None."),
        ("public_weights", 'label="torchvision V1 (B)",', "", "lacks cards.tv_v1.label; add it."),
        ("public_weights", "top1=76.130", "top1='76'", "cards.tv_v1.top1='76'; give a number or None."),
        ("public_weights", "about=", "abuot=", "has cards.tv_v1.abuot, which is unknown"),
    ],
)
def test_a_study_file_that_does_not_fit_is_refused(tmp_path, name, old, new, sentence):
    text = (ROOT / f"configs/studies/{name}.py").read_text()
    assert old in text
    path = tmp_path / "own.py"
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(ValueError, match=re.escape(sentence)) as error:
        load_study(str(path), "toy")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ('label="B-standard"', 'lable="B-standard"', "recipes.b_standard.lable, which is unknown"),
        (
            'parent="b_standard", label="D-efficient"',
            'parent="b_standart", label="D-efficient"',
            "recipes.py has no recipe 'b_standart', beside which it has d_efficient; nearest",
        ),
        ('tricks=("resnet_b",)', "tricks=3", "has recipes.b_standard.tricks=3; give a list or None."),
    ],
)
def test_a_file_of_recipes_that_does_not_fit_is_refused(tmp_path, monkeypatch, old, new, sentence):
    text = (ROOT / "configs/studies/recipes.py").read_text()
    assert old in text
    monkeypatch.setattr(study, "RECIPES", tmp_path / "recipes.py")
    study.RECIPES.write_text(text.replace(old, new, 1))
    with pytest.raises(ValueError, match=re.escape(sentence)):
        read_catalogue()


def test_a_label_of_no_recipe_is_refused(tmp_path):
    path = tmp_path / "own.py"
    path.write_text((ROOT / "configs/studies/demo.py").read_text() + '\nlabels = dict(smoth="Smooth")\n')
    with pytest.raises(ValueError, match="There is no recipe 'smoth', for which demo has a label; nearest: smooth"):
        load_study(str(path), "toy")


def test_a_teacher_that_no_row_has_is_refused():
    with pytest.raises(ValueError, match="no row of demo asked for has such a teacher; none of its rows is distilled"):
        load_study("configs/studies/demo.py", "toy", teachers={"smooth": "cards/x"})


@pytest.mark.parametrize("arguments", [["--seeds", "3x"], ["--seeds", "0"], ["--jobs", "0"], ["--jobs", "-1"], ["--seeds", "x2"]])
def test_an_invalid_count_is_refused(arguments):
    ended = subprocess.run(
        [sys.executable, "tools/study.py", "plan", "demo.py", *arguments], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 2 and "argument " + arguments[0] in ended.stderr


# ---- torch is not loaded


@pytest.mark.parametrize("tool", ["train", "test", "study", "print_config"])
def test_help_loads_no_torch(tool):
    code = (
        f"import runpy, sys\nsys.argv = ['tools/{tool}.py', '--help']\n"
        "try:\n    runpy.run_path(sys.argv[0], run_name='__main__')\n"
        "except SystemExit:\n    pass\nassert 'torch' not in sys.modules"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True).returncode == 0


def test_resolving_loads_no_torch():
    code = (
        "import sys\nfrom tools.engine.config import Options, resolve\nfrom backbones.card_facts import CardFacts\n"
        "card = CardFacts(dict(depth=50, variant='d', base_channels=16), [1, 2, 3], [1, 1, 1], 'rgb', 'CARD')\n"
        "from backbones.resolving import Machine\nhere = Machine(1, False, False)\n"
        f"resolve({CLASSIFIER!r}, Options(tricks=['resnet_d', 'cosine', 'mixup']), here)\n"
        f"resolve({FPN!r}, Options(backbone='CARD'), here, card)\nresolve({FCN!r}, Options(backbone='CARD'), here, card)\n"
        "assert not {'torch', 'mmdet', 'mmseg', 'mmcv'} & set(sys.modules)"
    )
    ended = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr


def test_no_config_of_the_project_is_left_out_of_the_checks():
    assert {str(Path(path).parent) for path in CONFIGS} == {
        f"configs/{t}" for t in ("classification", "detection", "segmentation")
    }
