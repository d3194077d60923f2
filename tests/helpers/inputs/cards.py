"""List cards: every field of card.json, and the tensors beside it, as they may come damaged or from elsewhere."""

import atexit
import json
import shutil
import tempfile
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

from backbones.card_facts import CLASSIFIER, PROBE, WEIGHTS, CardSchema
from tests.helpers.inputs.calls import STARTED
from tests.helpers.inputs.overrides import CONFIGS
from tests.helpers.inputs.rows import Row, edited, faults

CARD = {  # a card.json that fits its schema
    "arch": {"depth": 50, "variant": "d", "base_channels": 8},
    "mean": [123.675, 116.28, 103.53],
    "std": [58.395, 57.12, 57.375],
    "channel_order": "rgb",
    "input_size": 64,
    "resampler": "bilinear",
    "recipe": [["cosine", {}]],
    "seed": 0,
    "top1": 50.0,
    "source": {"run": "abc", "network": "resnet50", "scale": "toy", "class_names": ["cat", "dog"]},
    "format": 2,
    "sha256": {WEIGHTS: "0" * 64, PROBE: "0" * 64},
}
BY_HAND = (  # place, value, words of the answer
    (("mean",), [0.485, 0.456], ("mean",)),
    (("mean",), ["a", "b", "c"], ("mean",)),
    (("mean",), None, ("mean",)),
    (("std",), [58.0, 57.0, 0.0], ("std", "above 0")),
    (("std",), [58.0, -57.0, 57.0], ("std", "above 0")),
    (("channel_order",), "RGB", ("channel_order", "rgb, bgr")),
    (("input_size",), 0, ("input_size",)),
    (("recipe",), [["cosine"]], ("recipe",)),
    (("recipe",), [["cosine", None]], ("recipe",)),
    (("recipe",), {"cosine": {}}, ("recipe",)),
    (("top1",), 101, ("top1",)),
    (("top1",), "76.1 %", ("top1",)),
    (("format",), 1, ("format",)),
    (("format",), 3, ("format",)),
    (("arch",), {}, ("depth",)),
    (("arch",), {"depth": 51, "variant": "d"}, ("depth is 51", "18, 26, 34, 50")),
    (("arch",), {"depth": 50, "variant": "e"}, ("variant is 'e'",)),
    (("arch",), {"depth": 50, "variant": "d", "base_channels": 7}, ("base_channels is 7", "even")),
    (("arch",), {"name": "resnet50d", "depth": 50}, ("resnet50d of timm takes name and width, and no depth",)),
    (("arch",), {"name": "resnet50e"}, ("resnet50e",)),
    (("arch",), {"name": ""}, ("name",)),
    (("arch",), {"name": "swin_tiny_patch4_window7_224"}, ("accepts only images of a fixed size",)),
    (("sha256",), {}, (WEIGHTS,)),
    (("sha256",), {WEIGHTS: "0" * 64}, (PROBE,)),
    (("sha256",), {WEIGHTS: "0" * 64, PROBE: "0" * 64, "../../x": "0" * 64}, ("no other",)),
)
TEXTS = {  # whole files
    "empty": "",
    "null": "null",
    "a list": "[1, 2]",
    "text": '"card"',
    "cut short": json.dumps(CARD)[:90],
    "a number that JSON does not have": json.dumps(CARD).replace("50.0", "NaN"),
    "deep": "[" * 100_000,
}


def rows() -> Iterator[Row]:
    for fault in faults(CardSchema, CARD):
        words = (fault.path[-1], "card.json", "write the card anew")
        yield _read(fault.name, words, written(json.dumps(fault.content)))
    for path, value, words in BY_HAND:
        text = json.dumps(edited(CARD, path, value))
        yield _read(f"{'.'.join(path)}: {json.dumps(value)}", ("Card card", *words), written(text))
    for name, text in TEXTS.items():
        yield _read(f"card.json is {name}", ("card.json",), written(text))
    yield _read("card.json in Latin-1", ("card.json",), lambda folder: written("")(folder) or latin1(folder))
    yield _read("a folder without card.json", ("no backbone card at card",), lambda folder: (folder / "card").mkdir())
    for task in ("detection", "segmentation"):
        args = (CONFIGS[task], "--backbone", "card", "--cfg-options", "num_workers=0", "protocol.batch=2")
        for name, (change, words) in list(tensor_faults().items())[:: 1 if task == "detection" else 5]:
            yield Row("cards", f"{task} {name}", "train", args, words, prepare=real(change))
        yield Row("cards", f"{task} a right card", "train", args, (STARTED,), status=0, prepare=real())


def _read(name: str, words: tuple[str, ...], prepare: Callable[[Path], None]) -> Row:
    return Row("cards", name, "print_config", (CONFIGS["detection"], "--backbone", "card"), words, prepare=prepare)


