"""Check and apply --cfg-options: they set values of the config or of its protocol, or keys that are derived from these."""

import difflib
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, get_args, get_origin, get_type_hints

from backbones.common.schema import field_names, join, refuse_unknown
from backbones.resolving import follows
from classification.tricks import TRICKS, declares
from tools.engine.config.loading import DELETE, kind_mismatch, put
from tools.engine.config.structures import allowed_keys
from tools.engine.config.tasks import task_of

OPTIONS = {  # keys that have an option of their own
    **dict(tricks="--tricks", backbone="--backbone", transfer="--transfer", lr_factor="--lr-factor", hold_out="--hold-out"),
    **dict(seed="--seed", randomness="--seed", work_dir="--work-dir", run="--work-dir", launcher="--launcher", resume="--resume"),
    **dict(on_bad_image="--on-bad-image", teacher="--tricks distillation:teacher=CARD", visualizer="--vis"),
}
FIXED = ("task", "scale", "resolved_from")  # what a config is, not what it says


@dataclass(frozen=True)
class Overrides:
    """Hold overrides by dotted key, sorted by what they change.

    Args:
        values: of the config, before anything is derived.
        protocol: of its protocol, without the leading 'protocol.'.
        derived: keys of the resolved config, once all else is derived; those below a dict of ``values`` are among them, too.
    """

    values: dict[str, Any] = field(default_factory=dict)
    protocol: dict[str, Any] = field(default_factory=dict)
    derived: dict[str, Any] = field(default_factory=dict)


def sort_overrides(cfg, overrides: Mapping[str, Any]) -> Overrides:
    """Sort overrides by what they change.

    Args:
        cfg: the values of a config, checked, without the overrides.
        overrides: by dotted key.

    Raises:
        ValueError: a key that has an option of its own, or that says what the config is.
    """
    sorted_ = Overrides()
    typed = field_names(task_of(cfg).VALUES)
    replaced = [key.removesuffix(f".{DELETE}") for key in overrides if key.endswith(f".{DELETE}")]
    for key, value in sorted(overrides.items(), key=lambda item: not item[0].endswith(DELETE)):
        top, _, rest = key.partition(".")
        if any(not math.isfinite(number) for number in numbers_in(value)):
            raise ValueError(f"--cfg-options {key}={value}: give a finite number.")
        if option := OPTIONS.get(top):
            raise ValueError(f"--cfg-options {key}: {option} sets that; use it instead.")
        if top in FIXED:
            raise ValueError(f"--cfg-options {key}: it says which config this is and cannot be changed; choose another config.")
        if top == "protocol" and top in typed:
            if not rest:
                raise ValueError("--cfg-options protocol: --protocol NAME chooses one, protocol.KEY=VALUE changes a value.")
            sorted_.protocol[rest] = value
        elif top in typed:
            if rest and not isinstance(cfg[top], Mapping | list | tuple) and not _may_be_dict(task_of(cfg).VALUES, top):
                raise ValueError(f"--cfg-options {key}: {top} is {cfg[top]!r}, which has no parts.")
            if not rest or _reaches(cfg, key) or not isinstance(cfg[top], Mapping | list | tuple):
                sorted_.values[key] = value
            if rest and not any(key.startswith(f"{place}.") for place in replaced):
                sorted_.derived[key] = value
        else:
            sorted_.derived[key] = value
    return sorted_


def numbers_in(value: Any) -> Iterator[float]:
    """Yield the numbers in a value, at any depth."""
    if isinstance(value, int | float):
        yield value
    elif isinstance(value, Mapping):
        yield from numbers_in(list(value.values()))
    elif isinstance(value, list | tuple):
        for item in value:
            yield from numbers_in(item)


def _may_be_dict(schema: type, name: str) -> bool:
    """Return whether a value may be a dict, though it is none now."""
    return any(get_origin(part) is dict for part in get_args(get_type_hints(schema)[name]))


