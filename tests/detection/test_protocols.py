"""Test detection protocols: the values of each reach the config, and a paper-scale config with it trains."""

import shutil

import pytest
import torch
from mmengine.registry import MODELS, init_default_scope

from backbones.transfer.protocols import choose_protocol
from detection.schema import DetectionProtocol
from detection.task import check_data, data_folders
from tools.engine.config import Options, load, resolve
from tools.engine.toy_data.writer import CLASSES
from tools.engine.training.building import build_runner

CONFIG = "configs/detection/faster_rcnn_c4_paper.py"
NAMES = ("gluoncv2018", "he2019", "detectron2", "moco")
# by hand, from the sources that each file names
FACTS = {
    "gluoncv2018": dict(batch=4, lr=1e-3, decay=5e-4, length=20, milestones=[14], stages=1, rois=128, score=1e-4, nms=0.3),
    "he2019": dict(batch=4, lr=1e-3, decay=5e-4, length=40, milestones=[28], stages=1, rois=128, score=1e-4, nms=0.3),
    "detectron2": dict(
        batch=16, lr=0.02, decay=1e-4, length=18000, milestones=[12000, 16000], stages=1, rois=512, score=0.05, nms=0.5
    ),
    "moco": dict(
        batch=16, lr=0.02, decay=1e-4, length=24000, milestones=[18000, 22000], stages=-1, rois=512, score=0.05, nms=0.5
    ),
}


def resolved(name, card=None):
    return resolve(CONFIG, Options(backbone=str(card.path) if card else "scratch", protocol=name)).cfg


@pytest.mark.parametrize("name", NAMES)
def test_the_values_of_a_protocol_reach_the_config(make_card, name):
    cfg, facts = resolved(name, make_card()), FACTS[name]
    optimizer, rcnn = cfg.optim_wrapper.optimizer, cfg.model.test_cfg.rcnn
    settings = dict(
        batch=cfg.batch,
        lr=optimizer.lr,
        decay=optimizer.weight_decay,
        length=cfg.train_cfg.get("max_epochs", cfg.train_cfg.get("max_iters")),
        milestones=cfg.param_scheduler[-1].milestones,
        stages=cfg.model.backbone.frozen_stages,
        rois=cfg.model.train_cfg.rcnn.sampler.num,
        score=rcnn.score_thr,
        nms=rcnn.nms.iou_threshold,
    )
    assert settings == facts
    assert cfg.protocol.name == name and cfg.protocol.metric == "11-point" and cfg.protocol.selection == "last"
    train = cfg.train_dataloader.dataset.datasets
    assert [d.ann_file for d in train] == [f"{year}/ImageSets/Main/trainval.txt" for year in ("VOC2007", "VOC2012")]
    assert all(d.difficult_in_training and not d.filter_cfg.bbox_min_size for d in train)
    assert cfg.test_dataloader.dataset.ann_file == "VOC2007/ImageSets/Main/test.txt"
    assert (cfg.optim_wrapper.clip_grad or {}).get("clip_value") == (5 if name in ("gluoncv2018", "he2019") else None)


