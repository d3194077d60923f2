"""Import whole networks of timm and torchvision with their weights."""

from importlib.metadata import version

import torch
from torch import nn

from backbones.interchange.imported import Imported
from backbones.interchange.key_maps import feature_names, fill
from backbones.interchange.reference_networks import (
    arch_of,
    timm_stock,
    torchvision_stock,
    torchvision_weights,
)
from backbones.networks.factory import build
from backbones.networks.resnet import ResNet

TIMM, TORCHVISION = "timm:", "torchvision:"


def published_top1(name: str) -> float:
    """Return the top-1 of torchvision's weights on ImageNet's validation set, in percent, as torchvision states it."""
    return torchvision_weights(name).meta["_metrics"]["ImageNet-1K"]["acc@1"]


def from_timm(whole: nn.Module, **given) -> Imported:
    """Import a network of ``timm.create_model`` with its weights; the facts come from its ``pretrained_cfg``."""
    cfg = whole.pretrained_cfg
    name, tag = cfg["architecture"], cfg.get("tag")
    facts = {
        "mean": _to_255(cfg["mean"]),
        "std": _to_255(cfg["std"]),
        "channel_order": "rgb",
        "input_size": cfg["input_size"][-1],
        "resampler": cfg["interpolation"],
    }
    source = {"imported": TIMM + name + (f".{tag}" if tag else ""), "library": f"timm {version('timm')}"}
    source["crop_pct"] = cfg["crop_pct"]
    return _from_whole(whole, name, whole.get_classifier(), timm_stock, facts | given, source)


def from_torchvision(whole: nn.Module, name: str, **given) -> Imported:
    """Import a ResNet of torchvision with its weights; the facts are those of the weights ``name``."""
    weights = torchvision_weights(name)
    transform, base = weights.transforms(), name.split(".")[0]
    size = transform.crop_size[0]
    facts = {
        "mean": _to_255(transform.mean),
        "std": _to_255(transform.std),
        "channel_order": "rgb",
        "input_size": size,
        "resampler": transform.interpolation.value,
    }
    source = {"imported": f"{TORCHVISION}{base}.{weights.name}", "library": f"torchvision {version('torchvision')}"}
    source["crop_pct"] = round(size / transform.resize_size[0], 3)
    return _from_whole(whole, base, whole.fc, torchvision_stock, facts | given, source)


def _to_255(values) -> list[float]:
    return [round(255 * value, 4) for value in values]


def _from_whole(whole: nn.Module, name: str, head: nn.Module, stock, facts: dict, source: dict) -> Imported:
    """Fill our network from ``whole``, the network ``name`` of a library, whose last layer is ``head``.

    The six parameters are all that differs between the libraries.
    """
    net = build(arch_of(name))
    prefix = next((f"{path}." for path, module in whole.named_modules() if module is head), "none")
    state = {k: v for k, v in whole.state_dict().items() if not k.startswith(prefix)}
    names = {k: k for k in state}
    if not isinstance(net, ResNet):
        names = {theirs: f"net.{ours}" for theirs, ours in feature_names(whole, net.net).items()}
    fill(source["imported"], {ours: state[theirs] for theirs, ours in names.items()}, net)
    classifier = None
    if isinstance(head, nn.Linear):
        bias = torch.zeros(head.out_features) if head.bias is None else head.bias
        classifier = {"weight": head.weight.detach().float(), "bias": bias.detach().float()}
    source["classes"] = head.out_features if classifier else None
    imported = Imported(net, stock(whole), facts | {"classifier": classifier, "source": source})
    return imported.leave_out(sorted({k.rsplit(".", 1)[0] for k in state if k not in names}))