def _reaches(cfg, key: str) -> bool:
    """Return whether a dotted key leads into a dict or list of the config, so that its value can be set there."""
    node: Any = cfg
    for name in key.split(".")[:-1]:
        if isinstance(node, list | tuple):
            node = node[int(name)] if name.isdigit() and int(name) < len(node) else None
        else:
            node = node.get(name) if isinstance(node, Mapping) or hasattr(node, "_cfg_dict") else None
    return node is not None


def refuse_undone(overrides: Overrides, tricks: Iterable[str]) -> None:
    """Raise ValueError for an override of a key that an applied trick sets: the record would name a trick that is undone."""
    for key in overrides.derived:
        for name in tricks:
            trick: Any = TRICKS[name]
            if key in trick.sets or (trick.stage == "values" and declares(trick.sets, key)):
                raise ValueError(
                    f"--cfg-options {key}: the trick {name} sets that; leave one of the two out, or give the trick an option "
                    "of its own (docs/tricks.md)."
                )


def apply_derived(cfg, changes: Mapping[str, Any]) -> None:
    """Apply overrides of derived keys to a resolved config, in place.

    Raises:
        ValueError: an unknown key, a number outside of a list, a value of another kind than the one it replaces, or a key that
            follows from a value, which is what to change.
    """
    task = task_of(cfg)
    for key, value in changes.items():
        if key.partition(".")[0] not in cfg and key.partition(".")[0] in field_names(task.VALUES):
            continue  # a value that was used up while the config was resolved
        refuse_following(task, key)
        _check_path(cfg, key, value, field_names(task.VALUES))
        put(cfg, key, value)


def refuse_following(task, key: str) -> None:
    """Raise ValueError for a key of a resolved config that follows from a value, which is what to change."""
    if source := follows(key, task.FOLLOWS):
        raise ValueError(f"--cfg-options {key}: it follows from {source}; change that instead.")


def _check_path(cfg, key: str, value: Any, values: tuple[str, ...]) -> None:
    node, path, who = cfg, "", f"--cfg-options {key}"
    *parents, last = key.split(".")
    for name in parents:
        node = _step(node, path, name, who, values)
        path = join(path, name)
    if isinstance(node, list | tuple):
        _step(node, path, last, who, values)
        return
    if not hasattr(node, "keys"):
        raise ValueError(f"{who}: {path} is {node!r:.60}, which has no parts.")
    if last in node:
        if mismatch := kind_mismatch(node[last], value):
            raise ValueError(f"{who}={value!r}: the config has {node[last]!r:.80} there; give {mismatch}.")
    elif not path:
        raise ValueError(_unknown(cfg, last, who, values))
    elif "type" not in node and last != "_delete_":
        refuse_unknown([last], allowed_keys(path, node) or tuple(node), who, path)


def _step(node: Any, path: str, name: str, who: str, values: tuple[str, ...]) -> Any:
    """Return the part ``name`` of ``node``, which stands at ``path``."""
    if isinstance(node, list | tuple):
        if not name.isdigit() or int(name) >= len(node):
            raise ValueError(f"{who}: {path} is a list of {len(node)}; give 0 to {len(node) - 1}.")
        return node[int(name)]
    if not hasattr(node, "keys"):
        raise ValueError(f"{who}: {path} is {node!r:.60}, which has no parts.")
    if node.get(name) is not None:
        return node[name]
    if not path and name not in node:
        raise ValueError(_unknown(node, name, who, values))
    place = join(path, name)
    if name in node and allowed_keys(place, {}) is None:
        tricks: dict[str, Any] = TRICKS
        setters = [trick for trick, function in tricks.items() if declares(function.sets, place)]
        hint = f"; the trick {setters[0]} sets it (--tricks {setters[0]}:OPTION=VALUE)" if setters else ""
        raise ValueError(f"{who}: {place} is None here, which has no parts{hint}.")
    refuse_unknown([name], allowed_keys(path, node) or tuple(node), who, path)
    return {}


def _unknown(cfg, name: str, who: str, values: tuple[str, ...]) -> str:
    names = sorted({*cfg, *values})
    near = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
    return f"{who}: there is no {name}; {'nearest' if near else 'allowed'}: {', '.join(near or names)}."
