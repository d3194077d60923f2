"""Test that every config loads, its types resolve, its model builds, and its dump is the same config again."""

from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import (
    DATASETS,
    EVALUATOR,
    HOOKS,
    METRICS,
    MODEL_WRAPPERS,
    MODELS,
    OPTIM_WRAPPERS,
    OPTIMIZERS,
    PARAM_SCHEDULERS,
    TASK_UTILS,
    TRANSFORMS,
    init_default_scope,
)

from backbones.common.project import ROOT
from backbones.transfer.holdout import test_pipeline as pipeline_of
from classification.tricks import flatten
from tools.engine.config import Options, load, resolve, task_of
from tools.engine.training.run import dump

CONFIGS = sorted(str(p.relative_to(ROOT)) for p in (ROOT / "configs").glob("*ion/*.py"))
REGISTRIES = (
    MODELS,
    MODEL_WRAPPERS,
    DATASETS,
    TRANSFORMS,
    METRICS,
    EVALUATOR,
    HOOKS,
    OPTIMIZERS,
    OPTIM_WRAPPERS,
    PARAM_SCHEDULERS,
    TASK_UTILS,
)
# names that MMEngine and torch look up outside of the registries
ELSEWHERE = {"DefaultSampler", "AspectRatioBatchSampler", "default_collate", "nms", "BN", "RoIAlign", "value"}


def options_of(path: str, make_card) -> Options:
    if "classification" in path:
        tricks = ["large_batch", "no_bias_decay", "cosine", "warmup", "label_smoothing", "mixup"]
        return Options(tricks=[*tricks, "resnet_d"] if "resnet" in path else tricks)
    return Options(backbone=str(make_card().path))


def types_in(value) -> set[str]:
    if isinstance(value, dict):
        names = {value["type"]} if isinstance(value.get("type"), str) else set()
        return names.union(*(types_in(v) for v in value.values()))
    if isinstance(value, list | tuple):
        return set().union(*(types_in(v) for v in value))
    return set()


def test_there_is_a_config_for_each_task_and_scale():
    assert len(CONFIGS) == 20
    scales = {(c.split("/")[1], load(c).scale) for c in CONFIGS}
    assert scales == {(t, s) for t in ("classification", "detection", "segmentation") for s in ("toy", "mini", "paper")}


@pytest.mark.parametrize("path", CONFIGS)
def test_every_type_resolves(path, make_card):
    cfg = resolve(path, options_of(path, make_card)).cfg
    init_default_scope(cfg.default_scope)
    for name in sorted(types_in(cfg.to_dict()) - ELSEWHERE):
        classes = []
        for registry in REGISTRIES:
            with registry.switch_scope_and_registry(cfg.default_scope) as scoped:
                try:
                    classes.append(scoped.get(name))
                except RuntimeError:
                    continue
        assert any(classes), f"{path}: {name}"


@pytest.mark.parametrize("path", CONFIGS)
def test_a_dumped_config_is_the_same_config_again(path, make_card, tmp_path):
    resolved, file = resolve(path, options_of(path, make_card)), tmp_path / "config.py"
    file.write_text(dump(resolved))
    again, read = resolve(file, Options(seed=0)), Config.fromfile(str(file)).to_dict()
    assert read.pop("resolved_from")["file"] == path
    assert flatten(again.cfg.to_dict()) == flatten(read) == flatten(resolved.cfg.to_dict())
    assert again.key == resolved.key and not again.notices


