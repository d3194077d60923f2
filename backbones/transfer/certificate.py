"""What detection and segmentation share: plugging a card in, proving that it is in, and reading images."""

import copy
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import torch
from mmcv.transforms import BaseTransform
from mmengine.hooks import Hook
from mmengine.logging import MessageHub, print_log
from mmengine.model import is_model_wrapper
from mmengine.registry import MODELS, TRANSFORMS, init_default_scope
from torch import Tensor

from backbones.card import TOLERANCE, BackboneCard, difference, probe_features, probe_image
from backbones.common.images import read_bgr
from backbones.networks.base import Backbone
from backbones.networks.factory import build


def certify_config(cfg, hook: dict) -> float:
    """Certify the backbone of a resolved config from its card, without the detector or segmenter around it.

    Args:
        cfg: of a transfer.
        hook: its ``TransferHook``, as the config has it.

    Raises:
        ValueError: see ``place`` and ``certify``.
    """
    init_default_scope(cfg.default_scope)
    parts, path = {"": MODELS.build(copy.deepcopy(cfg.model.backbone))}, hook.get("last_stage")
    if path:
        head = cfg.model
        for name in path.split("."):
            head = head[name]
        parts[f"{parts[''].last}."] = MODELS.build(copy.deepcopy(head)).stage
    card = BackboneCard.load(hook["card"])
    model = SimpleNamespace(data_preprocessor=MODELS.build(copy.deepcopy(cfg.model.data_preprocessor)))
    return certify(place(card, parts), card, downstream_preprocessor(model, hook["loader"]))


class TransferHook(Hook):
    """Before the first update: fills the backbone from a card and certifies it; refuses to train when that fails.

    Args:
        card: path of the card.
        loader: config of the transform by which the test pipeline reads an image.
        last_stage: where the model has a ``LastStage`` that belongs to the backbone, as a dotted path.

    The certificate is left in the runner's message hub as ``certificate``.
    """

    def __init__(self, card: str, loader: dict, last_stage: str | None = None):
        self.card, self.loader, self.last_stage = card, loader, last_stage

    def before_train(self, runner) -> None:
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        card = BackboneCard.load(self.card)
        parts = parts_of(model, self.last_stage)
        # A resumed run keeps its checkpoint's weights; the way of an image into the backbone is certified all the same.
        net = place(card, parts if runner.iter == 0 else copy.deepcopy(parts))
        worst = certify(net, card, downstream_preprocessor(model, self.loader))
        certificate = {"card": card.sha256, "tensors": len(card.weights), "max_abs_difference": worst}
        MessageHub.get_current_instance().update_info("certificate", certificate)
        print_log(
            f"Transfer certificate: {len(card.weights)} tensors placed, none left over; features of the probe differ by "
            f"{worst:.1e} at most (allowed {TOLERANCE:.0e}).",
            "current",
        )


def parts_of(model, last_stage: str | None) -> dict[str, torch.nn.Module]:
    """The modules of ``model`` that hold the backbone, by the prefix that their tensors have in a card."""
    parts = {"": model.backbone}
    if last_stage:
        parts[f"{model.backbone.last}."] = model.get_submodule(last_stage).stage
    return parts


def place(card: BackboneCard, parts: dict[str, torch.nn.Module]) -> Backbone:
    """Copies every tensor of ``card`` into the modules that hold the backbone, and returns the whole network as they have it.

    Raises:
        ValueError: the modules have other tensors, together, than the card.
    """
    if list(parts) == [""]:
        card.place(parts[""])
        return parts[""]
    whole = build(parts[""].arch)
    card.place(whole)
    state = whole.state_dict()
    for prefix, module in parts.items():
        names = {name: f"{prefix}{name}" for name in module.state_dict()}
        module.load_state_dict({name: state[full] for name, full in names.items()}, strict=True)
    return assembled(whole, parts)


def assembled(whole: Backbone, parts: dict[str, torch.nn.Module]) -> Backbone:
    """``whole`` with the tensors of ``parts``, which must have each of them once."""
    state = {f"{prefix}{name}": value for prefix, module in parts.items() for name, value in module.state_dict().items()}
    whole.load_state_dict(state, strict=True)
    return whole


