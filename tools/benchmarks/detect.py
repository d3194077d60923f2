"""Time a training step of Faster-RCNN, FPN and C4: ours, torchvision's, and mmdet's as shipped (float32, NCHW)."""

import copy
import tempfile
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import backbones.mmcv_ops  # noqa: F401  (mmdet cannot be imported without it where mmcv is not compiled)

# isort: split
import mmdet
import numpy as np
import torch
from mmdet.structures import DetDataSample
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope
from mmengine.structures import InstanceData
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from classification.dtypes import resolve_dtype
from tools.benchmarks import dense
from tools.benchmarks.limit import limit
from tools.benchmarks.rounds import Comparison, Contender, Settings, same
from tools.engine.config import Options, resolve

SIZE, BATCH, BOXES, CLASSES = 192, 2, 4, 20
ANCHORS, PROPOSALS = 256, 300  # per image: anchors that the RPN trains on, proposals after NMS (before it twice as many)
REGIONS = {"fpn": 64, "c4": 32}  # per image: regions that the head trains on
CLIP = 35.0  # largest norm of all gradients


def comparisons(settings: Settings) -> Iterator[Comparison]:
    for kind in ("fpn", "c4"):
        torch.manual_seed(0)
        with tempfile.TemporaryDirectory() as folder:
            yield compare(kind, product_config(kind), folder)


def product_config(kind: str):
    """Return the config of our detector at scale paper, with counts that fit the small images and frozen as with a card."""
    cfg = resolve(f"configs/detection/faster_rcnn_{kind}_paper.py", Options(backbone="scratch")).cfg
    cfg.model.backbone.update(frozen_stages=1, norm_eval=True, norm_frozen=kind == "c4")
    if kind == "c4":
        cfg.model.roi_head.shared_head.update(norm_eval=True, norm_frozen=True)
    set_counts(cfg.model, kind)
    cfg.optim_wrapper.clip_grad = dict(max_norm=CLIP)
    return cfg


def set_counts(model, kind: str) -> None:
    """Set, in place, the anchors, proposals and regions of a training step of a detector of mmdet."""
    model.train_cfg.rpn_proposal.update(nms_pre=2 * PROPOSALS, max_per_img=PROPOSALS, min_bbox_size=0)
    model.train_cfg.rpn.sampler.num = ANCHORS
    model.train_cfg.rpn.allowed_border = -1
    model.train_cfg.rcnn.sampler.update(num=REGIONS[kind], pos_fraction=0.25)
    model.roi_head.bbox_head.num_classes = CLASSES
    model.roi_head.bbox_roi_extractor.roi_layer.update(sampling_ratio=2, use_torchvision=True)


@dataclass
class Detector:
    """Hold one of the detectors compared: its network, its training loss, and the head that the regions go into."""

    name: str
    net: nn.Module
    loss: Callable[[], Tensor]
    head: nn.Module

    def work(self) -> dict[str, float]:
        """Return the work of a forward pass in training: multiply-adds, and regions that go through the head."""
        regions = []
        hook = self.head.register_forward_pre_hook(lambda _, inputs: regions.append(len(inputs[0])))
        multiply_adds = dense.multiply_adds(self.loss)
        hook.remove()
        return {"regions": sum(regions), "multiply-adds": multiply_adds}


def compare(kind: str, cfg, folder: str) -> Comparison:
    """Compare our detector of a config with the rivals on the same backbone and images, on a GPU if available.

    ``folder`` takes the files of our run.
    """
    images, boxes = dense.made_images(BATCH, SIZE), made_boxes(BATCH)
    data, stock = samples(images, boxes), samples(images, boxes)
    optimizer = copy.deepcopy(cfg.optim_wrapper)
    runner = dense.started_runner(cfg, folder, data)
    net = runner.model
    settle(net, images)
    net.train()
    ours = Detector("ours", net, partial(dense.total_loss, net, data), net.roi_head.bbox_head)
    rivals = [torchvision_detector(kind, net, images, boxes), stock_detector(kind, net, stock)]
    equal = same_work(ours, rivals)
    dtype, sgd = resolve_dtype("auto"), dict(optimizer["optimizer"])
    step = dense.PlainStep(rivals[0].net, rivals[0].loss, clip, momentum=sgd["momentum"], weight_decay=sgd["weight_decay"])
    wrapper = dense.wrapper_of(rivals[1].net, optimizer)
    names = [f"ours, {dtype}, channels last", f"torchvision, {dtype}, channels last", "mmdet, float32, NCHW"]
    return Comparison(
        f"Faster-RCNN {kind.upper()}, ResNet-50, {BATCH} images of {SIZE} px, {REGIONS[kind]} regions each",
        "images",
        [
            Contender(names[0], runner.train_loop.run_epoch, BATCH),
            Contender(names[1], step, BATCH),
            Contender(names[2], lambda: rivals[1].net.train_step(stock, wrapper), BATCH),
            limit(ours.work()["multiply-adds"] / BATCH, getattr(torch, dtype), dense.device()),
        ],
        aims={names[1]: 0.95, names[2]: 1.3},
        equal=equal,
        notes=notes(kind),
    )


