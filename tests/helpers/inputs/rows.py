"""Declare a row of the table of inputs, and derive the wrong inputs of a schema from the types of its fields."""

import copy
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

import msgspec

CANDIDATES = ("abc", -1, 0, 1.5, 7, True, None, [1, 2], ["abc"], {"abc": 1}, "")  # tried on each field; those that fit are right
MOST = 3  # wrong values of a field


@dataclass(frozen=True)
class Row:
    """Represent an input and the answer that is right.

    Args:
        area: of the table.
        name: unique in the area; says the input.
        tool: name of the script in tools/.
        args: its command line.
        words: parts of the answer: of the one sentence on stderr if the input is refused, else of the output.
        status: right exit status; 2 refuses the input.
        prepare: writes the files that ``args`` name into a folder, the working folder.
        variables: of the environment.
    """

    area: str
    name: str
    tool: str
    args: tuple[str, ...]
    words: tuple[str, ...]
    status: int = 2
    prepare: Callable[[Path], None] | None = None
    variables: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.area}: {self.name}"


@dataclass(frozen=True)
class Fault:
    """Represent a wrong value of a field, or a missing or misspelt field, of a mapping.

    Args:
        path: keys that lead to the field.
        name: says what is wrong.
        content: the whole mapping with the fault in it.
        value: of the field, where that is the fault.
        kind: 'value', 'missing' or 'misspelt'.
    """

    path: tuple[str, ...]
    name: str
    content: dict[str, Any]
    value: Any = None
    kind: str = "value"


def wrong_values(kind: Any) -> list[Any]:
    """Return a few values, each of another Python type or range, that a field of a type must not have."""
    wrong: dict[Any, Any] = {}
    for value in CANDIDATES:
        place = type(value) if not isinstance(value, int | float) or isinstance(value, bool) else (type(value), value < 1)
        if not fits(value, kind):
            wrong.setdefault(place, value)
    return list(wrong.values())[:MOST]


def fits(value: Any, kind: Any) -> bool:
    """Return whether msgspec takes a value for a type."""
    try:
        msgspec.convert(value, kind)
    except msgspec.ValidationError:
        return False
    return True


def faults(schema: type[msgspec.Struct], content: Mapping[str, Any], path: tuple[str, ...] = ()) -> Iterator[Fault]:
    """Yield every fault of a mapping that fits a schema: wrong values, missing and misspelt fields, at any depth."""
    hints = get_type_hints(schema, include_extras=True)
    inner = inside(content, path)
    for part in msgspec.structs.fields(schema):
        name, place = part.encode_name, (*path, part.encode_name)
        for value in wrong_values(hints[name]):
            yield Fault(place, f"{'.'.join(place)}={value!r}", edited(content, place, value), value)
        if name not in inner:
            continue
        if part.required:
            yield Fault(place, f"{'.'.join(place)} missing", without(content, place), kind="missing")
        if schema.__struct_config__.forbid_unknown_fields:
            renamed = edited(without(content, place), (*path, name + "x"), inner[name])
            yield Fault((*path, name + "x"), f"{'.'.join(place)}x misspelt", renamed, kind="misspelt")
        for key, member in struct_members(hints[name], inner[name]):
            yield from faults(member, content, (*place, *key))


def struct_members(kind: Any, value: Any) -> list[tuple[tuple[str, ...], type[msgspec.Struct]]]:
    """Return the first struct in a field's value, with the keys that lead to it; nothing if its type has none."""
    for member in get_args(kind) if get_origin(kind) in (Union, UnionType) else (kind,):
        if isinstance(member, type) and issubclass(member, msgspec.Struct) and isinstance(value, Mapping):
            return [((), member)]
        if get_origin(member) is dict and isinstance(value, Mapping) and value:
            return [
                ((next(iter(value)), *keys), s) for keys, s in struct_members(get_args(member)[1], next(iter(value.values())))
            ]
    return []


def inside(content: Mapping[str, Any], path: tuple[str, ...]) -> Any:
    for key in path:
        content = content[key]
    return content


def edited(content: Mapping[str, Any], path: tuple[str, ...], value: Any) -> dict[str, Any]:
    """Return a copy of nested mappings with the value at ``path`` replaced."""
    copied = copy.deepcopy(dict(content))
    inside(copied, path[:-1])[path[-1]] = value
    return copied


def without(content: Mapping[str, Any], path: tuple[str, ...]) -> dict[str, Any]:
    """Return a copy of nested mappings without the key at ``path``."""
    copied = copy.deepcopy(dict(content))
    del inside(copied, path[:-1])[path[-1]]
    return copied
