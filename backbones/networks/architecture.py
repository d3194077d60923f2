"""Derive a network's name, stage channels and config type from its arguments, without building it.

An ``arch`` is the dict of arguments that decide a network's weights: depth, variant and base_channels of a ``ResNet``, or name
and width of a ``TimmBackbone``. This module does not load torch on import, so that plans appear at once.
"""

from collections.abc import Mapping
from typing import Any

import msgspec

from backbones.common.fact_cache import cached, sources
from backbones.common.schema import Count, Positive


class Architecture(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """Declare an ``arch``."""

    depth: Count | None = None
    variant: str | None = None
    base_channels: Count | None = None
    name: str | None = None
    width: Positive | None = None


BLOCKS = {  # residual blocks of each stage, by depth
    18: (2, 2, 2, 2),
    26: (2, 2, 2, 2),
    34: (3, 4, 6, 3),
    50: (3, 4, 6, 3),
    101: (3, 4, 23, 3),
    152: (3, 8, 36, 3),
}
BASIC_DEPTHS = (18, 34)  # two 3x3 convolutions per block; at these depths variants a and b are the same network
VARIANTS = ("a", "b", "c", "d")
ARGUMENTS = ("depth", "variant", "base_channels", "name", "width")
ALIASES = {"mobilenetv1_100": "mobilenet"}  # timm's names of networks that the paper calls by another name


def type_of(arch: Mapping[str, Any]) -> str:
    """Return the ``type`` in a config of the network with the arguments ``arch``."""
    return "backbones.TimmBackbone" if "name" in arch else "backbones.ResNet"


def arch_of(backbone: Mapping[str, Any]) -> dict[str, Any]:
    """Return the ``arch`` of a config's ``model.backbone``."""
    return {key: backbone[key] for key in ARGUMENTS if key in backbone}


def network_name(backbone: Mapping[str, Any]) -> str:
    """Return the name in tables of a config's ``model.backbone``: resnet50, or timm's name."""
    if "depth" in backbone:
        return f"resnet{backbone['depth']}"
    name = backbone.get("name", str(backbone.get("type", "")))
    return ALIASES.get(name, name)


def channels_of(arch: Mapping[str, Any], **options) -> tuple[int, ...]:
    """Return the channels of the four stages of a network.

    Args:
        arch: arguments that decide the weights, see the module.
        options: other arguments of the network, such as ``output_stride``.

    Raises:
        ValueError: there is no such network, or it does not allow these options.
    """
    check_arch(arch)
    if "name" not in arch:
        expansion = 1 if arch["depth"] in BASIC_DEPTHS else 4
        return tuple(arch.get("base_channels", 64) * 2**stage * expansion for stage in range(4))
    plain = {key: list(value) if isinstance(value, tuple) else value for key, value in options.items()}
    facts = cached("channels", [dict(arch), plain, sources("backbones")], lambda: _built(arch, options))
    if "error" in facts:
        raise ValueError(facts["error"])
    return tuple(facts["channels"])


def check_arch(arch: Mapping[str, Any]) -> None:
    """Raise ValueError unless the keys of ``arch`` are those of one kind of network, and such a network is supported."""
    if "name" not in arch:
        _check_resnet(arch)
        return
    if extra := sorted(set(arch) - {"name", "width"}):
        raise ValueError(f"The network {arch['name']} of timm takes name and width, and no {', '.join(extra)}; leave these out.")
    check_timm_network(arch["name"])


def check_timm_network(name: Any) -> None:
    """Raise ValueError unless timm has a network ``name`` that can be a backbone, see ``timm_networks.fault_of``."""
    if not isinstance(name, str):
        raise ValueError(f"The name of the network is {name!r}; give that of a network of timm.")
    if fault := cached("timm-network", [name, sources("backbones")], lambda: _timm_fault(name))["fault"]:
        raise ValueError(fault)


def _timm_fault(name: str) -> dict[str, str | None]:
    from backbones.networks.timm_networks import fault_of  # here for load time

    return {"fault": fault_of(name)}


def _check_resnet(arch: Mapping[str, Any]) -> None:
    """Raise ValueError unless a ResNet can be built from ``arch``."""
    if arch.get("depth") not in BLOCKS:
        raise ValueError(f"ResNet: depth is {arch.get('depth')!r}; allowed: {', '.join(map(str, BLOCKS))}.")
    if arch.get("variant", "a") not in VARIANTS:
        raise ValueError(f"ResNet: variant is {arch['variant']!r}; allowed: {', '.join(VARIANTS)}.")
    width = arch.get("base_channels", 64)
    if not isinstance(width, int) or width < 2 or width % 2:
        raise ValueError(f"ResNet: base_channels is {width}; give an even number of at least 2.")


def _built(arch: Mapping[str, Any], options: Mapping[str, Any]) -> dict[str, Any]:
    import torch

    from backbones.networks.factory import build

    try:
        with torch.device("meta"):
            return {"channels": list(build(dict(arch), **options).channels)}
    except ValueError as error:
        return {"error": str(error)}
