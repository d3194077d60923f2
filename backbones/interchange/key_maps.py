"""The names that other libraries give to the tensors of a ResNet, and what its tensors say of a network.

Ours are those of timm, and for variants a and b those of torchvision and mm too. Deep stems differ: mmdet and mmseg have
``stem.{0,1,3,4,6,7}``, mmpretrain ``stem.{0,1,2}.{conv,bn}``, timm ``conv1.{0,1,3,4,6}`` and ``bn1``.
"""

import re
from types import SimpleNamespace

import torch
from torch import Tensor, nn

from backbones.card import check_names
from backbones.networks.resnet import BASIC_DEPTHS, BLOCKS

HEADS = ("fc", "head.fc", "classifier")  # the layer after the pooling: torchvision, timm and ours; mmpretrain; others of timm
COUNTER = ".num_batches_tracked"
STEM = (0, 1, 3, 4, 6, 7)  # conv, bn, conv, bn, conv, bn of a deep stem; a ReLU at 2, 5 and 8


def split(state: dict[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor] | None, list[str]]:
    """Divides the tensors of a file into those of the backbone, the classifier, and other parts.

    Where some names start with 'backbone.', those are the backbone, and the rest are heads; elsewhere all is backbone but the
    classifier.

    Returns:
        The backbone's tensors without that prefix; the classifier as {'weight': (K, C), 'bias': (K,)}, or None; the names of the
        other parts ('decode_head', 'rpn_head', ...).
    """
    backbone = {k.removeprefix("backbone."): v for k, v in state.items() if k.startswith("backbone.")}
    rest = {k: v for k, v in state.items() if not k.startswith("backbone.")} if backbone else {}
    backbone = backbone or dict(state)
    classifier = None
    for head in HEADS:
        where = next((part for part in (rest, backbone) if _is_classifier(part, head)), None)
        if where is not None and classifier is None:
            classifier = {"weight": where.pop(f"{head}.weight"), "bias": where.pop(f"{head}.bias")}
    return backbone, classifier, sorted({k.split(".")[0] for k in rest})


def _is_classifier(tensors: dict[str, Tensor], head: str) -> bool:
    weight, bias = (tensors.get(f"{head}.{name}") for name in ("weight", "bias"))
    return weight is not None and bias is not None and weight.ndim == 2 and weight.shape[:1] == bias.shape


def our_names(state: dict[str, Tensor]) -> tuple[dict[str, Tensor], str]:
    """The tensors of a ResNet under our names, and whose names they had: 'mmpretrain', 'mm' or 'torchvision'.

    'torchvision' stands for all that name as we do: torchvision, timm, and every library at variants a and b.
    """
    if any(re.match(r"stem\.\d\.(conv|bn)\.", k) for k in state):
        # mmpretrain's D has no pool in the shortcut of stage 1, where its stride would be 1
        shift = _is_conv(state, "layer2.0.downsample.1") and _is_conv(state, "layer1.0.downsample.0")
        return {_from_mmpretrain(k, shift): v for k, v in state.items()}, "mmpretrain"
    if any(k.startswith("stem.") for k in state):
        return {re.sub(r"^stem\.(\d+)\.", _from_mm, k): v for k, v in state.items()}, "mm"
    return state, "torchvision"


def _is_conv(state: dict[str, Tensor], name: str) -> bool:
    return f"{name}.weight" in state and state[f"{name}.weight"].ndim == 4


def _from_mm(match: re.Match) -> str:
    return "bn1." if int(match[1]) == STEM[-1] else f"conv1.{match[1]}."


def _from_mmpretrain(name: str, shift: bool) -> str:
    if match := re.match(r"stem\.(\d)\.(conv|bn)\.", name):
        place = 3 * int(match[1]) + (match[2] == "bn")
        return ("bn1." if place == STEM[-1] else f"conv1.{place}.") + name[match.end() :]
    if shift and (match := re.match(r"layer1\.0\.downsample\.(\d)\.", name)):
        return f"layer1.0.downsample.{int(match[1]) + 1}." + name[match.end() :]
    return name


