"""Find the task packages and their modules by name: all that the tools know of a task."""

from collections.abc import Mapping
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType

from backbones.common.project import ROOT


def task_of(cfg: Mapping, where: str = "This config") -> ModuleType:
    """Return the module ``<task>.task`` of the package that a config or a record names; errors begin with ``where``.

    Raises:
        ValueError: it names none, or there is no such package.
    """
    if "task" not in cfg:
        raise ValueError(f"{where} lacks task; set task to one of the task packages: {having('task')}.")
    task = cfg["task"]
    if not isinstance(task, str) or task not in having("task").split(", "):
        raise ValueError(f"{where} has task={task!r}; set task to one of the task packages: {having('task')}.")
    return import_module(f"{task}.task")


def part_of(task: str, name: str) -> ModuleType | None:
    """Return the module ``<task>.<name>`` of a task package, or None where it has none."""
    return import_module(f"{task}.{name}") if find_spec(f"{task}.{name}") else None


def having(name: str) -> str:
    """List the task packages that have a module ``name``, for a sentence."""
    return ", ".join(sorted(path.parent.name for path in ROOT.glob(f"*/{name}.py")))