def clip(parameters: list[Tensor]) -> None:
    nn.utils.clip_grad_norm_(parameters, CLIP)


def notes(kind: str) -> list[str]:
    trained = "gamma and beta are not trained" if kind == "c4" else "gamma and beta are trained above stage 1"
    return [
        f"a step: normalising uint8 images, forward, backward, clipping to a norm of {CLIP:g}, SGD (on a GPU fused, not mmdet's)",
        "ours goes through the runner with all its hooks",
        f"all: stem and stage 1 frozen, BN by its stored statistics, {trained}; {PROPOSALS} proposals an image after NMS",
        "losses, samplers and the order of NMS over levels are each library's own; torchvision also has boxes for the background",
        "where mmcv is not compiled, mmdet and ours use torchvision's operators",
    ]


def same_work(ours: Detector, rivals: list[Detector]) -> list[str]:
    """Return a line for each measure of work that is equal.

    Raises:
        ValueError: the work of a rival differs.
    """
    our_work, lines = ours.work(), []
    for rival in rivals:
        work = rival.work()
        lines += [
            same(f"trainable parameters of {rival.name}", dense.trainable(ours.net), dense.trainable(rival.net), 3e-4),
            same(f"regions of {rival.name}", our_work["regions"], work["regions"]),
            same(f"multiply-adds forward of {rival.name}", our_work["multiply-adds"], work["multiply-adds"], 0.02),
        ]
    return lines


def made_boxes(number: int) -> list[tuple[Tensor, Tensor]]:
    """Return for each image random boxes (BOXES, 4), x1, y1, x2, y2 in px, and their labels."""
    rng, truth = np.random.default_rng(1), []
    for _ in range(number):
        corners, sides = rng.uniform(0, SIZE / 2, (BOXES, 2)), rng.uniform(SIZE / 8, SIZE / 2, (BOXES, 2))
        boxes = np.concatenate([corners, corners + sides], 1).astype(np.float32)
        truth.append((torch.from_numpy(boxes), torch.from_numpy(rng.integers(0, CLASSES, BOXES))))
    return truth


def samples(images: list[Tensor], boxes: list[tuple[Tensor, Tensor]]) -> dict:
    """Return a batch as mmdet's loaders do; the preprocessor writes into the samples, so each model needs its own."""
    batch = []
    for corners, labels in boxes:
        meta = dict(img_shape=(SIZE, SIZE), ori_shape=(SIZE, SIZE), scale_factor=(1.0, 1.0))
        batch.append(DetDataSample(metainfo=meta, gt_instances=InstanceData(bboxes=corners.clone(), labels=labels)))
    return dict(inputs=images, data_samples=batch)


@torch.no_grad()
def settle(net: nn.Module, images: list[Tensor]) -> None:
    """Give all BN of a backbone with random weights the statistics of ``images``, without which its features explode."""
    norms = [module for module in net.modules() if isinstance(module, _BatchNorm)]
    for module in norms:
        module.train().momentum = 1.0
    features = net.backbone(net.data_preprocessor(dict(inputs=images, data_samples=None), False)["inputs"])
    if net.roi_head.with_shared_head:
        net.roi_head.shared_head(features[0])
    for module in norms:
        module.momentum = 0.1


def bodies(net: nn.Module) -> dict[str, Tensor]:
    """Return the tensors of our backbone, with stage 4 taken from the head in a C4 detector."""
    state = dict(net.backbone.state_dict())
    if net.roi_head.with_shared_head:
        state |= {f"layer4.{name}": value for name, value in net.roi_head.shared_head.stage.state_dict().items()}
    return state


