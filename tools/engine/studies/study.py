"""Read study files, which name recipes or cards, networks, tasks, and published numbers to compare with."""

import difflib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec

from backbones.common.project import SCALES, SCRATCH
from backbones.common.schema import MOST_LISTED, Count, accept
from backbones.transfer.protocols import protocol_files
from tools.engine.config import find_config, task_of
from tools.engine.config.loading import read
from tools.engine.studies.arguments import MOST_SEEDS
from tools.engine.studies.given_cards import GivenCard
from tools.engine.studies.published_weights import Weights
from tools.engine.study_folder.names import RECIPES


class RecipeSchema(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """Declare a recipe of configs/studies/recipes.py."""

    tricks: tuple[str | tuple[str, dict[str, Any]], ...] | None
    parent: str | None
    label: str
    also: str | None = None
    teacher: str | None = None


class TeacherSchema(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """Declare the teacher network of distillation."""

    config: str
    overrides: dict[str, Any] = {}


class CatalogueSchema(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """Declare the content of configs/studies/recipes.py."""

    recipes: dict[str, RecipeSchema]
    teacher: TeacherSchema
    without: dict[str, tuple[str, ...]]


class NetworkSchema(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """Declare a network that a study pretrains."""

    config: str
    overrides: dict[str, Any] = {}
    recipes: tuple[str, ...] | None = None


class CardSchema(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """Declare a row of a study that starts from published weights."""

    source: str
    file: str
    label: str
    about: str
    package: str | None = None
    top1: float | int | None = None


class PublishedSchema(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """Declare a cell of a table of the paper that is shown beside a recipe's result."""

    recipe: str
    metric: str
    column: str
    network: str | None = None
    row: str | None = None


class StudySchema(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """Declare the content of a file of configs/studies/."""

    name: str
    recipes: tuple[str, ...]
    reference: str
    metrics: tuple[str, ...]
    configs: dict[str, str] = {}
    networks: dict[str, NetworkSchema] = {}
    labels: dict[str, str] = {}
    cards: dict[str, CardSchema | str] = {}  # published weights, or the path of a card
    published: dict[str, tuple[PublishedSchema, ...]]
    published_source: str = ""
    scale: str | None = None  # these three are defaults of options
    seeds: Count | None = None
    protocol: str | None = None


@dataclass(frozen=True)
class Recipe:
    """Represent a row of a study.

    Args:
        name: name of the recipe or of the published weights.
        label: name in tables.
        tricks: pairs of a trick's name and its options; None for a row without pretraining.
        parent: recipe that it is compared with.
        also: another recipe that it is compared with.
        teacher: recipe of the teacher network of a distilled row.
        weights: published weights, or the card, from which the row starts.
    """

    name: str
    label: str
    tricks: tuple[tuple[str, dict], ...] | None
    parent: str | None = None
    also: str | None = None
    teacher: str | None = None
    weights: Weights | GivenCard | None = None

    def tricks_for(self, left_out: Collection[str], teacher: str = "") -> list[tuple[str, dict]] | None:
        """Return the tricks without those ``left_out``, with the folder of the teacher's card; None for 'scratch'."""
        if self.tricks is None:
            return None
        additions = {"distillation": {"teacher": teacher}}
        return [(name, options | additions.get(name, {})) for name, options in self.tricks if name not in left_out]


@dataclass(frozen=True)
class Network:
    """Represent a network that a study pretrains: the pattern of its config, overrides, and the recipes to train it with."""

    name: str
    config: str
    overrides: Mapping[str, Any]
    recipes: tuple[str, ...]


@dataclass(frozen=True)
class Study:
    """Represent a study at one scale with the requested recipes and seeds; see ``load_study``."""

    path: Path
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
    processes: int = 1

    @property
    def name(self) -> str:
        return self.file.name

    @property
    def folder(self) -> Path:
        """Return the folder of its table and report."""
        return Path("work_dirs") / f"{self.name}-{self.scale}"

    def label(self, recipe: str) -> str:
        """Return the name of a recipe in the study's tables."""
        return self.catalogue[recipe].label if recipe in self.catalogue else recipe

    def cards(self) -> list[Weights | GivenCard]:
        """Return the published weights and cards of all requested rows."""
        return [weights for name in self.recipes if (weights := self.catalogue[name].weights)]

    def scratch_network(self) -> Weights | GivenCard | None:
        """Return the weights whose network trains from scratch: the first of the file; None without any."""
        return self.catalogue[next(iter(self.file.cards))].weights if self.file.cards else None

    def needed_cards(self) -> list[Weights | GivenCard]:
        """Return the published weights and cards that the requested rows need, each once."""
        cards = self.cards()
        network = self.scratch_network() if SCRATCH in self.recipes else None
        return cards if network is None or network in cards else [network, *cards]

    def transfers(self) -> dict[str, str]:
        """Return the requested tasks that transfer a backbone, with the patterns of their configs."""
        return {task: path for task, path in self.configs("transfer").items() if task in self.tasks}

    def configs(self, stage: str) -> dict[str, str]:
        """Return the patterns of the configs of the tasks of a stage, 'pretrain' or 'transfer'."""
        return {task: path for task, path in self.file.configs.items() if task_of({"task": task}).STAGE == stage}

    def protocol_of(self, task: str) -> str | None:
        """Return the requested protocol if the task defines it, else None for the default of the config."""
        return self.protocol if self.protocol in protocol_files(task) else None

    def tricks(self, recipe: str, network: str, teacher: str = "") -> list | None:
        """Return the tricks of a recipe that apply to a network; None for 'scratch'."""
        return self.catalogue[recipe].tricks_for(self.without.get(network, ()), teacher)


def read_catalogue() -> tuple[CatalogueSchema, dict[str, Recipe]]:
    """Read configs/studies/recipes.py and return its content and its recipes by name.

    Raises:
        ValueError: the file does not fit its schema, or names a parent that is not in it.
    """
    schema = accept(_public(read(RECIPES)), CatalogueSchema, str(RECIPES))
    recipes = {}
    for name, row in schema.recipes.items():
        for related in (row.parent, row.also, row.teacher):
            if related is not None:
                refuse_unknown_name(f"{RECIPES.name} has no recipe", related, schema.recipes, f", beside which it has {name}")
        recipes[name] = Recipe(name, row.label, _trick_pairs(row), row.parent, row.also, row.teacher)
    return schema, recipes


def _trick_pairs(row: RecipeSchema) -> tuple[tuple[str, dict], ...] | None:
    """Return the tricks of a recipe as pairs of name and options; None for a row without pretraining."""
    if row.tricks is None:
        return None
    return tuple((trick, {}) if isinstance(trick, str) else (trick[0], dict(trick[1])) for trick in row.tricks)


def load_study(
    path: str,
    scale: str | None = None,
    recipes: list[str] | None = None,
    seeds: int | None = None,
    teachers: dict[str, str] | None = None,
    tune_lr: bool = False,
    fine_tunings: int = 1,
    tasks: list[str] | None = None,
    protocol: str | None = None,
    vis: list[str] | None = None,
    processes: int = 1,
) -> Study:
    """Read a study's file and check the options for it.

    It is long because its parameters are the command-line options of ``add_study_arguments`` and it fills every field of a study.

    Args:
        path: file of the study.
        scale: 'toy', 'mini' or 'paper' (default: that of the file, or 'toy').
        recipes: rows of the study (default: the study's own).
        seeds: number of pretrainings, 1 to 100 (default: that of the file, or 1).
        teachers: folders of cards by the recipe of the teacher ('smooth', 'mixup'), used instead of training it.
        tune_lr: add rows of each transfer at the best of a grid of learning rates.
        fine_tunings: number of fine-tunings of each pretrained backbone, with seeds that are 100 apart.
        tasks: tasks whose rows are included (default: all). The pretrainings that they need are run in any case.
        protocol: protocol for every transfer task that defines it (default: that of the file at its own scale).
        vis: backends that receive the scalars of the runs, as in ``tools/train.py --vis``.
        processes: number of processes that share the batch of a run.

    Raises:
        ValueError: a study, scale, recipe, task, metric or protocol is unknown (the message names the nearest), a network has
            no config at that scale, a number of seeds is out of range, or a file does not fit its schema.
    """
    study_path = str(find_config(path))
    file = accept(_public(read(study_path)), StudySchema, study_path)
    schema, catalogue = read_catalogue()
    scale = file.scale or SCALES[0] if scale is None else scale
    seeds = file.seeds or 1 if seeds is None else seeds
    protocol = file.protocol if protocol is None and scale == file.scale else protocol
    refuse_unknown_name("There is no scale", scale, SCALES)
    catalogue |= _rows_of_file(file, catalogue)
    _check_recipes(file, catalogue, recipes or ())
    rows = tuple(dict.fromkeys(recipes or file.recipes))
    all_tasks = tuple(file.configs or ("classification",))
    _check_metrics(file, all_tasks)
    _check_seeds(seeds, fine_tunings)
    asked_tasks = tuple(dict.fromkeys(tasks or all_tasks))
    _check_tasks(file, all_tasks, asked_tasks, protocol)
    refuse_protocol(protocol, scale)
    _check_teachers(file, [catalogue[name] for name in rows], teachers or {})
    study = Study(
        path=Path(study_path),
        file=file,
        scale=scale,
        recipes=rows,
        catalogue=catalogue,
        networks=_networks(file, rows),
        teacher=schema.teacher,
        without=schema.without,
        tasks=asked_tasks,
        seeds=seeds,
        fine_tunings=fine_tunings,
        teachers=dict(teachers or {}),
        tune_lr=tune_lr,
        protocol=protocol,
        vis=tuple(vis or ()),
        processes=processes,
    )
    _check_transfers(study)
    for pattern in (*pretrained(study), *study.transfers().values()):
        find_config(pattern.format(scale=scale))
    return study


def _rows_of_file(file: StudySchema, catalogue: Mapping[str, Recipe]) -> dict[str, Recipe]:
    """Return the rows that a study's file itself defines: its weights and cards, and recipes with a label of its own."""
    rows = {}
    for name, card in file.cards.items():
        if isinstance(card, str):
            rows[name] = Recipe(name, name, (), weights=GivenCard(name, card))
        else:
            weights = Weights(name, card.source, card.file, card.about, card.top1, card.package)
            rows[name] = Recipe(name, card.label, (), weights=weights)
    for name, label in file.labels.items():
        refuse_unknown_name("There is no recipe", name, catalogue | rows, f", for which {file.name} has a label")
        rows[name] = replace((catalogue | rows)[name], label=label)
    return rows


def _check_recipes(file: StudySchema, catalogue: Mapping[str, Recipe], recipes: Collection[str]) -> None:
    """Raise ValueError unless the study may have its own and the requested ``recipes``, and has its reference."""
    allowed = [SCRATCH, *file.cards] if file.cards else list(catalogue)
    for name in (*file.recipes, *recipes):
        refuse_unknown_name("There is no recipe", name, allowed)
    refuse_unknown_name(f"{file.name} has no recipe", file.reference, file.recipes, ", which is its reference")


def _check_seeds(seeds: int, fine_tunings: int) -> None:
    """Raise ValueError if a number of seeds is out of range."""
    if not (1 <= seeds <= MOST_SEEDS and fine_tunings >= 1):
        raise ValueError(
            f"--seeds is {seeds}x{fine_tunings}; give 1 to {MOST_SEEDS} pretrainings, and 1 fine-tuning of each or more."
        )


def _check_tasks(file: StudySchema, all_tasks: tuple[str, ...], tasks: Collection[str], protocol: str | None) -> None:
    """Raise ValueError if the study lacks a requested task, or none of its tasks defines the protocol."""
    for name in tasks:
        refuse_unknown_name(f"{file.name} has no task", name, all_tasks)
    if protocol:
        protocols = [name for task in tasks for name in protocol_files(task)]
        refuse_unknown_name("There is no protocol", protocol, protocols or ["none"], f" for {', '.join(tasks)}")


def refuse_protocol(protocol: str | None, scale: str) -> None:
    """Raise ValueError if a protocol is asked for at a scale other than paper, whose configs have protocols of their own."""
    if protocol and scale != "paper":
        raise ValueError(f"--protocol works only with --scale paper, and --scale is {scale}; leave out --protocol {protocol}.")


def _check_transfers(study: Study) -> None:
    """Raise ValueError for an option of transfers if no task asked for is one."""
    if study.transfers():
        return
    without = f"transfers a backbone, and the tasks asked for are {', '.join(study.tasks)}; leave it out."
    if study.fine_tunings > 1:
        raise ValueError(f"--seeds {study.seeds}x{study.fine_tunings} has fine-tunings for a task that {without}")
    if study.tune_lr:
        raise ValueError(f"--tune-lr is for a task that {without}")


def _check_teachers(file: StudySchema, rows: Collection[Recipe], teachers: Collection[str]) -> None:
    """Raise ValueError if a card is given for a teacher from which no row learns."""
    used = {row.teacher for row in rows if row.teacher}
    for recipe in teachers:
        if recipe not in used:
            hint = f"its distilled rows learn from {', '.join(sorted(used))}" if used else "none of its rows is distilled"
            raise ValueError(f"--teachers {recipe}=...: no row of {file.name} asked for has such a teacher; {hint}.")


def pretrained(study: Study) -> list[str]:
    """Return the patterns of the configs of a study's pretrainings."""
    return [network.config for network in study.networks if network.config]


def _networks(file: StudySchema, recipes: tuple[str, ...]) -> tuple[Network, ...]:
    """Return the networks that a study pretrains: mostly one without a name, and without a config if all rows are cards."""
    if file.networks:
        return tuple(Network(name, n.config, n.overrides, n.recipes or recipes) for name, n in file.networks.items())
    patterns = [path for task, path in file.configs.items() if task_of({"task": task}).STAGE == "pretrain"]
    return (Network("", patterns[0] if patterns else "", {}, recipes),)


def _check_metrics(file: StudySchema, tasks: tuple[str, ...]) -> None:
    """Raise ValueError if no task of the study has one of its metrics."""
    figures = [name for task in tasks for name in task_of({"task": task}).FIGURES]
    for name in file.metrics:
        refuse_unknown_name(f"No task of {file.name} has the metric", name, figures)


def _public(cfg) -> dict[str, Any]:
    """Return the values of a config file without its private names, which start with an underscore."""
    return {key: value for key, value in cfg.to_dict().items() if not key.startswith("_")}


def refuse_unknown_name(lacking: str, name: str, allowed: Collection[str], about: str = "") -> None:
    """Raise ValueError, with the nearest and all allowed names, unless ``name`` is allowed.

    Args:
        lacking: words before the name, such as 'demo has no task'.
        name: to check.
        allowed: names.
        about: words after the name.
    """
    if name not in allowed:
        nearest = difflib.get_close_matches(str(name), allowed, n=3, cutoff=0.4)
        hint = f"nearest: {', '.join(nearest)}; " if nearest else ""
        if not nearest or len(set(allowed)) <= MOST_LISTED:
            hint += f"all: {', '.join(dict.fromkeys(allowed))}"
        raise ValueError(f"{lacking} {name!r}{about}; {hint.removesuffix('; ')}.")
