"""Record what a config was resolved from, and write and read the dumped config of a run, which holds that record."""

import copy
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from backbones.card_facts import JSON, LIKE, CardFacts
from backbones.common.project import SCRATCH, data_root
from backbones.common.schema import join, refuse_unknown
from backbones.resolving import TRANSFER_HOOK, Machine
from tools.engine.config.loading import ORIGIN

GONE = object()  # the value of a key that was taken out by hand
OF_A_RUN = ("work_dir", "run", "launcher", "visualizer")  # what a run itself puts into its config
ROOT_TEXT = "os.environ.get('DATA_ROOT', 'data')"
MARKER = "$DATA_ROOT$"  # begins a path in the folder of datasets, while a config is made text
MARKED = re.compile(rf"""(['"]){re.escape(MARKER)}((?:\\.|(?!\1)[^\\])*)\1""")  # such a path as Python text


@dataclass(frozen=True)
class RunOptions:
    """Hold the options of ``tools/train.py`` that decide the resolved config; its ``--help`` describes them.

    None means that nothing was asked: a config of configs/ then takes the default, and a dumped config what its run had.
    """

    tricks: list = field(default_factory=list)
    backbone: str | None = None
    transfer: str | None = None
    protocol: str | None = None
    lr_factor: float | None = None
    hold_out: bool = False
    seed: int | str | None = None
    overrides: dict[str, Any] = field(default_factory=dict)
    on_bad_image: str | None = None

    def asked(self) -> dict[str, Any]:
        """Return the options by name, without what a subclass adds."""
        return {name: getattr(self, name) for name in RunOptions.__dataclass_fields__}


@dataclass(frozen=True, kw_only=True)
class Origin(RunOptions):
    """Hold what a config was resolved from: its file, the values in the file, and the options.

    Args:
        file: path of the config file.
        values: in it, before any override.
        gone: dotted keys that were taken out by hand of a dumped config.
        edited: dotted keys of ``overrides`` that were edited by hand in a dumped config; never dumped itself.
        card: facts of the card of a transfer.
        machine: on which the config was resolved.
        run: the key of the run.
    """

    file: str
    values: dict[str, Any]
    gone: tuple[str, ...] = ()
    edited: tuple[str, ...] = ()
    card: dict[str, Any] | None = None
    machine: dict[str, Any] | None = None
    run: str | None = None

    @classmethod
    def parse(cls, data, where: str) -> "Origin":
        """Read the origin in a dumped config; ``data`` is an MMEngine ConfigDict.

        Raises:
            ValueError: a key is unknown or missing.
        """
        refuse_unknown(data, cls.__dataclass_fields__.keys() - {"edited"}, where, ORIGIN)
        for name in ("file", "values", "machine"):
            if not data.get(name):
                raise ValueError(f"{where} lacks {ORIGIN}.{name}; take the config.py that the run itself wrote.")
        return cls(**data.to_dict())

    @property
    def data_root(self) -> str:
        """The folder of the data, relative to DATA_ROOT unless it is absolute."""
        return self.overrides.get("data_root", self.values["data_root"])

    @property
    def resolved_on(self) -> Machine:
        """The machine on which a dumped config was resolved."""
        assert self.machine, "only a dumped config has the machine on which it was resolved"
        return Machine(**self.machine)

    def copied_values(self) -> dict[str, Any]:
        """Return the values, to be changed by the caller."""
        return copy.deepcopy(self.values)

    def request(self) -> dict[str, Any]:
        """Return the arguments of a ``Request`` that are taken over as they are."""
        names = ("tricks", "backbone", "transfer", "protocol", "lr_factor", "hold_out")
        same = {name: getattr(self, name) for name in names}
        return same | {"seed": 0 if self.seed is None else self.seed, "skip_bad_images": self.on_bad_image == "skip"}

    def find_card(self) -> CardFacts | None:
        """Return the facts of the card that was asked for: those in a dumped config, else those of its card.json.

        A dumped config may outlive its card. If the card is there, its identity is read anew, since it may have been replaced; a
        damaged one is refused when a run loads it.

        Raises:
            ValueError: there is no such card.
        """
        if self.backbone in (None, SCRATCH):
            return None
        if not self.card:
            return CardFacts.read(self.backbone)
        facts = CardFacts(**self.card)
        if facts.random or not (Path(facts.folder) / JSON).is_file():
            return facts
        with suppress(ValueError):
            return replace(facts, identity=CardFacts.read(facts.folder).identity)
        return facts

    def changed_by(self, options: RunOptions) -> "Origin":
        """Return this origin with a user's options on top; an option at its default keeps the value of the run.

        Raises:
            ValueError: tricks, where the run had its own.
        """
        defaults = RunOptions().asked()
        given = {name: value for name, value in options.asked().items() if value != defaults[name]}
        if "tricks" in given and self.tricks:
            names = ", ".join(trick if isinstance(trick, str) else trick[0] for trick in self.tricks)
            raise ValueError(f"This config has tricks already: {names}; give all tricks at once, to a config of configs/.")
        given["overrides"] = self.overrides | given.get("overrides", {})
        if given.get("backbone") not in (None, self.backbone):
            given["card"] = None
        return replace(self, **given)

    def without(self, key: str) -> "Origin":
        """Return this origin without one of its overrides."""
        return replace(self, overrides={name: value for name, value in self.overrides.items() if name != key})

    def edit(self, edits: Mapping[str, Any]) -> "Origin":
        """Return this origin with keys that were edited by hand: they count as overrides, or are taken out."""
        changed = {key: value for key, value in edits.items() if value is not GONE}
        gone = tuple(key for key, value in edits.items() if value is GONE)
        return replace(self, overrides=self.overrides | changed, gone=(*self.gone, *gone), edited=tuple(edits))

    def unedited(self) -> "Origin":
        """Return this origin without what was edited by hand."""
        overrides = {key: value for key, value in self.overrides.items() if key not in self.edited}
        return replace(self, overrides=overrides, gone=tuple(key for key in self.gone if key not in self.edited), edited=())