def downstream_preprocessor(model, loader: dict) -> Callable[[Tensor], Tensor]:
    """The way of an image into ``model``'s backbone: read from a file by ``loader``, then the model's data preprocessor.

    The result takes the uint8 RGB image (3, H, W) and returns float (1, 3, H, W) on the CPU.
    """

    def preprocess(image: Tensor) -> Tensor:
        read = TRANSFORMS.build(copy.deepcopy(loader))
        with tempfile.TemporaryDirectory() as folder:
            path = str(Path(folder) / "probe.png")
            cv2.imwrite(path, image.numpy()[::-1].transpose(1, 2, 0))  # OpenCV writes BGR
            array = read({"img_path": path})["img"]
        pixels = torch.from_numpy(np.ascontiguousarray(array.transpose(2, 0, 1)))
        data = model.data_preprocessor({"inputs": [pixels], "data_samples": None}, training=False)
        return data["inputs"].float().cpu()

    return preprocess


def certify(net: Backbone, card: BackboneCard, preprocess: Callable[[Tensor], Tensor]) -> float:
    """Largest absolute difference between the card's probe and what ``net`` makes of the same image now.

    All stages are compared at output stride 32; where ``net`` is dilated, its own stages before the dilation are compared as
    they are, too.

    Args:
        net: the backbone inside a detector or segmenter, filled from the card.
        card: the card.
        preprocess: uint8 RGB (3, H, W) to float (1, 3, H, W), as downstream images are.

    Raises:
        ValueError: the difference is above ``TOLERANCE``, or a tensor of the network is not the card's.
    """
    for name, tensor in net.state_dict().items():
        if not torch.equal(tensor.cpu(), card.weights[name]):
            raise ValueError(f"Card {card.path}: the tensor {name} of the backbone is not the card's; it was not placed.")
    inputs = preprocess(probe_image())
    features = list(probe_features(net, inputs))
    stages = list(range(len(features)))
    for i, own in _undilated_stages(net, inputs):
        features.append(own)
        stages.append(i)
    worst = 0.0
    for i, feature in zip(stages, features, strict=True):
        off = difference(feature, card.probe[i])
        worst = max(worst, off)
        if not off <= TOLERANCE:
            raise ValueError(
                f"Card {card.path}: transfer refused, since stage {i + 1} of the backbone gives features that differ by "
                f"{off:.2g} from the pretraining's own (allowed {TOLERANCE:.0e}) for the same image: the architecture "
                "(variant), mean, std or channel order is not the one it was trained with; write the card anew with "
                "tools/export_backbone.py."
            )
    return worst


@torch.no_grad()
def _undilated_stages(net: Backbone, inputs: Tensor):
    """(index, features) of the stages of ``net`` itself that come before any dilation and are among its outputs."""
    copied = copy.deepcopy(net).cpu().double().eval()
    outputs = dict(zip(net.out_indices, copied(inputs.double()), strict=True))
    for i, output in outputs.items():
        if i < net.first_dilated:
            yield i, output.float()


class LoadImage(BaseTransform):
    """Reads ``img_path`` into ``img``, BGR uint8 (H, W, 3); sets ``img_shape`` and ``ori_shape``.

    ``backbones.common.images`` says how images are read.

    Raises:
        BadImage: the file is missing or is no image.
        ValueError: the image is not of the ``height`` and ``width`` that its annotation has: boxes fit one of them only.
    """

    def transform(self, results: dict) -> dict:
        image = read_bgr(results["img_path"])
        high, wide = image.shape[:2]
        if (said := (results.get("width", wide), results.get("height", high))) != (wide, high):
            raise ValueError(
                f"The image {results['img_path']} is {wide} x {high}, and {said[0]} x {said[1]} in its annotation, whose boxes "
                "fit one of them only; take both from one release, or correct the annotation."
            )
        return results | {"img": image, "img_shape": (high, wide), "ori_shape": (high, wide)}
