"""Fill the backbone of a detector or segmenter from a card, and certify that it gives the features of the pretraining.

The certificate is the largest difference between the card's probe and the features downstream, for the same image.
"""

import copy
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import torch
from mmengine.hooks import Hook
from mmengine.logging import MessageHub, print_log
from mmengine.model import is_model_wrapper
from mmengine.registry import MODELS, TRANSFORMS, init_default_scope
from torch import Tensor

from backbones.card import BackboneCard
from backbones.card_facts import ANEW
from backbones.networks.base import Backbone
from backbones.networks.factory import build
from backbones.probe import TOLERANCE, difference, probe_features, probe_image


def certify_config(cfg, hook: dict) -> float:
    """Fill the backbone of a resolved config from its card and certify it, without building the rest of the model.

    Args:
        cfg: of a transfer.
        hook: the config of its ``TransferHook``.

    Returns:
        The largest absolute difference, see ``certify``.

    Raises:
        ValueError: see ``place`` and ``certify``.
    """
    init_default_scope(cfg.default_scope)
    parts = {"": MODELS.build(copy.deepcopy(cfg.model.backbone))}
    if path := hook.get("last_stage"):
        head = cfg.model
        for name in path.split("."):
            head = head[name]
        parts[f"{parts[''].last}."] = MODELS.build(copy.deepcopy(head)).stage
    card = BackboneCard.load(hook["card"])
    model = SimpleNamespace(data_preprocessor=MODELS.build(copy.deepcopy(cfg.model.data_preprocessor)))
    return certify(place(card, parts), card, downstream_preprocessor(model, hook["loader"]))


class TransferHook(Hook):
    """Fill the backbone from a card before the first update, certify it, and refuse to train if that fails.

    Args:
        card: path of the card.
        loader: config of the transform by which the test pipeline reads an image.
        last_stage: dotted path of the ``LastStage`` that belongs to the backbone; None if the model has none.

    The certificate goes to the runner's message hub as ``certificate``.
    """

    def __init__(self, card: str, loader: dict, last_stage: str | None = None):
        self.card, self.loader, self.last_stage = card, loader, last_stage

    def before_train(self, runner) -> None:
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        card = BackboneCard.load(self.card)
        parts = parts_of(model, self.last_stage)
        # A resumed run keeps the weights of its checkpoint, so a copy is filled: its preprocessing is certified all the same.
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
    """Return the modules of ``model`` that hold the backbone, by the prefix that their tensors have in a card."""
    parts = {"": model.backbone}
    if last_stage:
        parts[f"{model.backbone.last}."] = model.get_submodule(last_stage).stage
    return parts


def place(card: BackboneCard, parts: dict[str, torch.nn.Module]) -> Backbone:
    """Copy every tensor of ``card`` into the modules that hold the backbone; return the whole network with their tensors.

    Raises:
        ValueError: the tensors of all modules together differ in name or shape from the card's.
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
    """Fill ``whole`` from the tensors of ``parts``, which must hold each of them once, and return it."""
    state = {f"{prefix}{name}": value for prefix, module in parts.items() for name, value in module.state_dict().items()}
    whole.load_state_dict(state, strict=True)
    return whole


def downstream_preprocessor(model, loader: dict) -> Callable[[Tensor], Tensor]:
    """Return a function that prepares an image as downstream: ``loader`` reads a file, then ``model``'s preprocessor acts.

    The function takes a uint8 RGB image (3, H, W) and returns float (1, 3, H, W) on the CPU.
    """

    def preprocess(image: Tensor) -> Tensor:
        transform = TRANSFORMS.build(copy.deepcopy(loader))
        with tempfile.TemporaryDirectory() as folder:
            path = str(Path(folder) / "probe.png")
            cv2.imwrite(path, image.numpy()[::-1].transpose(1, 2, 0))  # OpenCV writes BGR
            array = transform({"img_path": path})["img"]
        pixels = torch.from_numpy(np.ascontiguousarray(array.transpose(2, 0, 1)))
        data = model.data_preprocessor({"inputs": [pixels], "data_samples": None}, training=False)
        return data["inputs"].float().cpu()

    return preprocess


def certify(net: Backbone, card: BackboneCard, preprocess: Callable[[Tensor], Tensor]) -> float:
    """Return the largest absolute difference between the card's probe and the features of ``net`` for the same image.

    All stages are compared at output stride 32. If ``net`` is dilated, its own stages before the dilation are compared as well.

    Args:
        net: the backbone inside a detector or segmenter, filled from the card.
        card: the card.
        preprocess: uint8 RGB (3, H, W) to float (1, 3, H, W), as for downstream images.

    Raises:
        ValueError: the difference is above ``TOLERANCE``, or a tensor of the network is not the card's.
    """
    for name, tensor in net.state_dict().items():
        if not torch.equal(tensor.cpu(), card.weights[name]):
            raise ValueError(f"Card {card.path}: the tensor {name} of the backbone is not the card's; it was not placed.")
    inputs = preprocess(probe_image())
    features = [*enumerate(probe_features(net, inputs)), *_undilated_stages(net, inputs)]
    worst = 0.0
    for i, feature in features:
        error = difference(feature, card.probe[i])
        worst = max(worst, error)
        if not error <= TOLERANCE:  # not "error > TOLERANCE", which NaN would pass
            raise ValueError(
                f"Card {card.path}: transfer refused, since stage {i + 1} of the backbone gives features that differ by "
                f"{error:.2g} from the pretraining's own (allowed {TOLERANCE:.0e}) for the same image: the architecture "
                f"(variant), mean, std or channel order is not the one it was trained with; {ANEW}."
            )
    return worst


@torch.no_grad()
def _undilated_stages(net: Backbone, inputs: Tensor) -> Iterator[tuple[int, Tensor]]:
    """Yield (index, features) of the outputs of ``net`` itself that come before any dilation."""
    copied = copy.deepcopy(net).cpu().double().eval()
    outputs = dict(zip(net.out_indices, copied(inputs.double()), strict=True))
    for i, output in outputs.items():
        if i < net.first_dilated:
            yield i, output.float()
