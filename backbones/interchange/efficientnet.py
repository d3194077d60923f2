"""Give the tensors of efficientnet_pytorch (github.com/lukemelas) the names of timm's ``tf_efficientnet_*``.

Both are TensorFlow's EfficientNet: padding SAME, and BN with eps 1e-3. Padding is computed from each map in timm, and once, from
the network's own image size, in efficientnet_pytorch: features are equal where both give the same padding, as at that size.
The Lite networks are those of efficientnet_lite_pytorch (github.com/ml-illustrated), which has the same names.
"""

import re
from collections.abc import Iterable

import timm
import torch
from torch import Tensor

from backbones.interchange.key_maps import COUNTER

ANCHOR = "_blocks.0._depthwise_conv.weight"  # a tensor that every such network has
EXPANDING = dict(_expand_conv="conv_pw", _bn0="bn1", _depthwise_conv="conv_dw", _bn1="bn2", _project_conv="conv_pwl", _bn2="bn3")
PLAIN = dict(_depthwise_conv="conv_dw", _bn1="bn1", _project_conv="conv_pw", _bn2="bn2")  # a block that does not expand
ALIKE = dict(_se_reduce="se.conv_reduce", _se_expand="se.conv_expand")
OUTSIDE = dict(_conv_stem="conv_stem", _bn0="bn1", _conv_head="conv_head", _bn1="bn2", _fc="classifier")


def timm_names(tensors: dict[str, Tensor], expected: Iterable[str]) -> dict[str, Tensor]:
    """Return ``tensors`` of efficientnet_pytorch under timm's names.

    Args:
        tensors: by name.
        expected: the names of timm's network, in whose order its blocks are counted.
    """
    places = list(dict.fromkeys(match[0] for name in expected if (match := re.match(r"blocks\.\d+\.\d+", name))))
    return {_timm_name(name, tensors, places): tensor for name, tensor in tensors.items()}


def _timm_name(name: str, tensors: dict[str, Tensor], places: list[str]) -> str:
    match = re.match(r"_blocks\.(\d+)\.(\w+)\.(.+)", name)
    if not match:
        module, _, rest = name.partition(".")
        return f"{OUTSIDE.get(module, module)}.{rest}"
    number, module, rest = int(match[1]), match[2], match[3]
    layers = EXPANDING if f"_blocks.{number}._expand_conv.weight" in tensors else PLAIN
    place = places[number] if number < len(places) else f"_blocks.{number}"
    return f"{place}.{(layers | ALIKE).get(module, module)}.{rest}"


def network_of(where: str, tensors: dict[str, Tensor]) -> str:
    """Return the network of timm that has the shapes of ``tensors``, as 'timm:NAME'.

    Raises:
        ValueError: timm has none.
    """
    excites = any("._se_reduce." in name for name in tensors)  # Lite networks have no squeeze-and-excitation
    family = r"tf_efficientnet_(b\d|l2)" if excites else r"tf_efficientnet_lite\d"
    names = [name for name in timm.list_models("tf_efficientnet_*") if re.fullmatch(family, name)]
    for name in names:
        with torch.device("meta"):
            expected = timm.create_model(name, num_classes=0).state_dict()
        if _shapes(timm_names(tensors, expected)) == _shapes(expected):
            return f"timm:{name}"
    squeeze = "with" if excites else "without"
    raise ValueError(
        f"{where} has the names of efficientnet_pytorch, {squeeze} squeeze-and-excitation, but the tensors of none of {names[0]} "
        f"to {names[-1]} of timm; give a file of one of these."
    )


def _shapes(tensors: dict[str, Tensor]) -> dict[str, torch.Size]:
    """Return the shapes of all tensors but those of the classifier and BN's counters, which a file may lack."""
    return {name: t.shape for name, t in tensors.items() if not name.startswith("classifier.") and not name.endswith(COUNTER)}