@pytest.mark.parametrize("name", [*NAMES, "ranking"])
def test_every_protocol_builds_on_the_meta_device(make_card, name):
    cfg = resolved(name, make_card())
    init_default_scope(cfg.default_scope)
    with torch.device("meta"):
        model = MODELS.build(cfg.model).train()
    head, frozen = model.roi_head.shared_head, name != "moco"
    norms = [m for part in (model.backbone, head.stage) for m in part.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    assert len(norms) == 55 and all(m.training != frozen and m.weight.requires_grad != frozen for m in norms)
    assert isinstance(head.norm, torch.nn.BatchNorm2d) != frozen
    assert cfg.get("sync_bn") == (None if frozen else "torch")
    assert model.rpn_head.anchor_generator.num_base_priors == [15]
    sizes = model.rpn_head.anchor_generator.base_anchors[0]
    assert sizes.shape == (15, 4)


def test_ranking_is_a_short_training_by_detectron2_on_voc07():
    cfg, other = resolved("ranking"), resolved("detectron2").protocol
    differ = {key: value for key, value in cfg.protocol.items() if value != other[key]}
    own = dict(train=("VOC2007/trainval",), image_scales=((1000, 600),), test_image_scale=(1000, 600), length=dict(epochs=8))
    assert differ == own | dict(name="ranking", warmup=200, source=differ["source"], chosen="all")
    assert cfg.param_scheduler[-1].milestones == [5, 7]  # 2/3 and 8/9 of 8 epochs, rounded down
    assert cfg.train_dataloader.dataset.ann_file == "VOC2007/ImageSets/Main/trainval.txt"


def test_the_default_is_he2019_which_differs_from_gluoncv2018_in_its_schedule_alone():
    cfg = resolved(None)
    assert cfg.protocol.name == "he2019"
    other = resolved("gluoncv2018").protocol
    differ = {key for key in cfg.protocol if cfg.protocol[key] != other[key]}
    assert differ == {"name", "source", "chosen", "length", "warmup", "warmup_start"}
    assert tuple(cfg.protocol.steps) == (0.7,)  # parts of the length; FACTS has the epochs of both


def test_a_key_follows_the_protocol():
    keys = {name: resolve(CONFIG, Options(backbone="scratch", protocol=name)).key.name for name in (None, *NAMES)}
    assert len(set(keys.values())) == 4 and keys[None] == keys["he2019"]


@pytest.mark.parametrize(
    ("path", "name", "message"),
    [
        (CONFIG, "he2018", "There is no protocol 'he2018' for detection; nearest: he2019"),
        ("configs/detection/faster_rcnn_c4_toy.py", "moco", "this config has its own protocol, faster_rcnn_c4_toy"),
        ("configs/classification/resnet50_toy.py", "moco", "--protocol is for detection and segmentation"),
        ("configs/segmentation/fcn_toy.py", "mmseg", "this config has its own protocol, fcn_toy"),
    ],
)
def test_another_protocol_is_refused(path, name, message):
    with pytest.raises(ValueError, match=message):
        resolve(path, Options(backbone=None if "classification" in path else "scratch", protocol=name))


def test_a_protocol_of_c4_is_not_for_fpn():
    fpn = "configs/detection/faster_rcnn_fpn_paper.py"
    for choose in (
        lambda: choose_protocol(load(CONFIG), DetectionProtocol, "faster_rcnn_fpn", "moco", {}),
        lambda: resolve(fpn, Options(backbone="scratch", protocol="moco")),
    ):
        with pytest.raises(ValueError, match="The protocol moco is for faster_rcnn_c4, not for faster_rcnn_fpn; choose another"):
            choose()


def test_the_protocol_of_fpn_is_not_for_c4():
    with pytest.raises(ValueError, match="The protocol voc07 is for faster_rcnn_fpn, not for faster_rcnn_c4; choose another"):
        resolved("voc07")


def test_voc2012_is_missed_before_anything_runs(toy_root, monkeypatch, tmp_path):
    shutil.copytree(toy_root / "VOCdevkit", tmp_path / "VOCdevkit")
    monkeypatch.setenv("DATA_ROOT", str(tmp_path))
    cfg = resolved("he2019")
    assert [folder.name for folder in data_folders(cfg)] == ["VOC2007", "VOC2012"]
    with pytest.raises(ValueError, match=r"VOC2012/JPEGImages does not exist; it should hold a part of VOCdevkit/VOC2012"):
        check_data(cfg)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_a_paper_config_trains_two_iterations_with_shrunk_images(toy_root, tmp_path, monkeypatch, name):
    monkeypatch.setenv("DATA_ROOT", str(toy_root))
    small = dict(train=("VOC2007/trainval", "VOC2007/trainval"), image_scales=((128, 96),), batch=2, length=dict(updates=2))
    small |= dict(steps=(1,), test_image_scale=(128, 96))
    overrides = {"classes": CLASSES, "scratch_backbone.base_channels": 8, "num_workers": 0}
    overrides |= {f"protocol.{key}": value for key, value in small.items()}
    cfg = resolve(CONFIG, Options(backbone="scratch", protocol=name, overrides=overrides)).cfg
    cfg.work_dir, cfg.launcher = str(tmp_path), "none"
    runner = build_runner(cfg)
    runner.train()
    assert runner.iter == 2
    metrics = runner.test()
    assert {"mAP", "mAP_area", "mAP_50_95"} <= set(metrics)
