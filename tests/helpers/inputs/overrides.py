"""List what a person may type after --cfg-options: every value, every value of a protocol, and every derived key."""

from collections.abc import Iterator, Mapping
from typing import Any, get_type_hints

from backbones.common.schema import field_names
from backbones.resolving import Machine
from detection.schema import DetectionProtocol
from segmentation.schema import SegmentationProtocol
from tests.helpers.inputs.rows import Row, wrong_values
from tools.engine.config import Options, resolve, task_of
from tools.engine.config.loading import kind_mismatch

CONFIGS = {
    "classification": "configs/classification/resnet50_toy.py",
    "detection": "configs/detection/faster_rcnn_fpn_toy.py",
    "segmentation": "configs/segmentation/fcn_toy.py",
}
PROTOCOLS = {"detection": DetectionProtocol, "segmentation": SegmentationProtocol}
MACHINE = Machine(1, cuda=False, bf16=False)


def typed(value: Any) -> str:
    """Return a value as a person types it."""
    return f"[{','.join(map(typed, value))}]" if isinstance(value, list) else str(value)


def command(task: str, *overrides: str) -> tuple[str, ...]:
    """Return the command line of a task's toy config with overrides."""
    backbone = () if task == "classification" else ("--backbone", "scratch")
    return (CONFIGS[task], *backbone, "--cfg-options", *overrides)


def rows() -> Iterator[Row]:
    yield from {row.name: row for row in _all()}.values()  # a value may also be a derived key


def _all() -> Iterator[Row]:
    for task in CONFIGS:
        yield from _of_schema(task, task_of({"task": task}).VALUES, "")
        if task in PROTOCOLS:
            yield from _of_schema(task, PROTOCOLS[task], "protocol.")
        yield from _of_derived_keys(task)


def _of_schema(task: str, schema: type, prefix: str) -> Iterator[Row]:
    hints = get_type_hints(schema, include_extras=True)
    for name in field_names(schema):
        for value in wrong_values(hints[name]):
            if not isinstance(value, Mapping):
                key = f"{prefix}{name}"
                yield refused(task, f"{key}={typed(value)}", (name,))


def _of_derived_keys(task: str) -> Iterator[Row]:
    """Yield a value of another kind for each leaf of the resolved config."""
    options = Options() if task == "classification" else Options(backbone="scratch")
    resolved = resolve(CONFIGS[task], options, MACHINE).cfg
    for path, leaf in leaves(resolved.to_dict()):
        if path[0] in ("protocol", "tricks", "resolved_from") or leaf is None:
            continue
        value = next(v for v in ("abc", 7, [1, 2]) if kind_mismatch(leaf, v))
        yield refused(task, f"{'.'.join(path)}={typed(value)}", (path[-1],))


def refused(task: str, override: str, words: tuple[str, ...]) -> Row:
    return Row("overrides", f"{task} {override}", "print_config", command(task, override), words)


def leaves(value: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Yield (keys, value) of all that is no dict in a config, and no list of dicts."""
    if isinstance(value, list | tuple) and any(isinstance(item, Mapping) for item in value):
        value = dict(enumerate(value))
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from leaves(item, (*path, str(key)))
    else:
        yield path, value
