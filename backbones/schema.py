"""Check what a user wrote, a config, protocol, study or card, against a declared schema, and say what does not fit.

A schema is a ``msgspec.Struct``: a field for each key, with its type and range. Tasks and tools declare their own.
"""

import difflib
import re
from collections.abc import Collection, Mapping
from typing import Annotated, Any, Literal, TypeVar, get_args, get_origin, get_type_hints

import msgspec
from msgspec import Meta

Count = Annotated[int, Meta(ge=1)]
Index = Annotated[int, Meta(ge=0)]
Number = int | float  # a whole number stays one
Positive = Annotated[int, Meta(gt=0)] | Annotated[float, Meta(gt=0)]
NonNegative = Annotated[int, Meta(ge=0)] | Annotated[float, Meta(ge=0)]
Fraction = Annotated[int, Meta(ge=0, le=1)] | Annotated[float, Meta(ge=0, le=1)]
PHRASES = (
    (Positive, "a number above 0"),
    (NonNegative, "a number of at least 0"),
    (Fraction, "a number from 0 to 1"),
)

SchemaType = TypeVar("SchemaType", bound=msgspec.Struct)

WORDS = {  # msgspec's names of types, as users call them
    "int": "a whole number",
    "float": "a number",
    "str": "text",
    "bool": "True or False",
    "null": "None",
    "object": "a dict",
    "array": "a list",
}
EXPECTED = re.compile(r"Expected `(?P<types>[^`]+)`(?P<range>[^,]*)")
MISSING = re.compile(r"Object missing required field `(?P<name>[^`]+)`")
STEP = re.compile(r"\.(\w+)|\[(\d+)\]|\[\.\.\.\]")


def field_names(schema: type[msgspec.Struct]) -> tuple[str, ...]:
    """Return the keys that a schema allows."""
    return tuple(field.encode_name for field in msgspec.structs.fields(schema))


def accept(data: Mapping[str, Any], schema: type[SchemaType], where: str, path: str = "") -> SchemaType:
    """Convert ``data`` to ``schema``.

    Args:
        data: plain values by key.
        schema: what is allowed.
        where: how an error names the place: a file, or the option that a user typed.
        path: dotted path of ``data`` within that place; empty for the whole.

    Raises:
        ValueError: an unknown key (names the nearest), a missing one, or a value of another type or out of range.
    """
    refuse_unknown(data, field_names(schema), where, path)
    try:
        return msgspec.convert(_plain(data), schema)
    except msgspec.ValidationError as error:
        raise ValueError(_sentence(str(error), data, schema, where, path)) from None


def refuse_unknown(data: Collection[str], allowed: Collection[str], where: str, path: str = "", owner: str = "") -> None:
    """Raise ValueError for the first key of ``data`` that is not in ``allowed``; the sentence names the nearest keys.

    Args:
        data: keys, or a mapping.
        allowed: the keys that may stand there.
        where, path: see ``accept``.
        owner: what takes the keys, such as a class; empty for a schema.
    """
    for key in data:
        if key in allowed:
            continue
        near = difflib.get_close_matches(str(key), sorted(allowed), n=3, cutoff=0.5)
        hint = f"nearest: {', '.join(near)}; " if near else ""
        reader = f"{owner} takes" if owner else "allowed"
        listed = f"{reader}: {', '.join(sorted(allowed)) or 'nothing'}"
        raise ValueError(f"{where} has {join(path, str(key))}, which is unknown; {hint}{listed}.")


def join(path: str, key: str) -> str:
    """Return the dotted path of ``key`` below ``path``."""
    return f"{path}.{key}" if path else key


def _plain(value: Any) -> Any:
    """Return ``value`` made of plain dicts and lists: msgspec would take MMEngine's own dicts for objects."""
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value


def _sentence(message: str, data: Mapping[str, Any], schema: type[msgspec.Struct], where: str, path: str) -> str:
    """Say in one sentence what msgspec's ``message`` says of ``data``."""
    fault, _, place = message.partition(" - at `")
    steps = [name or number for name, number in STEP.findall(place.rstrip("`").removeprefix("$")) if name or number]
    if missing := MISSING.match(fault):
        return f"{where} lacks {join('.'.join([path, *steps]).strip('.'), missing['name'])}; add it."
    name, value = path, data
    for step in steps:
        value = value[int(step)] if step.isdigit() and not isinstance(value, Mapping) else value[step]
        name = join(name, step)
    if place.endswith("[...]`") and isinstance(value, Mapping):  # msgspec does not say under which key
        kind = _below_all(schema, [*steps, ""])
        key = next((key for key, item in value.items() if not _fits(item, kind)), "")
        steps, name, value = [*steps, key], join(name, key), value.get(key)
    if unknown := re.match(r"Object contains unknown field `([^`]+)`", fault):
        return f"{where} has {join(name, unknown[1])}, which is unknown; remove it."
    return f"{where} has {name}={value!r}; give {_of_field(schema, steps) or _expected(fault)}."


def _of_field(schema: type[msgspec.Struct], steps: list[str]) -> str | None:
    """Return in words what the field at ``steps`` may be, where its type says more than msgspec's message does."""
    hint = _below_all(schema, steps)
    for kind, words in PHRASES:
        if hint in (kind, kind | None):
            return words
    choices = [str(word) for part in (hint, *get_args(hint)) if get_origin(part) is Literal for word in get_args(part)]
    return f"one of {', '.join(choices)}" if len(choices) > 1 else choices[0] if choices else None


def _fits(value: Any, kind: Any) -> bool:
    try:
        msgspec.convert(_plain(value), kind)
    except msgspec.ValidationError:
        return False
    return True


def _below_all(hint: Any, steps: list[str]) -> Any:
    for step in steps:
        hint = _below(hint, step)
    return hint


def _below(hint: Any, step: str) -> Any:
    """Return the type of the part ``step`` of something of type ``hint``; None where that is not known."""
    if isinstance(hint, type) and issubclass(hint, msgspec.Struct):
        return get_type_hints(hint, include_extras=True).get(step)
    if get_origin(hint) is Annotated:
        return _below(get_args(hint)[0], step)
    inner = [part for part in get_args(hint) if part is not Ellipsis]
    if get_origin(hint) in (tuple, list) and step.isdigit():
        return inner[int(step) if int(step) < len(inner) else -1]
    return inner[1] if get_origin(hint) is dict else None


def _expected(fault: str) -> str:
    """Say what msgspec's ``fault`` expects, in words."""
    match = EXPECTED.match(fault)
    if not match:
        return f"an allowed value ({fault.lower()})"
    names = match["types"].replace("int | float", "float").split(" | ")
    types = " or ".join(WORDS.get(name, name) for name in names)
    limits = match["range"].strip()
    words = {">=": "of at least", ">": "above", "<=": "of at most", "<": "below"}
    sign, _, number = limits.partition(" ")
    if sign in words:
        return f"{types} {words[sign]} {number.removesuffix('.0')}"
    return f"{types} {limits}".strip()