def written(text: str) -> Callable[[Path], None]:
    """Return a function that writes a card of which only card.json exists."""

    def prepare(folder: Path) -> None:
        (folder / "card").mkdir()
        (folder / "card/card.json").write_text(text)

    return prepare


def latin1(folder: Path) -> None:
    (folder / "card/card.json").write_bytes(
        json.dumps(edited(CARD, ("resampler",), "\xe9"), ensure_ascii=False).encode("latin-1")
    )


Change = Callable[[dict], dict]


def tensor_faults() -> dict[str, tuple[tuple[str, Change] | None, tuple[str, ...]]]:
    """Return by name: a file of the card and the change to its tensors, and the words of the answer."""

    def renamed(old: str, new: str) -> Change:
        return lambda tensors: {new if name == old else name: value for name, value in tensors.items()}

    def dropped(*names: str) -> Change:
        return lambda tensors: {name: value for name, value in tensors.items() if name not in names}

    return {
        "probe of other names": ((PROBE, renamed("stage0", "layer1")), (PROBE, "layer1", "stage0")),
        "probe of three stages": ((PROBE, dropped("stage3")), (PROBE, "must hold")),
        "probe of five stages": ((PROBE, lambda t: t | {"stage4": t["stage3"] + 1}), (PROBE, "stage4")),
        "probe without a tensor": ((PROBE, lambda t: {}), (PROBE, "none")),
        "probe of another shape": (
            (PROBE, lambda t: t | {"stage1": t["stage1"][:, :, 1:].contiguous()}),
            ("transfer refused", "stage 2"),
        ),
        "probe in float64": ((PROBE, lambda t: {name: value.double() * 1.1 for name, value in t.items()}), ("transfer refused",)),
        "probe of NaN": ((PROBE, lambda t: t | {"stage0": t["stage0"] * float("nan")}), ("transfer refused", "stage 1")),
        "weights of other names": (
            (WEIGHTS, renamed("layer1.0.conv1.weight", "layer1.0.conv.weight")),
            ("1 missing", "1 left over"),
        ),
        "weights without a stage": (
            (WEIGHTS, lambda t: {n: v for n, v in t.items() if "layer3" not in n}),
            ("missing", "layer3.0"),
        ),
        "weights of another shape": (
            (WEIGHTS, lambda t: t | {"layer1.0.conv1.weight": t["layer1.0.conv1.weight"][:1].contiguous()}),
            ("of another shape",),
        ),
        "weights of another kind": (
            (WEIGHTS, lambda t: t | {"layer1.0.conv1.weight": t["layer1.0.conv1.weight"].half().float() + 1}),
            ("transfer refused",),
        ),
        "weights with NaN": (
            (WEIGHTS, lambda t: t | {"layer1.0.conv1.weight": t["layer1.0.conv1.weight"] * float("nan")}),
            ("card",),
        ),
        "weights without a tensor": ((WEIGHTS, lambda t: {}), ("missing",)),
        "classifier of other names": (
            (CLASSIFIER, lambda t: {"fc.weight": t["weight"], "fc.bias": t["bias"]}),
            (CLASSIFIER, "fc.weight"),
        ),
        "classifier without bias": ((CLASSIFIER, dropped("bias")), (CLASSIFIER, "must hold")),
    }


def real(change: tuple[str, Change] | None = None) -> Callable[[Path], None]:
    """Return a function that writes a whole card, of which the tensors of one file are changed."""

    def prepare(folder: Path) -> None:
        from safetensors.torch import load_file, save_file

        from backbones.common.files import sha256

        card = folder / "card"
        shutil.copytree(made_card(), card)
        if change is None:
            return
        name, edit = change
        save_file(edit(load_file(card / name)), card / name)
        about = json.loads((card / "card.json").read_text())
        about["sha256"][name] = sha256(card / name)
        (card / "card.json").write_text(json.dumps(about))

    return prepare


@cache
def made_card() -> Path:
    """Write a card with a classifier, once, and return its folder."""
    import torch

    from backbones import BackboneCard, ResNet
    from classification import ImagePreprocessor
    from tests.helpers.networks import randomise_norms

    folder = Path(tempfile.mkdtemp(prefix="card_"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    torch.manual_seed(0)
    net = ResNet(50, "d", base_channels=8)
    randomise_norms(net, 0)
    facts = {name: CARD[name] for name in ("mean", "std", "channel_order", "input_size", "resampler", "seed", "top1")}
    classifier = {"weight": torch.randn(8, 256), "bias": torch.zeros(8)}
    normalise = ImagePreprocessor(CARD["mean"], CARD["std"]).normalise
    BackboneCard.write(folder / "card", net, normalise, classifier=classifier, **facts)
    return folder / "card"
