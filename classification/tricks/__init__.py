"""List each training trick of the paper once, in the order in which they are applied.

A trick is one file with one pure function ``f(cfg, **options) -> None`` that edits a config, decorated with the keys that it
sets and those that follow from these. A new trick is a new file and one line in ``_CATALOGUE``. All other lists are read from
``TRICKS``.
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
    """Parse ``name`` or ``name:option=value,option=value`` as typed on a command line.

    Numbers and booleans are converted, except for options whose default is a word.

    >>> parse_trick("label_smoothing:eps=0.2,form=uniform")
    ('label_smoothing', {'eps': 0.2, 'form': 'uniform'})
    """
    name, colon, options = text.partition(":")
    if not colon:
        return name
    pairs = [option.partition("=") for option in options.split(",")]
    if not all(key and value for key, _, value in pairs):
        raise ValueError(f"The trick {text!r} is not of the form name:option=value,option=value.")
    if len({key for key, _, _ in pairs}) < len(pairs):
        raise ValueError(f"The trick {text!r} has an option twice; give each option once.")
    defaults = _defaults(name) if name in TRICKS else {}
    return name, {key: value if isinstance(defaults.get(key), str) else _value(value) for key, _, value in pairs}


def format_trick(trick: Trick) -> str:
    """Return a trick as the text that ``parse_trick`` reads."""
    if isinstance(trick, str):
        return trick
    name, options = trick
    if not options:
        return name
    return f"{name}:{','.join(f'{key}={value}' for key, value in options.items())}"


def _value(text: str) -> Any:
    """Convert ``text`` to an integer, a float or a boolean; other text is returned unchanged."""
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return {"true": True, "false": False}.get(text.lower(), text)


def compose(values, tricks: Iterable[Trick], derive: Callable):
    """Apply tricks in catalogue order, whatever the order given, and return the resolved config.

    A trick edits the values of a config before ``derive``. A trick of the stage 'derived' edits the keys that ``derive`` returns.

    Args:
        values: values of a classification config (an MMEngine Config); not modified.
        tricks: names, or pairs of a name and its options.
        derive: function that returns the resolved config of edited values.

    Returns:
        The resolved config. Its ``tricks`` lists the applied tricks for the record: [[name, all its options], ...].

    Raises:
        ValueError: an unknown trick (the message names the nearest) or option, a trick given twice, two tricks that exclude
            each other, a trick that cannot be applied to this config, or one that changed nothing.
    """
    requested = _ordered(tricks)
    edited = deepcopy(values)
    _apply(edited, requested, "values")
    cfg = derive(edited)
    _apply(cfg, requested, "derived")
    cfg.tricks = [[name, _defaults(name) | options] for name, options in requested.items()]
    return cfg


def _apply(cfg, requested: dict[str, dict], stage: str) -> None:
    """Apply the requested tricks that act at ``stage``, in place."""
    for name, options in requested.items():
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
    """Return the options of a trick with their defaults."""
    return {key: p.default for key, p in list(inspect.signature(TRICKS[name]).parameters.items())[1:]}


def _ordered(tricks: Iterable[Trick]) -> dict[str, dict]:
    """Return the options given to each trick, in catalogue order; raise ValueError as ``compose`` says."""
    pairs = [(t, {}) if isinstance(t, str) else (t[0], dict(t[1])) for t in tricks]
    names = [name for name, _ in pairs]
    for name, options in pairs:
        _check_options(name, options)
    if repeated := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"The trick {repeated[0]} is given twice; give it once, with all its options.")
    ordered = {name: dict(pairs)[name] for name in TRICKS if name in names}
    for name in ordered:
        for other in ordered:
            if name < other and TRICKS[name].group and TRICKS[name].group == TRICKS[other].group:
                raise ValueError(f"The tricks {name} and {other} exclude each other: each sets the {TRICKS[name].group}.")
    return ordered


def _check_options(name: str, options: dict) -> None:
    """Raise ValueError unless the trick exists, and has these options with values of these types."""
    if name not in TRICKS:
        nearest = difflib.get_close_matches(name, TRICKS, n=3, cutoff=0.4)
        hint = f"nearest: {', '.join(nearest)}; " if nearest else ""
        raise ValueError(f"There is no trick {name!r}; {hint}all: {', '.join(TRICKS)}.")
    defaults = _defaults(name)
    for option, value in options.items():
        if option not in defaults:
            raise ValueError(f"The trick {name} has no option {option!r}; its options: {', '.join(defaults) or 'none'}.")
        if expected := _expected_type(value, defaults[option]):
            raise ValueError(f"{name}:{option} is {value!r}; give {expected}.")


def _expected_type(value: Any, default: Any) -> str | None:
    """Return the type that an option should have, in words, or None if ``value`` has the type of the default."""
    kinds = {bool: "true or false", int: "a whole number", float: "a number", str: "a word"}
    fits = type(value) is type(default) or (type(value), type(default)) == (int, float)
    return None if fits else kinds.get(type(default))


def declares(keys: tuple[str, ...], key: str) -> bool:
    """Return True if a dotted ``key`` is one of ``keys``, or below one."""
    return any(key == declared or key.startswith(declared + ".") for declared in keys)


def flatten(cfg, prefix: str = "") -> dict[str, Any]:
    """Flatten a config to dotted keys: ``{'model.backbone.depth': 50, 'param_scheduler.0.type': 'MultiStepLR', ...}``."""
    items = cfg.items() if hasattr(cfg, "items") else enumerate(cfg)
    flat = {}
    for key, value in items:
        nested = hasattr(value, "items") or (isinstance(value, list | tuple) and any(hasattr(v, "items") for v in value))
        flat.update(flatten(value, f"{prefix}{key}.") if nested else {f"{prefix}{key}": value})
    return flat


def difference(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    """Return the sorted dotted keys whose values differ between two flattened configs."""
    missing = object()
    return sorted(k for k in before.keys() | after.keys() if before.get(k, missing) != after.get(k, missing))
