"""Make cards of other libraries' weights: of timm and torchvision by name, of those and mmpretrain, mmdet and mmseg as files.

The network that the weights come from computes the probe of such a card, if that network can be built. A wrong key map or a
wrong variant is thus refused before anything is written.
"""

import re
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path

import timm
import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from backbones.card import JSON, BackboneCard
from backbones.interchange.checkpoint_files import Checkpoint, read_checkpoint
from backbones.interchange.key_maps import feature_names, fill, infer_arch, mm_names, our_names, split
from backbones.interchange.reference_networks import (
    Stock,
    arch_of,
    mm_stock,
    preprocessor,
    timm_config,
    timm_name,
    timm_stock,
    timm_whole,
    torchvision_file,
    torchvision_stock,
    torchvision_weights,
    torchvision_whole,
)
from backbones.networks.base import Backbone
from backbones.networks.factory import build, describe
from backbones.networks.resnet import ResNet
from backbones.probe import probe_image

TIMM, TORCHVISION = "timm:", "torchvision:"
# Most ImageNet weights (torchvision, timm, mmpretrain) were trained with these; assumed for a file unless the user says else.
ASSUMED = {
    "mean": [123.675, 116.28, 103.53],
    "std": [58.395, 57.12, 57.375],
    "channel_order": "rgb",
    "input_size": 224,
    "resampler": "unknown",
}
AUXILIARY = ("AuxLogits.",)  # auxiliary classifier of Inception-V3, which timm's network lacks


@dataclass
class Imported:
    """Hold one of our backbones, filled with the weights of another library, ready to be written as a card.

    Args:
        net: the backbone.
        stock: the network that the weights come from, or None if it cannot be built.
        facts: the remaining fields of the card.
        notes: sentences for the user on assumptions and omitted parts.
    """

    net: Backbone
    stock: Stock | None
    facts: dict
    notes: list[str] = field(default_factory=list)

    @torch.no_grad()
    def write(self, folder: str | Path) -> BackboneCard:
        """Write the card, with the features of ``stock`` as its probe.

        Raises:
            ValueError: our network and ``stock`` give different features.
        """
        facts, probe = self.facts, None
        preprocess = preprocessor(facts["mean"], facts["std"], facts["channel_order"])
        if self.stock:
            inputs = preprocess(probe_image()[None]).double()
            features = self.stock.features(inputs)
            self._check_classifier(features[-1], inputs)
            probe = tuple(f.float().contiguous() for f in features)
        else:
            self.notes.append(f"The probe is by {describe(self.net.arch)} itself: no other library here has that network.")
        facts["source"]["probe"] = self.stock.package if self.stock else "backbones"
        return BackboneCard.write(Path(folder), self.net, preprocess, probe=probe, **facts)

    def _check_classifier(self, last: Tensor, inputs: Tensor) -> None:
        """Leave out the classifier unless the stock network's logits are W GAP(last stage) + b, as for any card."""
        classifier = self.facts["classifier"]
        if not classifier or not self.stock.logits:
            return
        logits = self.stock.logits(inputs)[0]
        weight, bias = (classifier[name].double() for name in ("weight", "bias"))
        fits = weight.shape[1] == last.shape[1]
        if not fits or not torch.allclose(weight @ last.mean((2, 3))[0] + bias, logits, rtol=1e-6, atol=1e-6):
            self.facts["classifier"] = None
            self.notes.append("The classifier is left out: it does not come right after the pooling of the last stage.")

    def leave_out(self, parts: list[str]) -> "Imported":
        """Note that ``parts`` of the weights are not in the card."""
        if parts:
            self.notes.append(f"Left out, as no part of the backbone: {', '.join(parts)}.")
        return self


def import_backbone(
    source: str,
    variant: str | None = None,
    network: str | None = None,
    ema: bool = False,
    unpickle: bool = False,
    **given,
) -> Imported:
    """Read weights from ``source`` into one of our backbones.

    The parameters are the options of tools/import_backbone.py, hence so many.

    Args:
        source: 'timm:NAME' or 'torchvision:NAME' (with or without a tag), which is downloaded; or a file.
        variant: for a file: 'a' .. 'd'; needed if the file does not determine a or b.
        network: for a file: the network that it holds, as 'timm:NAME' or 'torchvision:NAME'.
        ema, unpickle: for a file: see ``read_checkpoint``.
        given: mean, std, channel_order, input_size, resampler and top1 from the user, which override those of the source.

    Raises:
        ValueError: the name is unknown, the download failed, the file cannot be read or holds another network than stated, or
            ``source`` is a run or a card of this project.
    """
    if source.startswith((TIMM, TORCHVISION)):
        if variant or network or ema or unpickle:
            raise ValueError(f"--variant, --network, --ema and --unpickle are for files; {source} is known by its name.")
        return _downloaded(source, given)
    if network and not network.startswith((TIMM, TORCHVISION)):
        raise ValueError(f"--network is {network!r}; give timm:NAME or torchvision:NAME.")
    path = Path(source)
    _refuse_own(path)
    checkpoint = read_checkpoint(path, ema, unpickle)
    published = torchvision_file(checkpoint.sha256)
    if published and not (network or "").startswith(TIMM):
        network, given = TORCHVISION + published, {"top1": _published_top1(published)} | given
        checkpoint.notes.append(f"{path.name} is {network}, by its sha256.")
    imported = _from_network(network, checkpoint, given) if network else _from_resnet_file(checkpoint, variant, given)
    if variant not in (None, imported.net.arch.get("variant")):
        raise ValueError(f"{path} holds {network}, which is {describe(imported.net.arch)}; leave out --variant {variant}.")
    imported.notes[:0] = checkpoint.notes
    imported.facts["source"].update(imported=path.name, sha256=checkpoint.sha256, weights=checkpoint.weights)
    return imported


