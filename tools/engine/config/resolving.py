"""Resolve a config file and the options of a person to the complete config that runs.

The steps: read the values, override values, let tricks edit them, derive everything else, let tricks edit what was derived,
override derived keys, divide the batch over the processes. Nothing that an override changes is derived before it.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from types import ModuleType
from typing import Any

from backbones.card_facts import CardFacts
from backbones.common.project import SCRATCH
from backbones.resolving import Machine, Request, complete, data_folder
from classification.tricks import difference, flatten
from tools.engine.config.dumped import Origin, RunOptions, edits_of, take_out
from tools.engine.config.loading import ORIGIN, checked, read
from tools.engine.config.overrides import apply_derived, refuse_following, refuse_undone, sort_overrides
from tools.engine.config.run_key import SEED, RunKey, hashable_config, make_key, replaced
from tools.engine.config.structures import check_structures
from tools.engine.config.tasks import task_of

# launcher: its program, and the variables that it sets: numbers, the first of which counts the processes, and names
STARTED_BY = {
    "pytorch": ("torchrun", ("WORLD_SIZE", "RANK", "LOCAL_RANK"), ("MASTER_ADDR", "MASTER_PORT")),
    "slurm": ("srun", ("SLURM_NTASKS", "SLURM_PROCID"), ("SLURM_NODELIST",)),
}
# overrides of a transfer that are no part of how its number is made, or that a record has elsewhere
UNNAMED = ("protocol", "scratch_backbone", "threads", "data_root", "num_workers", "classes")


@dataclass(frozen=True)
class Options(RunOptions):
    """Hold the options that ``tools/train.py`` takes beside the config; its ``--help`` describes them."""

    vis: list = field(default_factory=list)  # trackers of experiments, which decide nothing
    processes: int = 1  # of a run of a study


@dataclass(frozen=True)
class Resolved:
    """Hold a complete config and its origin.

    Args:
        cfg: the MMEngine config that runs, with the facts that a record keeps.
        origin: the file, its values and what was asked.
        machine: for which it was resolved.
        card: the facts of the card that a transfer starts from; None from scratch and for a pretraining.
        data_folder: of its data.
        notices: sentences for the person who started it.
    """

    cfg: Any
    origin: Origin
    machine: Machine
    card: CardFacts | None
    data_folder: str
    notices: tuple[str, ...] = ()

    @property
    def task(self) -> ModuleType:
        """The module ``<task>.task`` of its task."""
        return task_of(self.cfg)

    @property
    def pretrains(self) -> bool:
        """True if the run trains a backbone and writes its card."""
        return self.task.STAGE == "pretrain"

    @cached_property
    def upstream(self) -> str | None:
        """The identity of the card or teacher that the run rests on; None for a pretraining without a teacher."""
        if not self.pretrains:
            return self.card.identity if self.card else SCRATCH
        return CardFacts.read(self.cfg.teacher).identity if "teacher" in self.cfg else None

    @cached_property
    def hashable(self) -> dict[str, Any]:
        """The part of the config that affects the result, as plain values."""
        return hashable_config(self.cfg, self.data_folder)

    @cached_property
    def _seeded(self) -> dict[str, Any]:
        return {name: value for name, value in self.hashable.items() if SEED in json.dumps(value)}

    @cached_property
    def key(self) -> RunKey:
        """The key of the run."""
        return make_key(self.cfg, self.hashable, self.machine, self.upstream)

    def key_of(self, seed: int, upstream: str | None) -> RunKey:
        """Return the key of the run with ``seed``, where the config has a placeholder for it, on ``upstream``."""
        config = self.hashable | replaced(self._seeded, SEED, seed)
        return make_key(self.cfg, config, self.machine, upstream)

    @property
    def card_facts(self) -> CardFacts:
        """The facts of the card that a pretraining will write; its folder and identity are not known here."""
        return CardFacts(**self.task.facts_of(self.cfg), folder="")


def processes_of(launcher: str) -> int:
    """Return how many processes share the batch of a run that ``launcher`` started.

    Raises:
        ValueError: this process was not started by that launcher, or one of its variables is no number.
    """
    if launcher == "none":
        return 1
    program, numbers, names = STARTED_BY[launcher]
    for name in (*numbers, *names):
        value = os.environ.get(name, "")
        if not value or (name in numbers and not value.isdigit()):
            has = f"{name}={value}" if value else f"no {name}"
            raise ValueError(f"--launcher {launcher}: this process has {has} in its environment; start it with {program}.")
    return int(os.environ[numbers[0]])


def resolve(
    path: str | Path,
    options: Options | None = None,
    machine: Machine | None = None,
    card: CardFacts | None = None,
) -> Resolved:
    """Resolve a config file, or the dumped config of a run.

    Args:
        path: of the config.
        options: see ``Options``.
        machine: for which; this one by default.
        card: facts of a card that has not been written yet; by default those of the card that ``options`` names.

    Raises:
        ValueError: one sentence on what is wrong: the file, a value, an option, an override or the card.
    """
    origin, notices = origin_of(path, options or Options())
    machine = machine or Machine.here()
    if card is None:
        card = origin.find_card()
    try:
        cfg, folder = _resolve(origin, machine, card)
    except ValueError as error:
        if origin.edited:
            _resolve(origin.unedited(), machine, card)  # if an option is at fault, this names it
            raise ValueError(f"{path}, edited by hand: {str(error).removeprefix('--cfg-options ')}") from None
        raise
    return Resolved(cfg, origin, machine, card, folder, notices)


def resolve_run(path: str | Path, launcher: str = "none") -> Resolved:
    """Resolve the dumped config of a run, for processes that ``launcher`` started.

    Raises:
        ValueError: see ``resolve``, or no run has dumped the config.
    """
    resolved = resolve(path, machine=Machine.here(processes_of(launcher)))
    if not resolved.origin.run:
        raise ValueError(f"{path} is no run's config; give the config.py beside the checkpoint, which says what was trained.")
    return resolved


def origin_of(path: str | Path, options: Options) -> tuple[Origin, tuple[str, ...]]:
    """Return the origin of a config, and notices for the user.

    The origin of a dumped config is that of its run, with ``options`` on top. A key that was edited by hand in it counts as an
    override of a derived key, and a notice says so.
    """
    cfg = read(path)
    if ORIGIN not in cfg:
        return Origin(file=str(path), values=cfg._cfg_dict.to_dict(), **options.asked()), ()
    origin = Origin.parse(cfg.pop(ORIGIN), str(path))
    before, _ = _resolve(origin, origin.resolved_on, origin.find_card())
    edited = edits_of(before, cfg)
    notices = (f"{path} was edited by hand after it was resolved; kept as overrides: {', '.join(edited)}.",) if edited else ()
    return origin.changed_by(options).edit(edited), notices


def _resolve(origin: Origin, machine: Machine, card: CardFacts | None) -> tuple[Any, str]:
    """Return the complete config, and the folder of its data.

    Where an override decides a downstream number beside the protocol, the protocol's name says so.
    """
    cfg, folder = _plain(origin, machine, card)
    if "protocol" not in cfg:
        return cfg, folder
    hashable = hashable_config(cfg, folder)
    notes = [
        f"{key}={value}"
        for key, value in origin.overrides.items()
        if key.partition(".")[0] not in UNNAMED and _decides(key, origin, machine, card, hashable)
    ]
    cfg.protocol.name = ", ".join([cfg.protocol.name, *notes])
    return cfg, folder


def _decides(key: str, origin: Origin, machine: Machine, card: CardFacts | None, hashable: dict[str, Any]) -> bool:
    """Return whether a config would have another result without the override ``key``."""
    try:
        without, folder = _plain(origin.without(key), machine, card)
    except ValueError:  # the others need it
        return True
    return hashable_config(without, folder) != hashable


def _plain(origin: Origin, machine: Machine, card: CardFacts | None) -> tuple[Any, str]:
    from mmengine.config import Config

    cfg = Config(origin.copied_values(), cfg_text=origin.file, filename=origin.file)  # with a text, no file is opened
    values = checked(cfg, origin.file)
    overrides = sort_overrides(values, origin.overrides)
    values = checked(values, origin.file, overrides.values)
    request = Request(machine, card=card, protocol_changes=overrides.protocol, **origin.request())
    resolved = task_of(values).resolve(values, request)
    refuse_undone(overrides, [name for name, _ in resolved.get("tricks", [])])
    apply_derived(resolved, overrides.derived)
    for key in origin.gone:
        refuse_following(task_of(resolved), key)
        take_out(resolved, key)
    complete(resolved, machine)
    check_structures(resolved, origin.file)
    return resolved, data_folder(values)


def refuse_ineffective(resolved: Resolved) -> None:
    """Refuse an override that a person typed and that leaves the resolved config as it was.

    Raises:
        ValueError: an override repeats what the config has, or another option decides the key; names the first such override.
    """
    own = _running(resolved.cfg)
    for key, value in resolved.origin.overrides.items():
        try:
            without, _ = _plain(resolved.origin.without(key), resolved.machine, resolved.card)
        except ValueError:
            continue  # the others need it
        if not difference(_running(without), own):
            asked = f"{resolved.origin.file}, edited by hand:" if key in resolved.origin.edited else "--cfg-options"
            raise ValueError(
                f"{asked} {key}={value} changes nothing: the config has that already, nothing uses it here, or another "
                "option decides it; leave it out."
            )


def _running(cfg) -> dict[str, Any]:
    """Return the flattened config without its protocol, which acts only through the keys derived from it."""
    return flatten({key: value for key, value in cfg.items() if key != "protocol"})


def effective(overrides: Mapping[str, Any], path: str | Path, options: Options) -> dict[str, Any]:
    """Return those of the overrides of a study that change something, as a launcher hands them on."""
    bare = flatten(resolve(path, replace(options, overrides={})).cfg)
    return {
        key: value
        for key, value in overrides.items()
        if difference(bare, flatten(resolve(path, replace(options, overrides={key: value})).cfg))
    }
