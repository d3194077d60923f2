"""Which runs a study needs, each after the one that it rests on, and what makes a run new."""

import os
from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path

from backbones.card_facts import CardFacts
from backbones.common.files import read_json
from classification.tricks import flatten
from tools.engine.config import Options, Resolved, find_config, resolve, task_of
from tools.engine.config.resolving import effective
from tools.engine.config.run_key import SEED
from tools.engine.config.signatures import check_signatures
from tools.engine.run_folder import CONTENT, RECORD, RUNS
from tools.engine.studies.node import Node
from tools.engine.studies.study import MOST_SEEDS, SCRATCH, Network, Recipe, Study

_shared: dict[str, Resolved] = {}


def shared(path: str, options: Options, card: CardFacts | None = None) -> Resolved:
    """Resolve a config once for all seeds: the seed in it is a placeholder.

    Raises:
        ValueError: see ``resolve``.
    """
    file = find_config(path)
    options = replace(options, seed=SEED, vis=[])
    what = repr((str(file), file.stat().st_mtime_ns, os.environ.get("DATA_ROOT"), options, card))
    if what not in _shared:
        _shared[what] = resolve(path, options, card=card)
    return _shared[what]


def nodes_of(study: Study) -> list[Node]:
    """Return the runs of a study, each after the one above it; a run that several recipes share stands once."""
    return runs_behind(rows_of(study))


def runs_behind(rows: Iterable[Node]) -> list[Node]:
    """Return the runs behind rows, those above them too, each once and after the one above it."""
    nodes: dict[str, Node] = {}

    def add(node: Node) -> None:
        if node.above:
            add(node.above)
        for needed in (node, *node.grid):
            nodes.setdefault(needed.key, needed)

    for node in rows:
        add(node)
    return list(nodes.values())


def rows_of(study: Study) -> Iterator[Node]:
    """Yield the run behind each network, recipe, seed and task of a study: a shared run once for each recipe.

    A teacher is no row of its own: it stands above the runs that it teaches.
    """
    for seed in range(study.seeds):
        for network in study.networks:
            for name in study.recipes:
                if name in network.recipes:
                    yield from _recipe_nodes(study, network, study.catalogue[name], seed)


def _recipe_nodes(study: Study, network: Network, recipe: Recipe, seed: int) -> Iterator[Node]:
    from tools.engine.studies.lr_search import grid_of, tuned  # which makes nodes itself

    above = None
    if not recipe.weights and recipe.tricks is not None:
        above = _pretrain_node(study, network, recipe, seed)
        if above.task in study.tasks:
            yield above
    card = recipe.weights.facts if recipe.weights else above and card_of(above)
    for task, pattern in study.transfers().items():
        for k in range(study.fine_tunings if card else 1):
            options = Options(
                seed=seed + MOST_SEEDS * k,
                protocol=study.protocol_of(task),
                backbone=card.folder if card else SCRATCH,
                vis=list(study.vis),
            )
            node = transfer_node(recipe.name, network.name, pattern.format(scale=study.scale), options, card, above)
            if study.tune_lr:
                node = replace(node, grid=tuple(grid_of(node, card)))
            yield node
            if node.grid and (best := tuned(node, card)):
                yield best


def card_of(above: Node) -> CardFacts:
    """Return the facts of the card that a pretraining writes, before it is written."""
    return replace(above.resolved.card_facts, folder=str(above.folder / "card"), identity=above.key)


def transfer_node(
    recipe: str, network: str, config: str, options: Options, card: CardFacts | None, above: Node | None, note: str = ""
) -> Node:
    """Return the run of a transfer of ``card``, or from scratch, of row ``recipe`` and ``network``."""
    # the folder of the card is no part of what seeds share
    plain = card and replace(card, folder="$CARD", identity="")
    resolved = shared(config, replace(options, backbone="$CARD" if card else SCRATCH), plain)
    key = resolved.key_of(options.seed, card.identity if card else SCRATCH)
    own = card.folder if card and not above else ""
    return Node(key, recipe, network, config, options, resolved, above, note=note, card=own)


def _pretrain_node(study: Study, network: Network, recipe: Recipe, seed: int) -> Node:
    teacher, card = _teacher(study, recipe)
    config = network.config.format(scale=study.scale)
    tricks = study.tricks(recipe.name, network.name, card)
    overrides = _effective(config, tuple(network.overrides.items()))
    options = Options(tricks=tricks, seed=seed, overrides=overrides, vis=list(study.vis))
    resolved = shared(config, options)
    upstream = teacher.key if teacher else CardFacts.read(card).identity if card else None
    return Node(resolved.key_of(seed, upstream), recipe.name, network.name, config, options, resolved, teacher)


@cache
def _effective(config: str, overrides: tuple) -> dict:
    return effective(dict(overrides), config, Options())


def _teacher(study: Study, recipe: Recipe) -> tuple[Node | None, str]:
    """Return the run that a distilled recipe learns from, where it is part of the study, and the folder of its card."""
    if not recipe.teacher or recipe.teacher in study.teachers:
        return None, study.teachers.get(recipe.teacher, "")
    config = study.teacher.config.format(scale=study.scale)
    overrides = _effective(config, tuple(study.teacher.overrides.items()))
    options = Options(tricks=study.tricks(recipe.teacher, ""), overrides=overrides, seed=0, vis=list(study.vis))
    resolved = shared(config, options)
    name = f"teacher {resolved.cfg.network}"
    node = Node(resolved.key_of(0, None), recipe.teacher, name, config, options, resolved)
    return node, str(node.folder / "card")


def check(study: Study) -> None:
    """Raise ValueError when a config is wrong or data of any task of the study is missing, before anything runs."""
    checked: set[tuple] = set()
    for node in nodes_of(study):
        if (place := (node.config, node.resolved.data_folder, node.options.protocol)) not in checked:
            checked.add(place)
            check_signatures(node.plan, node.config)
            task_of(node.plan).check_data(_without_teacher(node.plan))


def _without_teacher(cfg):
    """Return a config whose teacher, which a run of the study may have yet to train, is not looked for."""
    if "teacher" not in cfg:
        return cfg
    plain = cfg.copy()
    plain.model = plain.model | dict(distillation=None)
    return plain


def why(node: Node) -> list[str]:
    """Return what makes a run new: in what its key differs from that of the most similar run there is, a line each.

    Empty for a run that is done.
    """
    if node.record:
        return []
    own, best = flatten(node.run_key.content), None
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


def missing_data(nodes: Iterable[Node]) -> list[str]:
    """Return the folders of the runs' data that are not at hand: without them a key is provisional."""
    configs = {id(node.plan): node.plan for node in nodes}
    folders: set[Path] = {folder for cfg in configs.values() for folder in task_of(cfg).data_folders(cfg)}
    return sorted(str(folder) for folder in folders if not folder.is_dir())
