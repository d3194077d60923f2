"""A key that nothing reads is refused with the nearest one that something does, wherever it stands; no key in use is refused."""

import random
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from mmengine.config import Config
from tools.engine.known_keys import check_config, check_protocol_file, check_study, names_read

from tools.engine import known_keys
from tools.engine.config import ROOT, Options, find_config, load, resolve, task_of
from tools.engine.study import load_study, prepare

CONFIGS = sorted(str(p.relative_to(ROOT)) for p in (ROOT / "configs").glob("*ion/*.py"))
CLASSIFIER, C4, DETECTOR, SEGMENTER = (
    f"configs/{name}.py"
    for name in (
        "classification/resnet50_toy",
        "detection/faster_rcnn_c4_paper",
        "detection/faster_rcnn_fpn_toy",
        "segmentation/fcn_toy",
    )
)
TRICKS = [
    *("large_batch", "low_precision", "mixup", "label_smoothing", "no_bias_decay", "cosine", "warmup"),
    ("distillation", {"teacher": "CARD"}),
]


def protocols(path: str) -> list[str | None]:
    """Those of a config, and None for its own."""
    cfg = load(path)
    files = sorted((ROOT / f"configs/{cfg.task}/protocols").glob("*.py"))
    named = isinstance(cfg.get("protocol"), str)
    return [None, *(f.stem for f in files if named and cfg.network in Config.fromfile(str(f)).protocol.networks)]


def variants(path: str, make_card):
    """The options with which a config is tried, all that set keys among them."""
    if "classification" in path:
        yield Options()
        yield Options([*TRICKS, *(["resnet_d", "zero_gamma"] if "resnet" in path else [])])
        return
    card = str(make_card().path)
    for name in protocols(path):
        yield Options(backbone=card, protocol=name)
        yield Options(backbone="scratch", protocol=name, lr_factor=2.0, hold_out=True)


@pytest.mark.parametrize("path", CONFIGS)
def test_no_key_in_use_is_refused(path, make_card, tmp_path):
    check_config(load(path), path)
    for options in variants(path, make_card):
        cfg = resolve(path, options)
        check_config(cfg, path)
        cfg.work_dir, cfg.run, cfg.launcher = "work_dirs/runs/x", "x", "none"
        cfg.dump(str(tmp_path / "config.py"))
        check_config(load(tmp_path / "config.py"), str(tmp_path / "config.py"))


def places(value, path: tuple = ()):
    """(path, key) of every key of a config that is no name of its own, such as a class or a module."""
    if isinstance(value, dict):
        for key, item in value.items():
            if path[-1:] != ("custom_keys",) and key != "type":
                yield path, key
            yield from places(item, (*path, key))
    elif isinstance(value, list | tuple):
        for i, item in enumerate(value):
            yield from places(item, (*path, i))


@pytest.mark.parametrize("path", [CLASSIFIER, C4, DETECTOR, SEGMENTER])
def test_seeded_misspellings_anywhere_in_a_config(path):
    options = Options(["cosine", "warmup", "no_bias_decay"]) if path == CLASSIFIER else Options(backbone="scratch")
    whole, rng = resolve(path, options), random.Random(0)
    read = names_read(whole.task) - {"tricks"}
    allowed = [(where, key) for where, key in places(whole.to_dict()) if where and where[0] in read]
    for where, key in rng.sample(allowed, 30):
        cut = rng.randrange(len(key))
        wrong = rng.choice([key[:cut] + key[cut] + key[cut:], key[:cut] + key[cut + 1 :] or "xx", key + "s"])
        cfg = Config(whole.to_dict())
        node = cfg
        for name in where:
            node = node[name]
        if wrong in node:  # that of another key
            continue
        node[wrong] = node.pop(key)
        full = ".".join(map(str, (*where, wrong)))
        with pytest.raises(ValueError, match=rf"has {re.escape(full)}[;,]"):
            check_config(cfg, str(find_config(path)))


