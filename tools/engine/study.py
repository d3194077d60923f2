"""Studies: which runs a study needs, which are done, and running the rest one after another on this machine."""

import difflib
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

from tools.engine.config import ROOT, RUNS, Options, find_config, key_of, load, resolve, task_of
from tools.engine.run import PROGRESS, read_record

SCALES = ("toy", "mini", "paper")
SCRATCH = "scratch"


@dataclass
class Node:
    """One run of a study: a pretraining, or a transfer of the card of ``above`` (None: from scratch)."""

    key: str
    recipe: str
    task: str
    config: str
    options: Options
    above: "Node | None" = None

    @property
    def folder(self) -> Path:
        return RUNS / self.key

    @property
    def name(self) -> str:
        return f"{self.task} {self.recipe} seed {self.options.seed}"

    @property
    def record(self) -> dict | None:
        return read_record(self.folder)

    @property
    def expected_seconds(self) -> float:
        """What the run is expected to take here: the ``seconds`` of its config."""
        return float(load(self.config).get("seconds", 60))

    def state(self) -> str:
        """'done', 'diverged', 'failed', 'running 40 %' or 'waiting'."""
        if record := self.record:
            return record["status"]
        if (self.folder / "failed.txt").is_file():
            return "failed"
        if progress := self.progress():
            return f"running {100 * progress:.0f} %"
        return "waiting"

    def progress(self) -> float:
        """Part of the updates done, 0..1, as the run last wrote it; 0 when nothing was written in the last minute."""
        try:
            written = json.loads((self.folder / PROGRESS).read_text())
        except (OSError, ValueError):
            return 0.0
        if time.time() - written["time"] > 60:
            return 0.0
        return 0.95 * written["done"] / written["total"] if written["phase"] == "train" else 0.95


@dataclass
class Study:
    """A study at one scale with the recipes and seeds asked for."""

    name: str
    scale: str
    recipes: list[str]
    seeds: int
    data: SimpleNamespace
    catalogue: dict

    @property
    def folder(self) -> Path:
        """Where its table and report go."""
        return Path("work_dirs") / f"{self.name}-{self.scale}"


def load_study(path: str, scale: str, recipes: list[str] | None = None, seeds: int = 1) -> Study:
    """Reads a study's file and checks what was asked of it.

    Raises:
        ValueError: an unknown study, scale or recipe (names the nearest), or fewer than one seed.
    """
    from mmengine.config import Config

    data = SimpleNamespace(**Config.fromfile(str(find_config(path))).to_dict())
    catalogue = Config.fromfile(str(ROOT / "configs/studies/recipes.py")).recipes.to_dict()
    _known("scale", scale, SCALES)
    wanted = list(recipes or data.recipes)
    for name in wanted:
        _known("recipe", name, catalogue)
    if seeds < 1:
        raise ValueError(f"--seeds is {seeds}; give at least 1.")
    return Study(data.name, scale, wanted, seeds, data, catalogue)


def _known(what: str, name: str, allowed) -> None:
    if name not in allowed:
        near = difflib.get_close_matches(name, allowed, n=3, cutoff=0.4)
        hint = f"nearest: {', '.join(near)}; " if near else ""
        raise ValueError(f"There is no {what} {name!r}; {hint}all: {', '.join(allowed)}.")


def nodes_of(study: Study) -> list[Node]:
    """The runs of a study, each after the one above it; a run that several recipes share stands once."""
    found: dict[str, Node] = {}
    for node in rows_of(study):
        found.setdefault(node.key, node)
    return list(found.values())


def rows_of(study: Study) -> Iterator[Node]:
    """The run behind each recipe, seed and task of a study: a shared run once for each recipe."""
    for seed in range(study.seeds):
        for recipe in study.recipes:
            yield from _recipe_nodes(study, recipe, seed)


def _recipe_nodes(study: Study, recipe: str, seed: int) -> Iterator[Node]:
    tricks = study.catalogue[recipe]["tricks"]
    above = None
    for task, pattern in study.data.configs.items():
        config = pattern.format(scale=study.scale)
        pretrain = task_of(load(config)).NODE == "pretrain"
        if pretrain and tricks is None:
            continue
        options = Options(tricks=list(tricks), seed=seed) if pretrain else Options(seed=seed)
        node = Node("", recipe, task, config, options, None if pretrain else above)
        node.key = _node_key(node, pretrain)
        if pretrain:
            above = node
        yield node


