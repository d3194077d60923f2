"""Time a training step of the dilated FCN: ours, torchvision's, and mmseg's as shipped (float32, NCHW)."""

import copy
import tempfile
from collections.abc import Iterator

import backbones.mmcv_ops  # noqa: F401  (mmseg cannot be imported without it where mmcv is not compiled)

# isort: split
import numpy as np
import torch
from mmengine.registry import MODELS, DefaultScope
from mmengine.structures import PixelData
from mmseg.structures import SegDataSample
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from classification.dtypes import resolve_dtype
from tools.benchmarks import dense
from tools.benchmarks.limit import limit
from tools.benchmarks.rounds import Comparison, Contender, Settings, same
from tools.engine.config import Options, resolve

CONFIG = "configs/segmentation/fcn_paper.py"
SIZE, BATCH, CLASSES, IGNORED = 192, 2, 150, 255
TORCHVISION = {  # module names of torchvision's heads -> ours
    "classifier.0": "decode_head.convs.0.conv",
    "classifier.1": "decode_head.convs.0.bn",
    "classifier.4": "decode_head.conv_seg",
    "aux_classifier.0": "auxiliary_head.convs.0.conv",
    "aux_classifier.1": "auxiliary_head.convs.0.bn",
    "aux_classifier.4": "auxiliary_head.conv_seg",
}


NOTES = (
    "a step: normalising uint8 images, forward, backward, SGD with momentum (fused on a GPU, except in mmseg)",
    "ours goes through the runner with all its hooks; images and masks are synthetic",
    "ours and mmseg drop whole maps before the last convolution, torchvision single values",
    "ours and mmseg also compute the pixel accuracy of both heads for the log; torchvision does not",
    "mmseg's head is like ours, one 3x3 without the concatenated input, and its backbone has a 7x7 stem",
)


def comparisons(settings: Settings) -> Iterator[Comparison]:
    torch.manual_seed(0)
    cfg = resolve(CONFIG, Options(backbone="scratch", overrides={"protocol.crop": SIZE, "protocol.batch": BATCH})).cfg
    with tempfile.TemporaryDirectory() as folder:
        yield compare(cfg, folder)


def compare(cfg, folder: str) -> Comparison:
    """Compare our segmenter of a resolved config with the rivals on the same weights and images, on a GPU if available.

    ``folder`` takes the files of our run.
    """
    size, batch = cfg.protocol.crop, cfg.protocol.batch
    images, masks = dense.made_images(batch, size), made_masks(batch, size)
    data = [samples(images, masks) for _ in range(2)]
    stock_optimizer = copy.deepcopy(cfg.optim_wrapper)
    runner = dense.started_runner(cfg, folder, data[0])
    ours = runner.model.train()
    plain, stock = torchvision_fcn(ours), stock_fcn(cfg, ours)
    plain_loss = torchvision_loss(plain, images, masks, cfg)
    equal = [same("trainable parameters", dense.trainable(ours), dense.trainable(rival)) for rival in (plain, stock)]
    with dense.without_dropout(ours, plain, stock):
        our_loss = float(dense.total_loss(ours, data[0]).detach())
        for rival, loss in (("torchvision", plain_loss), ("mmseg", lambda: dense.total_loss(stock, data[1]))):
            equal.append(same(f"loss of {rival} in float32 without dropout", our_loss, float(loss().detach()), 1e-4))
    sgd = dict(momentum=cfg.protocol.momentum, weight_decay=cfg.protocol.weight_decay)
    wrapper, dtype = dense.wrapper_of(stock, stock_optimizer), resolve_dtype("auto")
    multiply_adds = dense.multiply_adds(lambda: dense.total_loss(ours, data[0])) / batch
    low, plain_name, stock_name = f"{dtype}, channels last", f"torchvision, {dtype}, channels last", "mmseg, float32, NCHW"
    return Comparison(
        f"FCN at output stride 8, ResNet-50, {batch} images of {size} px",
        "images",
        [
            Contender(f"ours, {low}", runner.train_loop.run_epoch, batch),
            Contender(plain_name, dense.PlainStep(plain, plain_loss, **sgd), batch),
            Contender(stock_name, lambda: stock.train_step(data[1], wrapper), batch),
            limit(multiply_adds, getattr(torch, dtype), dense.device()),
        ],
        aims={plain_name: 1.0, stock_name: 1.3},
        equal=list(dict.fromkeys(equal)),
        notes=list(NOTES),
    )


def made_masks(number: int, size: int) -> list[Tensor]:
    """Return masks of random 16 px squares with a fifteenth of the pixels ignored, each int64 (size, size)."""
    rng = np.random.default_rng(1)
    masks = []
    for _ in range(number):
        mask = np.kron(rng.integers(0, CLASSES, (size // 16, size // 16)), np.ones((16, 16), np.int64))
        mask[rng.random(mask.shape) < 1 / 15] = IGNORED
        masks.append(torch.from_numpy(mask))
    return masks


def samples(images: list[Tensor], masks: list[Tensor]) -> dict:
    """Return a batch as mmseg's loaders do; the preprocessor writes into the samples, so each model needs its own."""
    batch = [SegDataSample(gt_sem_seg=PixelData(data=mask[None].clone())) for mask in masks]
    return dict(inputs=images, data_samples=batch)


def torchvision_fcn(ours: nn.Module) -> nn.Module:
    """Build torchvision's network with the weights of ``ours``."""
    from torchvision.models.segmentation import fcn_resnet50

    net = fcn_resnet50(weights=None, weights_backbone=None, num_classes=CLASSES, aux_loss=True)
    state = ours.state_dict()
    for name in net.state_dict():
        part, _, leaf = name.rpartition(".")
        state[name] = state.pop(f"{TORCHVISION.get(part, part)}.{leaf}")
    net.load_state_dict(state)
    return net.to(dense.device(), memory_format=torch.channels_last).train()


def torchvision_loss(net: nn.Module, images: list[Tensor], masks: list[Tensor], cfg):
    """Return a function that normalises the images and returns their loss as torchvision's reference script does."""
    images, masks = torch.stack(images), torch.stack(masks)
    preprocessor, aux_weight = cfg.model.data_preprocessor, cfg.protocol.aux_weight
    mean, std = (torch.tensor(preprocessor[key], device=dense.device()).view(3, 1, 1) for key in ("mean", "std"))

    def loss() -> Tensor:
        inputs = images.to(dense.device())[:, [2, 1, 0]].sub(mean).div(std).contiguous(memory_format=torch.channels_last)
        target, outputs = masks.to(dense.device()), net(inputs)
        terms = {name: cross_entropy(logits, target, ignore_index=IGNORED) for name, logits in outputs.items()}
        return terms["out"] + aux_weight * terms["aux"]

    return loss


def stock_fcn(cfg, ours: nn.Module) -> nn.Module:
    """Build mmseg's own segmenter and backbone with the heads of the config and the weights of ``ours``."""
    model = cfg.model.copy()
    model.update(type="EncoderDecoder", data_preprocessor=dict(cfg.model.data_preprocessor))
    model.backbone = dict(
        type="ResNet",
        depth=50,
        dilations=(1, 1, 2, 4),
        strides=(1, 2, 1, 1),
        contract_dilation=True,
        norm_cfg=dict(type="BN", requires_grad=True),
    )
    with DefaultScope.overwrite_default_scope("mmseg"):
        net = MODELS.build(model)
    net.load_state_dict(ours.state_dict())
    return net.to(dense.device()).train()
