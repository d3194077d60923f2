"""Test the whole chain on very small synthetic data: pretrain, card, detect, segment, test again, collect, report."""

import csv
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from backbones import BackboneCard
from backbones.common.project import ROOT
from classification.metrics import topk
from detection.metrics import Boxes, mean_ap

PACKAGES = ("backbones", "classification", "detection", "segmentation", "configs", "tools")


@pytest.fixture(scope="module")
def tree(tmp_path_factory, toy_root) -> Path:
    """Copy the project with a toy scale that takes seconds, and the small synthetic data in data/."""
    tree = tmp_path_factory.mktemp("tree")
    for name in PACKAGES:
        shutil.copytree(ROOT / name, tree / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(toy_root, tree / "data/toy")
    edits = {
        "configs/_base_/schedules/toy_12e.py": [("batch = 16  # over", "batch = 2  # over"), ("= 12, 1", "= 1, 0.5")],
        "configs/classification/resnet50_toy.py": [("base_channels=16", "base_channels=8")],
        "configs/detection/faster_rcnn_fpn_toy.py": [
            *(("batch=8", "batch=2"), ("epochs=10", "epochs=1"), ("base_channels=16", "base_channels=8")),
        ],
        "configs/segmentation/fcn_toy.py": [
            *(("batch=8", "batch=2"), ("epochs=8", "epochs=1"), ("base_channels=16", "base_channels=8")),
        ],
        "configs/studies/demo.py": [
            ('("scratch", "b_standard", "smooth")', '("scratch", "smooth")'),
            ('reference = "b_standard"', 'reference = "smooth"'),
        ],
    }
    for name, pairs in edits.items():
        text = (tree / name).read_text()
        for old, new in pairs:
            assert old in text, (name, old)
            text = text.replace(old, new)
        (tree / name).write_text(text)
    return tree


def call(tree: Path, *arguments: str, status: int = 0) -> str:
    """Run a tool of the copied tree in a process of its own and return its output."""
    env = {k: v for k, v in os.environ.items() if k != "DATA_ROOT"}
    process = subprocess.run([sys.executable, *map(str, arguments)], cwd=tree, env=env, capture_output=True, text=True)
    assert process.returncode == status, process.stdout + process.stderr
    return process.stdout


@pytest.fixture(scope="module")
def studied(tree) -> dict[tuple, dict]:
    """Return the records of the smaller demo by (task, whether it starts from a card)."""
    out = call(tree, "tools/study.py", "run", "configs/studies/demo.py", "--scale", "toy")
    assert "work_dirs/demo-toy/report.html" in out and "+ smooth" in out
    records = [json.loads(p.read_text()) for p in (tree / "work_dirs/runs").glob("*/record.json")]
    return {(r["task"], r["backbone"] not in (None, "scratch")): r for r in records}


@pytest.mark.slow
def test_every_run_has_its_record(tree, studied):
    dense = ("detection", "segmentation")
    assert set(studied) == {("classification", False), *((task, card) for task in dense for card in (True, False))}
    for (_, has_card), record in studied.items():
        assert (tree / "work_dirs/runs" / record["key"] / "pictures.png").is_file()
        assert record["status"] == "done" and record["seconds"]["total"] > 0
        assert ("certificate" in record) == has_card
        folder = tree / "work_dirs/runs" / record["key"]
        assert (folder / record["per_image"]).is_file() and (folder / "config.py").is_file()
    pretraining = studied["classification", False]
    assert [name for name, _ in pretraining["tricks"]] == [
        *("resnet_d", "zero_gamma", "large_batch", "low_precision", "label_smoothing", "no_bias_decay", "cosine", "warmup")
    ]
    assert pretraining["precision"] in ("float32", "bfloat16", "float16")
    assert studied["detection", True]["certificate"]["max_abs_difference"] <= 1e-5


@pytest.mark.slow
def test_figures_can_be_recomputed_from_the_per_image_results(tree, studied):
    runs = tree / "work_dirs/runs"
    record = studied["classification", False]
    assert topk(np.load(runs / record["key"] / "ranks.npz")["rank"], 1) == record["metrics"]["top1"]
    record = studied["detection", True]
    saved = np.load(runs / record["key"] / "detections.npz")
    detections, truth = (
        Boxes(**{k.removeprefix(part): saved[k] for k in saved.files if k.startswith(part)}) for part in ("det_", "gt_")
    )
    assert mean_ap(detections, truth, 8, "11-point") == record["metrics"]["mAP"]
    record = studied["segmentation", True]
    saved = np.load(runs / record["key"] / "confusion.npz")
    right = saved["pixels"][saved["truth"] == saved["found"]].sum()
    assert 100 * right / saved["pixels"].sum() == pytest.approx(record["metrics"]["pixAcc"], abs=1e-9)


@pytest.mark.slow
def test_results_csv_is_tidy_and_unrounded(tree, studied):
    rows = list(csv.DictReader(open(tree / "work_dirs/demo-toy/results.csv")))
    assert {row["metric"] for row in rows} >= {"top1", "top5", "mAP", "pixAcc", "mIoU", "seconds"}
    by = {(row["recipe"], row["metric"]): row for row in rows}
    assert ("scratch", "top1") not in by  # missing is never 0
    assert float(by["smooth", "mIoU"]["value"]) == studied["segmentation", True]["metrics"]["mIoU"]
    assert by["scratch", "mAP"]["pretrain_seed"] == "" and by["smooth", "mAP"]["pretrain_seed"] == "0"


@pytest.mark.slow
def test_the_report_of_real_runs_is_verified_and_a_changed_variance_found(tree, studied):
    folder = tree / "work_dirs/demo-toy"
    assert "results.csv holds\n" in call(tree, "tools/report.py", folder, "--verify")
    study = json.loads((folder / "study.json").read_text())
    changed = study | {"images": [entry | {"total": entry["total"] + 1} for entry in study["images"]]}
    try:
        (folder / "study.json").write_text(json.dumps(changed))
        out = call(tree, "tools/report.py", folder, "--verify", status=1)
    finally:
        (folder / "study.json").write_text(json.dumps(study))
    assert "differs: study.json, images of " in out


@pytest.mark.slow
def test_a_part_of_a_study_leaves_its_table_whole(tree, studied):
    before = (tree / "work_dirs/demo-toy/results.csv").read_bytes()
    options = ("--scale", "toy", "--recipes", "scratch", "--tasks", "segmentation")
    call(tree, "tools/study.py", "run", "configs/studies/demo.py", *options)
    assert (tree / "work_dirs/demo-toy/results.csv").read_bytes() == before


@pytest.mark.slow
def test_a_second_run_repeats_nothing(tree, studied):
    before = {p: p.stat().st_mtime_ns for p in (tree / "work_dirs/runs").rglob("*") if p.is_file()}
    out = call(tree, "tools/study.py", "run", "configs/studies/demo.py", "--scale", "toy")
    assert "demo at scale toy: 5 runs, 5 done, 0 to do" in out
    assert {p: p.stat().st_mtime_ns for p in (tree / "work_dirs/runs").rglob("*") if p.is_file()} == before
    status = call(tree, "tools/study.py", "status", "configs/studies/demo.py")
    assert status.count(" done ") == 5


@pytest.mark.slow
def test_a_checkpoint_tests_to_the_same_figures_and_exports_the_same_card(tree, studied):
    record = studied["classification", False]
    run = tree / "work_dirs/runs" / record["key"]
    call(tree, "tools/test.py", run / "config.py", run / "epoch_1.pth", "--out", tree / "again")
    assert json.loads((tree / "again/metrics.json").read_text()) == record["metrics"]
    call(tree, "tools/export_backbone.py", run / "epoch_1.pth", "--out", tree / "exported")
    for name in ("card.json", "weights.safetensors", "probe.safetensors"):
        assert (tree / "exported" / name).read_bytes() == (run / "card" / name).read_bytes(), name


@pytest.mark.slow
def test_a_dumped_config_trains_to_the_same_figures(tree, studied):
    record = studied["classification", False]
    config = tree / "work_dirs/runs" / record["key"] / "config.py"
    call(tree, "tools/train.py", config, "--work-dir", "work_dirs/rerun")
    assert json.loads((tree / "work_dirs/rerun/record.json").read_text())["metrics"] == record["metrics"]


@pytest.mark.slow
def test_two_processes_train_one_run(tree, studied, monkeypatch):
    monkeypatch.setenv("TRICKTRANSFER_DEVICE", "cpu")
    arguments = ["-m", "torch.distributed.run", "--nproc_per_node", "2", "--master_port", "29511", "tools/train.py"]
    arguments += ["configs/classification/resnet50_toy.py", "--launcher", "pytorch", "--work-dir", "work_dirs/two"]
    call(tree, *arguments, "--tricks", "cosine", "mixup", "--cfg-options", "micro_batch=1")
    record = json.loads((tree / "work_dirs/two/record.json").read_text())
    ranks = np.load(tree / "work_dirs/two/ranks.npz")
    assert sorted(ranks["label"]) == sorted(range(8)) and topk(ranks["rank"], 1) == record["metrics"]["top1"]
    assert (tree / "work_dirs/two/card/card.json").is_file()


@pytest.mark.slow
def test_a_teacher_on_the_command_line(tree, studied):
    """Train with a ResNet-152-D of the same width as teacher; the place of its card changes no key."""
    config = "configs/classification/resnet50_toy.py"
    deep = ["model.backbone.depth=152"]
    call(tree, "tools/train.py", config, "--cfg-options", *deep, "--tricks", "resnet_d", "mixup:schedule=same")
    records = [json.loads(p.read_text()) for p in (tree / "work_dirs/runs").glob("*/record.json")]
    (teacher,) = [r for r in records if r["network"] == "resnet152"]
    card = tree / "work_dirs/runs" / teacher["key"] / "card"
    shutil.copytree(card, tree / "elsewhere")
    out = [
        call(tree, "tools/train.py", config, "--tricks", "mixup:schedule=same", f"distillation:teacher={place}")
        for place in (card, "elsewhere")
    ]
    assert "it is not run again" in out[1]
    record = json.loads((tree / out[0].strip().splitlines()[-1] / "record.json").read_text())
    assert record["status"] == "done" and dict(record["tricks"])["distillation"] == {
        "teacher": str(card),
        "temperature": 20.0,
        "form": "paper",
    }
    student = BackboneCard.load(tree / "work_dirs/runs" / record["key"])
    assert student.arch["depth"] == 50 and set(student.classifier) == {"weight", "bias"}


TRICK = '''
from classification.tricks.declare import trick


@trick(sets=("optim_wrapper.optimizer.weight_decay",))
def half_decay(cfg, factor: float = 0.5) -> None:
    """Weight decay times ``factor``."""
    cfg.optim_wrapper.optimizer.weight_decay *= factor
'''

TASK = """
from pathlib import Path

import torch
from mmengine.model import BaseModel
from mmengine.registry import MODELS

from backbones.transfer.plug import plug
from backbones.resolving import check_backbone, data_folder, start
from backbones.common.schema import Count, Positive
from backbones.common.values import Values
from backbones.common.data_files import DataFiles
from classification.folders import read_folder
from classification.model import ImagePreprocessor

STAGE, METRICS, SPLIT, PER_IMAGE, RESULT_VERSION = "transfer", ("top1",), "val", "ranks.npz", 1
FIGURES = METRICS
FOLLOWS = {"model.num_classes": "num_classes"}


class VALUES(Values, kw_only=True, forbid_unknown_fields=True):
    epochs: Count
    batch: Count
    lr: Positive
    num_classes: Count
    scratch_backbone: dict


class Preprocessor(ImagePreprocessor):
    def __init__(self, mean, std, bgr_to_rgb):
        super().__init__(mean, std)
        self.bgr_to_rgb = bgr_to_rgb

    def forward(self, data, training=False):
        if isinstance(data["inputs"], list):  # the certificate sends what an OpenCV loader reads
            data = data | {"inputs": torch.stack(data["inputs"]).flip(1)}
        return super().forward(data, training)


class LinearProbe(BaseModel):
    def __init__(self, backbone, num_classes, data_preprocessor):
        super().__init__(data_preprocessor=data_preprocessor)
        self.backbone = MODELS.build(backbone)
        self.fc = torch.nn.Linear(self.backbone.channels[-1], num_classes)

    def forward(self, inputs, labels=None, mode="tensor", data_samples=None):
        logits = self.fc(self.backbone(inputs)[-1].mean(dim=(2, 3)))
        if mode == "loss":
            return {"loss": torch.nn.functional.cross_entropy(logits, labels)}
        return [{"scores": s, "label": int(y)} for s, y in zip(logits, labels)]


def resolve(values, request):
    check_backbone(values.task, request)
    cfg = start(values, request)
    cfg.network, cfg.model.num_classes = "linear_probe", values.num_classes
    cfg.train_dataloader, cfg.test_dataloader = loader(values, "train"), loader(values, "val") | dict(batch_size=4)
    cfg.optim_wrapper = dict(type="OptimWrapper", optimizer=dict(type="SGD", lr=values.lr, momentum=0.9))
    cfg.param_scheduler = []
    cfg.train_cfg, cfg.test_cfg = dict(by_epoch=True, max_epochs=values.epochs), dict()
    plug(cfg, values.scratch_backbone, request)
    for hook in cfg.custom_hooks:
        hook["loader"] = dict(type="backbones.LoadImage")  # the probe of the certificate is read by OpenCV
    for key in ("seconds", "data_root", "num_workers", "scratch_backbone", "num_classes", "lr"):
        cfg.pop(key, None)
    return cfg


def loader(values, split):
    steps = ("Resize", dict(size=74)), ("CenterCrop", dict(size=64)), ("PILToTensor", {})
    pipeline = [dict(type=f"torchvision.transforms.v2.{name}", **more) for name, more in steps]
    return dict(
        num_workers=values.num_workers,
        persistent_workers=True,
        collate_fn=dict(type="default_collate"),
        sampler=dict(type="DefaultSampler", shuffle=split == "train"),
        dataset=dict(type="classification.ImageFolder", root=f"{data_folder(values)}/{split}", pipeline=pipeline),
    )


def check_data(cfg):
    read_folder(Path(cfg.train_dataloader.dataset.root))
    return []


def data_folders(cfg):
    return [Path(cfg.train_dataloader.dataset.root)]


def data_files(cfg):
    return [DataFiles(root, (), tuple(sum(read_folder(root).values(), []))) for root in data_folders(cfg)]


def finish(runner, cfg, metrics, folder):
    return {}
"""

CONFIG = '''"""A linear probe on the synthetic images."""

_base_ = "../_base_/default_runtime.py"
task, scale, default_scope = "linear_probe", "toy", "mmengine"
threads, num_workers = 1, 1
data_root, num_classes = "toy/imagenet", 8
epochs, batch, lr = 1, 2, 0.01
scratch_backbone = dict(depth=50, variant="b", base_channels=8)
test_evaluator = dict(type="classification.TopK")
model = dict(
    type="linear_probe.task.LinearProbe",
    backbone=dict(type="backbones.ResNet", frozen_stages=4, norm_eval=True),
    data_preprocessor=dict(type="linear_probe.task.Preprocessor", mean=[0, 0, 0], std=[1, 1, 1], bgr_to_rgb=True),
)
'''


@pytest.mark.slow
def test_a_thirteenth_trick_is_one_file_and_one_line(tree):
    (tree / "classification/tricks/half_decay.py").write_text('"""Half the weight decay."""\n' + TRICK)
    catalogue = tree / "classification/tricks/__init__.py"
    text = catalogue.read_text()
    catalogue.write_text(text.replace('    "no_bias_decay",\n', '    "no_bias_decay",\n    "half_decay",\n'))
    try:
        out = call(
            tree, "tools/train.py", "configs/classification/resnet50_toy.py", "--tricks", "half_decay:factor=0.25", "cosine"
        )
        folder = tree / out.strip().splitlines()[-1]
        assert json.loads((folder / "record.json").read_text())["tricks"] == [["half_decay", {"factor": 0.25}], ["cosine", {}]]
        assert "weight_decay=2.5e-05" in (folder / "config.py").read_text()
    finally:
        catalogue.write_text(text)


@pytest.mark.slow
def test_a_fourth_task_is_one_package_and_one_config(tree, studied):
    (tree / "linear_probe").mkdir()
    (tree / "linear_probe/__init__.py").write_text('"""A fourth task."""\n')
    (tree / "linear_probe/task.py").write_text('"""A linear probe."""\n' + TASK)
    (tree / "configs/linear_probe").mkdir()
    (tree / "configs/linear_probe/resnet50_toy.py").write_text(CONFIG)
    card = tree / "work_dirs/runs" / studied["classification", False]["key"] / "card"
    out = call(tree, "tools/train.py", "configs/linear_probe/resnet50_toy.py", "--backbone", card)
    record = json.loads((tree / out.strip().splitlines()[-1] / "record.json").read_text())
    assert record["node"] == "transfer" and record["task"] == "linear_probe" and 0 <= record["metrics"]["top1"] <= 100
    assert record["certificate"]["max_abs_difference"] <= 1e-5

    study = tree / "configs/studies/demo.py"
    text = study.read_text()
    line = '    segmentation="configs/segmentation/fcn_{scale}.py",\n'
    study.write_text(text.replace(line, line + '    linear_probe="configs/linear_probe/resnet50_{scale}.py",\n'))
    try:
        call(tree, "tools/study.py", "run", "configs/studies/demo.py")
    finally:
        study.write_text(text)
    rows = list(csv.DictReader(open(tree / "work_dirs/demo-toy/results.csv")))
    assert {row["recipe"] for row in rows if row["task"] == "linear_probe"} == {"scratch", "smooth"}