@pytest.mark.parametrize("path", CONFIGS)
def test_every_model_builds_with_the_widths_of_its_backbone(path, make_card):
    cfg = resolve(path, options_of(path, make_card)).cfg
    init_default_scope(cfg.default_scope)
    with torch.device("meta"):
        model = MODELS.build(cfg.model)
    assert f"backbones.{type(model.backbone).__name__}" == cfg.model.backbone.type
    if cfg.network == "faster_rcnn_c4":
        pooled = model.roi_head.bbox_roi_extractor.roi_layers[0].output_size[0]
        assert model.roi_head.bbox_head.roi_feat_size == (-(-pooled // 2),) * 2  # stage 4 halves it
        assert model.rpn_head.in_channels == 128 and model.roi_head.bbox_head.in_channels == 256
        assert model.roi_head.bbox_head.num_classes == len(cfg.classes) and not hasattr(model.backbone, "layer4")
    if cfg.network == "faster_rcnn_fpn":
        assert [conv.conv.in_channels for conv in model.neck.lateral_convs] == list(model.backbone.channels) == [32, 64, 128, 256]
        assert model.roi_head.bbox_head.num_classes == len(cfg.classes)
        assert all(layer.use_torchvision for layer in model.roi_head.bbox_roi_extractor.roi_layers)
    if cfg.task == "segmentation":
        assert model.decode_head.convs[0].conv.in_channels == 256 and model.auxiliary_head.convs[0].conv.in_channels == 128
        assert len(model.decode_head.convs) == 1 and model.backbone.output_stride == 8


@pytest.mark.parametrize("path", CONFIGS)
def test_every_trick_is_off_in_the_base(path):
    values = load(path)
    if values.task != "classification":
        assert not {"depth", "variant", "base_channels"} & set(values.model.backbone)  # these come from a card, or from scratch
        return
    cfg = resolve(path).cfg
    assert values.teacher is None and values.low_precision is None and cfg.tricks == []
    assert cfg.model.backbone.get("variant", "a") == "a" and not cfg.model.backbone.get("zero_gamma")
    assert cfg.model.mixup is None and cfg.model.distillation is None and "teacher" not in cfg
    assert cfg.model.loss.label_smoothing == 0 and cfg.optim_wrapper.type == "OptimWrapper"
    assert "paramwise_cfg" not in cfg.optim_wrapper
    assert [s.type for s in cfg.param_scheduler] == ["MultiStepLR"]
    assert cfg.optim_wrapper.optimizer.lr == values.lr_at_256 * values.batch / 256


def test_the_paper_scale_has_the_papers_values():
    path = "configs/classification/resnet50_paper.py"
    values, cfg = load(path), resolve(path).cfg
    for source in (values, cfg):
        assert (source.batch, source.epochs, source.size) == (256, 120, 224)
    assert values.warmup_epochs == 5 and cfg.train_cfg.max_epochs == 120
    assert cfg.optim_wrapper.optimizer.lr == 0.1 and cfg.param_scheduler[0].milestones == [30, 60, 90]
    assert pipeline_of(cfg)[0].size == 256


@pytest.mark.parametrize("path", [c for c in CONFIGS if "/classification/" not in c])
def test_scratch_freezes_nothing(path):
    backbone = resolve(path, Options(backbone="scratch")).cfg.model.backbone
    assert backbone.frozen_stages == -1 and backbone.norm_eval is False


def test_frozen_transfer_trains_nothing_of_the_backbone(make_card):
    cfg = resolve("configs/detection/faster_rcnn_fpn_toy.py", Options(backbone=str(make_card().path), transfer="frozen")).cfg
    init_default_scope(cfg.default_scope)
    backbone = MODELS.build(cfg.model.backbone).train()
    assert not any(p.requires_grad for p in backbone.parameters())
    assert not any(m.training for m in backbone.modules() if isinstance(m, torch.nn.BatchNorm2d))


def test_the_detectors_classes_are_those_of_the_synthetic_dataset():
    from tools.engine.toy_data.writer import CLASSES

    assert tuple(load("configs/detection/faster_rcnn_fpn_toy.py").classes) == CLASSES


def test_every_config_states_its_command():
    for path in CONFIGS:
        text = Path(ROOT / path).read_text()
        assert f"tools/train.py {path}" in text.split('"""')[1], path
        assert task_of(load(path)).__name__ == f"{load(path).task}.task"
