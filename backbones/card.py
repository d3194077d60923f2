"""Write and read cards: a pretrained backbone as a folder, with all that is needed to use it and to verify its transfer.

A card holds ``card.json`` (the facts), ``weights.safetensors`` (every tensor of the network, nothing else),
``probe.safetensors`` (the features of a fixed image) and, if it is known, ``classifier.safetensors`` (the layer after the
pooling, which makes the card a teacher). The JSON holds the sha256 of the other files.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from backbones.card_facts import ANEW, CLASSIFIER, FORMAT, JSON, PROBE, WEIGHTS, find_card, read_card_json
from backbones.common.files import atomic_folder
from backbones.common.files import sha256 as sha256_of
from backbones.networks.base import Backbone
from backbones.networks.factory import build, describe
from backbones.probe import TOLERANCE, difference, probe_features, probe_image
from backbones.tensors import check_names, check_values


@dataclass
class BackboneCard:
    """Hold a pretrained backbone and all that is needed to use it correctly.

    Args:
        arch: arguments that decide the weights: depth, variant, base_channels of a ``ResNet``; name, width of a
            ``TimmBackbone``.
        weights: the network's state dict, on the CPU.
        probe: float32 features of ``probe_image()`` per stage, by the preprocessor and network of the pretraining.
        mean, std: of the three channels in ``channel_order``, on the 0..255 scale.
        channel_order: of the network's input, 'rgb' or 'bgr'.
        input_size: side of the training images in pixels.
        resampler: how images were resized, in training and in validation.
        recipe: names and options of the tricks of the pretraining: [[name, {option: value}], ...].
        seed: of the pretraining.
        top1: percent on the pretraining's validation set, or None.
        source: origin of the weights: run, network, scale and class names; or what was imported.
        classifier: weight (K, C) and bias (K,) of the layer after global average pooling, or None.
        path: the card's folder, once it is saved or loaded.
    """

    arch: dict
    weights: dict[str, Tensor]
    probe: tuple[Tensor, ...]
    mean: list[float]
    std: list[float]
    channel_order: str
    input_size: int
    resampler: str
    recipe: list = field(default_factory=list)
    seed: int | None = None
    top1: float | None = None
    source: dict = field(default_factory=dict)
    classifier: dict[str, Tensor] | None = None
    path: Path | None = None

    @classmethod
    def write(
        cls,
        folder: Path,
        net: Backbone,
        preprocess: Callable[[Tensor], Tensor],
        probe: tuple[Tensor, ...] | None = None,
        **facts,
    ) -> "BackboneCard":
        """Build the card of ``net`` and save it as ``folder``.

        Args:
            folder: of the card; an existing card is replaced as a whole.
            net: the pretrained network.
            preprocess: the pretraining's preprocessor: uint8 (1, 3, H, W) RGB to float (1, 3, H, W).
            probe: features by the network that the weights came from, if that is not ``net``.
            facts: the remaining fields of the card.

        Raises:
            ValueError: ``net`` does not reproduce ``probe``: the weights are now in another network.
        """
        weights = {k: v.detach().cpu().contiguous() for k, v in net.state_dict().items()}
        features = probe_features(net, preprocess(probe_image()[None]))
        for i, (theirs, ours) in enumerate(zip(probe or features, features, strict=True)):
            if not (worst := difference(theirs, ours)) <= TOLERANCE:
                fault = f"features that differ by {worst:.2g} from those of the network that the weights come from"
                if not ours.isfinite().all():
                    fault = "features that are NaN or infinite"
                raise ValueError(
                    f"No card was written: stage {i + 1} of {describe(net.arch)} gives {fault} (allowed {TOLERANCE:.0e}): the "
                    "weights are damaged, or of another variant."
                )
        card = cls(arch=dict(net.arch), weights=weights, probe=probe or features, **facts)
        card.save(folder)
        return card

    def save(self, folder: Path) -> None:
        """Write the files to a new folder beside ``folder`` and rename it, so that no partial card is ever visible.

        Raises:
            ValueError: ``folder`` exists and is no card.
        """
        folder = Path(folder)
        if folder.exists() and not (folder / JSON).is_file():
            raise ValueError(f"{folder} exists and is no card (it has no {JSON}); it is not replaced: name another folder.")
        with atomic_folder(folder) as part:
            self._write_files(part)
        self.path = folder

    def _write_files(self, folder: Path) -> None:
        save_file(self.weights, folder / WEIGHTS)
        save_file(dict(zip(STAGES, self.probe, strict=True)), folder / PROBE)
        if self.classifier:
            save_file({k: v.detach().cpu().contiguous() for k, v in self.classifier.items()}, folder / CLASSIFIER)
        about = {name: getattr(self, name) for name in FACTS} | {"format": FORMAT}
        about["sha256"] = {path.name: sha256_of(path) for path in sorted(folder.glob("*.safetensors"))}
        (folder / JSON).write_text(json.dumps(about, indent=1) + "\n")

    @classmethod
    def load(cls, path: str | Path) -> "BackboneCard":
        """Read a card and check that its files, its JSON and its network match.

        Args:
            path: the card's folder, its ``card.json``, or the folder of the run that wrote it.

        Raises:
            ValueError: there is no card, a file is damaged or from another card, or the weights do not fit ``arch``.
        """
        folder = find_card(path)
        about = read_card_json(folder / JSON)
        digests = about.pop("sha256")
        for name, digest in digests.items():
            if not (folder / name).is_file() or sha256_of(folder / name) != digest:
                raise ValueError(
                    f"Card {folder}: {name} is missing or is not the file that card.json describes (its sha256 differs); "
                    f"copy the card again as a whole, or {ANEW}."
                )
        weights, probe = _tensors(folder / WEIGHTS), _named(folder / PROBE, STAGES)
        card = cls(
            weights=weights,
            probe=tuple(probe[name] for name in STAGES),
            classifier=_named(folder / CLASSIFIER, HEAD) if CLASSIFIER in digests else None,
            path=folder,
            **{k: v for k, v in about.items() if k != "format"},
        )
        try:
            with torch.device("meta"):
                net = build(card.arch)
        except (TypeError, ValueError) as error:
            raise ValueError(f"Card {folder}: card.json describes no network ({str(error).rstrip('.')}); {ANEW}.") from None
        check_names(f"Card {folder}: weights.safetensors", card.weights, net.state_dict(), describe(card.arch))
        check_values(f"Card {folder}: {WEIGHTS}", card.weights, net.state_dict())
        card._check_parts(net.channels)
        return card

    def _check_parts(self, channels: tuple[int, ...]) -> None:
        """Check that the probe has a feature of each stage, and that the classifier is one on the last stage.

        Raises:
            ValueError: a tensor is missing, left over or of another shape, or a value is NaN or infinite.
        """
        if [feature.shape[:2] if feature.ndim == 4 else None for feature in self.probe] != [(1, count) for count in channels]:
            shapes = ", ".join(str(tuple(feature.shape)) for feature in self.probe)
            raise ValueError(
                f"Card {self.path}: {PROBE} holds features of the shapes {shapes}, and {describe(self.arch)} has "
                f"{', '.join(map(str, channels))} channels in its stages; {ANEW}."
            )
        if self.classifier is not None:
            classes = self.classifier["bias"].numel()
            layer = {"weight": torch.empty(classes, channels[-1], device="meta"), "bias": torch.empty(classes, device="meta")}
            check_names(f"Card {self.path}: {CLASSIFIER}", self.classifier, layer, f"a classifier on {describe(self.arch)}")
            check_values(f"Card {self.path}: {CLASSIFIER}", self.classifier, layer)

    @property
    def sha256(self) -> str:
        """Return the hexadecimal sha256 of card.json, which identifies the whole card in records."""
        return sha256_of(self.path / JSON)

    def place(self, net: Backbone) -> None:
        """Copy every tensor of the card into ``net``, which must have exactly these tensors.

        Raises:
            ValueError: names or shapes of the network's tensors differ from the card's.
        """
        check_names(f"Card {self.path}: the backbone to fill", self.weights, net.state_dict(), describe(net.arch))
        net.load_state_dict(self.weights, strict=True)


def refuse_existing(path: Path, force: bool) -> None:
    """Raise ValueError if a tool would replace something at ``path``: a card or file without ``force``, any other folder."""
    replaceable = path.is_file() or (path / JSON).is_file()
    if not path.exists() or (force and replaceable):
        return
    raise ValueError(f"{path} exists; name another with --out{', or add --force to replace it' if replaceable else ''}.")


FACTS = [f.name for f in fields(BackboneCard) if f.name not in ("weights", "probe", "classifier", "path")]

STAGES, HEAD = tuple(f"stage{i}" for i in range(4)), ("weight", "bias")  # tensors of the probe and of the classifier


def _tensors(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except SafetensorError as error:
        raise ValueError(f"Card {path.parent}: {path.name} is no safetensors file ({error}); {ANEW}.") from None


def _named(path: Path, names: tuple[str, ...]) -> dict[str, Tensor]:
    """Return the tensors of a file, which must have exactly these names."""
    tensors = _tensors(path)
    if set(tensors) != set(names):
        raise ValueError(
            f"Card {path.parent}: {path.name} holds the tensors {', '.join(sorted(tensors)) or 'none'}, and must hold "
            f"{', '.join(names)}; {ANEW}."
        )
    return tensors