@pytest.mark.parametrize(
    ("path", "override", "message"),
    [
        (CLASSIFIER, "model.backbone.dept", "ResNet knows depth (nearest), all: base_channels, depth,"),
        (CLASSIFIER, "model.bakbone.depth", "ImageClassifier knows backbone (nearest)"),
        (CLASSIFIER, "epoch", "--cfg-options epoch: nothing reads epoch; nearest: epochs"),
        (CLASSIFIER, "train_pipeline.0.size", "train_pipeline is used only while configs/classification/resnet50_toy.py is read"),
        (CLASSIFIER, "train_dataloader.dataset.pipeline.2.strenght", "ColorJitter knows strength (nearest)"),
        (CLASSIFIER, "train_dataloader.dataset.pipeline.9.size", "is a list of 5; give 0 to 4"),
        (CLASSIFIER, "optim_wrapper.optimizer.nesterof", "SGD knows nesterov (nearest)"),
        (CLASSIFIER, "param_scheduler.0.milestone", "MultiStepLR knows milestones (nearest)"),
        (CLASSIFIER, "default_hooks.chekpoint.interval", "default_hooks knows checkpoint (nearest)"),
        (CLASSIFIER, "default_hooks.checkpoint.intervall", "CheckpointHook knows interval (nearest)"),
        (CLASSIFIER, "model.backbone.depth.x", "is 50, which has no parts"),
        (CLASSIFIER, "randomness.seed", "that is what --seed sets"),
        (CLASSIFIER, "tricks", "that is what --tricks sets"),
        (DETECTOR, "model.neck.out_channel", "FPN knows out_channels (nearest)"),
        (DETECTOR, "model.train_cfg.rpn.allowed_boarder", "which nothing reads; nearest: allowed_border"),
        (DETECTOR, "model.test_cfg.rcnn.score_th", "which nothing reads; nearest: score_thr"),
        (DETECTOR, "model.test_cfg.rcnn.nms.iou_treshold", "nms knows iou_threshold (nearest)"),
        (DETECTOR, "train_dataloader.dataset.difficult_in_trainin", "VOCDataset knows difficult_in_training (nearest)"),
        (DETECTOR, "train_dataloader.dataset.pipeline.2.keep_ration", "Resize knows keep_ratio (nearest)"),
        (DETECTOR, "optim_wrapper.clip_grad.maxnorm", "clip_grad_norm_ knows max_norm (nearest)"),
        (DETECTOR, "protocol.bach", "a protocol knows batch (nearest)"),
        (DETECTOR, "classe", "nearest: classes"),
        (SEGMENTER, "model.decode_head.num_conv", "FCNHead knows num_convs (nearest)"),
        (SEGMENTER, "model.decode_head.loss_decode.avg_non_ignor", "CrossEntropyLoss knows avg_non_ignore (nearest)"),
        (SEGMENTER, "model.data_preprocessor.seg_padval", "SegDataPreProcessor knows seg_pad_val (nearest)"),
        (SEGMENTER, "train_dataloader.num_worker", "DataLoader knows num_workers (nearest)"),
        (SEGMENTER, "env_cfg.mp_cfg.opencv_threads", "set_multi_processing knows opencv_num_threads (nearest)"),
        (SEGMENTER, "protocol.crops", "a protocol knows crop (nearest)"),
    ],
)
def test_an_override_of_nothing_names_the_nearest(path, override, message):
    with pytest.raises(ValueError, match=re.escape(message)) as error:
        load(path, {override: 3})
    assert override in str(error.value) and "\n" not in str(error.value)


def test_an_override_of_nothing_stops_before_anything_else(monkeypatch, tmp_path):
    monkeypatch.setenv("DATA_ROOT", str(tmp_path / "nowhere"))  # not even the data is looked for
    words = ["tools/train.py", CLASSIFIER, "--tricks", "no_such_trick", "--cfg-options", "model.backbone.dept=50"]
    ended = subprocess.run([sys.executable, *words], cwd=ROOT, capture_output=True, text=True)
    assert ended.returncode == 2 and "knows depth (nearest)" in ended.stderr and "Traceback" not in ended.stderr


@pytest.mark.parametrize("path", [DETECTOR, SEGMENTER])
def test_a_wrong_key_is_all_that_is_said(path):
    """Not what mmdet and mmseg print when they are imported."""
    words = ["tools/train.py", path, "--cfg-options", "model.backbone.dept=50"]
    ended = subprocess.run([sys.executable, *words], cwd=ROOT, capture_output=True, text=True)
    assert ended.returncode == 2 and ended.stdout == "" and ended.stderr.startswith("error: ") and ended.stderr.count("\n") == 1


@pytest.mark.parametrize(
    "overrides",
    [
        {"optim_wrapper.clip_grad.max_norm": 10},  # not in the config, but taken
        {"optim_wrapper.optimizer.type": "AdamW", "optim_wrapper.optimizer.betas": (0.9, 0.99)},
        {"train_dataloader.prefetch_factor": 4, "train_dataloader.num_workers": 2},
        {"val_interval": 1, "custom_hooks.1._delete_": True, "custom_hooks.1.type": "EmptyCacheHook"},
    ],
)
def test_an_override_that_is_taken(overrides):
    assert load(CLASSIFIER, overrides)


