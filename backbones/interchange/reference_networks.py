"""Build the networks of timm, torchvision and mmseg with which ours are compared on import and export.

A network is named as its library names it, with or without a tag for its weights: 'resnet50d.gluon_in1k' in timm,
'resnet50.IMAGENET1K_V1' in torchvision.
"""

import difflib
import logging
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module

import timm
import torch
import torchvision
from torch import Tensor, nn
from torchvision.models._utils import IntermediateLayerGetter

from backbones.interchange.key_maps import fill
from backbones.networks.architecture import check_arch
from backbones.networks.resnet import BASIC_DEPTHS, BLOCKS

STAGES = ("layer1", "layer2", "layer3", "layer4")
# ResNets that torchvision and timm both have, with the same names for the networks and for their tensors
IN_BOTH = ("resnext50_32x4d", "resnext101_32x8d", "resnext101_64x4d", "wide_resnet50_2", "wide_resnet101_2")
MM_TYPES = {"a": "ResNet", "b": "ResNet", "c": "ResNetV1c", "d": "ResNetV1d"}


@dataclass
class Stock:
    """Hold a network of another library with given weights, in evaluation mode and float64.

    Args:
        package: 'timm', 'torchvision' or 'mmseg'.
        features: maps (1, 3, H, W) to the feature maps of the four stages.
        logits: maps (1, 3, H, W) to (1, K); None without a classifier.
    """

    package: str
    features: Callable[[Tensor], Sequence[Tensor]]
    logits: Callable[[Tensor], Tensor] | None = None


def preprocessor(mean: Sequence[float], std: Sequence[float], channel_order: str) -> Callable[[Tensor], Tensor]:
    """Return a function that prepares an image: uint8 (1, 3, H, W) RGB to float32 in ``channel_order``, (x - mean) / std."""
    means, stds = (torch.tensor(values, dtype=torch.float32).view(3, 1, 1) for values in (mean, std))

    def preprocess(image: Tensor) -> Tensor:
        image = image.flip(1) if channel_order == "bgr" else image
        return (image.float() - means) / stds

    return preprocess


def timm_stock(whole: nn.Module) -> Stock:
    """Wrap timm's ``whole`` network; the features are those of its ``features_only`` form, which timm itself fills."""
    overlay = dict(state_dict=dict(whole.state_dict()), custom_load=False, label_offset=0)
    logging.disable(logging.WARNING)  # timm warns that the classifier is left over
    try:
        name = whole.pretrained_cfg["architecture"]
        features = timm.create_model(name, features_only=True, pretrained=True, pretrained_cfg_overlay=overlay)
    finally:
        logging.disable(logging.NOTSET)
    features, whole = _fixed(features), _fixed(whole)
    return Stock("timm", lambda x: features(x)[-4:], whole if whole.num_classes else None)


def torchvision_stock(whole: nn.Module) -> Stock:
    """Wrap torchvision's ``whole`` ResNet or ResNeXt."""
    whole = _fixed(whole)
    features = IntermediateLayerGetter(whole, {name: name for name in STAGES})
    logits = whole if isinstance(whole.fc, nn.Linear) else None
    return Stock("torchvision", lambda x: tuple(features(x).values()), logits)


def mm_stock(arch: dict, state: dict[str, Tensor]) -> Stock:
    """Build mmseg's ResNet, ResNetV1c or ResNetV1d of our ``arch``, and load it strictly from ``state``, under mm's names.

    The networks of mmdet compute the same features. mm has no depth 26.
    """
    import_module("backbones.mmcv_ops")  # before mmseg
    arguments = mm_arguments(arch)
    net = getattr(import_module("mmseg.models.backbones"), arguments.pop("type"))(**arguments)
    fill("The file", state, net, arch)
    return Stock("mmseg", _fixed(net))


def _fixed(net: nn.Module) -> nn.Module:
    net.double().eval()  # as a statement: eval of mmseg's networks returns None
    return net


def mm_arguments(arch: dict, library: str = "mmseg") -> dict:
    """Return the config of the backbone of mmseg or mmdet for our ResNet's ``arch``; mmdet has no ResNetV1c."""
    variant, width = arch["variant"], arch["base_channels"]
    arguments = dict(type=MM_TYPES[variant], depth=arch["depth"], style="caffe" if variant == "a" else "pytorch")
    if library == "mmdet" and variant == "c":
        arguments.update(type="ResNet", deep_stem=True)
    if width != 64:
        arguments.update(base_channels=width, stem_channels=width)
    return arguments


# ---- names of networks in other libraries


def resnet_arch(name: str) -> dict | None:
    """Return the ``arch`` of our ResNet for a name of timm or torchvision such as 'resnet50d'; None for any other network."""
    match = re.fullmatch(r"resnet(\d+)([cd]?)", name)
    if not match or int(match[1]) not in BLOCKS:
        return None
    return {"depth": int(match[1]), "variant": match[2] or "b", "base_channels": 64}


def arch_of(name: str) -> dict:
    """Return the ``arch`` for a name of timm or torchvision: of our ResNet if it is the same network, else of timm's."""
    base = name.split(".")[0]
    return resnet_arch(base) or {"name": base, "width": 1.0}


