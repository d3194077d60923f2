"""The key of a run: a hash of everything that decides its result, and of nothing else."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from backbones.resolving import TRANSFER_HOOK, Machine
from classification.tricks import difference, flatten
from tools.engine.config.content_hashes import hash_of
from tools.engine.config.fingerprint import data_fingerprint
from tools.engine.config.tasks import task_of

SEED = "$SEED"  # stands for the seed in a config that is shared by all seeds
# keys that decide no result: places, notes, and what is in a key by other words (threads; the batch for its division)
NOT_KEYED = (
    *("work_dir", "run", "launcher", "backbone", "visualizer", "log_level", "log_processor", "threads"),
    "model_wrapper_cfg",
)
WEIGHTS = ("load_from", "checkpoint")  # keys of a config that name a file of weights, which counts by its content
LOADING = ("num_workers", "persistent_workers", "pin_memory", "prefetch_factor")  # how data is loaded, which changes no sample
OWN_HOOKS = (dict(type="SyncBuffersHook"), dict(type="classification.UpdateHook"))  # what resolving puts in, without options


@dataclass(frozen=True)
class RunKey:
    """The key of a run: ``name``, 12 hexadecimal digits of a sha256, and the ``content`` that it is the hash of."""

    name: str
    content: dict[str, Any]

    @classmethod
    def of(cls, content: dict[str, Any]) -> "RunKey":
        """Return the key with this content."""
        return cls(hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:12], content)

    def __str__(self) -> str:
        return self.name


def make_key(cfg, config: dict[str, Any], machine: Machine, upstream: str | None) -> RunKey:
    """Return the key of a run.

    Args:
        cfg: the resolved config.
        config: ``hashable_config`` of it, with the seed.
        machine: on which it runs.
        upstream: identity of the card or teacher that it rests on; 'scratch', or None for a pretraining without a teacher.
    """
    task = task_of(cfg)
    content = {
        "config": config,
        "upstream": upstream,
        "data": data_fingerprint(cfg),
        "threads": None if machine.cuda else cfg.get("threads") or machine.threads,
        "device": "cuda" if machine.cuda else "cpu",
        "processes": 1 if getattr(task, "TRAINS_ALIKE", False) else machine.processes,
        "version": task.RESULT_VERSION,
    }
    return RunKey.of(content)


def differences(theirs: dict[str, Any], ours: dict[str, Any]) -> list[str]:
    """Return a phrase for each difference between the contents of two keys: 'config.batch: 8 there, 16 here'."""
    there, here = flatten(theirs), flatten(ours)
    return [f"{key}: {there.get(key, '-')} there, {here.get(key, '-')} here" for key in difference(there, here)]


def difference_text(theirs: dict[str, Any] | None, ours: dict[str, Any], count: int = 3) -> str:
    """Return the first ``count`` differences as a part of a sentence; empty if their content is not known."""
    phrases = differences(theirs, ours) if theirs else []
    more = f"; and {len(phrases) - count} more" if len(phrases) > count else ""
    return f" ({'; '.join(phrases[:count])}{more})" if phrases else ""


def hashable_config(cfg, data_folder: str) -> dict[str, Any]:
    """Return the part of a resolved config that affects the result, as plain values.

    Args:
        cfg: the resolved config.
        data_folder: of its data, which is left out of paths: moving data changes nothing.
    """
    data = {key: value for key, value in cfg.to_dict().items() if key not in NOT_KEYED}
    data["custom_hooks"] = [_without_card(hook) for hook in data.get("custom_hooks", []) if hook not in OWN_HOOKS]
    for loader in ("train_dataloader", "test_dataloader", "val_dataloader"):
        if loader in data:
            data[loader] = {key: value for key, value in data[loader].items() if key not in LOADING}
    data["train_dataloader"].pop("batch_size", None)  # the batch stands at the top; its division decides nothing
    data["optim_wrapper"] = {key: value for key, value in data["optim_wrapper"].items() if key != "accumulative_counts"}
    if isinstance(data.get("protocol"), dict):
        data["protocol"] = {key: value for key, value in data["protocol"].items() if key not in ("source", "chosen")}
    weights = _weights_in(data)
    if weights and "protocol" in data:  # whose name says what was overridden
        for path, content in weights.items():
            data["protocol"]["name"] = data["protocol"]["name"].replace(path, content)
    places = {data_folder: "$DATA"} | ({cfg.teacher: "$TEACHER"} if "teacher" in cfg else {}) | weights
    return json.loads(json.dumps(_without_places(data, places), sort_keys=True, default=str))


def _weights_in(data: dict[str, Any]) -> dict[str, str]:
    """Return the files of weights that a config names, each with a text that stands for its content."""
    named = [value for key, value in flatten(data).items() if key.rpartition(".")[2] in WEIGHTS and isinstance(value, str)]
    return {path: f"sha256:{hash_of(Path(path))}" for path in named if Path(path).is_file()}


def _without_card(hook: dict) -> dict:
    """Return the config of a hook without the folder of a card, which counts by its identity."""
    return {key: value for key, value in hook.items() if hook["type"] != TRANSFER_HOOK or key != "card"}


def _without_places(value: Any, places: dict[str, str]) -> Any:
    if isinstance(value, dict):
        return {key: _without_places(item, places) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_without_places(item, places) for item in value]
    if isinstance(value, str):
        for place, name in places.items():
            if value == place or value.startswith(f"{place}/"):
                return name + value[len(place) :]
    return value


def replaced(value: Any, old: str, new: Any) -> Any:
    """Return a copy of ``value`` with every string ``old`` in it replaced by ``new``."""
    if isinstance(value, dict):
        return {key: replaced(item, old, new) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [replaced(item, old, new) for item in value]
    return new if value == old else value
