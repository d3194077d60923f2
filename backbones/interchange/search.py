"""Find a network in the content of a checkpoint, under any prefix and in any inner dict.

A training script stores a network as it pleases: in ``state_dict``, ``model`` or deeper, with names after ``module.``,
``encoder_q.`` or ``backbone.``, beside heads, copies and metrics. The names inside the network are what all have in common.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from backbones.interchange.key_maps import CLASSIFIERS, classifier_of
from backbones.tensors import check_values, shown, storage_fault

# Wrappers that may stand anywhere in a name: torch.compile, FSDP, activation checkpointing
WRAPPERS = re.compile(r"(?:(?<=\.)|^)(?:_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)\.")
C4_STAGE = re.compile(r"(?:(?<=\.)|^)roi_heads\.res5\.")  # detectron2's C4 detectors have the last stage in their heads
SWAPPED = {"state_dict", "ema_state_dict"}  # mmengine's EMAHook swaps the two on saving
PROJECTORS = ("encoder_q", "encoder_k")  # MoCo's networks, whose ``fc`` is a projection and no classifier
AUXILIARY = ("AuxLogits",)  # auxiliary classifier of Inception-V3, which timm's network lacks
TOKENS = (  # of vision transformers
    *("cls_token", "class_token", "class_embedding"),
    *("pos_embed", "pos_embedding", "positional_embedding", "position_embeddings"),
)
PATCH = 8  # pixels a side of the smallest patches of vision transformers; kernels of other networks are smaller
WINDOWS = ("relative_position_bias_table", "cpb_mlp")  # of Swin and networks like it
FLOATS = torch.empty(0)  # stands for any floating-point tensor
LISTED = 8  # parts or networks that a message names
DEPTH = 16  # of dicts in dicts


@dataclass(frozen=True)
class Candidate:
    """A network in a file.

    Args:
        container: names of the dicts that lead to its state dict.
        prefix: that the names of its tensors have there, with its dot.
        state: the whole state dict.
    """

    container: tuple[str, ...]
    prefix: str
    state: dict[str, Tensor]

    @property
    def label(self) -> str:
        """The container and prefix, as ``--prefix`` takes them."""
        return ".".join([*self.container, *([self.prefix.rstrip(".")] if self.prefix else [])])

    @property
    def tensors(self) -> dict[str, Tensor]:
        """The tensors below the prefix, without it."""
        return {name.removeprefix(self.prefix): tensor for name, tensor in self.state.items() if name.startswith(self.prefix)}


@dataclass(frozen=True)
class Network:
    """The tensors of a network, taken out of a file.

    Args:
        label: where it lay.
        tensors: of the network, by their names in it.
        classifier: {'weight': (K, C), 'bias': (K,)}, or None.
        notes: sentences for the user on what was taken and left out.
    """

    label: str
    tensors: dict[str, Tensor]
    classifier: dict[str, Tensor] | None
    notes: list[str]


def states(content: dict) -> Iterator[tuple[tuple[str, ...], dict[str, Tensor]]]:
    """Yield every dict inside ``content``, down to ``DEPTH``, that holds tensors by name, with the names that lead to it."""
    stack, visited = [((), content)], set()
    while stack:
        path, node = stack.pop()
        if id(node) in visited or len(path) > DEPTH:
            continue
        visited.add(id(node))
        tensors = {name: _tensor(value) for name, value in node.items() if isinstance(name, str)}
        tensors = {C4_STAGE.sub("backbone.res5.", WRAPPERS.sub("", name)): t for name, t in tensors.items() if t is not None}
        if tensors:
            yield path, tensors
        inner = [(name, value) for name, value in node.items() if isinstance(name, str) and isinstance(value, dict)]
        stack.extend(((*path, name), value) for name, value in reversed(inner))


def _tensor(value: Any) -> Tensor | None:
    """Return ``value`` as a tensor; None if it is no tensor, or no array of numbers."""
    if isinstance(value, np.ndarray) and value.dtype.kind in "fiub":
        return torch.from_numpy(np.array(value, dtype=value.dtype.newbyteorder("=")))
    return value.detach() if isinstance(value, Tensor) else None


def candidates(content: dict, anchors: Iterable[str]) -> list[Candidate]:
    """Return every network in ``content`` that has a tensor named as one of ``anchors``, in the order of the file."""
    anchors, networks = tuple(anchors), []
    for path, state in states(content):
        prefixes = [name.removesuffix(a) for name in state for a in anchors if name == a or name.endswith(f".{a}")]
        networks += [Candidate(path, prefix, state) for prefix in dict.fromkeys(prefixes)]
    return networks


def transformer_in(tensors: dict[str, Tensor]) -> str | None:
    """Say which transformer a state dict holds, if it is of a kind that cannot be a backbone here; None otherwise."""
    layers = {part for name in tensors for part in name.split(".")}
    tokens = [layer for layer in TOKENS if layer in layers]
    patches = [t.shape[-1] for t in tensors.values() if t.ndim == 4 and t.shape[1] == 3 and t.shape[-1] >= PATCH]
    if tokens and patches:
        parts = f"{tokens[0]}, patches of {patches[0]} x {patches[0]} px"
        return f"a vision transformer ({parts}), which has no feature maps at strides 4, 8, 16 and 32"
    if windows := [layer for layer in WINDOWS if layer in layers]:
        return f"a Swin transformer or one like it ({windows[0]}), which in timm accepts only images of a fixed size"
    return None


def choose(where: str, networks: list[Candidate], prefix: str | None) -> tuple[Candidate, list[str]]:
    """Return the network that ``prefix`` names, or the only one, and notes for the user.

    Args:
        where: the file, for messages.
        networks: at least one.
        prefix: from the user: a label or its end, with or without a dot.

    Raises:
        ValueError: several networks fit, or none.
    """
    if prefix is not None:
        wanted = prefix.strip(".")
        fits = [n for n in networks if n.label == wanted] or [n for n in networks if f".{n.label}".endswith(f".{wanted}")]
        if len(fits) != 1:
            fault = "fits several" if fits else "is none"
            raise ValueError(
                f"{where}: --prefix {shown(prefix)!r} {fault} of its networks; choose one of {_labels(fits or networks)}."
            )
        networks = fits
    first, *others = networks
    if any(not _equal(first.tensors, other.tensors) for other in others):
        raise ValueError(f"{where} holds {len(networks)} networks: {_labels(networks)}; choose one with --prefix.")
    notes = [f"Taken: the network under {shown(first.label)}."] if first.label else []
    if others:
        notes.append(f"Equal copies are left out: {_labels(others)}.")
    return first, notes


def _labels(networks: list[Candidate]) -> str:
    """Return the labels of networks for a message, with a remark on averaged weights."""
    swapped = SWAPPED <= {network.container[0] for network in networks if network.container}
    labels = []
    for network in networks[:LISTED]:
        averaged = swapped and network.container[:1] == ("state_dict",)
        remark = " (averaged: mmengine's EMAHook swaps the two)" if averaged else ""
        labels.append((shown(network.label) or "''") + remark)
    return ", ".join(labels) + (f" and {len(networks) - LISTED} more" if len(networks) > LISTED else "")


def _equal(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    if a.keys() != b.keys() or any(storage_fault(tensor) for tensors in (a, b) for tensor in tensors.values()):
        return False
    return all(torch.equal(a[name], b[name]) for name in a)


def take(where: str, network: Candidate, parts: Iterable[str], heads: Iterable[str] = CLASSIFIERS) -> Network:
    """Divide the state dict of a network into its backbone, its classifier and the rest.

    Args:
        where: the file, for messages.
        network: the chosen one.
        parts: first names of the tensors that belong to the backbone; all of them are taken, and no others.
        heads: names that its classifier may have, below the prefix or above it.

    Raises:
        ValueError: beside the parts lies a convolution or a norm, which may act before or between them.
    """
    parts, below = set(parts), network.tensors
    backbone = {name: tensor for name, tensor in below.items() if name.split(".")[0] in parts}
    places = [] if set(PROJECTORS) & set(network.prefix.split(".")) else [a + b for a in _levels(network.prefix) for b in heads]
    place = next((place for place in places if classifier_of(network.state, place)), None)
    classifier = classifier_of(network.state, place) if place else None
    head = {f"{place}.{name}": tensor for name, tensor in (classifier or {}).items()}
    check_values(where, head, dict.fromkeys(head, FLOATS))
    beside = [name for name in below if name not in backbone and network.prefix + name not in head]
    acting = {name.split(".")[0] for name in beside if _acts(name, below[name])} - set(AUXILIARY)
    if acting:
        names = ", ".join(map(shown, sorted(acting)))
        raise ValueError(
            f"{where}: beside the stages of the network lie convolutions or norms that it does not have: {names}. If they come "
            "after the stages, remove them from the state dict; otherwise it is another network."
        )
    used = {network.prefix + name for name in backbone} | set(head)
    rest = [name for name in network.state if name not in used]
    return Network(network.label, backbone, classifier, left_out(network.prefix, rest))


def _levels(prefix: str) -> Iterator[str]:
    """Yield ``prefix`` and those above it, up to ''."""
    names = prefix.rstrip(".").split(".") if prefix else []
    for count in range(len(names), -1, -1):
        yield "".join(f"{name}." for name in names[:count])


def _acts(name: str, tensor: Tensor) -> bool:
    """Return whether a tensor is of a convolution, or of a norm that lies beside the stages and in no head."""
    return tensor.ndim == 4 or (name.endswith(".running_var") and name.count(".") == 1)


def left_out(prefix: str, names: Iterable[str]) -> list[str]:
    """Return a note on the tensors that are not taken, counted by the first name in which they differ from ``prefix``."""
    path, counts = prefix.rstrip(".").split("."), {}
    for name in names:
        parts = name.split(".")
        common = next((i for i, (a, b) in enumerate(zip(parts, path, strict=False)) if a != b), min(len(parts), len(path)))
        part = ".".join(parts[: common + 1])
        counts[part] = counts.get(part, 0) + 1
    if not counts:
        return []
    first = [f"{shown(part)} ({count})" for part, count in sorted(counts.items())]
    more = f" and {len(first) - LISTED} more" if len(first) > LISTED else ""
    return [f"Left out, as no part of the backbone (tensors): {', '.join(first[:LISTED])}{more}."]
