"""Make cards of files of weights: of timm, torchvision, mm and any training script.

The network that the weights come from computes the probe of such a card, if that network can be built. A wrong key map or a
wrong variant is thus refused before anything is written.
"""

import re
from dataclasses import replace
from pathlib import Path

import timm
import torch
from torch import Tensor

from backbones.card import JSON
from backbones.interchange.checkpoint_files import Checkpoint, read_checkpoint
from backbones.interchange.efficientnet import ANCHOR as EFFICIENTNET
from backbones.interchange.efficientnet import network_of, timm_names
from backbones.interchange.facts import check_facts
from backbones.interchange.imported import Imported
from backbones.interchange.key_maps import ANCHORS, COUNTER, PARTS, completed, fill, infer_arch, mm_names, our_names
from backbones.interchange.libraries import TIMM, TORCHVISION, from_timm, from_torchvision, published_top1
from backbones.interchange.reference_networks import (
    Stock,
    check_network,
    mm_stock,
    named_network,
    timm_config,
    timm_name,
    timm_stock,
    timm_whole,
    torchvision_file,
    torchvision_whole,
)
from backbones.interchange.search import Candidate, candidates, choose, states, take, transformer_in
from backbones.networks.factory import describe
from backbones.networks.resnet import ResNet
from backbones.tensors import shown

# Most ImageNet weights (torchvision, timm, mmpretrain) were trained with these; assumed for a file unless the user says else.
ASSUMED = {
    "mean": [123.675, 116.28, 103.53],
    "std": [58.395, 57.12, 57.375],
    "channel_order": "rgb",
    "input_size": 224,
    "resampler": "unknown",
}


def import_backbone(
    source: str,
    variant: str | None = None,
    network: str | None = None,
    prefix: str | None = None,
    unpickle: bool = False,
    **given,
) -> Imported:
    """Read a file of weights into one of our backbones.

    The parameters are the options of tools/import_backbone.py, hence so many.

    Args:
        source: path of the file.
        variant: 'a' .. 'd'; needed if the file does not determine a or b.
        network: the network that it holds, as 'timm:NAME' or 'torchvision:NAME', with or without a tag.
        prefix: where the network lies in it, if several do, see ``choose``.
        unpickle: see ``read_checkpoint``.
        given: mean, std, channel_order, input_size, resampler and top1 from the user, which override those of the source.

    Raises:
        ValueError: the network is unknown or not supported, the file cannot be read or holds another network than stated, a fact
            is out of range, or ``source`` is a run or a card of this project.
    """
    check_facts(given)
    if network and not network.startswith((TIMM, TORCHVISION)):
        raise ValueError(f"--network is {network!r}; give timm:NAME or torchvision:NAME.")
    if network:
        check_network(network)
    path, notes = Path(source), []
    _refuse_own(path)
    checkpoint = read_checkpoint(path, unpickle)
    published = torchvision_file(checkpoint.sha256)
    if published and not (network or "").startswith(TIMM):
        network, given = TORCHVISION + published, {"top1": published_top1(published)} | given
        notes.append(f"{path.name} is {network}, by its sha256.")
    candidate, chosen = _find(checkpoint, network, prefix)
    if EFFICIENTNET in candidate.tensors:
        network, note = _efficientnet(str(path), candidate, network)
        notes.append(note)
    if network:
        imported = _from_network(network, checkpoint, candidate, given)
    else:
        imported = _from_resnet_file(checkpoint, candidate, variant, given)
    if variant not in (None, imported.net.arch.get("variant")):
        raise ValueError(f"{path} holds {network}, which is {describe(imported.net.arch)}; leave out --variant {variant}.")
    imported.notes[:0] = notes + chosen
    imported.facts["source"].update(imported=path.name, sha256=checkpoint.sha256, prefix=candidate.label)
    return imported


