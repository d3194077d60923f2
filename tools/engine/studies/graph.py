"""List the runs that a study needs, each after its upstream run, and explain what makes a run new."""

import os
from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path

from backbones.card_facts import LIKE, CardFacts
from backbones.common.fact_cache import is_quick
from backbones.resolving import Machine
from tools.engine.config import Options, Resolved, find_config, resolve, task_of
from tools.engine.config.data_needed import refuse_missing_data, refuse_whole
from tools.engine.config.resolving import effective
from tools.engine.config.run_key import SEED, differences
from tools.engine.config.signatures import check_signatures
from tools.engine.run_folder import CONTENT, RECORD, RUNS, read_content
from tools.engine.studies.node import Node
from tools.engine.studies.study import MOST_SEEDS, SCRATCH, Network, Recipe, Study

CARD = "$CARD"  # stands for the folder of a card in a resolved config, which all seeds of a row share
_shared: dict[str, Resolved] = {}


def shared(path: str, options: Options, card: CardFacts | None = None) -> Resolved:
    """Resolve a config once for all seeds, with a placeholder for the seed.

    Raises:
        ValueError: see ``resolve``.
    """
    file = find_config(path)
    options = replace(options, seed=SEED, vis=[])
    content = repr((str(file), file.stat().st_mtime_ns, os.environ.get("DATA_ROOT"), options, card, is_quick()))
    if content not in _shared:
        _shared[content] = resolve(path, options, Machine.here(options.processes), card)
    return _shared[content]


def nodes_of(study: Study) -> list[Node]:
    """Return the runs of a study, each after its upstream run; a run that several recipes share is listed once."""
    return runs_behind(rows_of(study))


def runs_behind(rows: Iterable[Node]) -> list[Node]:
    """Return the runs behind rows and their upstream runs, each once and after its upstream run."""
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
    """Yield the run behind each network, recipe, seed and task of a study; a shared run comes once for each recipe.

    A teacher is not a row of its own: it is the upstream run of those that it teaches.
    """
    for seed in range(study.seeds):
        for network in study.networks:
            for name in study.recipes:
                if name in network.recipes:
                    yield from _recipe_nodes(study, network, study.catalogue[name], seed)


def _recipe_nodes(study: Study, network: Network, recipe: Recipe, seed: int) -> Iterator[Node]:
    """Yield the rows of a recipe: its pretraining, if it has one, and its transfers."""
    from tools.engine.studies.lr_search import grid_of, tuned  # here, since lr_search imports this module

    above = None
    if not recipe.weights and recipe.tricks is not None:
        above = _pretrain_node(study, network, recipe, seed)
        if above.task in study.tasks:
            yield above
    if recipe.weights:
        card = recipe.weights.facts
    elif above:
        card = card_of(above)
    else:
        network_card = study.scratch_network()
        card = network_card.facts.with_random_weights() if network_card else None
    fine_tunings = 1 if card is None or card.random else study.fine_tunings
    for task, pattern in study.transfers().items():
        for fine_tuning in range(fine_tunings):
            options = Options(
                seed=seed + MOST_SEEDS * fine_tuning,
                protocol=study.protocol_of(task),
                backbone=_backbone(card, card.folder if card else ""),
                vis=list(study.vis),
                processes=study.processes,
            )
            node = transfer_node(recipe.name, network.name, pattern.format(scale=study.scale), options, card, above)
            if study.tune_lr:
                node = replace(node, grid=tuple(grid_of(node, card)))
            yield node
            if node.grid and (tuned_node := tuned(node, card)):
                yield tuned_node


def _backbone(card: CardFacts | None, folder: str) -> str:
    """Return what --backbone is for a card in ``folder``, for its network from scratch, or for the config's own network."""
    if card is None:
        return SCRATCH
    return LIKE + folder if card.random else folder


def card_of(above: Node) -> CardFacts:
    """Return the facts of the card that a pretraining writes, before it is written."""
    return replace(above.resolved.card_facts, folder=str(above.folder / "card"), identity=above.key)


def transfer_node(
    recipe: str, network: str, config: str, options: Options, card: CardFacts | None, above: Node | None, note: str = ""
) -> Node:
    """Return the run of a transfer of ``card``, or from scratch, for the row of ``recipe`` and ``network``.

    There are seven parameters since it fills the fields of ``Node``.

    Raises:
        ValueError: the config cannot take the network of the card.
    """
    shared_card = replace(card, folder=CARD, identity="") if card else None
    try:
        resolved = shared(config, replace(options, backbone=_backbone(card, CARD)), shared_card)
    except ValueError as error:
        if CARD not in str(error):
            raise
        raise ValueError(str(error).replace(f"Card {CARD}", f"The row {recipe}")) from None
    key = resolved.key_of(options.seed, card.identity if card else SCRATCH)
    published = card.folder if card and not above and not card.random else ""
    return Node(key, recipe, network, config, options, resolved, above, note=note, card=published)