def torchvision_detector(kind: str, ours: nn.Module, images: list[Tensor], boxes: list[tuple[Tensor, Tensor]]) -> Detector:
    """Build torchvision's Faster-RCNN with our backbone's weights and our counts."""
    from torchvision.models import resnet50

    body = resnet50(weights=None)
    body.load_state_dict(bodies(ours), strict=False)
    net = (torchvision_fpn if kind == "fpn" else torchvision_c4)(body)
    net.to(dense.device(), memory_format=torch.channels_last).train()
    freeze(net, body, norms=kind == "c4")
    targets = [dict(boxes=corners.to(dense.device()), labels=labels.to(dense.device()) + 1) for corners, labels in boxes]

    def loss() -> Tensor:
        pixels = [image.to(dense.device())[[2, 1, 0]].float() / 255 for image in images]
        return sum(net(pixels, targets).values())

    return Detector("torchvision", net, loss, net.roi_heads.box_head)


def counts(kind: str) -> dict:
    """Return the counts of ``set_counts`` as arguments of torchvision."""
    return dict(
        num_classes=CLASSES + 1,
        _skip_resize=True,
        rpn_batch_size_per_image=ANCHORS,
        rpn_pre_nms_top_n_train=2 * PROPOSALS,
        rpn_post_nms_top_n_train=PROPOSALS,
        box_batch_size_per_image=REGIONS[kind],
        box_positive_fraction=0.25,
    )


def torchvision_fpn(body: nn.Module) -> nn.Module:
    from torchvision.models.detection import FasterRCNN
    from torchvision.models.detection.backbone_utils import _resnet_fpn_extractor

    return FasterRCNN(_resnet_fpn_extractor(body, 5), **counts("fpn"))


def torchvision_c4(body: nn.Module) -> nn.Module:
    from torchvision.models.detection import FasterRCNN
    from torchvision.models.detection.faster_rcnn import FastRCNNPredictor
    from torchvision.models.detection.rpn import AnchorGenerator
    from torchvision.ops import MultiScaleRoIAlign

    names = ("conv1", "bn1", "relu", "maxpool", "layer1", "layer2", "layer3")
    stages = nn.Sequential(OrderedDict((name, getattr(body, name)) for name in names))
    stages.out_channels = 1024
    options = counts("c4")
    return FasterRCNN(
        stages,
        rpn_anchor_generator=AnchorGenerator(((32, 64, 128, 256, 512),), ((0.5, 1.0, 2.0),)),
        box_roi_pool=MultiScaleRoIAlign(["0"], 14, 2),
        box_head=nn.Sequential(body.layer4, nn.AdaptiveAvgPool2d(1), nn.Flatten()),
        box_predictor=FastRCNNPredictor(2048, options.pop("num_classes")),
        **options,
    )


def freeze(net: nn.Module, body: nn.Module, norms: bool) -> None:
    """Freeze stem and stage 1 of ``body``, with ``norms`` also all BN; every BN uses its stored statistics."""
    for part in (body.conv1, body.bn1, body.layer1):
        part.requires_grad_(False)
    for module in net.modules():
        if isinstance(module, _BatchNorm):
            module.eval()
            if norms:
                module.requires_grad_(False)


def stock_detector(kind: str, ours: nn.Module, data: dict) -> Detector:
    """Build mmdet's own detector with our weights, counts and preprocessor; in C4 with the stride in the 3x3, as in ours."""
    name = {"fpn": "faster-rcnn_r50_fpn", "c4": "faster-rcnn_r50-caffe-c4"}[kind]
    model = Config.fromfile(Path(mmdet.__file__).parent / f".mim/configs/_base_/models/{name}.py").model
    set_counts(model, kind)
    for part in (model.backbone, model.roi_head.get("shared_head", {})):
        if part:
            part.update(style="pytorch", init_cfg=None)
    with DefaultScope.overwrite_default_scope("mmdet"):
        net = MODELS.build(model)
    state = bodies(ours)
    if kind == "c4":
        last = {name: state.pop(name) for name in list(state) if name.startswith("layer4.")}
        net.roi_head.shared_head.load_state_dict(last)
    net.backbone.load_state_dict(state)
    net.data_preprocessor = copy.deepcopy(ours.data_preprocessor)  # BN's statistics are those of images normalised by it
    net.to(dense.device()).train()
    return Detector("mmdet", net, partial(dense.total_loss, net, data), net.roi_head.bbox_head)
