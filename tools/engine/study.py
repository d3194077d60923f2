"""Studies: which runs a study needs, which of them are done, and what makes the others new."""

import difflib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from types import SimpleNamespace

from backbones.configs import read_config
from backbones.files import read_json
from tools.engine.cards import JSON, Weights
from tools.engine.config import (
    ROOT,
    RUNS,
    Options,
    before_card,
    find_config,
    key_of,
    load,
    plan_of,
    resolve,
    set_protocol,
    task_of,
)
from tools.engine.known_keys import check_config, check_study
from tools.engine.node import Node
from tools.engine.record import CONTENT, RECORD

SCALES = ("toy", "mini", "paper")
SCRATCH = "scratch"
MOST_SEEDS = 100  # the seeds of fine-tunings are so far apart


@dataclass
class Study:
    """A study at one scale with the recipes and seeds asked for: see ``load_study``."""

    name: str
    scale: str
    recipes: list[str]
    seeds: int
    data: SimpleNamespace
    catalogue: SimpleNamespace
    teachers: dict[str, str] = field(default_factory=dict)
    tune_lr: bool = False
    fine_tunings: int = 1
    tasks: list[str] = field(default_factory=list)
    protocol: str | None = None
    vis: list[str] = field(default_factory=list)

    def label(self, recipe: str) -> str:
        """What the study's table prints for a recipe."""
        labels = getattr(self.data, "labels", {})
        return labels.get(recipe) or self.catalogue.recipes.get(recipe, {}).get("label", recipe)

    def networks(self) -> dict[str, dict]:
        """What is pretrained: {name: config (a pattern with {scale}), overrides, recipes}; one, unnamed, in most studies.

        It has no config where all rows start from published weights.
        """
        if own := getattr(self.data, "networks", None):
            return own
        pretraining = list(self._configs("pretrain").values())
        return {"": dict(config=pretraining[0]) if pretraining else {}}

    def card(self, recipe: str) -> Weights | None:
        """The published weights that a row starts from, in a study that has such rows."""
        facts = getattr(self.data, "cards", {}).get(recipe)
        return facts and Weights(recipe, facts["source"], facts["file"], facts["about"], facts.get("top1"))

    def cards(self) -> list[Weights]:
        """Those of all rows asked for."""
        return [card for recipe in self.recipes if (card := self.card(recipe))]

    def transfers(self) -> dict[str, str]:
        """The tasks asked for that take a card, and the patterns of their configs."""
        return {task: path for task, path in self._configs("transfer").items() if task in self.tasks}

    def protocol_of(self, task: str) -> str | None:
        """The protocol asked for, where the task has one of that name; else its own is meant."""
        return self.protocol if (ROOT / f"configs/{task}/protocols/{self.protocol}.py").is_file() else None

    def _configs(self, node: str) -> dict[str, str]:
        configs = getattr(self.data, "configs", {})
        return {task: path for task, path in configs.items() if task_of({"task": task}).STAGE == node}

    def tricks(self, recipe: str, network: str, teacher: str = "") -> list | None:
        """The tricks of a recipe that a network has a use for; None for 'scratch'."""
        if (tricks := self.catalogue.recipes[recipe]["tricks"]) is None:
            return None
        pairs = [(t, {}) if isinstance(t, str) else (t[0], dict(t[1])) for t in tricks]
        left_out = self.catalogue.without.get(network, ())
        own = {"distillation": {"teacher": teacher}}
        return [(name, options | own.get(name, {})) for name, options in pairs if name not in left_out]

    @property
    def folder(self) -> Path:
        """Where its table and report go."""
        return Path("work_dirs") / f"{self.name}-{self.scale}"


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
    """Reads a study's file and checks what was asked of it.

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
        ValueError: an unknown study, scale, recipe, task or protocol (names the nearest), a network without a config at that
            scale, fewer than one seed.
    """
    data = SimpleNamespace(**read_config(find_config(path)).to_dict())
    check_study(vars(data), str(find_config(path)))
    catalogue = read_config(ROOT / "configs/studies/recipes.py")
    catalogue = SimpleNamespace(recipes=catalogue.recipes.to_dict(), teacher=catalogue.teacher, without=catalogue.without)
    _known("scale", scale, SCALES)
    cards = getattr(data, "cards", {})
    catalogue.recipes |= {name: dict(tricks=(), parent=None, label=card["label"]) for name, card in cards.items()}
    wanted = list(recipes or data.recipes)
    for name in wanted:
        _known("recipe", name, [SCRATCH, *cards] if cards else catalogue.recipes)
    for name in getattr(data, "labels", {}):
        _known(f"recipe for a label of {data.name}", name, catalogue.recipes)
    if not (1 <= seeds <= MOST_SEEDS and fine_tunings >= 1):
        raise ValueError(
            f"--seeds is {seeds}x{fine_tunings}; give 1 to {MOST_SEEDS} pretrainings, and 1 fine-tuning of each or more."
        )
    own = list(getattr(data, "configs", {"classification": ""}))
    for name in tasks or ():
        _known(f"task in {data.name}", name, own)
    if protocol:
        known = [path.stem for task in own for path in sorted((ROOT / f"configs/{task}/protocols").glob("*.py"))]
        _known(f"protocol for the tasks of {data.name}", protocol, known)
    for recipe in teachers or {}:
        _known("teacher", recipe, {r["teacher"] for r in catalogue.recipes.values() if "teacher" in r})
    given = dict(tune_lr=tune_lr, fine_tunings=fine_tunings, tasks=list(tasks or own), protocol=protocol, vis=list(vis or ()))
    study = Study(data.name, scale, wanted, seeds, data, catalogue, dict(teachers or {}), **given)
    for pattern in (*pretrained(study), *study.transfers().values()):
        find_config(pattern.format(scale=scale))
    return study