def _node_key(node: Node, pretrain: bool) -> str:
    """The key that ``tools/train.py`` gives the same run; the card above need not exist yet."""
    if pretrain:
        return key_of(resolve(node.config, node.options))
    return transfer_key(load(node.config), node.options, node.above.key if node.above else SCRATCH)


def transfer_key(cfg, options: Options, upstream: str) -> str:
    """The key of a transfer: its config before the card is plugged in, what was asked of it, and the key above."""
    cfg.merge_from_dict(options.overrides)
    cfg.randomness, cfg.transfer = dict(seed=options.seed), options.transfer or cfg.get("transfer") or "finetune"
    return key_of(cfg, upstream)


def check(study: Study) -> None:
    """Raises ValueError when data of any task of the study is missing, before anything runs."""
    for pattern in study.data.configs.values():
        cfg = load(pattern.format(scale=study.scale))
        task_of(cfg).check_data(cfg)


def prepare(path: str, options: Options):
    """The resolved config of a run and its key, for ``tools/train.py``."""
    cfg = load(path, options.overrides)
    if task_of(cfg).NODE == "pretrain":
        cfg = resolve(path, options)
        return cfg, key_of(cfg)
    backbone = options.backbone or cfg.get("backbone")
    key = transfer_key(cfg, options, upstream_of(backbone)) if backbone else ""
    return resolve(path, options), key


def upstream_of(backbone: str) -> str:
    """What a transfer's key says of its card: the key of the run that wrote it, else the card's own sha256."""
    from backbones.card import BackboneCard

    if backbone == SCRATCH:
        return SCRATCH
    card = BackboneCard.load(backbone)
    return card.source.get("run") or card.sha256


def run_study(study: Study, watch: Callable[[Node, float], None], log: Callable[[str], None]) -> list[Node]:
    """Runs what is not done, one node after another, each in a process of its own.

    Args:
        study: see ``load_study``.
        watch: called about once a second with the running node and the part of it that is done.
        log: gets a line for each node.

    Returns:
        The nodes that failed; those below them are left out and named in the log.
    """
    failed: list[Node] = []
    for node in nodes_of(study):
        if node.record:
            log(f"{node.name}: done earlier ({node.folder})")
        elif node.above and not node.above.record:
            log(f"{node.name}: left out, since {node.above.name} has not finished")
        elif run_node(node, watch):
            log(f"{node.name}: {node.record['seconds']['total']:.0f} s, {_figures(node)}")
        else:
            failed.append(node)
            log(f"{node.name}: failed, see {node.folder / 'log.txt'}")
    return failed


def _figures(node: Node) -> str:
    shown = task_of(load(node.config)).METRICS
    return ", ".join(f"{k} {v:.2f}" for k, v in node.record["metrics"].items() if k in shown) or node.record["status"]


def run_node(node: Node, watch: Callable[[Node, float], None]) -> bool:
    """Runs ``tools/train.py`` for one node, with its output in the run's log.txt; True when its record is there."""
    node.folder.mkdir(parents=True, exist_ok=True)
    failure = node.folder / "failed.txt"
    failure.unlink(missing_ok=True)
    (node.folder / PROGRESS).unlink(missing_ok=True)
    with open(node.folder / "log.txt", "w") as out:
        process = subprocess.Popen(command(node), stdout=out, stderr=subprocess.STDOUT)
        try:
            while process.poll() is None:
                watch(node, node.progress())
                time.sleep(0.5)
        except BaseException:
            process.terminate()
            process.wait()
            raise
    if not node.record:
        failure.write_text("\n".join((node.folder / "log.txt").read_text().splitlines()[-5:]) + "\n")
    return node.record is not None


def command(node: Node) -> list[str]:
    """The command line of a node, as a person would type it."""
    words = [sys.executable, str(ROOT / "tools/train.py"), str(find_config(node.config))]
    words += ["--seed", str(node.options.seed), "--work-dir", str(node.folder)]
    if task_of(load(node.config)).NODE == "pretrain":
        return words + (["--tricks", *node.options.tricks] if node.options.tricks else [])
    return [*words, "--backbone", str(node.above.folder / "card") if node.above else SCRATCH]
