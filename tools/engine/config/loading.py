"""Read config files: the values that a person may change, checked against the schema of their task."""

import difflib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from backbones.common.config_reader import read_config
from backbones.common.project import ROOT, data_root
from backbones.common.schema import accept, field_names
from tools.engine.config.structures import Imports
from tools.engine.config.tasks import task_of

DELETE = "_delete_"  # MMEngine's word: what stands at the key above it is replaced and not merged into
ORIGIN = "resolved_from"  # in the dumped config of a run: what it was resolved from


def find_config(name: str | Path) -> Path:
    """Return the config file ``name``, from the working folder or from the project's.

    Raises:
        ValueError: there is none; names the nearest.
    """
    for path in (Path(name), ROOT / name):
        if path.is_file():
            return path
    files = [str(p.relative_to(ROOT)) for p in sorted((ROOT / "configs").rglob("*.py"))]
    near = difflib.get_close_matches(str(name), files, n=3, cutoff=0.4)
    hint = f"nearest: {', '.join(near)}" if near else "see configs/"
    raise ValueError(f"There is no config {name}; {hint}.")


def untrusted_notice(name: str | Path) -> str:
    """Return a sentence on a config that is not one of configs/; empty for one of those."""
    if find_config(name).resolve().is_relative_to(ROOT / "configs"):
        return ""
    return f"{name} is not one of configs/. A config is Python code that is run: use one only from people whom you trust."


def read(path: str | Path):
    """Read a config file and the files under it, unchecked, as an MMEngine Config.

    A config is Python code, which is run. Of several folders in ``data_root`` the first that exists is kept, or else the first.

    Raises:
        ValueError: there is no such file, or it is no config.
    """
    file = find_config(path)
    try:
        cfg = read_config(file)
    except RecursionError:
        raise ValueError(f"{path} is a base of itself (_base_); take it out of the list.") from None
    except Exception as error:  # whatever the code of a config raises
        said = (str(error).strip().splitlines() or ["no message"])[0]
        raise ValueError(f"{path} cannot be read as a config ({type(error).__name__}: {said}); correct it.") from None
    if folders := _texts(cfg.get("data_root")):
        cfg.data_root = next((folder for folder in folders if os.path.isdir(os.path.join(data_root(), folder))), folders[0])
    return cfg


def _texts(value: Any) -> list[str]:
    """Return a list of text as it is, and nothing for any other value."""
    return list(value) if isinstance(value, list | tuple) and all(isinstance(item, str) for item in value) else []


def load(path: str | Path, changes: Mapping[str, Any] | None = None):
    """Read the values of a config file, with ``changes`` merged in, checked against the schema of its task.

    Args:
        path: of a file in the layout of configs/TASK/.
        changes: values by dotted key.

    Returns:
        An MMEngine Config with every value of the schema.

    Raises:
        ValueError: see ``read``; an unknown key, or a value of another type or out of range.
    """
    return checked(read(path), str(path), changes)


def checked(cfg, where: str, changes: Mapping[str, Any] | None = None):
    """Return the values ``cfg`` with ``changes`` merged in and defaults filled in, checked against the schema of their task."""
    schema = task_of(cfg, where).VALUES
    typed = field_names(schema)
    for key in [key for key in cfg if key not in typed and (key.startswith("_") or _of_library(cfg[key]))]:
        cfg.pop(key)  # a name that starts with an underscore is the file's own helper
    accept(cfg._cfg_dict, schema, where)
    for key, value in (changes or {}).items():
        before = value_at(cfg, key) if "." in key else None  # the schema checks what has no parts
        if mismatch := kind_mismatch(before, value):
            raise ValueError(f"--cfg-options {key}={value!r}: the config has {before!r:.80} there; give {mismatch}.")
        try:
            put(cfg, key, value)
        except ValueError as error:
            raise ValueError(f"--cfg-options {key}: {error}") from None
        accept(cfg._cfg_dict, schema, f"--cfg-options {key}={value}: the config")
    values = accept(cfg._cfg_dict, schema, where)
    for name in typed:
        cfg.setdefault(name, getattr(values, name))
    _import_modules(cfg, where)
    return cfg


