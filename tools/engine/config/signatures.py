"""Check the dicts of a resolved config from which classes are built against the signatures of these classes.

It imports what a config names, mmdet and mmseg among it, so it belongs to the start of a run or of a study, not to a plan.
"""

import collections.abc
import difflib
import inspect
import logging
import types
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

from backbones.common.quiet import quiet
from backbones.common.schema import join, refuse_unknown

BESIDE = ("type", "_scope_", "_delete_")  # MMEngine's own keys, in any dict
# what MMEngine takes out of a dict before it calls the class, by the last part of the dict's place
TAKEN = {
    "param_scheduler": ("convert_to_iter_based",),
    "custom_hooks": ("priority",),
    "default_hooks": ("priority",),
    "visualizer": ("vis_backends",),
    "norm_cfg": ("requires_grad",),
}
REGISTRIES = (  # the order in which a name is looked for
    *("MODELS", "DATASETS", "TRANSFORMS", "HOOKS", "OPTIMIZERS", "OPTIM_WRAPPERS", "PARAM_SCHEDULERS", "LOOPS", "DATA_SAMPLERS"),
    *("TASK_UTILS", "WEIGHT_INITIALIZERS", "MODEL_WRAPPERS", "FUNCTIONS", "VISUALIZERS", "VISBACKENDS", "LOG_PROCESSORS"),
    *("OPTIM_WRAPPER_CONSTRUCTORS", "EVALUATOR", "METRICS"),
)
NOTES = ("protocol", "tricks")  # what a record keeps
SWITCHES = ("optim_wrapper.clip_grad",)  # dicts with a ``type`` that names no class; so does every ``nms``
BUILT_FROM = ("optim_wrapper",)  # dicts that MMEngine takes apart before it calls the class; their schema says what they have


# places of arguments that take more than their annotation says: one number for both sides, and fractions of an epoch
BROADER = ("roi_layer.output_size", "param_scheduler.begin", "param_scheduler.end")
PLAIN = {  # types of values in a config, and their names in a message
    bool: "True or False",
    int: "a whole number",
    float: "a number",
    str: "text",
    type(None): "None",
    Mapping: "a dict",
    list: "a list",
}
OTHER_NAMES = {Path: str, tuple: list, set: list, dict: Mapping, collections.abc.Mapping: Mapping}
SEQUENCES = (collections.abc.Sequence, collections.abc.Iterable, collections.abc.Collection, collections.abc.Container)


@dataclass(frozen=True)
class Argument:
    """Hold the annotation of an argument (Any if it has none) and its default."""

    annotation: Any
    default: Any

    def refuses(self, value: Any) -> str:
        """Return in words what the argument takes, if it does not take ``value``; else ''.

        Only an annotation of plain types decides, and without one a default that is a truth value, a number or text.
        """
        kinds = _plain_kinds(self.annotation)
        if kinds is None:
            return self._by_default(value)
        if any(_is_of(value, kind) for kind in kinds):
            return ""
        names = (PLAIN[kind] if kind in PLAIN else repr(kind) for kind in kinds)
        return " or ".join(dict.fromkeys(names))

    def _by_default(self, value: Any) -> str:
        if isinstance(self.default, bool) and isinstance(value, str):
            return PLAIN[bool]
        if isinstance(self.default, int | float) and isinstance(value, str):
            return PLAIN[float]
        return PLAIN[str] if isinstance(self.default, str) and isinstance(value, bool | int | float) else ""


def _plain_kinds(annotation: Any) -> list[Any] | None:
    """Return the plain types of an annotation, and the values of a Literal; None if anything else may come from a config."""
    origin = typing.get_origin(annotation)
    if origin in (typing.Union, types.UnionType):
        kinds: list[Any] = []
        for member in typing.get_args(annotation):
            if (plain := _plain_kinds(member)) is None:
                return None
            kinds += plain
        return kinds
    if origin is Literal:
        return list(typing.get_args(annotation))
    kind = origin or annotation
    kind = OTHER_NAMES.get(kind, kind)
    if kind in PLAIN:
        return [kind]
    if kind in SEQUENCES:
        return [list]
    if not inspect.isclass(kind) or kind is object:
        return None
    if issubclass(kind, Mapping):
        return [Mapping]
    return [] if kind.__name__ == "Tensor" else None


def _is_of(value: Any, kind: Any) -> bool:
    if not isinstance(kind, type):
        return value == kind
    if isinstance(value, bool):
        return kind is bool
    if kind is float:
        return isinstance(value, int | float)
    return isinstance(value, list | tuple) if kind is list else isinstance(value, kind)


