"""Translate the names that other libraries give to the tensors of a network, and infer a ResNet from its tensors.

Ours are those of timm, and for variants a and b those of torchvision and mm too. Deep stems differ: mmdet and mmseg have
``stem.{0,1,3,4,6,7}``, mmpretrain ``stem.{0,1,2}.{conv,bn}``, timm ``conv1.{0,1,3,4,6}`` and ``bn1``. detectron2 has
``res2.0.conv1.norm`` and ``shortcut`` for ``layer1.0.bn1`` and ``downsample``; lightly numbers the children of a torchvision
ResNet, without names: ``0``, ``1``, ``4`` .. ``7``.
"""

import re

import torch
from torch import Tensor, nn

from backbones.networks.factory import describe
from backbones.networks.resnet import BASIC_DEPTHS, BLOCKS
from backbones.tensors import check_names, check_values, shown

# the layer after the pooling: torchvision, timm and ours; mmpretrain; others of timm; detectron2
CLASSIFIERS = ("fc", "head.fc", "classifier", "stem.fc")
PARTS = ("conv1", "bn1", "stem", "layer1", "layer2", "layer3", "layer4")  # of a ResNet, by our names, mm's or mmpretrain's
ANCHORS = {  # a tensor that every ResNet has: the same in all libraries but two
    "layer1.0.conv1.weight": "torchvision",
    "res2.0.conv1.weight": "detectron2",
    "4.0.conv1.weight": "sequential",
}
CHILDREN = {"0": "conv1", "1": "bn1", "4": "layer1", "5": "layer2", "6": "layer3", "7": "layer4"}  # 2, 3: ReLU and pooling
DETECTRON2 = (
    (r"^stem\.", ""),
    (r"^res([2-5])\.", lambda match: f"layer{int(match[1]) - 1}."),
    (r"\bconv([123])\.norm\.", r"bn\1."),
    (r"\bshortcut\.norm\.", "downsample.1."),
    (r"\bshortcut\.", "downsample.0."),
)
COUNTER = ".num_batches_tracked"
STEM = (0, 1, 3, 4, 6, 7)  # conv, bn, conv, bn, conv, bn of a deep stem; a ReLU at 2, 5 and 8


def classifier_of(state: dict[str, Tensor], head: str) -> dict[str, Tensor] | None:
    """Return the layer ``head`` of a state dict as {'weight': (K, C), 'bias': (K,)}; None if it is no such layer."""
    weight, bias = (state.get(f"{head}.{name}") for name in ("weight", "bias"))
    fits = weight is not None and bias is not None and weight.ndim == 2 and weight.shape[:1] == bias.shape and len(bias) > 0
    return {"weight": weight, "bias": bias} if fits else None


def our_names(state: dict[str, Tensor]) -> tuple[dict[str, Tensor], str]:
    """Return the tensors of a ResNet under our names, and the origin of their names, such as 'mmpretrain' or 'mm'.

    'torchvision' stands for every library with our names: torchvision, timm, and most at variants a and b.
    """
    style = next((style for anchor, style in ANCHORS.items() if anchor in state), "torchvision")
    if style == "detectron2":
        return {_from_detectron2(k): v for k, v in state.items()}, style
    if style == "sequential":
        return {_from_child(k): v for k, v in state.items()}, style
    if any(re.match(r"stem\.\d\.(conv|bn)\.", k) for k in state):
        # mmpretrain's D has no pool in the shortcut of stage 1, where its stride would be 1
        shift = _is_conv(state, "layer2.0.downsample.1") and _is_conv(state, "layer1.0.downsample.0")
        return {_from_mmpretrain(k, shift): v for k, v in state.items()}, "mmpretrain"
    if any(k.startswith("stem.") for k in state):
        return {re.sub(r"^stem\.(\d+)\.", _from_mm, k): v for k, v in state.items()}, "mm"
    return state, "torchvision"


def _from_detectron2(name: str) -> str:
    for pattern, replacement in DETECTRON2:
        name = re.sub(pattern, replacement, name)
    return name


def _from_child(name: str) -> str:
    child, dot, rest = name.partition(".")
    return CHILDREN.get(child, child) + dot + rest


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


class OpenVariant(ValueError):
    """Say that a file can be variant a or b of a ResNet, and that nobody has said which."""


def infer_arch(where: str, weights: dict[str, Tensor], variant: str | None) -> dict:
    """Infer depth, variant and width of the ResNet with these tensors, under our names.

    Args:
        where: the file, for messages.
        weights: by name; names and shapes determine the network, except for a or b.
        variant: stated by the user, or None.

    Raises:
        ValueError: these are not the tensors of a ResNet; the variant is a or b and not stated, or is not ``variant``.
    """
    counts = tuple(len({k.split(".")[1] for k in weights if k.startswith(f"layer{i}.")}) for i in range(1, 5))
    basic = not _is_conv(weights, "layer1.0.conv3")
    depth = next((d for d, blocks in BLOCKS.items() if blocks == counts and basic == (d in BASIC_DEPTHS)), None)
    if depth is None or not _is_conv(weights, "layer1.0.conv1"):
        raise ValueError(
            f"{where} holds no ResNet of depth {', '.join(map(str, BLOCKS))} (blocks in layer1 to layer4: {counts}; first names: "
            f"{', '.join(map(shown, list(weights)[:3]))}); if timm has this network, add --network timm:NAME."
        )
    inferred = _infer_variant(weights, depth)
    if inferred and variant not in (None, inferred) and not (inferred == "b" and variant == "a"):
        raise ValueError(f"{where} holds the tensors of variant {inferred}, not of {variant}; leave out --variant.")
    if not (variant := variant or inferred):
        raise OpenVariant(
            f"{where} can be variant a or b, which have the same tensors and compute different features; add --variant b (stride "
            "in the 3x3 convolution: torchvision, timm, style='pytorch' of mm) or --variant a (stride in the first 1x1: "
            "style='caffe' of mm, the original ResNet)."
        )
    if not inferred and variant not in "ab":
        raise ValueError(f"{where} holds the tensors of variant a or b, not of {variant}; give one of these as --variant.")
    if (width := weights["layer1.0.conv1.weight"].shape[0]) < 2 or width % 2:
        raise ValueError(f"{where} holds no ResNet: layer1.0.conv1.weight has {width} output channels, and not an even number.")
    return {"depth": depth, "variant": variant, "base_channels": width}


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
        ValueError: a tensor is missing, left over or of another shape, or holds NaN or infinite values.
    """
    weights, notes = completed(where, weights, net.state_dict(), arch or net.arch)
    net.load_state_dict(weights, strict=True)
    return notes


def completed(
    where: str, weights: dict[str, Tensor], expected: dict[str, Tensor], arch: dict
) -> tuple[dict[str, Tensor], list[str]]:
    """Return ``weights`` with the counters of BN, checked against the state dict ``expected``, and notes; see ``fill``."""
    notes = []
    if not any(k.endswith(COUNTER) for k in weights):
        # before torch 0.4.1 no BN counted its batches; the count has no effect at a fixed momentum, which all networks here have
        counters = {k: torch.tensor(0) for k in expected if k.endswith(COUNTER)}
        weights = weights | counters
        if counters:
            notes.append("The counters of BN (num_batches_tracked) are not in the file; they are set to 0.")
    check_names(where, weights, expected, describe(arch))
    check_values(where, weights, expected)
    dtypes = {str(v.dtype) for v in weights.values() if v.is_floating_point()} - {"torch.float32"}
    if dtypes:
        notes.append(f"Tensors of {', '.join(sorted(dtypes))} are converted to float32.")
    return weights, notes


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