def _pretrain_node(study: Study, network: Network, recipe: Recipe, seed: int) -> Node:
    """Return the pretraining of a recipe, whose upstream run is its teacher if the study trains one."""
    teacher, card = _teacher(study, recipe)
    config = network.config.format(scale=study.scale)
    tricks = study.tricks(recipe.name, network.name, card)
    overrides = _effective(config, tuple(network.overrides.items()))
    options = Options(tricks=tricks, seed=seed, overrides=overrides, vis=list(study.vis), processes=study.processes)
    resolved = shared(config, options)
    if teacher:
        upstream = teacher.key
    else:
        upstream = CardFacts.read(card).identity if card else None
    return Node(resolved.key_of(seed, upstream), recipe.name, network.name, config, options, resolved, teacher)


@cache
def _effective(config: str, overrides: tuple) -> dict:
    """Return the overrides that change a value of the config."""
    return effective(dict(overrides), config, Options())


def _teacher(study: Study, recipe: Recipe) -> tuple[Node | None, str]:
    """Return the run that a distilled recipe learns from, or None if the study does not train it, and the folder of its card."""
    if not recipe.teacher or recipe.teacher in study.teachers:
        return None, study.teachers.get(recipe.teacher, "")
    config = study.teacher.config.format(scale=study.scale)
    overrides = _effective(config, tuple(study.teacher.overrides.items()))
    common = dict(vis=list(study.vis), processes=study.processes)
    options = Options(tricks=study.tricks(recipe.teacher, ""), overrides=overrides, seed=0, **common)
    resolved = shared(config, options)
    name = f"teacher {resolved.cfg.network}"
    node = Node(resolved.key_of(0, None), recipe.teacher, name, config, options, resolved)
    return node, str(node.folder / "card")


def refuse_without_data(study: Study) -> None:
    """Refuse a study whose data is nowhere or not meant for its scale, before torch is loaded and any data is read.

    Raises:
        MissingData: the data of a config does not exist.
        ValueError: a run of the study cannot be resolved, or see ``refuse_whole``.
    """
    rows = [study.catalogue[name] for name in study.recipes]
    options = {pattern: Options(backbone=SCRATCH) for pattern in study.transfers().values()}
    if any(row.tricks is not None and not row.weights for row in rows):
        options |= {network.config: Options(overrides=dict(network.overrides)) for network in study.networks if network.config}
    asked = {pattern.format(scale=study.scale): options[pattern] for pattern in reversed(options)}
    refuse_missing_data(asked, check=lambda: nodes_of(replace(study, seeds=1, fine_tunings=1)))  # a fault is one of all seeds
    for path, given in asked.items() if study.scale == "mini" else ():
        refuse_whole(shared(path, given).cfg)


def check(study: Study) -> None:
    """Raise ValueError if a config is wrong or the data of any task of the study is missing, before anything runs."""
    checked: set[tuple] = set()
    for node in nodes_of(study):
        if (place := (node.config, node.resolved.data_folder, node.options.protocol)) not in checked:
            checked.add(place)
            check_signatures(node.plan, node.config)
            task_of(node.plan).check_data(_without_teacher(node.plan))


def _without_teacher(cfg):
    """Return a config without its teacher, which a run of the study may have yet to train."""
    if "teacher" not in cfg:
        return cfg
    without_teacher = cfg.copy()
    without_teacher.model = without_teacher.model | dict(distillation=None)
    return without_teacher


def why(node: Node) -> list[str]:
    """Return what makes a run new: one line for each difference between its key and that of the closest finished run.

    Return no line for a run that is done.
    """
    if node.record:
        return []
    content, best = node.run_key.content, None
    for path in RUNS.glob(f"*/{CONTENT}"):
        if path.parent.name == node.key or not (path.parent / RECORD).is_file():
            continue
        try:
            candidate = read_content(path.parent) or {}
        except ValueError:  # the damaged file of another run
            continue
        if candidate.get("config", {}).get("task") == content["config"]["task"]:
            lines = differences(candidate, content)
            if best is None or len(lines) < len(best[1]):
                best = path.parent.name, lines
    if best is None:
        return [f"no run of {node.task} has finished yet"]
    name, lines = best
    return [f"closest finished run: {name}", *lines]


def missing_data(nodes: Iterable[Node]) -> list[str]:
    """Return the missing data folders of the runs; a key computed without its data is provisional."""
    configs = {id(node.plan): node.plan for node in nodes}
    folders: set[Path] = {folder for cfg in configs.values() for folder in task_of(cfg).data_folders(cfg)}
    return sorted(str(folder) for folder in folders if not os.path.isdir(folder))
