"""Test detection protocols against values written down from the sources' own files, and that what is built has them."""

import numpy as np
import pytest
import torch
from mmengine.optim import build_optim_wrapper
from mmengine.registry import MODELS, PARAM_SCHEDULERS, TASK_UTILS, init_default_scope
from mmengine.structures import InstanceData

from backbones.transfer.protocols import read_protocol
from detection.schema import DetectionProtocol
from tools.engine.config import Options, resolve

CONFIG = "configs/detection/faster_rcnn_c4_paper.py"
VOC = dict(train=("VOC2007/trainval", "VOC2012/trainval"), test="VOC2007/test", metric="11-point")
# dmlc/gluon-cv c1e45abc: (t) scripts/detection/faster_rcnn/train_faster_rcnn.py, (m) model_zoo/faster_rcnn/faster_rcnn.py,
# (p) model_zoo/rpn/*.py, (d) data/transforms/presets/rcnn.py, (l) data/pascal_voc/detection.py
GLUONCV = VOC | dict(
    difficult_in_training=True,  # l: all objects are returned
    smallest_box=0,  # l
    image_scales=((1000, 600),),  # m: short=600, max_size=1000
    test_image_scale=(1000, 600),
    flip=0.5,  # d: px=0.5
    batch=4,  # t: one image on each GPU; the published command has four
    length=dict(epochs=20),  # t
    steps=(14 / 20,),  # t: "14,20"; epochs count from 0, so that the second never comes
    gamma=0.1,  # t: --lr-decay
    warmup=0,  # t: -1
    lr=0.001,  # t
    momentum=0.9,  # t
    weight_decay=5e-4,  # t
    decay_norms=True,  # t: no wd_mult; all BN are frozen
    clip=dict(type="value", clip_value=5),  # t: clip_gradient
    frozen_stages=1,  # m: train_patterns has layers 2 to 4
    norm="frozen",  # m: use_global_stats, and no gamma or beta in train_patterns
    extra_norm=False,
    pad_divisor=1,  # d: none
    anchor_scales=(2, 4, 8, 16, 32),  # m
    anchor_ratios=(0.5, 1, 2),  # m
    rpn_sample=dict(num=256, positive=0.5, high=0.7, low=0.3, best=0.3),  # d; p: negatives below 0.3 are set after the best
    rpn_border=0,  # p: allowed_border
    proposals_train=(12000, 2000),  # m
    proposals_test=(6000, 300),  # m
    proposal_nms=0.7,  # m
    smallest_proposal=16,  # m
    roi_size=14,  # m
    roi_sampling=2,  # m: sample_ratio
    roi_aligned=False,  # m: MXNet's ROIAlign of the time shifts nothing
    roi_sample=dict(num=128, positive=0.25, iou=0.5),  # m
    box_std=(0.1, 0.1, 0.2, 0.2),  # rcnn_target.py
    rpn_beta=1 / 9,  # t: HuberLoss(rho=1/9)
    roi_beta=1,  # t: HuberLoss()
    score=1e-4,  # m: valid_thresh
    nms=0.3,  # m: nms_thresh
    detections=20 * 300,  # m: topk=400 for each class, of 300 proposals; post_nms is not used
    selection="best",  # t: save_params, on the test set
)
# facebookresearch/detectron2: configs/PascalVOC-Detection/faster_rcnn_R_50_C4.yaml, configs/Base-RCNN-C4.yaml, config/defaults.py
DETECTRON2 = VOC | dict(
    difficult_in_training=True,  # data/datasets/pascal_voc.py
    smallest_box=0,
    image_scales=tuple((1333, side) for side in range(480, 801, 32)),  # MIN_SIZE_TRAIN, MAX_SIZE_TRAIN
    test_image_scale=(1333, 800),
    flip=0.5,  # RANDOM_FLIP
    batch=16,  # IMS_PER_BATCH
    length=dict(updates=18000),  # MAX_ITER
    steps=(12000 / 18000, 16000 / 18000),  # STEPS
    gamma=0.1,  # GAMMA
    warmup=100,  # WARMUP_ITERS
    warmup_start=1 / 1000,  # WARMUP_FACTOR
    lr=0.02,  # BASE_LR
    momentum=0.9,
    weight_decay=1e-4,
    decay_norms=False,  # WEIGHT_DECAY_NORM 0.0
    clip=None,  # CLIP_GRADIENTS
    frozen_stages=1,  # FREEZE_AT 2: the stem and res2
    norm="frozen",  # RESNETS.NORM FrozenBN
    extra_norm=False,
    pad_divisor=1,  # size_divisibility of a ResNet
    anchor_scales=(32 / 16, 64 / 16, 128 / 16, 256 / 16, 512 / 16),  # ANCHOR_GENERATOR.SIZES at stride 16
    anchor_ratios=(0.5, 1, 2),
    rpn_sample=dict(num=256, positive=0.5, high=0.7, low=0.3, best=0),  # modeling/matcher.py: no least IoU of the best
    rpn_border=-1,  # BOUNDARY_THRESH
    proposals_train=(12000, 2000),
    proposals_test=(6000, 1000),
    proposal_nms=0.7,
    smallest_proposal=0,  # MIN_SIZE
    roi_size=14,  # POOLER_RESOLUTION
    roi_sampling=0,  # POOLER_SAMPLING_RATIO
    roi_aligned=True,  # POOLER_TYPE ROIAlignV2
    roi_sample=dict(num=512, positive=0.25, iou=0.5),
    box_std=(1 / 10, 1 / 10, 1 / 5, 1 / 5),  # BBOX_REG_WEIGHTS
    rpn_beta=0,
    roi_beta=0,
    score=0.05,
    nms=0.5,
    detections=100,  # TEST.DETECTIONS_PER_IMAGE
    selection="last",
)
# facebookresearch/moco: detection/configs/pascal_voc_R_50_C4_24k.yaml, Base-RCNN-C4-BN.yaml, train_net.py; else detectron2's
MOCO = DETECTRON2 | dict(
    length=dict(updates=24000),
    steps=(18000 / 24000, 22000 / 24000),
    frozen_stages=-1,  # FREEZE_AT 0
    norm="sync",  # RESNETS.NORM
    extra_norm=True,  # Res5ROIHeadsExtraNorm
)
SOURCES = {"gluoncv2018": GLUONCV, "detectron2": DETECTRON2, "moco": MOCO}
# arXiv 1812.01187, section 6.1
PAPER = ("name", "source", "chosen", "train", "test")