def mm_names(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of our ``ResNet`` under the names of mmdet's and mmseg's."""
    if "conv1.weight" in weights:
        return dict(weights)
    stem = {"conv1.": "stem.", "bn1.": f"stem.{STEM[-1]}."}
    renamed = {}
    for name, tensor in weights.items():
        ours = next((p for p in stem if name.startswith(p)), "")
        renamed[stem.get(ours, "") + name.removeprefix(ours)] = tensor
    return renamed


def infer_arch(where: str, weights: dict[str, Tensor], variant: str | None) -> dict:
    """Depth, variant and width of the ResNet with these tensors, under our names.

    Args:
        where: the file, for messages.
        weights: names and shapes tell all but a from b.
        variant: what the user says it is.

    Raises:
        ValueError: these are not the tensors of a ResNet; a or b, and nobody says which; another variant than ``variant``.
    """
    counts = tuple(len({k.split(".")[1] for k in weights if k.startswith(f"layer{i}.")}) for i in range(1, 5))
    basic = not _is_conv(weights, "layer1.0.conv3")
    depth = next((d for d, blocks in BLOCKS.items() if blocks == counts and basic == (d in BASIC_DEPTHS)), None)
    if depth is None or not _is_conv(weights, "layer1.0.conv1"):
        raise ValueError(
            f"{where} holds no ResNet of depth {', '.join(map(str, BLOCKS))} (blocks in layer1 to layer4: {counts}; first names: "
            f"{', '.join(list(weights)[:3])}); for another network of timm add --network timm:NAME."
        )
    deep, pooled = _is_conv(weights, "conv1.0"), _is_conv(weights, "layer2.0.downsample.1")
    told = "d" if pooled else "c" if deep else "b" if depth in BASIC_DEPTHS else None
    if told and variant not in (None, told) and not (told == "b" and variant == "a"):
        raise ValueError(f"{where} holds the tensors of variant {told}, not of {variant}; leave out --variant.")
    if not (variant := variant or told):
        raise ValueError(
            f"{where} can be variant a or b, which have the same tensors and compute different features; add --variant b (stride "
            "in the 3x3 convolution: torchvision, timm, style='pytorch' of mm) or --variant a (stride in the first 1x1: "
            "style='caffe' of mm, the original ResNet)."
        )
    if not told and variant not in "ab":
        raise ValueError(f"{where} holds the tensors of variant a or b, not of {variant}; give one of these as --variant.")
    return {"depth": depth, "variant": variant, "base_channels": weights["layer1.0.conv1.weight"].shape[0]}


def fill(where: str, weights: dict[str, Tensor], net: nn.Module, arch: dict | None = None) -> list[str]:
    """Copies ``weights`` into ``net``, every tensor and no other; returns sentences on what was added or converted.

    Args:
        where: the file, for messages.
        weights: under the names of ``net``.
        net: a backbone, or a network with a classifier.
        arch: says which network it is, where it is no backbone of ours.

    Raises:
        ValueError: a tensor is missing, left over or of another shape.
    """
    wanted, notes = net.state_dict(), []
    if not any(k.endswith(COUNTER) for k in weights):
        # before torch 0.4.1 no BN counted its batches; the count decides nothing where momentum is fixed, as it is here
        counters = {k: torch.tensor(0) for k in wanted if k.endswith(COUNTER)}
        weights = weights | counters
        notes += ["The counters of BN (num_batches_tracked) are not in the file; they are set to 0."] * bool(counters)
    check_names(where, weights, SimpleNamespace(state_dict=lambda: wanted, arch=arch or net.arch))
    kinds = {str(v.dtype) for v in weights.values() if v.is_floating_point()} - {"torch.float32"}
    net.load_state_dict(weights, strict=True)
    return notes + [f"Tensors of {', '.join(sorted(kinds))} are converted to float32."] * bool(kinds)


def feature_names(full: nn.Module, features: nn.Module) -> dict[str, str]:
    """Names of timm's whole network -> names in its ``features_only`` form, for the tensors that are in it.

    timm may write ``features.norm0`` as ``features_norm0``, or put ``model.`` or ``body.`` in front.
    """
    flat = {name.replace(".", "_"): name for name in full.state_dict()}
    assert len(flat) == len(full.state_dict())
    names = {}
    for name in features.state_dict():
        short = name.replace(".", "_")
        whole = next(flat[s] for s in (short, short.removeprefix("model_"), short.removeprefix("body_")) if s in flat)
        names[whole] = name
    return names