def pretrained(study: Study) -> list[str]:
    """The patterns of the configs that a study pretrains by."""
    return [network["config"] for network in study.networks().values() if "config" in network]


def _known(what: str, name: str, allowed) -> None:
    if name not in allowed:
        near = difflib.get_close_matches(name, allowed, n=3, cutoff=0.4)
        hint = f"nearest: {', '.join(near)}; " if near else ""
        raise ValueError(f"There is no {what} {name!r}; {hint}all: {', '.join(allowed)}.")


def nodes_of(study: Study) -> list[Node]:
    """The runs of a study, each after the one above it; a run that several recipes share stands once."""
    return runs_behind(rows_of(study))


def why(node: Node) -> list[str]:
    """What makes a run new: in what its key differs from that of the most similar run there is, a line each.

    Empty for a run that is done.
    """
    from classification.tricks import flatten

    if node.record:
        return []
    own, best = flatten(node.key.content), None
    for path in RUNS.glob(f"*/{CONTENT}"):
        if path.parent.name == node.key or not (path.parent / RECORD).is_file():
            continue
        other = flatten(read_json(path))
        if other.get("config.task") == own["config.task"]:
            differ = sorted(k for k in own.keys() | other.keys() if own.get(k) != other.get(k))
            if best is None or len(differ) < len(best[1]):
                best = path.parent.name, differ, other
    if best is None:
        return [f"no run of {node.task} has finished yet"]
    name, differ, other = best
    return [f"nearest finished run: {name}", *(f"{k}: {other.get(k, '-')} there, {own.get(k, '-')} here" for k in differ)]


def runs_behind(rows: Iterable[Node]) -> list[Node]:
    """The runs behind rows, those above them too, each once and after the one above it."""
    found: dict[str, Node] = {}

    def add(node: Node) -> None:
        if node.above:
            add(node.above)
        for needed in (node, *node.grid):
            found.setdefault(needed.key, needed)

    for node in rows:
        add(node)
    return list(found.values())


def rows_of(study: Study) -> Iterator[Node]:
    """The run behind each network, recipe, seed and task of a study: a shared run once for each recipe.

    A teacher is no row of its own: it stands above the runs that it teaches.
    """
    for seed in range(study.seeds):
        for network, what in study.networks().items():
            for recipe in study.recipes:
                if recipe in what.get("recipes", study.recipes):
                    yield from _recipe_nodes(study, network, recipe, seed)