def _import_modules(cfg, where: str) -> None:
    """Import the modules that a config names in ``custom_imports``, as MMEngine does.

    Raises:
        ValueError: see ``accept``; a module cannot be imported.
    """
    from mmengine.utils import import_modules_from_strings

    if not cfg.custom_imports:
        return
    accept(cfg.custom_imports, Imports, where, "custom_imports")
    try:
        import_modules_from_strings(**cfg.custom_imports)
    except Exception as error:  # whatever the code of a module raises
        raise ValueError(
            f"{where} has custom_imports={cfg.custom_imports}, and a module fails to be imported ({error})."
        ) from None


def put(cfg, key: str, value: Any) -> None:
    """Set the value at a dotted key of a config, in place.

    A dict is merged into the one that is there, unless their ``type`` differs; what has no parts becomes a dict that has.

    Raises:
        ValueError: a number outside of a list.
    """
    from mmengine.config import ConfigDict  # reports need no MMEngine

    first, _, rest = key.partition(".")
    name: Any = first
    if isinstance(cfg, list):
        if not first.isdigit() or int(first) >= len(cfg):
            raise ValueError(f"there is no item {first} in a list of {len(cfg)}; give 0 to {len(cfg) - 1}.")
        name = int(first)
    here = cfg[name] if isinstance(cfg, list) else cfg.get(name)
    if rest == DELETE:
        cfg[name] = ConfigDict()
    elif rest:
        node: Any = ConfigDict()
        if isinstance(here, list | tuple):
            node = list(here)
        elif isinstance(here, Mapping):
            node = ConfigDict(here)
        put(node, rest, value)
        cfg[name] = node
    elif isinstance(value, Mapping) and value.get(DELETE):
        cfg[name] = ConfigDict({inner: item for inner, item in value.items() if inner != DELETE})
    elif isinstance(value, Mapping) and isinstance(here, Mapping) and value.get("type", here.get("type")) == here.get("type"):
        node = ConfigDict(here)
        for inner, item in value.items():
            put(node, inner, item)
        cfg[name] = node
    else:
        cfg[name] = value


def value_at(cfg, key: str) -> Any:
    """Return the value at a dotted key of a config; None if nothing is there."""
    node = cfg
    for name in key.split("."):
        if isinstance(node, list | tuple):
            node = node[int(name)] if name.isdigit() and int(name) < len(node) else None
        else:
            node = node.get(name) if hasattr(node, "keys") else None
    return node


def kind_mismatch(old: Any, new: Any) -> str | None:
    """Return the kind of value that may replace ``old``, if ``new`` may not; else None.

    Numbers replace numbers, and so on; None replaces anything and is replaced by anything.
    """
    if old is None or new is None:
        return None
    kinds: tuple[tuple[Any, str], ...] = (
        (bool, "True or False"),
        (int | float, "a number"),
        (str, "text"),
        (Mapping, "a dict"),
        (list | tuple, "a list, such as [1,2]"),
    )
    kind, words = next(((kind, words) for kind, words in kinds if isinstance(old, kind)), (None, ""))
    if kind is None:
        return None
    if not isinstance(new, kind) or isinstance(new, bool) != isinstance(old, bool):
        return words
    if isinstance(old, Mapping) and new.get("type", old.get("type")) == old.get("type"):
        parts = ((key, kind_mismatch(old[key], item)) for key, item in new.items() if key in old)
        return next((f"a dict whose {key} is {fault}" for key, fault in parts if fault), None)
    if isinstance(old, list | tuple) and old and not isinstance(old[0], Mapping):
        faults = (kind_mismatch(old[0], item) for item in new)
        return next((f"a list in which each is {fault}" for fault in faults if fault), None)
    return None


def _of_library(value: Any) -> bool:
    """Return whether a value is a helper of a library's own base config, which MMEngine marks with the library's scope."""
    return isinstance(value, Mapping) and "_scope_" in value