@quiet()  # a run imports mmdet and mmseg here
def check_signatures(cfg, where: str) -> None:
    """Check every dict with a ``type`` in a resolved config: there is such a class, and it takes the other keys.

    Args:
        cfg: an MMEngine Config.
        where: what an error calls it.

    Raises:
        ValueError: no class has that name, a library that it needs cannot be imported, or the class does not take a key; says
            where and what is nearest.
    """
    if find_spec(cfg.default_scope) is None:
        raise ValueError(f"{where} has default_scope={cfg.default_scope!r}; give mmengine, mmdet or mmseg.")
    if isinstance(cfg.get("compile"), dict):
        import torch

        refuse_unknown(cfg.compile, arguments(torch.compile, {})[0].keys() - {"model"}, where, "compile", "torch.compile")
    for path, node in typed_dicts("", cfg.to_dict()):
        steps = [part for part in path.split(".") if not part.isdigit()]
        if steps[0] in NOTES or path in SWITCHES or steps[-1] == "nms":
            continue
        name = f"mmcv.ops.{node['type']}" if steps[-1] == "roi_layer" else node["type"]
        kind = _kind(name, cfg.default_scope, f"{where} has {path}.type={node['type']}")
        if path in BUILT_FROM:
            continue
        keys, more = arguments(kind, node)
        before = TAKEN.get(steps[-1], TAKEN.get(steps[0], ()) if len(steps) == 2 else ())
        extra = [key for key in node if key not in (*before, *BESIDE) and (not more or _misspelt(key, keys))]
        refuse_unknown(extra, {*keys, *before}, where, path, kind.__name__)
        for key in [key for key in keys if key in node and key not in before and f"{steps[-1]}.{key}" not in BROADER]:
            if wanted := keys[key].refuses(node[key]):
                raise ValueError(f"{where} has {join(path, key)}={node[key]!r:.80}; {kind.__name__} takes {wanted} there.")


def typed_dicts(path: str, value: Any) -> Iterator[tuple[str, dict]]:
    """Yield every dict that has a ``type``, with its dotted path."""
    if isinstance(value, dict):
        if isinstance(value.get("type"), str):
            yield path, value
        parts = list(value.items())
    else:
        parts = list(enumerate(value)) if isinstance(value, list | tuple) else []
    for key, item in parts:
        yield from typed_dicts(join(path, str(key)), item)


def _misspelt(key: str, keys: Iterable[str]) -> bool:
    """Return whether ``key``, of a class that hands on any key, is most likely one of its own written wrongly."""
    return key not in keys and bool(difflib.get_close_matches(key, keys, n=1, cutoff=0.8))


def _kind(name: str, scope: str, who: str) -> Callable:
    try:
        return kind_of(name, scope)
    except LookupError as error:
        near = difflib.get_close_matches(name, error.args, n=3)
        hint = f"nearest: {', '.join(near)}" if near else "give the full path of a class, as in backbones.ResNet"
        raise ValueError(f"{who}, and nothing has that name; {hint}.") from None
    except ImportError as error:
        raise ValueError(f"{who}, which cannot be imported ({error}); install what is missing.") from None


@cache
def kind_of(name: str, scope: str) -> Callable:
    """Return the class or function that a ``type`` names, by its full path or by its name in the registries of a scope.

    Raises:
        LookupError: there is none; its ``args`` are the names that there are.
        ImportError: its module is there and cannot be imported.
    """
    from mmengine import registry, runner  # noqa: F401  (the second registers what MMEngine itself has)

    names: set[str] = set()
    if (kind := _by_path(name)) is not None:
        return kind
    logging.disable(logging.WARNING)  # MMEngine warns of a registry that a scope does not have
    try:
        for one in (getattr(registry, name) for name in REGISTRIES):
            with one.switch_scope_and_registry(scope) as scoped:
                if "." not in name and (kind := scoped.get(name)) is not None:
                    return kind
                names |= {*scoped.module_dict, *one.module_dict}
    finally:
        logging.disable(logging.NOTSET)
    raise LookupError(*sorted(names))


def _by_path(name: str) -> Callable | None:
    """Return the object of a full path such as backbones.ResNet; None where there is none."""
    from importlib import import_module

    module, _, attribute = name.rpartition(".")
    if not module:
        return None
    try:
        return getattr(import_module(module), attribute, None)
    except ModuleNotFoundError as error:
        if error.name and (module == error.name or module.startswith(f"{error.name}.")):
            return None
        raise


def arguments(called: Callable, node: dict) -> tuple[dict[str, Argument], bool]:
    """Return the keyword arguments of a class or function by name, and whether it also takes any other.

    A class that takes ``**kwargs`` hands them on to the next one that has its own ``__init__``; ``**resize_kwargs`` beside an
    argument ``resize_type``, as mmcv has it, go to the class of that name.
    """
    keys: dict[str, Argument] = {}
    rest = None
    for one in called.__mro__[:-1] if inspect.isclass(called) else (called,):
        if inspect.isclass(one) and "__init__" not in vars(one):
            continue
        function = one.__init__ if inspect.isclass(one) else one
        parameters = inspect.signature(function).parameters
        hints = _hints(function)
        for name, p in parameters.items():
            if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY) and name != "self":
                keys.setdefault(name, Argument(hints.get(name, Any), p.default))
        rest = next((p.name for p in parameters.values() if p.kind is p.VAR_KEYWORD), None)
        if rest is None:
            return keys, False
        chooser = rest.replace("_kwargs", "_type")
        if chooser != rest and chooser in parameters:
            own, more = arguments(kind_of(node.get(chooser, parameters[chooser].default), "mmdet"), {})
            return own | keys, more
    return keys, rest is not None


def _hints(function: Callable) -> dict[str, Any]:
    """Return the annotations of a function; none if one of them names what its module does not have."""
    try:
        return typing.get_type_hints(function)
    except Exception:  # an annotation is code of a library
        return {}