def edits_of(resolved, dumped) -> dict[str, Any]:
    """Return the edits made by hand to a dumped config, by dotted key; GONE marks a key that was removed."""
    before, after = ({k: v for k, v in cfg.to_dict().items() if k not in OF_A_RUN} for cfg in (resolved, dumped))
    return dict(_edits("", before, after))


def _edits(path: str, before: Any, after: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(before, dict) and isinstance(after, dict):
        for key in [*before, *(key for key in after if key not in before)]:
            yield from _edits(join(path, str(key)), before.get(key, GONE), after.get(key, GONE))
    elif _is_list_of_dicts(before) and _is_list_of_dicts(after) and len(before) == len(after):
        for i, pair in enumerate(zip(before, after, strict=True)):
            yield from _edits(join(path, str(i)), *pair)
    elif _listed(before) != _listed(after):
        yield path, after


def _is_list_of_dicts(value: Any) -> bool:
    return isinstance(value, list | tuple) and bool(value) and all(isinstance(item, dict) for item in value)


def _listed(value: Any) -> Any:
    """Return ``value`` with lists for tuples, which differ in no config."""
    return [_listed(item) for item in value] if isinstance(value, list | tuple) else value


def take_out(cfg, key: str) -> None:
    """Remove the value at a dotted key of a config, in place."""
    *parents, last = key.split(".")
    node = cfg
    for name in parents:
        node = node[int(name)] if isinstance(node, list) else node.get(name, {})
    node.pop(last, None)


def dumped_text(cfg, origin: Origin, machine: Machine, card: CardFacts | None, run: str | None = None) -> str:
    """Return the text of a config file that holds a resolved config and what it was resolved from.

    It finds its data by the variable DATA_ROOT, and loads with MMEngine alone.

    Args:
        cfg: the resolved config.
        origin: what it was resolved from.
        machine: on which.
        card: of a transfer.
        run: key of the run.
    """
    from mmengine.config import Config

    facts = asdict(card) if card else None
    about = asdict(replace(origin, machine=asdict(machine), card=facts, run=run))
    del about["edited"]
    text = Config(_marked(cfg.to_dict(), Path(origin.data_root)) | {ORIGIN: about}).pretty_text
    return "import os\n\n" + MARKED.sub(lambda match: f"os.path.join({ROOT_TEXT}, {match[1]}{match[2]}{match[1]})", text)


def printed_text(resolved) -> str:
    """Return the text of a resolved config as MMEngine runs it by itself, with absolute paths of cards."""
    cfg, origin, card = copy.deepcopy(resolved.cfg), resolved.origin, resolved.card
    if card:
        card = replace(card, folder=str(Path(card.folder).absolute()))
        origin = replace(origin, backbone=LIKE + card.folder if card.random else card.folder)
        if not card.random:
            cfg.backbone = card.folder
        for hook in cfg.custom_hooks:
            if hook["type"] == TRANSFER_HOOK:
                hook["card"] = card.folder
    return dumped_text(cfg, origin, resolved.machine, card)


def _marked(value: Any, folder: Path) -> Any:
    """Mark the paths in a config's data, ``folder``, unless that is absolute: DATA_ROOT then moves them."""
    if isinstance(value, Mapping):
        return {key: _marked(item, folder) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_marked(item, folder) for item in value)
    place = os.path.join(data_root(), folder)
    if isinstance(value, str) and not folder.is_absolute() and (value == place or value.startswith(f"{place}/")):
        return MARKER + folder.as_posix() + value[len(place) :]
    return value