def _recipe_nodes(study: Study, network: str, recipe: str, seed: int) -> Iterator[Node]:
    from tools.engine.tuning import grid_of, tuned

    above, weights = None, study.card(recipe)
    if not weights and study.catalogue.recipes[recipe]["tricks"] is not None:
        above = _pretrain_node(study, network, recipe, seed)
        if above.task in study.tasks:
            yield above
    for task, pattern in study.transfers().items():
        for k in range(study.fine_tunings if above or weights else 1):
            options = Options(seed=seed + MOST_SEEDS * k, protocol=study.protocol_of(task), vis=study.vis)
            node = Node("", recipe, network, task, pattern.format(scale=study.scale), options, above)
            node.card = str(weights.folder) if weights else ""
            node.key = key_below(node)
            if study.tune_lr:
                node.grid = grid_of(node)
            yield node
            if node.grid and (best := tuned(node, node.grid)):
                yield best


def key_below(node: Node) -> str:
    """The key of a transfer of a study."""
    upstream = node.above.key if node.above else SCRATCH
    if node.card:  # without the card its key is provisional
        file = Path(node.card).absolute() / JSON
        upstream = _upstream(str(file), file.stat().st_mtime_ns) if file.is_file() else f"no card yet in {node.card}"
    return plan_of(node.config, node.options).key(node.options.seed, upstream)


@cache
def _upstream(file: str, changed: int) -> str:
    """See ``upstream_of``, which reads a card as a whole: once for all rows that share it."""
    return upstream_of(file)


def _pretrain_node(study: Study, network: str, recipe: str, seed: int) -> Node:
    what = study.networks()[network]
    teacher, card = _teacher(study, recipe)
    overrides = dict(what.get("overrides", {}))
    options = Options(tricks=study.tricks(recipe, network, card), seed=seed, overrides=overrides, vis=study.vis)
    config = what["config"].format(scale=study.scale)
    node = Node("", recipe, network, plan_of(config, options).cfg.task, config, options, teacher)
    upstream = teacher.key if teacher else upstream_of(card) if card else None
    node.key = plan_of(config, options).key(seed, upstream)
    return node


def _teacher(study: Study, recipe: str) -> tuple[Node | None, str]:
    """The run that a distilled recipe learns from, where it is part of the study, and the folder of its card."""
    kind = study.catalogue.recipes[recipe].get("teacher")
    if not kind or kind in study.teachers:
        return None, study.teachers.get(kind, "")
    what = study.catalogue.teacher
    options = Options(tricks=study.tricks(kind, ""), overrides=dict(what.overrides), vis=study.vis)
    name, config = f"teacher {what.overrides['network']}", what.config.format(scale=study.scale)
    node = Node("", kind, name, plan_of(config, options).cfg.task, config, options)
    node.key = plan_of(config, options).key(options.seed, None)
    return node, str(node.folder / "card")


def transfer_key(cfg, options: Options, upstream: str) -> str:
    """The key of a transfer: its config before the card is plugged in, what was asked of it, and the key above."""
    return key_of(before_card(cfg, options), upstream)


def check(study: Study) -> None:
    """Raises ValueError when data of any task of the study is missing, before anything runs."""
    for pattern in dict.fromkeys([*pretrained(study), *study.transfers().values()]):
        cfg = load(pattern.format(scale=study.scale))
        check_config(cfg, str(find_config(pattern.format(scale=study.scale))))
        set_protocol(cfg, Options())
        task_of(cfg).check_data(cfg)


def prepare(path: str, options: Options):
    """The resolved config of a run and its key, for ``tools/train.py``.

    Raises:
        ValueError: see ``load``, ``resolve`` and ``check_config``.
    """
    cfg, where = load(path, options.overrides), str(find_config(path))
    check_config(load(path), where)
    resolved = resolve(path, options)
    check_config(resolved, where)
    if task_of(cfg).STAGE == "pretrain":
        return resolved, key_of(resolved, upstream_of(resolved.teacher) if "teacher" in resolved else None)
    backbone = options.backbone or cfg.get("backbone")
    return resolved, transfer_key(cfg, options, upstream_of(backbone)) if backbone else ""


def upstream_of(backbone: str) -> str:
    """What a transfer's key says of its card: the key of the run that wrote it, else the card's own sha256."""
    from backbones.card import BackboneCard

    if backbone == SCRATCH:
        return SCRATCH
    card = BackboneCard.load(backbone)
    return card.source.get("run") or card.sha256
