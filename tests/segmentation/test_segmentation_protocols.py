"""Test that segmentation protocols reach the config, that paper-scale configs train with them, and inference modes."""

import numpy as np
import pytest
import torch
from mmengine.registry import MODELS, init_default_scope

from segmentation.task import set_inference
from tools.engine.config import Options, resolve
from tools.engine.training.building import build_runner

CONFIG, TOY = "configs/segmentation/fcn_paper.py", "configs/segmentation/fcn_toy.py"
# entered by hand from the sources that each file names
GLUON = dict(batch=16, lr=0.01, decay=1e-4, length=120, power=0.9, floor=0.0, head=10.0, aux=0.5, convs=1, concat=False, crop=480)
FACTS = {
    "gluoncv2018": GLUON | dict(classes="all"),
    "gluoncv2018_effective": GLUON | dict(lr=0.0025, aux=1.0, classes="all"),
    "he2019": GLUON | dict(classes="gt"),
    "ranking": GLUON | dict(classes="gt", length=8),
    "mmseg": dict(
        **dict(batch=16, lr=0.01, decay=5e-4, length=80000, power=0.9, floor=1e-4, head=1.0, aux=0.4, convs=2, concat=True),
        **dict(crop=512, classes="union"),
    ),
}


def resolved(name, card=None, **options):
    """Resolve the paper's config with a protocol, from a card or from scratch."""
    return resolve(CONFIG, Options(backbone=str(card.path) if card else "scratch", protocol=name, **options)).cfg


def resolved_toy(**overrides):
    """Resolve the toy config from scratch; ``__`` in an override's name stands for a dot."""
    return resolve(TOY, Options(backbone="scratch", overrides={key.replace("__", "."): v for key, v in overrides.items()})).cfg


@pytest.mark.parametrize("name", FACTS)
def test_the_values_of_a_protocol_reach_the_config(make_card, name):
    cfg = resolved(name, make_card())
    optim, (poly,), head = cfg.optim_wrapper, cfg.param_scheduler, cfg.model.decode_head
    steps = {step.type: step for step in cfg.train_dataloader.dataset.pipeline}
    values = dict(
        batch=cfg.batch,
        lr=optim.optimizer.lr,
        decay=optim.optimizer.weight_decay,
        length=cfg.train_cfg.get("max_epochs", cfg.train_cfg.get("max_iters")),
        power=poly.power,
        floor=poly.eta_min,
        head=optim.paramwise_cfg.custom_keys.decode_head.lr_mult,
        aux=cfg.model.auxiliary_head.loss_decode.loss_weight,
        convs=head.num_convs,
        concat=head.concat_input,
        crop=steps["RandomCrop"].crop_size[0],
        classes=cfg.test_evaluator.classes,
    )
    assert values == FACTS[name] and poly.end == values["length"]
    assert cfg.protocol.name == name and cfg.protocol.selection == "last" and cfg.model.test_cfg.mode == "whole"
    assert ("segmentation.RandomBlur" in steps) == (name != "mmseg") == ("PhotoMetricDistortion" not in steps)
    assert head.channels == 64 and cfg.model.auxiliary_head.channels == 32  # a quarter of stages 4 and 3 of the card
    assert head.dropout_ratio == 0.1 and cfg.sync_bn == "torch"


@pytest.mark.parametrize("name", FACTS)
def test_every_protocol_builds_on_the_meta_device(make_card, name):
    cfg = resolved(name, make_card())
    init_default_scope(cfg.default_scope)
    with torch.device("meta"):
        model = MODELS.build(cfg.model).train()
    net = model.backbone
    assert net.output_stride == 8 and len(model.decode_head.convs) == FACTS[name]["convs"]
    dilations = [[block.conv2.dilation[0] for block in stage] for stage in (net.layer3, net.layer4)]
    assert dilations == [[1, 2, 2, 2, 2, 2], [2, 4, 4]]  # no multi-grid, the first block as the stage before
    assert all(m.training for m in net.modules() if isinstance(m, torch.nn.BatchNorm2d))


def test_the_default_is_he2019():
    assert resolved(None).protocol.name == "he2019"


def test_changed_values_of_a_protocol_are_part_of_its_name():
    cfg = resolved(
        None, overrides={"protocol.lr": 0.005, "protocol.shortcut_pool": "pool2x2", "model.decode_head.dropout_ratio": 0}
    )
    assert cfg.optim_wrapper.optimizer.lr == 0.005 and cfg.model.decode_head.dropout_ratio == 0
    name = "he2019, lr=0.005, shortcut_pool=pool2x2, model.decode_head.dropout_ratio=0"
    assert cfg.protocol.name == name and cfg.model.backbone.shortcut_pool == "pool2x2"
    assert resolved_toy(protocol__lr=0.5).protocol.name == "fcn_toy, lr=0.5"
    assert resolved(None, overrides={"protocol.length.updates": 7}).train_cfg.max_iters == 7
    with pytest.raises(ValueError, match="protocol.length=7.* give .*length.epochs"):
        resolved(None, overrides={"protocol.length": 7})
    with pytest.raises(ValueError, match="protocol.lrr, which is unknown; nearest: lr"):
        resolved(None, overrides={"protocol.lrr": 0.005})