def _refuse_own(path: Path) -> None:
    """Raise ValueError if ``path`` is a run or a card of this project, which needs no import."""
    if (path / JSON).is_file() or (path / "card" / JSON).is_file():
        raise ValueError(f"{path} is a card of this project, or a run that has one; use it as it is: --backbone {path}.")
    config = (path if path.is_dir() else path.parent) / "config.py"
    if config.is_file() and re.search(r"^resolved_from = ", config.read_text(), re.M):
        raise ValueError(f"{path} belongs to a run of this project; tools/export_backbone.py writes the card of its checkpoint.")
    if path.is_dir():
        raise ValueError(f"{path} is a folder; give a file of weights, timm:NAME or torchvision:NAME.")


# ---- networks of timm and torchvision


def _downloaded(source: str, given: dict) -> Imported:
    library, name = source.split(":", 1)
    config = timm_config(name) if library == "timm" else torchvision_weights(name)
    try:
        if library == "timm":
            return from_timm(timm.create_model(name, pretrained=True), **given)
        state = config.get_state_dict(progress=False, check_hash=True, weights_only=True)
    except (OSError, RuntimeError, SafetensorError) as error:
        reason = str(error).strip().splitlines()[0].split(". ")[0].rstrip(".")
        raise ValueError(
            f"The weights of {source} could not be downloaded ({reason}); fetch the file on another machine and give it: "
            f"tools/import_backbone.py FILE --network {source}."
        ) from None
    return from_torchvision(torchvision_whole(source, name, state)[0], name, **{"top1": _published_top1(name)} | given)


def _published_top1(name: str) -> float:
    """Return the top-1 of torchvision's weights on ImageNet's validation set, in percent, as torchvision states it."""
    return torchvision_weights(name).meta["_metrics"]["ImageNet-1K"]["acc@1"]


def _from_network(network: str, checkpoint: Checkpoint, given: dict) -> Imported:
    """Import a file that holds the network of timm or torchvision named ``network``."""
    library, name = network.split(":", 1)
    state = {k.removeprefix("backbone."): v for k, v in checkpoint.state.items()}
    dropped = sorted({k.split(".")[0] for k in state if k.startswith(AUXILIARY)})
    state = {k: v for k, v in state.items() if not k.startswith(AUXILIARY)}
    if library == "timm":
        whole, notes = timm_whole(str(checkpoint.path), name, state)
        imported = from_timm(whole, **given)
    else:
        whole, notes = torchvision_whole(str(checkpoint.path), name, state)
        imported = from_torchvision(whole, name, **given)
    tagged = imported.facts["source"]["network"] = imported.facts["source"]["imported"]
    if tagged != network:
        notes.append(f"Mean, std and size are taken to be those of {tagged}; another tag of --network, or options, change them.")
    imported.notes[:0] = notes
    return imported.leave_out(dropped)


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


# ---- files of ResNets


def _from_resnet_file(checkpoint: Checkpoint, variant: str | None, given: dict) -> Imported:
    """Import a file that holds one of our ResNets under the names of any library that ``our_names`` supports."""
    backbone, classifier, dropped = split(checkpoint.state)
    weights, names = our_names(backbone)
    where = str(checkpoint.path)
    arch = infer_arch(where, weights, variant)
    net = ResNet(**arch)
    notes = fill(where, weights, net)
    if classifier and (width := classifier["weight"].shape[1]) != net.channels[-1]:
        raise ValueError(f"{where}: its classifier takes {width} features, and {describe(arch)} gives {net.channels[-1]}.")
    assumed = {k: v for k, v in ASSUMED.items() if k not in given}
    if assumed:
        values = ", ".join(f"{k} {v}" for k, v in assumed.items())
        notes.append(f"Assumed, since no file says it: {values}; options change them.")
    source = {"names": names, "assumed": sorted(assumed), "classes": len(classifier["bias"]) if classifier else None}
    facts = ASSUMED | given | {"classifier": classifier, "source": source}
    return Imported(net, _stock_of_file(arch, names, backbone, net), facts, notes).leave_out(dropped)


def _stock_of_file(arch: dict, names: str, backbone: dict[str, Tensor], net: ResNet) -> Stock | None:
    """Build the network of the library that names tensors as the file does, and fill it; return None if there is none."""
    if names == "torchvision" and (name := timm_name(arch)):
        whole = timm.create_model(name, num_classes=0)
        fill(name, backbone, whole, arch)
        return timm_stock(whole)
    if arch["depth"] == 26:  # mm has none
        return None
    return mm_stock(arch, backbone if names == "mm" else mm_names(net.state_dict()))