def built(name, backbone="scratch"):
    """Return the resolved config of a protocol, and its model on the meta device."""
    cfg = resolve(CONFIG, Options(backbone=str(backbone), protocol=name)).cfg
    init_default_scope(cfg.default_scope)
    with torch.device("meta"):
        return cfg, MODELS.build(cfg.model).train()


def same(ours, theirs) -> bool:
    if isinstance(theirs, dict):
        return set(ours) == set(theirs) and all(same(ours[key], theirs[key]) for key in theirs)
    if isinstance(theirs, tuple):
        return len(ours) == len(theirs) and all(map(same, ours, theirs))
    return ours == (pytest.approx(theirs) if isinstance(theirs, float) else theirs)


@pytest.mark.parametrize("name", SOURCES)
def test_a_value_is_its_sources_or_is_named(name):
    protocol, source = read_protocol("detection", name), SOURCES[name]
    differing = {key for key, value in source.items() if not same(protocol[key], value)}
    assert differing == set(protocol["chosen"]) - set(DetectionProtocol.COMMON)
    unread = set(protocol) - set(source) - {"name", "source", "chosen", "networks"}
    assert unread == ({"warmup_start"} if name == "gluoncv2018" else set())  # it has no warmup


def test_the_papers_protocol_names_every_value_that_the_paper_does_not_state():
    protocol = read_protocol("detection", "he2019")
    assert {*protocol, *read_protocol("detection", "gluoncv2018")["chosen"]} == {*protocol["chosen"], *PAPER}


@pytest.mark.parametrize("name", (*SOURCES, "he2019"))
def test_each_choice_says_what_and_why(name):
    assert all(len(text) > 10 for text in read_protocol("detection", name)["chosen"].values())


