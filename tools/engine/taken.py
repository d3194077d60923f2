"""Which keys a dict of a config can have: the arguments of what is built from it, or what the code that gets it takes out.

``taken`` knows by its place which function or class gets a dict without ``type``; no key is written down here.
"""

import inspect
import logging
import re
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

# what a text takes out of dicts: x["key"], x.get("key"), "key" in x, cfg.key
READ = re.compile(r"""(?:\.(?:get|pop|setdefault)\(\s*|\[)['"](\w+)['"]|['"](\w+)['"]\s+(?:not\s+)?in\s|cfg_?\.(\w+)\b(?!\()""")
KEYWORD = re.compile(r"\b(\w+)=")
REGISTRIES = (  # the order in which a name is looked for
    *("MODELS", "DATASETS", "TRANSFORMS", "HOOKS", "OPTIMIZERS", "OPTIM_WRAPPERS", "PARAM_SCHEDULERS", "LOOPS", "DATA_SAMPLERS"),
    *("TASK_UTILS", "WEIGHT_INITIALIZERS", "MODEL_WRAPPERS", "FUNCTIONS", "VISUALIZERS", "VISBACKENDS", "LOG_PROCESSORS"),
    *("OPTIM_WRAPPER_CONSTRUCTORS", "EVALUATOR", "METRICS"),
)


class Taken(NamedTuple):
    """The keys that ``who`` takes; others too, if ``more``. ``who`` is empty where nothing is called with the dict."""

    who: str
    keys: set[str]
    more: bool = False


def taken(cfg, path: str, node: dict) -> Taken | None:
    """What takes the keys of the dict ``node`` at the dotted ``path`` of ``cfg``; None where its keys are names of its own.

    Raises:
        LookupError: there is nothing of the name in its ``type``.
    """
    name = re.sub(r"\.\d+", "", path)
    if name.endswith("custom_keys"):  # names of modules
        return None
    if name == "default_hooks":
        from mmengine.runner import Runner

        return Taken(name, set(re.findall(r"(\w+)=dict\(type=", inspect.getsource(Runner.register_default_hooks))))
    before = set().union(*(found(READ, function) for function in _before(name)))
    if called := _called_with(name, node):
        keys, more = arguments(called, node)
        return Taken(called.__name__, keys | before, more)
    if isinstance(node.get("type"), str):
        kind = kind_of(node["type"], cfg.default_scope)
        keys, more = arguments(kind, node)
        return Taken(kind.__name__, keys | before, more)
    return Taken("", _read_by(tuple(sorted(_types(cfg.to_dict()))), cfg.default_scope) | before)


def _before(name: str) -> list[Callable]:
    """What takes keys out of a dict before the rest of it goes to its class, by the dotted name of the dict without numbers."""
    from mmengine.model.weight_init import initialize
    from mmengine.optim import DefaultOptimWrapperConstructor, build_optim_wrapper
    from mmengine.registry.build_functions import build_scheduler_from_cfg
    from mmengine.runner import Runner

    last = name.rpartition(".")[2]
    if name == "custom_hooks" or name.startswith("default_hooks."):
        return [Runner.register_hook]
    if ".custom_keys." in name:
        return [DefaultOptimWrapperConstructor]
    if last == "norm_cfg":
        from mmcv.cnn import build_norm_layer

        return [build_norm_layer]
    if last == "nms":
        from mmcv.ops import batched_nms

        return [batched_nms]
    found = {
        "param_scheduler": build_scheduler_from_cfg,
        "init_cfg": initialize,
        "optim_wrapper": build_optim_wrapper,
        "paramwise_cfg": DefaultOptimWrapperConstructor,
        "env_cfg": Runner.setup_env,
        "auto_scale_lr": Runner.scale_lr,
        **dict.fromkeys(("train_dataloader", "val_dataloader", "test_dataloader"), Runner.build_dataloader),
        **{"train_cfg": Runner.build_train_loop, "val_cfg": Runner.build_val_loop, "test_cfg": Runner.build_test_loop},
    }
    return [found[last]] if last in found else []