OWN = """_base_ = [{bases}]
{lines}
"""


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("width = 8\nmodel = dict(num_classes=width)", None),  # what the file itself uses
        ("epoch = 3", "nothing reads epoch; nearest: epochs"),
        ("val_intervall = 1", "nothing reads val_intervall; nearest: val_interval"),
        ("model = dict(backbone=dict(dept=50))", "has model.backbone.dept; ResNet knows depth (nearest)"),
        (
            "model = dict(backbone=dict(type='backbones.ResNt'))",
            "has model.backbone.type=backbones.ResNt, and nothing has that name",
        ),
        (
            "optim_wrapper = dict(optimizer=dict(type='SDG'))",
            "optim_wrapper.optimizer.type=SDG, and nothing has that name; nearest: SGD",
        ),
    ],
)
def test_a_config_of_ones_own(tmp_path, lines, message):
    bases = ", ".join(repr(str(ROOT / f"configs/_base_/{name}.py")) for name in ("runtime", "classifier"))
    path = tmp_path / "own.py"
    path.write_text(OWN.format(bases=bases, lines=lines))
    if message is None:
        return check_config(load(path), str(path))
    with pytest.raises(ValueError, match=re.escape(message)):
        prepare(path, Options())


def test_a_task_that_there_is_not(tmp_path):
    path = tmp_path / "own.py"
    path.write_text("task = 'clasification'\n")
    with pytest.raises(
        ValueError, match="no task 'clasification'; set task to one of .* classification, detection, segmentation"
    ):
        task_of(load(path))


@pytest.mark.parametrize(
    ("task", "name", "old", "new", "message"),
    [
        (
            "detection",
            "moco",
            "warmup_start=",
            "warmup_strt=",
            "has protocol.warmup_strt; a protocol knows warmup_start (nearest)",
        ),
        ("segmentation", "mmseg", "metric_classes=", "metric_class=", "a protocol knows metric_classes (nearest)"),
        (
            "segmentation",
            "he2019",
            "    power=0.9,",
            "    #",
            "lacks protocol.power, which every other protocol of segmentation has",
        ),
    ],
)
def test_a_protocol_file(tmp_path, monkeypatch, task, name, old, new, message):
    shutil.copytree(ROOT / "configs", tmp_path / "configs")
    monkeypatch.setattr(known_keys, "CONFIGS", tmp_path / "configs")
    path = tmp_path / f"configs/{task}/protocols/{name}.py"
    check_protocol_file(task, name)
    path.write_text(path.read_text().replace(old, new, 1))
    known_keys._keywords.cache_clear()
    with pytest.raises(ValueError, match=re.escape(message)):
        check_protocol_file(task, name)


def test_every_study_passes():
    for path in sorted((ROOT / "configs/studies").glob("*.py")):
        check_study(Config.fromfile(str(path)).to_dict(), str(path))


@pytest.mark.parametrize(
    ("study", "old", "new", "message"),
    [
        ("demo", "reference =", "referense =", "has referense; a study knows reference (nearest)"),
        ("demo", "configs =", "config =", "has config; a study knows configs (nearest)"),
        ("demo", "recipes =", "recipe =", "has recipe; a study knows recipes (nearest)"),
        ("table8", "dict(recipe=r, metric", "dict(recipes_=r, metric", "has published.table8.recipes_"),
        ("table5", "row=row", "rwo=row", "has published.table5.rwo, which nothing reads; nearest: row"),
        ("table1", "overrides=", "override=", "nearest: overrides"),
        ("recipes", "label=", "lable=", "nearest: label"),
    ],
)
def test_a_study_file(tmp_path, study, old, new, message):
    text = (ROOT / f"configs/studies/{study}.py").read_text()
    assert old in text
    path = tmp_path / "own.py"
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(ValueError, match=re.escape(message)):
        check_study(Config.fromfile(str(path)).to_dict(), str(path))


def test_a_label_of_no_recipe(tmp_path):
    path = tmp_path / "own.py"
    path.write_text((ROOT / "configs/studies/demo.py").read_text() + '\nlabels = dict(smoth="Smooth")\n')
    with pytest.raises(ValueError, match="There is no recipe for a label of demo 'smoth'; nearest: smooth"):
        load_study(str(path), "toy")


@pytest.mark.parametrize("tool", ["train", "test", "study"])
def test_help_loads_no_torch(tool):
    code = (
        f"import runpy, sys\nsys.argv = ['tools/{tool}.py', '--help']\n"
        "try:\n    runpy.run_path(sys.argv[0], run_name='__main__')\n"
        "except SystemExit:\n    pass\nassert 'torch' not in sys.modules"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True).returncode == 0


def test_no_config_here_sets_a_name_that_is_not_read():
    """Each name that the project's configs set is read by somebody, or used in the files themselves."""
    for path in map(Path, CONFIGS):
        cfg, texts = load(path), list(known_keys._texts(ROOT / path))
        used = set().union(*map(known_keys._used, texts))
        assert {n for text in texts for n in known_keys._assigned(text)} <= names_read(cfg.task) | used