def timm_name(arch: dict) -> str | None:
    """Return the name in timm of the network with the arguments ``arch``; None if timm lacks it."""
    if "name" in arch:
        return arch["name"] if arch["width"] == 1 else None
    variant = arch["variant"]
    if variant == "a" and arch["depth"] in BASIC_DEPTHS:  # at these depths a and b are the same network
        variant = "b"
    name = f"resnet{arch['depth']}{'' if variant == 'b' else variant}"
    return name if arch["base_channels"] == 64 and variant != "a" and timm.is_model(name) else None


def torchvision_name(arch: dict) -> str | None:
    """Return the name in torchvision of the network with the arguments ``arch``; None if torchvision lacks it."""
    name = timm_name(arch)
    return name if name in torchvision_names() else None


def torchvision_names() -> list[str]:
    """Return the names of the supported networks of torchvision: its ResNets, and those of ``IN_BOTH``."""
    return [n for n in torchvision.models.list_models(torchvision.models) if resnet_arch(n) or n in IN_BOTH]


# ---- whole networks, with their classifiers


def timm_config(name: str):
    """Return timm's own facts of the weights ``name``, a ``PretrainedCfg``.

    Raises:
        ValueError: timm has no such network or weights; names the nearest.
    """
    base = name.split(".")[0]
    if not timm.is_model(base):
        near = difflib.get_close_matches(base, timm.list_models(), n=3, cutoff=0.4) or ["see timm.list_models()"]
        raise ValueError(f"timm has no network {base!r}; nearest: {', '.join(near)}.")
    tags = timm.list_pretrained(f"{base}.*")
    if "." in name and name not in tags:
        raise ValueError(f"timm has no weights {name!r}; it has {', '.join(tags) or f'none of {base}'}.")
    return timm.models.get_pretrained_cfg(name)


def check_network(network: str) -> None:
    """Refuse a network 'timm:NAME' or 'torchvision:NAME', with or without a tag, that cannot be a backbone.

    Raises:
        ValueError: the library has no such network or weights, or the network is not supported, see ``check_arch``.
    """
    library, name = network.split(":", 1)
    if library == "torchvision":
        torchvision_weights(name)
        return
    timm_config(name)
    check_arch(arch_of(name))


def full_name(network: str) -> str:
    """Return the name of weights with a tag, of the library's default ones if there is none; see ``check_network``."""
    library, name = network.split(":", 1)
    if library == "torchvision":
        return f"{library}:{name.split('.')[0]}.{torchvision_weights(name).name}"
    config = timm_config(name)
    return f"{library}:{config.architecture}.{config.tag}" if config.has_weights else network


def named_network(network: str) -> nn.Module:
    """Return a network that ``check_network`` accepts, without weights and classifier, on the meta device."""
    library, name = network.split(":", 1)
    with torch.device("meta"):
        if library == "timm":
            return timm.create_model(name.split(".")[0], num_classes=0)
        whole = torchvision.models.get_model(name.split(".")[0])
    whole.fc = nn.Identity()
    return whole


def timm_whole(where: str, name: str, state: dict[str, Tensor]) -> tuple[nn.Module, list[str]]:
    """Return timm's whole network ``name``, filled strictly from ``state``, and notes; no classifier if ``state`` has none."""
    weight = state.get(f"{timm_config(name).classifier}.weight")
    whole = timm.create_model(name, num_classes=0 if weight is None else len(weight))
    return whole, fill(where, state, whole, arch_of(name))


def torchvision_weights(name: str):
    """Return torchvision's entry of the weights ``name``, a ``WeightsEnum``; without a tag, the default weights.

    Raises:
        ValueError: the network is not among ``torchvision_names``, or has no such weights; names the alternatives.
    """
    base, _, tag = name.partition(".")
    if base not in torchvision_names():
        allowed = ", ".join(torchvision_names())
        raise ValueError(f"{base!r} is no ResNet of torchvision; allowed: {allowed}; timm has others (timm:*.tv_in1k).")
    entries = torchvision.models.get_model_weights(base)
    if tag and tag not in entries.__members__:
        tags = ", ".join(f"{base}.{t}" for t in entries.__members__)
        raise ValueError(f"torchvision has no weights {name!r}; it has {tags}.")
    return entries[tag] if tag else entries.DEFAULT


def torchvision_file(sha256: str) -> str | None:
    """Return as 'NAME.TAG' the weights of torchvision with this sha256, whose first 8 digits end the name of each file."""
    for base in torchvision_names():
        for weights in torchvision.models.get_model_weights(base):
            if weights.url.endswith(f"-{sha256[:8]}.pth"):
                return f"{base}.{weights.name}"
    return None


def torchvision_whole(where: str, name: str, state: dict[str, Tensor]) -> tuple[nn.Module, list[str]]:
    """Return torchvision's whole network ``name``, filled strictly from ``state``, and notes; without ``fc`` if there is none."""
    torchvision_weights(name)  # refuses an unknown name
    weight = state.get("fc.weight")
    whole = torchvision.models.get_model(name.split(".")[0], num_classes=1 if weight is None else len(weight))
    if weight is None:
        whole.fc = nn.Identity()
    return whole, fill(where, state, whole, arch_of(name))