def _called_with(name: str, node: dict) -> Callable | None:
    """The class or function that is called with a dict that has no ``type``, or one that is no class."""
    last = name.rpartition(".")[2]
    if last == "clip_grad":
        from torch.nn import utils

        return utils.clip_grad_value_ if node.get("type") == "value" else utils.clip_grad_norm_
    if last in ("nms", "roi_layer"):
        import mmcv.ops

        return getattr(mmcv.ops, node.get("type", ""), None)
    if last in ("arch", "scratch_backbone"):
        from backbones.networks import type_of

        return kind_of(type_of(node), "mmengine")
    if "type" in node:
        return None
    if name in ("model.mixup", "model.distillation"):
        from classification.distillation import Distillation
        from classification.mixup import Mixup

        return Mixup if last == "mixup" else Distillation
    if name == "compile":
        from torch import compile

        return compile
    if name == "custom_imports":
        from mmengine.utils import import_modules_from_strings

        return import_modules_from_strings
    if name in ("env_cfg.mp_cfg", "env_cfg.dist_cfg"):
        from mmengine.utils.dl_utils import set_multi_processing
        from torch.distributed import init_process_group

        return set_multi_processing if last == "mp_cfg" else init_process_group
    if name.endswith("_dataloader"):
        from torch.utils.data import DataLoader

        return DataLoader
    from mmengine import runner

    called = {
        "train_cfg": runner.EpochBasedTrainLoop if node.get("by_epoch", True) else runner.IterBasedTrainLoop,
        "val_cfg": runner.ValLoop,
        "test_cfg": runner.TestLoop,
        "randomness": runner.Runner.set_randomness,
        "log_processor": runner.LogProcessor,
    }
    return called.get(name)


def arguments(called: Callable, node: dict) -> tuple[set[str], bool]:
    """What can be given to a class or function by name, and whether it takes others, too.

    A class that takes ``**kwargs`` hands them on to the next one that has its own ``__init__``; ``**resize_kwargs`` beside an
    argument ``resize_type``, as mmcv has it, go to the class of that name.
    """
    keys, rest = set(), None
    for one in called.__mro__[:-1] if inspect.isclass(called) else (called,):
        if inspect.isclass(one) and "__init__" not in vars(one):
            continue
        parameters = inspect.signature(one.__init__ if inspect.isclass(one) else one).parameters
        keys |= {p.name for p in parameters.values() if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)} - {"self"}
        rest = next((p.name for p in parameters.values() if p.kind is p.VAR_KEYWORD), None)
        if rest is None:
            return keys, False
        chooser = rest.replace("_kwargs", "_type")
        if chooser != rest and chooser in parameters:
            own, more = arguments(kind_of(node.get(chooser, parameters[chooser].default), "mmdet"), {})
            return keys | own, more
    return keys, rest is not None


@cache
def kind_of(name: str, scope: str) -> Callable:
    """What a ``type`` means: the object of that full path, or that of this name in MMEngine's registries as a scope sees them.

    Raises:
        LookupError: there is none; its ``args`` are the names that there are.
    """
    from mmengine import registry

    known: set[str] = set()
    logging.disable(logging.WARNING)  # MMEngine warns of a registry that a scope does not have
    try:
        for one in (getattr(registry, name) for name in REGISTRIES):
            with one.switch_scope_and_registry(scope) as scoped:
                try:
                    if (kind := scoped.get(name)) is not None:
                        return kind
                except (RuntimeError, ImportError, AttributeError):
                    pass  # a full path of nothing
                known |= {*scoped.module_dict, *one.module_dict}
    finally:
        logging.disable(logging.NOTSET)
    raise LookupError(*sorted(known))


def _types(value: Any) -> set[str]:
    """Every ``type`` in a config."""
    if isinstance(value, dict):
        own = {value["type"]} if isinstance(value.get("type"), str) else set()
        return own.union(*(_types(v) for v in value.values()))
    return set().union(*(_types(v) for v in value)) if isinstance(value, list | tuple) else set()


@cache
def _read_by(types: tuple[str, ...], scope: str) -> set[str]:
    """The keys that the modules of the classes ``types``, and of those that they come from, take out of dicts."""
    files = set()
    for name in types:
        try:
            kind = kind_of(name, scope)
        except LookupError:  # 'value' of clip_grad; what else there is not is refused where it stands
            continue
        for one in getattr(kind, "__mro__", (kind,)):
            if one.__module__.partition(".")[0] not in ("torch", "builtins"):
                files.add(sys.modules[one.__module__].__file__)
    library = sys.modules.get(scope)  # keys that nothing reads any more stand in the base configs of mmdet itself
    bases = (Path(library.__file__).parent / ".mim/configs/_base_/models").glob("*.py") if library else ()
    return found(READ, tuple(sorted(files))) | found(KEYWORD, tuple(sorted(bases)))


@cache
def found(pattern: re.Pattern, sources: tuple | Callable) -> set[str]:
    """What ``pattern`` finds in files, or in the source of a function or class."""
    texts = [inspect.getsource(sources)] if callable(sources) else [Path(path).read_text() for path in sources]
    return {name for text in texts for match in pattern.finditer(text) for name in match.groups() if name}