def test_the_run_key_depends_on_the_protocol():
    names = {resolve(CONFIG, Options(backbone="scratch", protocol=name)).key.name for name in FACTS}
    changed = Options(backbone="scratch", overrides={"protocol.crop": 128})
    assert len(names | {resolve(CONFIG, changed).key.name}) == len(FACTS) + 1


def test_the_protocol_of_a_timm_network_names_its_own_shortcut_pool():
    import timm  # noqa: F401

    cfg = resolved_toy(scratch_backbone=dict(_delete_=True, name="resnet18d", width=0.25))
    assert cfg.model.backbone.type == "backbones.TimmBackbone"
    assert cfg.protocol.shortcut_pool == "timm's own" and "shortcut_pool" not in cfg.model.backbone


@pytest.mark.slow
@pytest.mark.parametrize("name", FACTS)
def test_a_paper_config_trains_two_iterations_with_a_small_crop(toy_root, tmp_path, monkeypatch, name):
    monkeypatch.setenv("DATA_ROOT", str(toy_root))
    small = {
        f"protocol.{key}": value for key, value in dict(crop=64, image_scale=(96, 64), test_image_scale=(96, 64), batch=2).items()
    }
    overrides = small | {"protocol.length": dict(updates=2), "scratch_backbone.base_channels": 8, "num_workers": 0}
    cfg = resolved(name, overrides=overrides)
    cfg.work_dir, cfg.launcher = str(tmp_path), "none"
    runner = build_runner(cfg)
    runner.train()
    assert runner.iter == 2 and {"mIoU", "pixAcc", "mAcc"} <= set(runner.test())


def test_a_crop_larger_than_its_image_is_padded_with_ignored_pixels(toy_root, monkeypatch):
    from mmengine.registry import DATASETS

    monkeypatch.setenv("DATA_ROOT", str(toy_root.parent))
    overrides = {"crop": 200, "image_scale": (64, 48), "ratio_range": (1.0, 1.0), "flip": 0.0}
    cfg = resolved_toy(**{f"protocol__{name}": value for name, value in overrides.items()})
    init_default_scope(cfg.default_scope)
    item = DATASETS.build(cfg.train_dataloader.dataset)[0]
    image, mask = item["inputs"], item["data_samples"].gt_sem_seg.data[0]
    assert image.shape == (3, 200, 200) and mask.shape == (200, 200)
    inside = torch.zeros(200, 200, dtype=bool)
    inside[:48, :64] = True  # toy images are 4:3 or narrower; beyond them everything is black and ignored
    assert not image[:, ~inside].any() and (mask[~inside] == 255).all() and (mask[inside] != 255).any()


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("whole", dict(mode="whole")),
        ("slide", dict(mode="slide", crop_size=(64, 64), stride=(42, 42))),
        ("multi_scale", dict(mode="whole", scales=(0.5, 0.75, 1.0, 1.25, 1.5, 1.75), flip=True)),
    ],
)
def test_the_inference_mode_is_stored_in_the_protocol(name, expected):
    cfg = resolved_toy(protocol__inference=name)
    assert cfg.model.test_cfg.to_dict() == expected and cfg.protocol.inference == name


def test_an_unknown_inference_mode_is_refused():
    with pytest.raises(ValueError, match="protocol.inference='tta'; give one of whole, slide, multi_scale"):
        resolved_toy(protocol__inference="tta")
    with pytest.raises(ValueError, match="no inference 'tta' for segmentation; allowed: whole, slide, multi_scale"):
        set_inference(resolved_toy(), "tta")


def test_blur_leaves_some_images_alone():
    from segmentation import RandomBlur

    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (40, 50, 3), dtype=np.uint8)
    np.random.seed(0)
    results = [RandomBlur(0.5).transform({"img": image.copy()})["img"] for _ in range(100)]
    blurred = [not np.array_equal(result, image) for result in results]
    assert 30 < sum(blurred) < 70 and all(result.dtype == np.uint8 and result.shape == image.shape for result in results)
    deviations = [result.std() for result, is_blurred in zip(results, blurred, strict=True) if is_blurred]
    assert max(deviations) <= image.std() + 1 and min(deviations) < 0.7 * image.std()
    assert np.array_equal(RandomBlur(0.0).transform({"img": image.copy()})["img"], image)
