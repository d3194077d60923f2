"""Read study files: which recipes or cards, on which networks and tasks, beside which published numbers."""

import difflib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec

from backbones.common.config_reader import read_config
from backbones.common.project import ROOT, SCALES, SCRATCH
from backbones.common.schema import accept
from backbones.transfer.protocols import protocol_files
from tools.engine.config import find_config, task_of
from tools.engine.studies.published_weights import Weights

MOST_SEEDS = 100  # the seeds of fine-tunings are so far apart
RECIPES = ROOT / "configs/studies/recipes.py"


class RecipeSchema(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """A recipe of configs/studies/recipes.py."""

    tricks: tuple[str | tuple[str, dict[str, Any]], ...] | None
    parent: str | None
    label: str
    also: str | None = None
    teacher: str | None = None


class TeacherSchema(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """The network from which distilled ones learn."""

    config: str
    overrides: dict[str, Any] = {}


class CatalogueSchema(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """configs/studies/recipes.py."""

    recipes: dict[str, RecipeSchema]
    teacher: TeacherSchema
    without: dict[str, tuple[str, ...]]


class NetworkSchema(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """A network that a study pretrains."""

    config: str
    overrides: dict[str, Any] = {}
    recipes: tuple[str, ...] | None = None


class CardSchema(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """A row of a study that starts from published weights."""

    source: str
    file: str
    label: str
    about: str
    top1: float | int | None = None


class PublishedSchema(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """A published number beside a recipe's: a cell of a table of the paper."""

    recipe: str
    metric: str
    column: str
    network: str | None = None
    row: str | None = None


class StudySchema(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """A file of configs/studies/."""

    name: str
    recipes: tuple[str, ...]
    reference: str
    metrics: tuple[str, ...]
    configs: dict[str, str] = {}
    networks: dict[str, NetworkSchema] = {}
    labels: dict[str, str] = {}
    cards: dict[str, CardSchema] = {}
    published: dict[str, tuple[PublishedSchema, ...]]
    published_source: str = ""


@dataclass(frozen=True)
class Recipe:
    """A row of a study.

    Args:
        name: of the recipe, or of the published weights.
        label: what tables print.
        tricks: pairs of a name and its options; None for a row that pretrains nothing.
        parent: the recipe that it is compared with, and ``also`` another one.
        teacher: the recipe of the network that a distilled one learns from.
        weights: published ones that the row starts from.
    """

    name: str
    label: str
    tricks: tuple[tuple[str, dict], ...] | None
    parent: str | None = None
    also: str | None = None
    teacher: str | None = None
    weights: Weights | None = None

    def tricks_for(self, left_out: Collection[str], teacher: str = "") -> list[tuple[str, dict]] | None:
        """Return the tricks without those ``left_out``, with the folder of the teacher's card; None for 'scratch'."""
        if self.tricks is None:
            return None
        own = {"distillation": {"teacher": teacher}}
        return [(name, options | own.get(name, {})) for name, options in self.tricks if name not in left_out]


@dataclass(frozen=True)
class Network:
    """A network that a study pretrains: the pattern of its config, overrides, and the recipes that it is trained with."""

    name: str
    config: str
    overrides: Mapping[str, Any]
    recipes: tuple[str, ...]


@dataclass(frozen=True)
class Study:
    """A study at one scale with the recipes and seeds asked for: see ``load_study``."""

    file: StudySchema
    scale: str
    recipes: tuple[str, ...]
    catalogue: Mapping[str, Recipe]
    networks: tuple[Network, ...]
    teacher: TeacherSchema
    without: Mapping[str, tuple[str, ...]]
    tasks: tuple[str, ...]
    seeds: int = 1
    fine_tunings: int = 1
    teachers: Mapping[str, str] | None = None
    tune_lr: bool = False
    protocol: str | None = None
    vis: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return self.file.name

    @property
    def folder(self) -> Path:
        """Where its table and report go."""
        return Path("work_dirs") / f"{self.name}-{self.scale}"

    def label(self, recipe: str) -> str:
        """Return what the study's table prints for a recipe."""
        return self.catalogue[recipe].label if recipe in self.catalogue else recipe

    def cards(self) -> list[Weights]:
        """Return the published weights of all rows asked for."""
        return [weights for name in self.recipes if (weights := self.catalogue[name].weights)]

    def transfers(self) -> dict[str, str]:
        """Return the tasks asked for that take a card, and the patterns of their configs."""
        return {task: path for task, path in self.configs("transfer").items() if task in self.tasks}

    def configs(self, stage: str) -> dict[str, str]:
        """Return the patterns of the configs of the tasks of a stage, 'pretrain' or 'transfer'."""
        return {task: path for task, path in self.file.configs.items() if task_of({"task": task}).STAGE == stage}

    def protocol_of(self, task: str) -> str | None:
        """Return the protocol asked for, where the task has one of that name; else None, the config's own."""
        return self.protocol if self.protocol in protocol_files(task) else None

    def tricks(self, recipe: str, network: str, teacher: str = "") -> list | None:
        """Return the tricks of a recipe that a network has a use for; None for 'scratch'."""
        return self.catalogue[recipe].tricks_for(self.without.get(network, ()), teacher)


def read_catalogue() -> tuple[CatalogueSchema, dict[str, Recipe]]:
    """Return configs/studies/recipes.py as it is, and its recipes by name.

    Raises:
        ValueError: the file does not fit its schema, or names a parent that is not in it.
    """
    schema = accept(_public(read_config(RECIPES)), CatalogueSchema, str(RECIPES))
    recipes = {}
    for name, row in schema.recipes.items():
        for other in (row.parent, row.also, row.teacher):
            if other is not None:
                refuse_unknown_name(f"recipe beside {name} in {RECIPES.name}", other, schema.recipes)
        pairs = row.tricks and tuple((t, {}) if isinstance(t, str) else (t[0], dict(t[1])) for t in row.tricks)
        recipes[name] = Recipe(name, row.label, pairs, row.parent, row.also, row.teacher)
    return schema, recipes


def load_study(
    path: str,
    scale: str,
    recipes: list[str] | None = None,
    seeds: int = 1,
    teachers: dict[str, str] | None = None,
    tune_lr: bool = False,
    fine_tunings: int = 1,
    tasks: list[str] | None = None,
    protocol: str | None = None,
    vis: list[str] | None = None,
) -> Study:
    """Read a study's file and check what was asked of it.

    Args:
        path: of the study.
        scale: 'toy', 'mini' or 'paper'.
        recipes: instead of the study's own.
        seeds: how many.
        teachers: cards by the recipe of the teacher ('smooth', 'mixup'), instead of training it.
        tune_lr: add rows of each transfer at the best of a grid of learning rates.
        fine_tunings: of each pretrained backbone, with seeds that are 100 apart.
        tasks: of the study's, those whose rows are wanted; a pretraining that they rest on runs all the same.
        protocol: of the transfers that have one of that name.
        vis: where the scalars of its runs go besides their folders, as ``tools/train.py --vis`` takes it.

    Raises:
        ValueError: an unknown study, scale, recipe, task, metric or protocol (names the nearest), a network without a config at
            that scale, fewer than one seed, or a file that does not fit its schema.
    """
    where = str(find_config(path))
    file = accept(_public(read_config(where)), StudySchema, where)
    catalogue, known = read_catalogue()
    refuse_unknown_name("scale", scale, SCALES)
    for name, card in file.cards.items():
        weights = Weights(name, card.source, card.file, card.about, card.top1)
        known[name] = Recipe(name, card.label, (), weights=weights)
    for name, label in file.labels.items():
        refuse_unknown_name(f"recipe for a label of {file.name}", name, known)
        known[name] = replace(known[name], label=label)
    allowed = [SCRATCH, *file.cards] if file.cards else list(known)
    for name in (*file.recipes, *(recipes or ())):
        refuse_unknown_name("recipe", name, allowed)
    refuse_unknown_name(f"recipe for the reference of {file.name}", file.reference, file.recipes)
    wanted = tuple(recipes or file.recipes)
    own = tuple(file.configs or ("classification",))
    _check_metrics(file, own)
    if not (1 <= seeds <= MOST_SEEDS and fine_tunings >= 1):
        raise ValueError(
            f"--seeds is {seeds}x{fine_tunings}; give 1 to {MOST_SEEDS} pretrainings, and 1 fine-tuning of each or more."
        )
    for name in tasks or ():
        refuse_unknown_name(f"task in {file.name}", name, own)
    if protocol:
        refuse_unknown_name(f"protocol for the tasks of {file.name}", protocol, [p for task in own for p in protocol_files(task)])
    taught = {row.teacher for name in wanted if (row := known[name]).teacher}
    for recipe in teachers or {}:
        if recipe not in taught:
            hint = f"its distilled rows learn from {', '.join(sorted(taught))}" if taught else "none of its rows is distilled"
            raise ValueError(f"--teachers {recipe}=...: no row of {file.name} asked for has such a teacher; {hint}.")
    study = Study(
        file=file,
        scale=scale,
        recipes=wanted,
        catalogue=known,
        networks=_networks(file, wanted),
        teacher=catalogue.teacher,
        without=catalogue.without,
        tasks=tuple(tasks or own),
        seeds=seeds,
        fine_tunings=fine_tunings,
        teachers=dict(teachers or {}),
        tune_lr=tune_lr,
        protocol=protocol,
        vis=tuple(vis or ()),
    )
    for pattern in (*pretrained(study), *study.transfers().values()):
        find_config(pattern.format(scale=scale))
    return study


def pretrained(study: Study) -> list[str]:
    """Return the patterns of the configs that a study pretrains by."""
    return [network.config for network in study.networks if network.config]


def _networks(file: StudySchema, recipes: tuple[str, ...]) -> tuple[Network, ...]:
    """Return what is pretrained; one network without a name in most studies, and without a config where all rows are cards."""
    if file.networks:
        return tuple(Network(name, n.config, n.overrides, n.recipes or recipes) for name, n in file.networks.items())
    patterns = [path for task, path in file.configs.items() if task_of({"task": task}).STAGE == "pretrain"]
    return (Network("", patterns[0] if patterns else "", {}, recipes),)


def _check_metrics(file: StudySchema, tasks: tuple[str, ...]) -> None:
    figures = [name for task in tasks for name in task_of({"task": task}).FIGURES]
    for name in file.metrics:
        refuse_unknown_name(f"metric in {file.name}", name, figures)


def _public(cfg) -> dict[str, Any]:
    """Return a file's values without the names that start with an underscore, which are its own helpers."""
    return {key: value for key, value in cfg.to_dict().items() if not key.startswith("_")}


def refuse_unknown_name(what: str, name: str, allowed: Collection[str]) -> None:
    """Raise ValueError unless ``name`` is allowed; names the nearest and all."""
    if name not in allowed:
        near = difflib.get_close_matches(str(name), allowed, n=3, cutoff=0.4)
        hint = f"nearest: {', '.join(near)}; " if near else ""
        raise ValueError(f"There is no {what} {name!r}; {hint}all: {', '.join(dict.fromkeys(allowed))}.")
