"""Test segmentation protocols against values written down from the sources' own files, and the padding of what is built."""

from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import DATASETS, MODELS, init_default_scope
from mmengine.utils import get_installed_path

from backbones.transfer.protocols import read_protocol
from segmentation.schema import SegmentationProtocol
from tools.engine.config import Options, resolve

CONFIG = "configs/segmentation/fcn_paper.py"
# dmlc/gluon-cv c1e45abc: (t) scripts/segmentation/train.py, (b) gluoncv/data/segbase.py, (f) model_zoo/fcn.py and segbase.py,
# (l) loss.py; (c) the published command
GLUONCV = dict(
    image_scale=(None, 520),  # t, b: the short side alone
    ratio_range=(0.5, 2.0),  # b
    test_image_scale=None,  # t: the centre 480 x 480 of a short side of 480; scripts/segmentation/test.py: several scales
    inference=None,
    crop=480,  # t
    crop_max_ratio=1.0,  # b: any crop
    padding="black",  # b: ImageOps.expand(fill=0), before normalisation
    flip=0.5,  # b
    blur=0.5,  # b
    photometric=False,  # b
    shortcut_pool="pool1x1",  # model_zoo/resnetv1b.py: avg_down of a dilated stage
    num_convs=1,  # f
    concat_input=False,  # f
    dropout=0.1,  # f
    aux_weight=0.5,  # t
    avg_non_ignore=True,  # l: normalization="valid"
    batch=16,  # t
    length=dict(epochs=120),  # c
    lr=0.01,  # c
    head_lr_mult=10.0,  # f: lr_mult
    momentum=0.9,  # t
    weight_decay=1e-4,  # t
    power=0.9,  # utils/lr_scheduler.py
    min_lr=0.0,  # targetlr
    warmup=0,  # warmup_epochs
    norm="sync",  # c
    metric_classes="all",  # utils/metrics/segmentation.py
    selection="last",  # t: save_checkpoint(..., False)
)
SOURCES = {
    "gluoncv2018": GLUONCV,
    "gluoncv2018_effective": GLUONCV,
    # arXiv 1812.01187, section 6.2: "FCN", "dilation on stage-3 and stage-4"
    "he2019": dict.fromkeys(GLUONCV),
}


@pytest.mark.parametrize("name", SOURCES)
def test_a_value_is_its_sources_or_is_named(name):
    protocol = read_protocol("segmentation", name)
    differing = {key for key, value in SOURCES[name].items() if value != protocol[key]}
    assert differing == set(protocol["chosen"]) - set(SegmentationProtocol.COMMON)
    assert set(protocol) - set(SOURCES[name]) == {"name", "source", "chosen", "networks"}
    assert all(len(text) > 10 for text in protocol["chosen"].values())


def test_the_protocol_mmseg_has_the_values_of_the_installed_mmsegs_config():
    source = Config.fromfile(Path(get_installed_path("mmseg")) / ".mim/configs/fcn/fcn_r50-d8_4xb4-80k_ade20k-512x512.py")
    protocol, model = read_protocol("segmentation", "mmseg"), source.model
    steps = {step.type: step for step in source.train_pipeline}
    (poly,) = source.param_scheduler
    values = dict(
        image_scale=tuple(steps["RandomResize"].scale),
        ratio_range=tuple(steps["RandomResize"].ratio_range),
        test_image_scale=tuple(source.test_pipeline[1].scale),
        crop=steps["RandomCrop"].crop_size[0],
        crop_max_ratio=steps["RandomCrop"].cat_max_ratio,
        padding="black" if "Pad" in steps else "mean",
        flip=steps["RandomFlip"].prob,
        blur=0.5 if "RandomBlur" in steps else 0.0,
        photometric="PhotoMetricDistortion" in steps,
        num_convs=model.decode_head.num_convs,
        concat_input=model.decode_head.concat_input,
        dropout=model.decode_head.dropout_ratio,
        aux_weight=model.auxiliary_head.loss_decode.loss_weight,
        avg_non_ignore=model.decode_head.loss_decode.get("avg_non_ignore", False),
        batch=4 * source.train_dataloader.batch_size,  # 4xb4
        length=dict(updates=source.train_cfg.max_iters),
        lr=source.optimizer.lr,
        head_lr_mult=1.0 if "paramwise_cfg" not in source.optim_wrapper else None,
        momentum=source.optimizer.momentum,
        weight_decay=source.optimizer.weight_decay,
        power=poly.power,
        min_lr=poly.eta_min,
        warmup=poly.begin,
        norm={"SyncBN": "sync"}[model.backbone.norm_cfg.type],
        inference=model.test_cfg.mode,
        metric_classes="union",  # IoUMetric
        selection="last",
    )
    assert {key: protocol[key] for key in values} == values and "save_best" not in source.default_hooks.checkpoint
    assert set(protocol) - set(values) == {"name", "source", "chosen", "networks", "shortcut_pool"}
    assert set(protocol["chosen"]) == {"shortcut_pool"} and model.backbone.type == "ResNetV1c"


def padded(name, toy_root, monkeypatch, **changes):
    """Return a training image of 64 x 48 px or narrower in a crop of 96 as the network gets it, and its mask."""
    monkeypatch.setenv("DATA_ROOT", str(toy_root))
    values = dict(crop=96, image_scale=(64, 48), ratio_range=(1.0, 1.0), flip=1.0) | changes
    overrides = {f"protocol.{key}": value for key, value in values.items()}
    cfg = resolve(CONFIG, Options(backbone="scratch", protocol=name, overrides=overrides)).cfg
    init_default_scope(cfg.default_scope)
    item = DATASETS.build(cfg.train_dataloader.dataset)[0]
    batch = dict(inputs=[item["inputs"]], data_samples=[item["data_samples"]])
    batch = MODELS.build(cfg.model.data_preprocessor)(batch, training=True)
    return cfg.model.data_preprocessor, batch["inputs"][0], batch["data_samples"][0].gt_sem_seg.data[0]


@pytest.mark.parametrize("name", ["gluoncv2018", "he2019", "mmseg"])
def test_padding_is_black_or_the_mean_colour_and_ignored(toy_root, monkeypatch, name):
    preprocessor, image, mask = padded(name, toy_root, monkeypatch, blur=0.0)
    black = [-mean / std for mean, std in zip(preprocessor.mean, preprocessor.std, strict=True)]
    expected = torch.tensor([0.0] * 3 if name == "mmseg" else black)
    assert image.shape == (3, 96, 96) and mask.shape == (96, 96)
    assert torch.allclose(image[:, 48:].permute(1, 2, 0), expected, atol=1e-6) and (mask[48:] == 255).all()
    assert torch.allclose(image[:, :, 64:].permute(1, 2, 0), expected, atol=1e-6) and (mask[:, 64:] == 255).all()
    assert (mask[:48, :36] != 255).any()  # the image stays at the upper left, though it is flipped


def test_distortion_of_colors_leaves_padding_alone(toy_root, monkeypatch):
    torch.manual_seed(0)
    for _ in range(5):
        _, image, _ = padded("mmseg", toy_root, monkeypatch)
        assert not image[:, 48:].any() and not image[:, :, 64:].any() and image[:, :48, :36].any()
