"""Digests of the resolved config of every file in configs/ with every recipe and protocol, on three kinds of machine.

python -m tests.helpers.resolved_digests            # say what differs from the digests that are kept
python -m tests.helpers.resolved_digests --write    # keep those of now; say in CHANGELOG.md why they changed
python -m tests.helpers.resolved_digests --dump F   # write the resolved configs themselves, to compare two commits with diff
"""

import argparse
import hashlib
import json
from collections.abc import Iterator
from itertools import product
from pathlib import Path

from backbones.card_facts import CardFacts
from backbones.common.project import ROOT
from backbones.resolving import Machine
from backbones.transfer.protocols import protocol_files
from tools.engine.config import Options, load, resolve, task_of
from tools.engine.studies.study import read_catalogue

KEPT = ROOT / "tests/configs/resolved_digests.json"
MACHINES = {
    "cpu": Machine(threads=2, cuda=False, bf16=False),
    "cpu with bf16": Machine(threads=2, cuda=False, bf16=True),
    "cuda": Machine(threads=2, cuda=True, bf16=True),
    "cuda, 4 processes": Machine(threads=2, cuda=True, bf16=True, processes=4),
}
IMAGENET = dict(mean=[123.68, 116.779, 103.939], std=[58.393, 57.12, 57.375])
CARDS = {
    "resnet50d": CardFacts(dict(depth=50, variant="d", base_channels=64), **IMAGENET, channel_order="rgb", folder="CARD"),
    "caffe": CardFacts(
        dict(depth=50, variant="a", base_channels=64), [103.5, 116.3, 123.7], [1.0, 1.0, 1.0], channel_order="bgr", folder="CARD"
    ),
    "mobilenet": CardFacts(dict(name="mobilenetv1_100", width=1.0), **IMAGENET, channel_order="rgb", folder="CARD"),
}
TRANSFERS = (  # what may be asked of a transfer beside its card
    {},
    {"transfer": "frozen"},
    {"lr_factor": 2.0},
    {"hold_out": True, "on_bad_image": "skip"},
)


def cases(machine: str) -> Iterator[tuple[str, dict | str]]:
    """Yield the name of each case, and its resolved config, or the sentence that refuses it."""
    for path in sorted((ROOT / "configs").glob("*/*_*.py")):
        config = path.relative_to(ROOT).as_posix()
        if path.parent.name in ("studies", "_base_"):
            continue
        for name, options, card in (_pretrainings if task_of(load(config)).STAGE == "pretrain" else _transfers)(config):
            try:
                yield f"{config} {name}", resolve(config, options, MACHINES[machine], card).cfg.to_dict()
            except ValueError as error:
                yield f"{config} {name}", str(error)


def _pretrainings(config: str) -> Iterator[tuple[str, Options, None]]:
    catalogue, recipes = read_catalogue()
    network = Path(config).name.rpartition("_")[0]
    for name, recipe in recipes.items():
        if recipe.tricks is not None:
            yield name, Options(tricks=recipe.tricks_for(catalogue.without.get(network, ()), "TEACHER")), None
    if network == "resnet50":
        yield "teacher", Options(tricks=["resnet_d"], overrides={"model.backbone.depth": 152}), None


def _transfers(config: str) -> Iterator[tuple[str, Options, CardFacts | None]]:
    chosen = isinstance(load(config).protocol, str)
    protocols = [None, *protocol_files(Path(config).parent.name)] if chosen else [None]
    for protocol, (name, card) in product(protocols, (("scratch", None), *CARDS.items())):
        backbone = "CARD" if card else "scratch"
        for asked in TRANSFERS if name == "resnet50d" and protocol is None else TRANSFERS[:1]:
            words = " ".join(str(part) for part in (protocol, name, *asked.items()) if part)
            yield words, Options(backbone=backbone, protocol=protocol, seed=3, **asked), card


def digest(resolved: dict | str) -> str:
    """Return the first digits of the sha256 of a resolved config, or 'refused'."""
    if isinstance(resolved, str):
        return "refused"
    return hashlib.sha256(json.dumps(resolved, sort_keys=True).encode()).hexdigest()[:10]


def digests(machine: str) -> dict[str, str]:
    """Return the digest of each case on a kind of machine."""
    return {name: digest(resolved) for name, resolved in cases(machine)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="keep the digests of now")
    parser.add_argument("--dump", type=Path, metavar="FILE", help="write the resolved configs themselves as JSON")
    args = parser.parse_args()
    resolved = {machine: dict(cases(machine)) for machine in MACHINES}
    if args.dump:
        args.dump.write_text(json.dumps(resolved, indent=1, sort_keys=True))
    now = {machine: {name: digest(cfg) for name, cfg in found.items()} for machine, found in resolved.items()}
    kept = json.loads(KEPT.read_text()) if KEPT.is_file() else {}
    for machine, found in now.items():
        for name in sorted({*found, *kept.get(machine, {})}):
            if found.get(name) != kept.get(machine, {}).get(name):
                print(f"{machine}: {name}")
    if args.write:
        KEPT.write_text(json.dumps(now, indent=0, sort_keys=True) + "\n")


if __name__ == "__main__":
    main()
