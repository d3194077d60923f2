"""Say that the data of a config is missing, and where it comes from, before anything heavy is loaded."""

import os
from collections.abc import Callable, Iterable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from backbones.common.fact_cache import TakesLong, quickly
from backbones.common.files import MissingData
from backbones.common.project import data_root
from tools.engine.config.loading import ORIGIN, read
from tools.engine.config.tasks import having


def refuse_missing_data(
    paths: Iterable[str | Path],
    overrides: Mapping[str, Any] | None = None,
    check: Callable[[], Any] | None = None,
    confirm: Callable[[], Any] | None = None,
) -> None:
    """Refuse configs whose data is nowhere, unless something else is wrong, which is then said first.

    Parts of the data that are missing are for the check of its task.

    Args:
        paths: of configs, or of the dumped configs of runs.
        overrides: values by key that a user gives.
        check: raises ValueError for what else is wrong; it is called inside ``quickly`` and so may be mistaken.
        confirm: raises ValueError for what is really wrong; called after an error of ``check`` (default: ``check`` itself).

    Raises:
        MissingData: a folder of data does not exist; says what it should hold and how to get it.
        ValueError: see ``check``.
    """
    error = missing_data(paths, overrides or {})
    if not error:
        return
    if check:
        try:
            with quickly():
                check()
        except TakesLong:  # the start says what is wrong, once the data is there
            pass
        except ValueError:
            (confirm or check)()
    raise error


def missing_data(paths: Iterable[str | Path], overrides: Mapping[str, Any]) -> MissingData | None:
    """Return what to say of configs whose data is nowhere; None if there are none. See ``refuse_missing_data``."""
    missing: dict[str, tuple[str, dict[str, Any]]] = {}
    for path in paths:
        values = values_of(path, overrides)
        if not {"task", "data_root"} <= values.keys():
            continue  # what is wrong with such a config is said when it is resolved
        folder = os.path.join(data_root(), Path(values["data_root"]).as_posix())
        if not os.path.isdir(folder):
            missing.setdefault(folder, (str(path), values))
    if not missing:
        return None
    state = f"does not exist, and {next(iter(missing.values()))[0]} reads it" if len(missing) == 1 else "do not exist"
    remedies = dict.fromkeys(remedy(values) for _, values in missing.values())
    lines = [line for folder, (_, values) in missing.items() for line in layout(folder, values, is_short=len(missing) > 1)]
    return MissingData(f"{', '.join(missing)} {state}; {root_state()}. {' '.join(remedies)}", lines)


def refuse_whole(cfg) -> None:
    """Refuse to train at scale mini on all of a published dataset, as happens where DATA_ROOT was not set.

    Raises:
        ValueError: the resolved config does; says how to get data of scale mini.
    """
    if cfg.scale != "mini" or cfg.task not in having("dataset_check").split(", "):
        return
    if found := import_module(f"{cfg.task}.dataset_check").published_training(cfg):
        raise ValueError(
            f"Scale mini is for small data and would train on all {found} in {data_root()}: make a subset with python "
            "tools/prepare_data.py subset --for mini and set DATA_ROOT to data/mini, or train at scale paper."
        )


def values_of(path: str | Path, overrides: Mapping[str, Any]) -> dict[str, Any]:
    """Return the task, the scale and the data_root of a config that it states as text."""
    cfg = read(path)
    origin = _mapping(cfg.get(ORIGIN))
    stated = _mapping(origin.get("values")) or cfg
    values = {name: stated.get(name) for name in ("task", "scale", "data_root")}
    values |= {name: value for source in (origin.get("overrides"), overrides) for name, value in _mapping(source).items()}
    return {name: values[name] for name in ("task", "scale", "data_root") if isinstance(values[name], str)}


def _mapping(value: Any) -> Mapping[str, Any]:
    """Return a mapping as it is, and an empty one for any other value."""
    return value if isinstance(value, Mapping) else {}


def root_state() -> str:
    """Return a part of a sentence on the folder of all datasets."""
    root = data_root()
    if not os.path.isdir(root):
        return f"there is no folder {root}" if root == "data" else f"DATA_ROOT is {root}, which does not exist"
    names = sorted(name for name in os.listdir(root) if name[0] != ".")
    more = ", ..." if len(names) > 6 else ""
    return f"{root} holds {', '.join(names[:6]) or 'nothing'}{more}"


def remedy(values: Mapping[str, Any]) -> str:
    """Return a sentence on how to get the data."""
    if values["data_root"].startswith("toy/"):
        return "Make the synthetic toy data with python tools/prepare_data.py toy, or set DATA_ROOT to the folder that holds toy."
    if values.get("scale") == "mini":
        return (
            "Make the data of scale mini from the published datasets with python tools/prepare_data.py subset --for mini, and "
            "set DATA_ROOT to data/mini."
        )
    return "Put the data there, or set DATA_ROOT to the folder that holds it."


def layout(folder: str, values: Mapping[str, Any], is_short: bool = False) -> list[str]:
    """Return lines on the published dataset that belongs into a folder; none for toy data and data of a user's own.

    Args:
        folder: where the data should be.
        values: see ``values_of``.
        is_short: name the source alone, and the command that shows the layout.
    """
    if values["data_root"].startswith("toy/") or values["task"] not in having("dataset_check").split(", "):
        return []
    for name, release in import_module(f"{values['task']}.dataset_check").RELEASES.items():
        if release.folder in Path(folder).parts:
            short = f"{folder}: {release.title}, by {release.source} (prepare_data.py check {name} --help shows its layout)"
            return [short] if is_short else release.lines(folder)
    return []
