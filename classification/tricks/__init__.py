"""The catalogue: each training trick of the paper once, in the order in which they are applied.

A trick is one file with one pure function ``f(cfg, **options) -> None`` that edits a config, decorated with the keys that it
sets and those that follow. A new trick is a new file and one line in ``_CATALOGUE``; all other lists are read from ``TRICKS``.
"""

import difflib
import inspect
from collections.abc import Callable, Iterable
from copy import deepcopy
from importlib import import_module
from typing import Any

Trick = str | tuple[str, dict]

_CATALOGUE = (
    # architecture
    "resnet_b",
    "resnet_c",
    "resnet_d",
    "zero_gamma",
    # batch and precision
    "large_batch",
    "low_precision",
    # targets and length
    "mixup",
    "label_smoothing",
    "distillation",
    # optimiser
    "no_bias_decay",
    # schedule, which reads what the others set
    "cosine",
    "warmup",
)

TRICKS: dict[str, Callable[..., None]] = {name: getattr(import_module(f"{__name__}.{name}"), name) for name in _CATALOGUE}


def parse_trick(text: str) -> Trick:
    """``name`` or ``name:option=value,option=value`` as typed on a command line; numbers and booleans become such, but for
    options that are words.

    >>> parse_trick("label_smoothing:eps=0.2,form=uniform")
    ('label_smoothing', {'eps': 0.2, 'form': 'uniform'})
    """
    name, _, rest = text.partition(":")
    if not rest:
        return name
    pairs = [part.partition("=") for part in rest.split(",")]
    if not all(key and sep for key, sep, _ in pairs):
        raise ValueError(f"The trick {text!r} is not of the form name:option=value,option=value.")
    words = {key for key, default in (_defaults(name) if name in TRICKS else {}).items() if isinstance(default, str)}
    return name, {key: value if key in words else _value(value) for key, _, value in pairs}


def format_trick(trick: Trick) -> str:
    """A trick as ``parse_trick`` reads it."""
    if isinstance(trick, str) or not trick[1]:
        return trick if isinstance(trick, str) else trick[0]
    return f"{trick[0]}:{','.join(f'{key}={value}' for key, value in trick[1].items())}"


def _value(text: str) -> Any:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return {"true": True, "false": False}.get(text.lower(), text)


def compose(values, tricks: Iterable[Trick], derive: Callable):
    """Apply tricks in catalogue order, whatever the order given, and return the config that they resolve to.

    A trick edits the values of a config before ``derive``, or, where its ``stage`` is 'derived', the keys that follow from these.

    Args:
        values: of a classification config (an MMEngine Config); it is left as it is.
        tricks: names, or pairs of a name and its options.
        derive: makes the resolved config from edited values.

    Returns:
        The resolved config. Its ``tricks`` has what was applied, for the record: [[name, all its options], ...].

    Raises:
        ValueError: an unknown trick (names the nearest) or option, a trick given twice, two tricks that exclude each other,
            one that cannot apply to this config, and one that changed nothing.
    """
    wanted = _named(tricks)
    edited = deepcopy(values)
    _apply(edited, wanted, "values")
    cfg = derive(edited)
    _apply(cfg, wanted, "derived")
    cfg.tricks = [[name, _defaults(name) | options] for name, options in wanted.items()]
    return cfg


def _apply(cfg, wanted: dict[str, dict], stage: str) -> None:
    """Apply those of the tricks that act at ``stage``, in place."""
    for name, options in wanted.items():
        if TRICKS[name].stage != stage:
            continue
        before = flatten(cfg)
        TRICKS[name](cfg, **options)
        changed = difference(before, flatten(cfg))
        if not changed:
            raise ValueError(f"The trick {name} changed nothing: this config already has it; leave it out.")
        undeclared = [key for key in changed if not declares(TRICKS[name].sets, key)]
        assert not undeclared, f"trick {name} sets {undeclared}, which it does not declare"


def _defaults(name: str) -> dict:
    return {key: p.default for key, p in list(inspect.signature(TRICKS[name]).parameters.items())[1:]}


def _named(tricks: Iterable[Trick]) -> dict[str, dict]:
    pairs = [(t, {}) if isinstance(t, str) else (t[0], dict(t[1])) for t in tricks]
    names = [name for name, _ in pairs]
    for name, options in pairs:
        if name not in TRICKS:
            near = difflib.get_close_matches(name, TRICKS, n=3, cutoff=0.4)
            hint = f"nearest: {', '.join(near)}; " if near else ""
            raise ValueError(f"There is no trick {name!r}; {hint}all: {', '.join(TRICKS)}.")
        allowed = _defaults(name)
        for option, value in options.items():
            if option not in allowed:
                known = ", ".join(allowed) or "none"
                raise ValueError(f"The trick {name} has no option {option!r}; its options: {known}.")
            if kind := _other_kind(value, allowed[option]):
                raise ValueError(f"{name}:{option} is {value!r}; give {kind}.")
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"The trick {twice[0]} is given twice; give it once, with all its options.")
    ordered = {name: dict(pairs)[name] for name in TRICKS if name in names}
    for name in ordered:
        for other in ordered:
            if name < other and TRICKS[name].group and TRICKS[name].group == TRICKS[other].group:
                raise ValueError(f"The tricks {name} and {other} exclude each other: each sets the {TRICKS[name].group}.")
    return ordered


def _other_kind(value: Any, default: Any) -> str | None:
    """What an option should be, as its default is, or None where ``value`` is that."""
    kinds = {bool: "true or false", int: "a whole number", float: "a number", str: "a word"}
    fits = type(value) is type(default) or (type(value), type(default)) == (int, float)
    return None if fits else kinds.get(type(default))


def declares(keys: tuple[str, ...], key: str) -> bool:
    """Return whether a dotted ``key`` is one of ``keys``, or below one."""
    return any(key == declared or key.startswith(declared + ".") for declared in keys)


def flatten(cfg, prefix: str = "") -> dict[str, Any]:
    """A config as dotted keys: ``{'model.backbone.depth': 50, 'param_scheduler.0.type': 'MultiStepLR', ...}``."""
    items = cfg.items() if hasattr(cfg, "items") else enumerate(cfg)
    flat = {}
    for key, value in items:
        nested = hasattr(value, "items") or (isinstance(value, list | tuple) and any(hasattr(v, "items") for v in value))
        flat.update(flatten(value, f"{prefix}{key}.") if nested else {f"{prefix}{key}": value})
    return flat


def difference(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    """The dotted keys whose values differ between two flattened configs, sorted."""
    missing = object()
    return sorted(k for k in before.keys() | after.keys() if before.get(k, missing) != after.get(k, missing))
