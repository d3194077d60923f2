"""A backbone that can travel: weights as safetensors, what they are as JSON, and a probe that proves both.

A card is a folder: ``card.json``, ``weights.safetensors`` (every tensor of the network, none else), ``probe.safetensors``
(the features of a fixed image) and, where it is known, ``classifier.safetensors`` (the layer after the pooling, which makes the
card a teacher). The JSON holds the sha256 of the others.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from backbones.card_facts import CLASSIFIER, FORMAT, JSON, PROBE, WEIGHTS, find_card, read_card_json
from backbones.common.files import atomic_folder
from backbones.common.files import sha256 as sha256_of
from backbones.networks.base import Backbone
from backbones.networks.factory import build, describe

TOLERANCE = 1e-5  # largest absolute difference between a feature of the probe and the same feature downstream


def probe_image() -> Tensor:
    """The fixed image of every probe: uint8 (3, 96, 128), RGB; Inception-V3 takes nothing below 75 pixels.

    Waves of another period and direction in each channel, so that swapped channels, a transposed image, another mean or a
    moved stride each change the features. Made of integers: the same on every machine.
    """
    y, x = torch.meshgrid(torch.arange(96), torch.arange(128), indexing="ij")
    waves = [(7 * x + 3 * y) % 256, (x * y + 11 * y) % 256, (x * x + 5 * y * y) // 16 % 256]
    return torch.stack(waves).to(torch.uint8)


@torch.no_grad()
def probe_features(net: Backbone, inputs: Tensor) -> tuple[Tensor, ...]:
    """The features of all stages of ``net`` for preprocessed ``inputs`` (1, 3, H, W), at output stride 32.

    A copy of the network is used, in evaluation mode and in float64, and the result is rounded to float32: in float32
    itself two convolution kernels may differ by more than ``TOLERANCE``.
    """
    copy = build(net.arch).double().eval()
    copy.load_state_dict({k: v.detach().cpu().double() for k, v in net.state_dict().items()}, strict=True)
    return tuple(f.float().contiguous() for f in copy(inputs.detach().cpu().double()))


@dataclass
class BackboneCard:
    """A pretrained backbone with all that is needed to use it right.

    Args:
        arch: arguments that decide the weights: depth, variant, base_channels of a ``ResNet``; name, width of a
            ``TimmBackbone``.
        weights: the network's state dict, on the CPU.
        probe: per stage float32 features of ``probe_image()``, through the pretraining's own preprocessor and network.
        mean, std: of the three channels in ``channel_order``, on the 0..255 scale.
        channel_order: 'rgb' or 'bgr': what the network was fed.
        input_size: side of the training images in pixels.
        resampler: how images were resized, in training and in validation.
        recipe: names and options of the tricks that trained it: [[name, {option: value}], ...].
        seed: of the pretraining.
        top1: percent on the pretraining's validation set, or None.
        source: where it came from: run, network, scale and names of the classes; or what was imported.
        classifier: weight (K, C) and bias (K,) of the layer after global average pooling, or None.
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
        """Makes the card of ``net`` and saves it as ``folder``.

        Args:
            folder: the new card; one that is there already is replaced as a whole.
            net: the pretrained network.
            preprocess: the pretraining's preprocessor: uint8 (1, 3, H, W) RGB to float (1, 3, H, W).
            probe: the features by the network that the weights came from, where that is not ``net``.
            facts: the remaining fields of the card.

        Raises:
            ValueError: ``probe`` is not what ``net`` gives: the weights arrived in another network.
        """
        weights = {k: v.detach().cpu().contiguous() for k, v in net.state_dict().items()}
        own = probe_features(net, preprocess(probe_image()[None]))
        for i, (theirs, ours) in enumerate(zip(probe or own, own, strict=True)):
            if not (worst := difference(theirs, ours)) <= TOLERANCE:
                raise ValueError(
                    f"No card was written: stage {i + 1} of {describe(net.arch)} gives features that differ by {worst:.2g} from "
                    f"those of the network that the weights come from (allowed {TOLERANCE:.0e}); is it another variant?"
                )
        card = cls(arch=dict(net.arch), weights=weights, probe=probe or own, **facts)
        card.save(folder)
        return card

    def save(self, folder: Path) -> None:
        """Writes the three files into a new folder beside ``folder`` and renames it: never half a card.

        Raises:
            ValueError: ``folder`` is there and is no card.
        """
        folder = Path(folder)
        if folder.exists() and not (folder / JSON).is_file():
            raise ValueError(f"{folder} exists and is no card (it has no {JSON}); it is not replaced: name another folder.")
        with atomic_folder(folder) as part:
            self._write_files(part)
        self.path = folder

    def _write_files(self, folder: Path) -> None:
        save_file(self.weights, folder / WEIGHTS)
        save_file({f"stage{i}": f for i, f in enumerate(self.probe)}, folder / PROBE)
        if self.classifier:
            save_file({k: v.detach().cpu().contiguous() for k, v in self.classifier.items()}, folder / CLASSIFIER)
        about = {name: getattr(self, name) for name in FACTS} | {"format": FORMAT}
        about["sha256"] = {path.name: sha256_of(path) for path in sorted(folder.glob("*.safetensors"))}
        (folder / JSON).write_text(json.dumps(about, indent=1) + "\n")

    @classmethod
    def load(cls, path: str | Path) -> "BackboneCard":
        """Reads a card and checks that its files, its JSON and its network belong together.

        Args:
            path: the card's folder, its ``card.json``, or the folder of the run that wrote it.

        Raises:
            ValueError: no card there, a damaged or foreign file, weights that are not those of ``arch``.
        """
        folder = find_card(path)
        about = read_card_json(folder / JSON)
        digests = about.pop("sha256")
        for name, digest in digests.items():
            if not (folder / name).is_file() or sha256_of(folder / name) != digest:
                raise ValueError(
                    f"Card {folder}: {name} is missing or is not the file that card.json describes (its sha256 differs); "
                    "copy the card again as a whole, or write it anew with tools/export_backbone.py."
                )
        weights, probe = (_tensors(folder / name) for name in (WEIGHTS, PROBE))
        card = cls(
            weights=weights,
            probe=tuple(probe[f"stage{i}"] for i in range(len(probe))),
            classifier=_tensors(folder / CLASSIFIER) if CLASSIFIER in digests else None,
            path=folder,
            **{k: v for k, v in about.items() if k != "format"},
        )
        try:
            with torch.device("meta"):
                net = build(card.arch)
        except (TypeError, ValueError) as error:
            raise ValueError(
                f"Card {folder}: card.json describes no network ({str(error).rstrip('.')}); write the card anew."
            ) from None
        check_names(f"Card {folder}: weights.safetensors", card.weights, net)
        return card

    @property
    def sha256(self) -> str:
        """Of the card as a whole, in hexadecimal: its identity in records."""
        return sha256_of(self.path / JSON)

    def place(self, net: Backbone) -> None:
        """Copies every tensor of the card into ``net``; none is left over on either side.

        Raises:
            ValueError: the network has other tensors, or other shapes, than the card.
        """
        check_names(f"Card {self.path}: the backbone to fill", self.weights, net)
        net.load_state_dict(self.weights, strict=True)


FACTS = [f.name for f in fields(BackboneCard) if f.name not in ("weights", "probe", "classifier", "path")]


def difference(a: Tensor, b: Tensor) -> float:
    """The largest absolute difference of two features; infinite where their shapes differ."""
    return float((a - b).abs().max()) if a.shape == b.shape else float("inf")


def _tensors(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except SafetensorError as error:
        raise ValueError(f"Card {path.parent}: {path.name} is no safetensors file ({error}); write the card anew.") from None


def check_names(where: str, weights: dict[str, Tensor], net: Backbone) -> None:
    """One sentence on the tensors that ``weights`` lacks, has too many, or has in another shape than ``net``."""
    wanted = net.state_dict()
    lacks = [k for k in wanted if k not in weights]
    extra = [k for k in weights if k not in wanted]
    shape = [k for k in wanted if k in weights and wanted[k].shape != weights[k].shape]
    if lacks or extra or shape:
        parts = [
            f"{len(names)} {what} ({', '.join(names[:4])}{', ...' if len(names) > 4 else ''})"
            for what, names in (("missing", lacks), ("left over", extra), ("of another shape", shape))
            if names
        ]
        raise ValueError(f"{where} does not fit {describe(net.arch)}: {'; '.join(parts)}.")
