"""Export a card to a file that timm, torchvision, mmdet or mmseg can load.

Before a file is written, its tensors are loaded strictly into that library's own network, which must reproduce the card's probe.
"""

from pathlib import Path

import timm
import torch
import torchvision
from safetensors.torch import save
from torch import Tensor, nn

from backbones.card import BackboneCard
from backbones.common.files import atomic
from backbones.interchange.key_maps import feature_names, mm_names
from backbones.interchange.reference_networks import (
    Stock,
    mm_arguments,
    mm_stock,
    preprocessor,
    timm_name,
    timm_stock,
    torchvision_name,
    torchvision_stock,
)
from backbones.networks.factory import build, describe
from backbones.probe import TOLERANCE, difference, probe_image

FORMATS = ("timm", "torchvision", "mm")
SUFFIXES = {"timm": (".safetensors", ".pth"), "torchvision": (".safetensors", ".pth"), "mm": (".pth",)}


def export_card(card: BackboneCard, form: str, path: str | Path) -> list[str]:
    """Write the weights of ``card`` to ``path`` in the format of another library.

    Args:
        card: read from its folder.
        form: 'timm' or 'torchvision' (a state dict, with the classifier if the card has one; .safetensors or .pth) or 'mm' (the
            backbone alone, for mmdet and mmseg; .pth).
        path: of the new file; an existing file is replaced as a whole.

    Returns:
        Lines that explain how to load the file.

    Raises:
        ValueError: the suffix does not fit, the library lacks the network, or the features differ from the card's probe.
    """
    path = Path(path).absolute()  # in the lines, which are used in another folder
    if path.suffix not in SUFFIXES[form]:
        raise ValueError(f"{path}: the format {form} is written as {' or '.join(SUFFIXES[form])}; change the name.")
    state, metadata, lines = {"timm": _timm, "torchvision": _torchvision, "mm": _mm}[form](card, path)
    with atomic(path, "wb") as file:
        if path.suffix == ".safetensors":
            file.write(save(state, metadata))
        else:
            torch.save({"state_dict": state} if form == "mm" else state, file)
    return [f"{path}: {len(state)} tensors of {describe(card.arch)}; features as in the card.", *lines]


def _refuse(card: BackboneCard, library: str, hint: str) -> ValueError:
    possible = [form for form in FORMATS if _has(form, card.arch)]
    remedy = f"choose --format {' or '.join(possible)}" if possible else "no other library has it, so the card is its only form"
    return ValueError(f"{library} has no network with the weights of {describe(card.arch)} ({hint}); {remedy}.")


def _has(form: str, arch: dict) -> bool:
    """Return whether the library of ``form`` has the network of ``arch``."""
    if form == "mm":
        return "name" not in arch and arch["depth"] != 26
    return bool({"timm": timm_name, "torchvision": torchvision_name}[form](arch))


def _check(card: BackboneCard, stock: Stock) -> None:
    """Raise ValueError unless ``stock`` reproduces the probe of ``card``."""
    inputs = preprocessor(card.mean, card.std, card.channel_order)(probe_image()[None]).double()
    with torch.no_grad():
        features = [f.float() for f in stock.features(inputs)]
    for i, (theirs, ours) in enumerate(zip(features, card.probe, strict=True)):
        if not (error := difference(theirs, ours)) <= TOLERANCE:
            raise ValueError(
                f"No file was written: stage {i + 1} of {stock.package}'s network gives features that differ by {error:.2g} from "
                f"the card's (allowed {TOLERANCE:.0e})."
            )


def _whole(card: BackboneCard, whole: nn.Module, head: str) -> dict[str, Tensor]:
    """Return the tensors of ``card`` under the names of a library's ``whole`` network, whose classifier is ``head``."""
    names = {k: k for k in card.weights}
    if "name" in card.arch:
        with torch.device("meta"):
            net = build(card.arch)
        names = {theirs: f"net.{ours}" for theirs, ours in feature_names(whole, net.net).items()}
    state = {theirs: card.weights[ours] for theirs, ours in names.items()}
    for name, tensor in (card.classifier or {}).items():
        state[f"{head}.{name}"] = tensor
    if lacks := [k for k in whole.state_dict() if k not in state]:
        layers = sorted({k.rsplit(".", 1)[0] for k in lacks})
        raise ValueError(
            f"{describe(card.arch)} is no whole network: {', '.join(layers)} lie behind its feature maps, and no card has them; "
            "give the weights' own file to whoever needs it."
        )
    whole.load_state_dict(state, strict=True)
    return state


def _timm(card: BackboneCard, path: Path):
    if not (name := timm_name(card.arch)):
        raise _refuse(card, "timm", "resnet18 to resnet152 are variant b, resnet50c is c and resnet50d is d, at full width")
    classes = len(card.classifier["bias"]) if card.classifier else 0
    whole = timm.create_model(name, num_classes=classes)
    state = _whole(card, whole, whole.pretrained_cfg["classifier"])
    _check(card, timm_stock(whole))
    lines = [f"timm.create_model({name!r}, num_classes={classes}, checkpoint_path={str(path)!r})", *_input_facts(card)]
    return state, {"timm": name, "num_classes": str(classes), "format": "pt"}, lines


def _torchvision(card: BackboneCard, path: Path):
    if not (name := torchvision_name(card.arch)):
        raise _refuse(card, "torchvision", "its ResNets are variant b at full width, of depth 18, 34, 50, 101 and 152")
    classes = len(card.classifier["bias"]) if card.classifier else 0
    whole = torchvision.models.get_model(name, num_classes=max(classes, 1))
    lines = [f"net = torchvision.models.{name}(num_classes={max(classes, 1)})"]
    if not classes:
        whole.fc = nn.Identity()
        lines.append("net.fc = torch.nn.Identity()")
    state = _whole(card, whole, "fc")
    _check(card, torchvision_stock(whole))
    loader = "safetensors.torch.load_file" if path.suffix == ".safetensors" else "torch.load"
    lines += [f"net.load_state_dict({loader}({str(path)!r}))", *_input_facts(card)]
    return state, {"torchvision": name, "num_classes": str(classes), "format": "pt"}, lines


def _mm(card: BackboneCard, path: Path):
    if not _has("mm", card.arch):
        raise _refuse(card, "mm", "its ResNets have depth 18, 34, 50, 101 and 152")
    state = mm_names(card.weights)
    _check(card, mm_stock(card.arch, state))
    libraries: dict[str, list[str]] = {}  # by the config of the backbone
    for library in ("mmseg", "mmdet"):
        arguments = mm_arguments(card.arch, library) | {"init_cfg": dict(type="Pretrained", checkpoint=str(path))}
        libraries.setdefault(", ".join(f"{k}={v!r}" for k, v in arguments.items()), []).append(library)
    lines = [f"{' and '.join(names)}: backbone=dict({arguments})" for arguments, names in libraries.items()]
    if card.classifier:
        lines.append("the classifier is left out")
    lines.append(f"data_preprocessor: mean={card.mean}, std={card.std}, bgr_to_rgb={card.channel_order == 'rgb'}")
    return state, None, lines


def _input_facts(card: BackboneCard) -> list[str]:
    """Return a line on the images that the network expects."""
    return [f"fed with {card.channel_order} images, 0..255: mean={card.mean}, std={card.std}"]
