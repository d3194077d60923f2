"""From what a user types to the config that runs, and to the key of its run."""

import difflib
import hashlib
import json
import os
from dataclasses import dataclass, field, replace
from functools import cache, cached_property
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

from backbones.configs import read_config
from backbones.kept import machine
from tools.engine.known_keys import check_overrides, check_protocol_file

ROOT = Path(__file__).resolve().parents[2]
RUNS = Path("work_dirs/runs")
# keys of a config that decide no result: places, where scalars go, and how long a run is expected to take
SEED = "$SEED"  # stands for any
NOT_KEYED = ("work_dir", "backbone", "custom_hooks", "run", "launcher", "seconds", "visualizer")


@dataclass
class Options:
    """What ``tools/train.py`` takes beside the config: see its --help."""

    tricks: list = field(default_factory=list)
    backbone: str | None = None
    transfer: str | None = None
    protocol: str | None = None
    lr_factor: float | None = None
    hold_out: bool = False
    seed: int = 0
    overrides: dict = field(default_factory=dict)
    vis: list = field(default_factory=list)
    on_bad_image: str = "stop"


def find_config(name: str | Path) -> Path:
    """The config file ``name``, from the working folder or from the project's.

    Raises:
        ValueError: there is none; names the nearest.
    """
    for path in (Path(name), ROOT / name):
        if path.is_file():
            return path
    known = [str(p.relative_to(ROOT)) for p in sorted((ROOT / "configs").rglob("*.py"))]
    near = difflib.get_close_matches(str(name), known, n=3, cutoff=0.4)
    hint = f"nearest: {', '.join(near)}" if near else "see configs/"
    raise ValueError(f"There is no config {name}; {hint}.")


def foreign(name: str | Path) -> str:
    """A sentence on a config that is none of configs/; empty for one of those."""
    path = find_config(name).resolve()
    if path.is_relative_to(ROOT / "configs"):
        return ""
    return f"{name} is none of configs/. A config is Python, whose code is run: take one only from people whom you trust."


def task_of(cfg) -> ModuleType:
    """The module ``<task>.task`` of the package that a config or a record names: all that the tools know of a task."""
    if "task" not in cfg:
        raise ValueError(f"This config names no task: set task to one of the task packages: {having('task')}.")
    try:
        return import_module(name := f"{cfg['task']}.task")
    except ModuleNotFoundError as error:
        if error.name not in (cfg["task"], name):  # something that the package itself imports
            raise
        raise ValueError(f"There is no task {cfg['task']!r}; set task to one of the task packages: {having('task')}.") from None


def part_of(task: str, name: str) -> ModuleType | None:
    """The module ``<task>.<name>`` of a task package, or None where it has none."""
    return import_module(f"{task}.{name}") if find_spec(f"{task}.{name}") else None


def having(name: str) -> str:
    """The task packages that have a module ``name``, for a sentence."""
    return ", ".join(sorted(path.parent.name for path in ROOT.glob(f"*/{name}.py")))


def load(path: str | Path, overrides: dict | None = None):
    """Reads a config and merges ``overrides`` (dotted keys).

    A config is Python: what it says is run.

    Raises:
        ValueError: there is none, or an override that ``check_overrides`` refuses.
    """
    cfg = read_config(find_config(path))
    changes = protocol_changes(cfg, overrides or {})
    if kept := {k: v for k, v in (overrides or {}).items() if k.removeprefix("protocol.") not in changes}:
        task_of(cfg)
        check_overrides(cfg, kept, str(path))
        cfg.merge_from_dict(kept)
        for key, value in kept.items():
            if key.startswith("protocol.") and key != "protocol.name":
                cfg.protocol.name += f", {key.split('.', 1)[1]}={value}"
    return cfg


def protocol_changes(cfg, overrides: dict) -> dict:
    """The overrides of the values of a protocol that the config only names: they wait until it is chosen."""
    named = isinstance(cfg.get("protocol"), str)
    return {key.split(".", 1)[1]: value for key, value in overrides.items() if named and key.startswith("protocol.")}


def resolve(path: str | Path, options: Options):
    """The config of a run: the file, the overrides, the seed, then what its task makes of tricks or backbone."""
    cfg = load(path, options.overrides)
    cfg.randomness = dict(seed=options.seed)
    set_bad_image(cfg, options)
    set_protocol(cfg, options)
    task_of(cfg).configure(cfg, options.tricks, options.backbone, options.transfer)
    return cfg


def set_bad_image(cfg, options: Options) -> None:
    """Notes in a config, and so in its key, that bad images are left out.

    A run that leaves some out is another one, and whether it does is known at its end, its key at its start. Where nothing is
    said the key is what it has always been.
    """
    if options.on_bad_image == "skip":
        cfg.on_bad_image = options.on_bad_image


