"""Translate the names that other libraries give to the tensors of a ResNet, and infer a network from its tensors.

Ours are those of timm, and for variants a and b those of torchvision and mm too. Deep stems differ: mmdet and mmseg have
``stem.{0,1,3,4,6,7}``, mmpretrain ``stem.{0,1,2}.{conv,bn}``, timm ``conv1.{0,1,3,4,6}`` and ``bn1``.
"""

import re

import torch
from torch import Tensor, nn

from backbones.common.tensors import check_finite, check_names
from backbones.networks.factory import describe
from backbones.networks.resnet import BASIC_DEPTHS, BLOCKS

HEADS = ("fc", "head.fc", "classifier")  # the layer after the pooling: torchvision, timm and ours; mmpretrain; others of timm
COUNTER = ".num_batches_tracked"
STEM = (0, 1, 3, 4, 6, 7)  # conv, bn, conv, bn, conv, bn of a deep stem; a ReLU at 2, 5 and 8


def split(state: dict[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor] | None, list[str]]:
    """Divide the tensors of a file into backbone, classifier, and other parts.

    If some names start with 'backbone.', those are the backbone and all others are heads. Otherwise all tensors but the
    classifier are the backbone.

    Returns:
        The backbone's tensors without that prefix; the classifier as {'weight': (K, C), 'bias': (K,)}, or None; the names of the
        other parts ('decode_head', 'rpn_head', ...).
    """
    backbone = {k.removeprefix("backbone."): v for k, v in state.items() if k.startswith("backbone.")}
    heads = {k: v for k, v in state.items() if not k.startswith("backbone.")} if backbone else {}
    backbone = backbone or dict(state)
    classifier = None
    for head in HEADS:
        tensors = next((part for part in (heads, backbone) if _is_classifier(part, head)), None)
        if tensors is not None and classifier is None:
            classifier = {"weight": tensors.pop(f"{head}.weight"), "bias": tensors.pop(f"{head}.bias")}
    return backbone, classifier, sorted({k.split(".")[0] for k in heads})


def _is_classifier(tensors: dict[str, Tensor], head: str) -> bool:
    weight, bias = (tensors.get(f"{head}.{name}") for name in ("weight", "bias"))
    return weight is not None and bias is not None and weight.ndim == 2 and weight.shape[:1] == bias.shape


def our_names(state: dict[str, Tensor]) -> tuple[dict[str, Tensor], str]:
    """Return the tensors of a ResNet under our names, and the origin of their names: 'mmpretrain', 'mm' or 'torchvision'.

    'torchvision' stands for every library with our names: torchvision, timm, and all of them at variants a and b.
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
    """Return the tensors of our ``ResNet`` under the names of mmdet and mmseg."""
    if "conv1.weight" in weights:
        return dict(weights)
    stem = {"conv1.": "stem.", "bn1.": f"stem.{STEM[-1]}."}
    renamed = {}
    for name, tensor in weights.items():
        prefix = next((p for p in stem if name.startswith(p)), "")
        renamed[stem.get(prefix, "") + name.removeprefix(prefix)] = tensor
    return renamed


def infer_arch(where: str, weights: dict[str, Tensor], variant: str | None) -> dict:
    """Infer depth, variant and width of the ResNet with these tensors, under our names.

    Args:
        where: the file, for messages.
        weights: by name; names and shapes determine the network, except for a or b.
        variant: stated by the user, or None.

    Raises:
        ValueError: these are not the tensors of a ResNet; the variant is a or b and not stated; or it is not ``variant``.
    """
    counts = tuple(len({k.split(".")[1] for k in weights if k.startswith(f"layer{i}.")}) for i in range(1, 5))
    basic = not _is_conv(weights, "layer1.0.conv3")
    depth = next((d for d, blocks in BLOCKS.items() if blocks == counts and basic == (d in BASIC_DEPTHS)), None)
    if depth is None or not _is_conv(weights, "layer1.0.conv1"):
        raise ValueError(
            f"{where} holds no ResNet of depth {', '.join(map(str, BLOCKS))} (blocks in layer1 to layer4: {counts}; first names: "
            f"{', '.join(list(weights)[:3])}); for another network of timm add --network timm:NAME."
        )
    inferred = _infer_variant(weights, depth)
    if inferred and variant not in (None, inferred) and not (inferred == "b" and variant == "a"):
        raise ValueError(f"{where} holds the tensors of variant {inferred}, not of {variant}; leave out --variant.")
    if not (variant := variant or inferred):
        raise ValueError(
            f"{where} can be variant a or b, which have the same tensors and compute different features; add --variant b (stride "
            "in the 3x3 convolution: torchvision, timm, style='pytorch' of mm) or --variant a (stride in the first 1x1: "
            "style='caffe' of mm, the original ResNet)."
        )
    if not inferred and variant not in "ab":
        raise ValueError(f"{where} holds the tensors of variant a or b, not of {variant}; give one of these as --variant.")
    return {"depth": depth, "variant": variant, "base_channels": weights["layer1.0.conv1.weight"].shape[0]}


def _infer_variant(weights: dict[str, Tensor], depth: int) -> str | None:
    """Return the variant that the tensors show; None if it is a or b. At ``BASIC_DEPTHS`` a and b are the same network."""
    if _is_conv(weights, "layer2.0.downsample.1"):
        return "d"
    if _is_conv(weights, "conv1.0"):
        return "c"
    return "b" if depth in BASIC_DEPTHS else None


def fill(where: str, weights: dict[str, Tensor], net: nn.Module, arch: dict | None = None) -> list[str]:
    """Copy ``weights`` into ``net``, every tensor and no other; return sentences on added and converted tensors.

    Args:
        where: the file, for messages.
        weights: under the names of ``net``.
        net: a backbone, or a network with a classifier.
        arch: of the network, for messages; None if ``net`` is one of our backbones.

    Raises:
        ValueError: a tensor is missing, left over or of another shape.
    """
    expected, notes = net.state_dict(), []
    if not any(k.endswith(COUNTER) for k in weights):
        # before torch 0.4.1 no BN counted its batches; the count has no effect at a fixed momentum, which all networks here have
        counters = {k: torch.tensor(0) for k in expected if k.endswith(COUNTER)}
        weights = weights | counters
        if counters:
            notes.append("The counters of BN (num_batches_tracked) are not in the file; they are set to 0.")
    check_names(where, weights, expected, describe(arch or net.arch))
    check_finite(where, weights)
    net.load_state_dict(weights, strict=True)
    dtypes = {str(v.dtype) for v in weights.values() if v.is_floating_point()} - {"torch.float32"}
    if dtypes:
        notes.append(f"Tensors of {', '.join(sorted(dtypes))} are converted to float32.")
    return notes


def feature_names(full: nn.Module, features: nn.Module) -> dict[str, str]:
    """Map names of timm's whole network to names in its ``features_only`` form, for the tensors of that form.

    timm may rename ``features.norm0`` to ``features_norm0``, or add the prefix ``model.`` or ``body.``.
    """
    flat = {name.replace(".", "_"): name for name in full.state_dict()}
    assert len(flat) == len(full.state_dict())
    names = {}
    for name in features.state_dict():
        short = name.replace(".", "_")
        whole = next(flat[s] for s in (short, short.removeprefix("model_"), short.removeprefix("body_")) if s in flat)
        names[whole] = name
    return names