def _efficientnet(where: str, candidate: Candidate, network: str | None) -> tuple[str, str]:
    """Return the network of timm for a file of efficientnet_pytorch, and a note.

    Raises:
        ValueError: timm has none, or ``network`` is another, such as one of PyTorch's padding with the same tensors.
    """
    file_network = network_of(where, candidate.tensors)
    if network and network.split(".")[0] != file_network:
        raise ValueError(
            f"{where} has the names of efficientnet_pytorch, whose network is {file_network}, not {network}; leave out --network."
        )
    note = (
        f"{Path(where).name} has the names of efficientnet_pytorch, and the tensors of {file_network}. timm pads each map anew, "
        "so features are the same at the image size that efficientnet_pytorch was built for, and may differ at others."
    )
    return network or file_network, note


def _find(checkpoint: Checkpoint, network: str | None, prefix: str | None) -> tuple[Candidate, list[str]]:
    """Return the place of the network in a file, and notes on the choice.

    Raises:
        ValueError: there is none, or several and no ``prefix`` to choose one.
    """
    where = str(checkpoint.path)
    anchors, kind = (*ANCHORS, EFFICIENTNET), "ResNet and no EfficientNet"
    if network:
        names, kind = list(named_network(network).state_dict()), network
        anchors = (
            tuple(ANCHORS)
            if next(iter(ANCHORS)) in names
            else (max((n for n in names if not n.endswith(COUNTER)), key=len), EFFICIENTNET)
        )
    networks = candidates(checkpoint.content, anchors)
    if networks:
        return choose(where, networks, prefix)
    state_dicts = [state for _, state in states(checkpoint.content)]
    if not state_dicts:
        raise ValueError(f"{where} holds no state dict (no tensors by name); save the state dict of the network alone.")
    if transformer := next(filter(None, map(transformer_in, state_dicts)), None):
        raise ValueError(f"{where} holds {transformer}, so it is not supported; give a ResNet or another network of timm.")
    tensors = [name for state in state_dicts for name in state]
    hint = "if timm has this network, with feature maps at strides 4 to 32 of images of any size, add --network timm:NAME"
    if network:
        hint = f"leave out --network or give the right one; it has no {anchors[0]}"
    raise ValueError(f"{where} holds no {kind} (first names: {', '.join(map(shown, tensors[:3]))}); {hint}.")


def _refuse_own(path: Path) -> None:
    """Raise ValueError if ``path`` is a run or a card of this project, which needs no import."""
    if (path / JSON).is_file() or (path / "card" / JSON).is_file():
        raise ValueError(f"{path} is a card of this project, or a run that has one; use it as it is: --backbone {path}.")
    config = (path if path.is_dir() else path.parent) / "config.py"
    is_own = path.is_dir() or re.fullmatch(r"(epoch|iter)_\d+\.pth", path.name)
    if is_own and config.is_file() and re.search(r"^resolved_from = ", config.read_text(), re.M):
        raise ValueError(f"{path} belongs to a run of this project; tools/export_backbone.py writes the card of its checkpoint.")
    if path.is_dir():
        raise ValueError(f"{path} is a folder; give a file of weights, timm:NAME or torchvision:NAME.")


def _from_network(network: str, checkpoint: Checkpoint, candidate: Candidate, given: dict) -> Imported:
    """Import a file that holds the network of timm or torchvision named ``network``."""
    library, name = network.split(":", 1)
    bare = named_network(network).state_dict()
    if EFFICIENTNET in candidate.tensors:
        candidate = _renamed(candidate, timm_names(candidate.tensors, list(bare)))
    elif next(iter(ANCHORS)) in bare:
        candidate = _renamed(candidate, our_names(candidate.tensors)[0])
    head = timm_config(name).classifier if library == "timm" else "fc"
    taken = take(str(checkpoint.path), candidate, {key.split(".")[0] for key in bare}, (head,))
    state = taken.tensors | {f"{head}.{key}": tensor for key, tensor in (taken.classifier or {}).items()}
    if library == "timm":
        whole, notes = timm_whole(str(checkpoint.path), name, state)
        imported = from_timm(whole, **given)
    else:
        whole, notes = torchvision_whole(str(checkpoint.path), name, state)
        imported = from_torchvision(whole, name, **given)
    tagged = imported.facts["source"]["network"] = imported.facts["source"]["imported"]
    if tagged != network:
        notes.append(f"Mean, std and size are taken to be those of {tagged}; another tag of --network, or options, change them.")
    imported.notes[:0] = [*notes, *taken.notes]
    return imported