def set_protocol(cfg, options: Options) -> None:
    """Applies the protocol of a transfer, that of its config or the one asked for, and what tunes it.

    Raises:
        ValueError: there is no such protocol, see ``backbones.tuning.tune``, or options of a transfer for a pretraining.
    """
    from backbones.tuning import tune

    task = task_of(cfg)
    if task.NODE == "transfer":
        changes = protocol_changes(cfg, options.overrides)
        if protocol := options.protocol or cfg.get("protocol"):
            check_protocol_file(cfg.task, protocol)
        task.set_protocol(cfg, options.protocol, changes)
        # once more, since the protocol has set what it says
        cfg.merge_from_dict({k: v for k, v in options.overrides.items() if not k.startswith("protocol.")})
        tune(cfg, options.lr_factor, options.hold_out)
        return
    for name in ("protocol", "lr_factor", "hold_out"):
        if getattr(options, name):
            raise ValueError(f"--{name.replace('_', '-')} is for detection and segmentation; {cfg.task} has none.")


@dataclass
class Plan:
    """A run of a study but for its card and its seed (``cfg`` has SEED there), read once for all of these, and never changed."""

    cfg: Any

    @cached_property
    def content(self) -> dict[str, Any]:
        return pure(self.cfg)

    @cached_property
    def seeded(self) -> dict[str, Any]:
        """What of ``content`` the seed stands in."""
        return {name: value for name, value in self.content.items() if SEED in json.dumps(value)}

    def key(self, seed: int, upstream: str | None) -> "Key":
        """The name of the run with that seed: see ``key_of``."""
        return key_of(self.cfg, upstream, self.content | _replaced(self.seeded, SEED, seed))


_plans: dict[str, Plan] = {}


def plan_of(path: str, options: Options) -> Plan:
    """The plan of a pretraining with its tricks, or of a transfer with its protocol.

    Raises:
        ValueError: see ``load``, ``resolve`` and ``set_protocol``.
    """
    file = find_config(path)
    options = replace(options, seed=SEED)
    what = repr((str(file), file.stat().st_mtime_ns, os.environ.get("DATA_ROOT"), options))
    if what not in _plans:
        cfg = load(path, options.overrides)
        pretrain = task_of(cfg).NODE == "pretrain"
        _plans[what] = Plan(resolve(path, options) if pretrain else before_card(cfg, options))
    return _plans[what]


def before_card(cfg, options: Options):
    """The config of a transfer, changed in place, but for its card."""
    set_protocol(cfg, options)
    set_bad_image(cfg, options)
    cfg.randomness, cfg.transfer = dict(seed=options.seed), options.transfer or cfg.get("transfer") or "finetune"
    return cfg


class Key(str):
    """The name of a run, and in ``content`` all that it stands for."""

    content: dict[str, Any]


def key_of(cfg, upstream: str | None = None, config: dict | None = None) -> Key:
    """The name of a run: 12 hexadecimal digits of the sha256 of all that decides its result.

    That is the resolved config without paths, the data set's manifest, the key of the run above, threads and device, and
    the task's ``RESULT_VERSION``. Moving a folder changes nothing.

    Args:
        cfg: of the run; of a transfer before its card is plugged in.
        upstream: the key of the run above, or what stands for it.
        config: ``pure(cfg)``, where it is known.
    """
    task = task_of(cfg)
    content = {
        "config": config or pure(cfg),
        "upstream": upstream,
        "data": manifest(tuple(task.data_folders(cfg))),
        "threads": machine()["threads"],
        "device": "cuda" if machine()["cuda"] else "cpu",
        "version": task.RESULT_VERSION,
    }
    key = Key(hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:12])
    key.content = content
    return key


def pure(cfg) -> dict[str, Any]:
    """The resolved config without what does not decide a result: paths, and the place of the card or teacher."""
    data = {k: v for k, v in cfg.to_dict().items() if k not in NOT_KEYED}
    if "teacher" in data:
        data = _replaced(data, data["teacher"], "$TEACHER")
    text = json.dumps(data, sort_keys=True, default=str)
    return json.loads(text.replace(os.environ.get("DATA_ROOT", "data") + "/", "$DATA_ROOT/"))


def _replaced(value: Any, old: str, new: Any) -> Any:
    """A copy of ``value`` with every string ``old`` in it replaced by ``new``."""
    if isinstance(value, dict):
        return {k: _replaced(v, old, new) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_replaced(v, old, new) for v in value]
    return new if value == old else value


@cache
def manifest(folders: tuple[Path, ...]) -> str:
    """sha256 of the sorted relative paths and sizes of all files under ``folders``; read once a process."""
    digest = hashlib.sha256()
    for folder in folders:
        files = sorted((str(p.relative_to(folder)), p.stat().st_size) for p in folder.rglob("*") if p.is_file())
        digest.update(repr(files).encode())
    return digest.hexdigest()
