"""Create networks of timm that give feature maps, and tell which of them detectors and segmenters cannot use."""

import difflib
import warnings

import timm
import torch
from torch import nn

STRIDES = [4, 8, 16, 32]
SIZES = ((96, 128), (160, 96))  # of images that a network must accept: that of the probe, and another
ADVICE = "take another, such as convnext_tiny, regnety_032 or a ResNet"  # in messages


def fault_of(name: str) -> str | None:
    """Say why timm's network ``name`` gives no feature maps at ``STRIDES`` for images of any size; None if it does.

    Any size is any multiple of 32 px, to which detectors pad. The network is tried on the meta device, without weights.
    """
    if "." in name or not timm.is_model(name):
        nearest = difflib.get_close_matches(name.split(".")[0], timm.list_models(), n=5, cutoff=0.5)
        hint = ", ".join(nearest or ["see timm.list_models()"])
        return f"timm has no network {name!r} (names go without a tag); nearest: {hint}."
    fault = _fault(name)
    return fault and f"The network {name} of timm {fault}, so {ADVICE}."


def create(name: str, output_stride: int = 32) -> nn.Module:
    """Return the ``features_only`` form of a network without a fault, see ``fault_of``.

    Raises:
        ValueError: the network cannot be dilated to that output stride.
    """
    if output_stride == 32:
        return timm.create_model(name, features_only=True)
    try:
        return timm.create_model(name, features_only=True, output_stride=output_stride)
    except (TypeError, RuntimeError, AttributeError, AssertionError, ValueError):
        raise ValueError(
            f"The network {name} cannot be dilated to an output stride of {output_stride}, as an FCN needs it; take a "
            "ResNet, or another network of timm that takes output_stride."
        ) from None


def _fault(name: str) -> str | None:
    """Return what keeps a network from being a backbone; None if it can be one.

    Whatever timm raises counts: each of its families checks the size of images in another way, or not at all.
    """
    with torch.device("meta"), torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            net = create(name).eval()
        except Exception as error:
            return f"gives no feature maps ({_first_line(error)})"
        strides = [level["reduction"] for level in net.feature_info.get_dicts()]
        if strides[-4:] != STRIDES:
            return f"has feature maps at strides {', '.join(map(str, strides))}; 4, 8, 16 and 32 are needed"
        native_size = timm.models.get_pretrained_cfg(name).input_size[1:]
        refused = [size for size in (*SIZES, native_size) if not _accepts(net, size)]
    if not refused:
        return None
    if native_size in refused:
        return f"does not accept images of {refused[0][1]} x {refused[0][0]} px"
    return f"accepts only images of a fixed size, such as {native_size[1]} x {native_size[0]} px; such networks are not supported"


def _accepts(net: nn.Module, size: tuple[int, int]) -> bool:
    try:
        net(torch.empty(1, 3, *size))
    except Exception:
        return False
    return True


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