def _renamed(candidate: Candidate, tensors: dict[str, Tensor]) -> Candidate:
    """Return ``candidate`` with ``tensors`` below its prefix."""
    above = {name: tensor for name, tensor in candidate.state.items() if not name.startswith(candidate.prefix)}
    below = {candidate.prefix + name: tensor for name, tensor in tensors.items()}
    return replace(candidate, state=above | below)


def _from_resnet_file(checkpoint: Checkpoint, candidate: Candidate, variant: str | None, given: dict) -> Imported:
    """Import a file that holds one of our ResNets under the names of any library that ``our_names`` supports."""
    where = str(checkpoint.path)
    tensors, names = our_names(candidate.tensors)
    taken = take(where, _renamed(candidate, tensors), PARTS)
    arch = infer_arch(where, taken.tensors, variant)
    net, notes = _filled(where, taken.tensors, arch)
    classifier = taken.classifier
    if classifier and (width := classifier["weight"].shape[1]) != net.channels[-1]:
        raise ValueError(f"{where}: its classifier takes {width} features, and {describe(arch)} gives {net.channels[-1]}.")
    assumed = {k: v for k, v in ASSUMED.items() if k not in given}
    if assumed:
        notes.append(f"Assumed, since the file does not state them: {', '.join(assumed)}; options change them.")
    source = {"names": names, "assumed": sorted(assumed), "classes": len(classifier["bias"]) if classifier else None}
    facts = ASSUMED | given | {"classifier": classifier, "source": source}
    theirs = {name: tensor for name, tensor in candidate.tensors.items() if name.split(".")[0] in PARTS}
    return Imported(net, _stock_of_file(arch, names, theirs, net), facts, [*taken.notes, *notes])


def _filled(where: str, tensors: dict[str, Tensor], arch: dict) -> tuple[ResNet, list[str]]:
    """Return the ResNet of ``arch`` with ``tensors``, and notes.

    Raises:
        ValueError: the tensors do not fit, as those of a ResNeXt, which have the same names.
    """
    with torch.device("meta"):  # a wrong width may be too large for the memory
        expected = ResNet(**arch).state_dict()
    try:
        weights, notes = completed(where, tensors, expected, arch)
    except ValueError as error:
        grouped = any(n.endswith("conv2.weight") and n in tensors and tensors[n].shape != t.shape for n, t in expected.items())
        if not grouped and not any(".se." in name for name in tensors):
            raise
        remedy = "if it is a ResNeXt, a wide or a squeeze-and-excitation ResNet of timm, add --network timm:NAME"
        raise ValueError(f"{str(error).removesuffix('.')}; {remedy}.") from None
    net = ResNet(**arch)
    net.load_state_dict(weights, strict=True)
    return net, notes


def _stock_of_file(arch: dict, names: str, backbone: dict[str, Tensor], net: ResNet) -> Stock | None:
    """Build the network of the library that names tensors as the file does, and fill it; return None if there is none."""
    if names not in ("mm", "mmpretrain") and (name := timm_name(arch)):
        whole = timm.create_model(name, num_classes=0)
        fill(name, net.state_dict(), whole, arch)
        return timm_stock(whole)
    if arch["depth"] == 26:  # mm has none
        return None
    return mm_stock(arch, backbone if names == "mm" else mm_names(net.state_dict()))