@pytest.mark.parametrize("name", SOURCES)
def test_norms_decay_as_in_the_source(make_card, name):
    cfg, model = built(name, make_card().path)
    groups = build_optim_wrapper(model, cfg.optim_wrapper).optimizer.param_groups
    decay = {id(p): group["weight_decay"] for group in groups for p in group["params"]}
    norms = [m for m in model.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    assert len(norms) == 55 + (name == "moco")
    trained = [p for norm in norms for p in (norm.weight, norm.bias) if p.requires_grad]
    assert len(trained) == (2 * 56 if name == "moco" else 0) and all(decay[id(p)] == 0 for p in trained)
    others = {id(p) for p in model.parameters() if p.requires_grad} - {id(p) for p in trained}
    assert {decay[p] for p in others} == {SOURCES[name]["weight_decay"]}


@pytest.mark.parametrize("name", SOURCES)
def test_regions_are_aligned_as_in_the_source(name):
    layer = built(name)[1].roi_head.bbox_roi_extractor.roi_layers[0]
    assert (layer.aligned, layer.sampling_ratio) == (SOURCES[name]["roi_aligned"], SOURCES[name]["roi_sampling"])
    assert layer.use_torchvision
    columns = torch.arange(16.0).repeat(16, 1)[None, None]  # each pixel holds its column
    pooled = layer(columns, torch.tensor([[0.0, 32, 32, 32 + 14 * 16, 32 + 14 * 16]]))  # of 14 x 14 cells, from the third on
    shift = 0.5 if SOURCES[name]["roi_aligned"] else 0.0
    assert torch.allclose(pooled[0, 0, 5, :13], 2 + torch.arange(13) + 0.5 - shift)


@pytest.mark.parametrize(("name", "label"), [("gluoncv2018", 0), ("detectron2", 1), ("moco", 1)])
def test_the_best_anchor_of_an_object_counts_as_in_the_source_however_low_its_iou(name, label):
    cfg, _ = built(name)
    assigner = TASK_UTILS.build(cfg.model.train_cfg.rpn.assigner)
    anchors = torch.tensor([[0.0, 0, 100, 100], [200, 200, 300, 300]])
    truth = InstanceData(bboxes=torch.tensor([[0.0, 0, 20, 50]]), labels=torch.tensor([3]))  # IoU 0.1
    assert assigner.assign(InstanceData(priors=anchors), truth).gt_inds.tolist() == [label, 0]


def test_the_warmup_is_detectron2s():
    cfg, _ = built("detectron2")
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.02)
    schedulers = [PARAM_SCHEDULERS.build(dict(s), default_args=dict(optimizer=optimizer)) for s in cfg.param_scheduler]
    for update in range(105):
        part = min(update / 100, 1)  # solver/lr_scheduler.py
        assert optimizer.param_groups[0]["lr"] == pytest.approx(0.02 * (0.001 * (1 - part) + part))
        for scheduler in schedulers:
            scheduler.step()


@pytest.mark.parametrize("name", SOURCES)
def test_images_are_padded_as_in_the_source(name):
    preprocessor = MODELS.build(built(name)[0].model.data_preprocessor)
    batch = dict(inputs=[torch.full((3, 50, 70), 255, dtype=torch.uint8)], data_samples=None)
    assert preprocessor(batch)["inputs"].shape == (1, 3, 50, 70)


def base_anchors(name):
    anchors = built(name)[1].rpn_head.anchor_generator.base_anchors[0].tolist()
    return np.array(sorted(anchors))


def test_anchors_are_detectron2s():
    sides = [(size / ratio**0.5, size * ratio**0.5) for size in (32, 64, 128, 256, 512) for ratio in (0.5, 1, 2)]
    expected = np.array(sorted([-w / 2, -h / 2, w / 2, h / 2] for w, h in sides))  # modeling/anchor_generator.py
    assert np.allclose(base_anchors("detectron2"), expected, atol=1e-3) and np.allclose(base_anchors("moco"), expected, atol=1e-3)


def test_gluoncv_rounds_anchors_as_chosen_says():
    expected = []
    for ratio in (0.5, 1, 2):
        for scale in (2, 4, 8, 16, 32):  # model_zoo/rpn/anchor.py
            side = np.round(np.sqrt(16 * 16 / ratio))
            w, h = (side * scale - 1) / 2, (np.round(side * ratio) * scale - 1) / 2
            expected.append([7.5 - w, 7.5 - h, 7.5 + w, 7.5 + h])
    sides = {(round((x2 - x1 + 1) / 2), round((y2 - y1 + 1) / 2)) for x1, y1, x2, y2 in expected[::5]}
    assert sides == {(23, 12), (16, 16), (11, 22)}
    assert "23 x 12, 16 x 16 and 11 x 22" in read_protocol("detection", "gluoncv2018")["chosen"]["anchors"]
    assert not np.allclose(base_anchors("gluoncv2018"), sorted(expected), atol=5)


def test_fpn_at_scale_mini_has_mmdets_rate_for_its_batch():
    protocol = resolve("configs/detection/faster_rcnn_fpn_mini.py", Options(backbone="scratch")).cfg.protocol
    assert protocol.lr / protocol.batch == 0.02 / 16
