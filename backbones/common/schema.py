"""Check a config, protocol, study or card of a user against a declared schema, and report the first fault.

A schema is a ``msgspec.Struct`` with a field for each key, its type and its range. Tasks and tools declare their own.
"""

import difflib
from collections.abc import Collection, Mapping
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

import msgspec
from msgspec import Meta

Count = Annotated[int, Meta(ge=1)]
Index = Annotated[int, Meta(ge=0)]
Number = int | float  # an int stays an int
Positive = Annotated[int, Meta(gt=0)] | Annotated[float, Meta(gt=0)]
NonNegative = Annotated[int, Meta(ge=0)] | Annotated[float, Meta(ge=0)]
Fraction = Annotated[int, Meta(ge=0, le=1)] | Annotated[float, Meta(ge=0, le=1)]
PositiveFraction = Annotated[int, Meta(gt=0, le=1)] | Annotated[float, Meta(gt=0, le=1)]
Workers = Annotated[int, Meta(ge=0, le=1024)]  # more would stop most machines
PHRASES = (
    (Count, "a whole number of at least 1"),
    (Index, "a whole number of at least 0"),
    (Positive, "a number above 0"),
    (NonNegative, "a number of at least 0"),
    (Fraction, "a number from 0 to 1"),
    (PositiveFraction, "a number above 0 and of at most 1"),
    (Workers, "a whole number from 0 to 1024"),
    (Number, "a number"),
    (int, "a whole number"),
    (float, "a number"),
    (str, "text"),
    (bool, "True or False"),
    (NoneType, "None"),
)
MOST_LISTED = 20  # allowed keys that an error names beside the nearest ones

SchemaType = TypeVar("SchemaType", bound=msgspec.Struct)


def field_names(schema: type[msgspec.Struct]) -> tuple[str, ...]:
    """Return the keys that a schema allows."""
    return tuple(field.encode_name for field in msgspec.structs.fields(schema))


def accept(data: Mapping[str, Any], schema: type[SchemaType], where: str, path: str = "") -> SchemaType:
    """Convert ``data`` to ``schema``.

    Args:
        data: plain values by key.
        schema: the allowed keys and values.
        where: place in error messages: a file, or the option that a user typed.
        path: dotted path of ``data`` within that place; empty for the whole.

    Raises:
        ValueError: a key is unknown (names the nearest) or missing, or a value has another type or is out of range.
    """
    try:
        return msgspec.convert(_plain(data), schema)
    except msgspec.ValidationError:
        _refuse(data, schema, where, path)
        raise AssertionError(f"{where} does not fit {schema.__name__}, and no part of it is at fault") from None


def refuse_unknown(data: Collection[str], allowed: Collection[str], where: str, path: str = "", owner: str = "") -> None:
    """Raise ValueError for the first key of ``data`` that is not in ``allowed``; the message names the nearest keys.

    Args:
        data: keys, or a mapping.
        allowed: the allowed keys.
        where, path: see ``accept``.
        owner: name of the class or function that takes the keys; empty for a schema.
    """
    for key in data:
        if key in allowed:
            continue
        near = difflib.get_close_matches(str(key), sorted(allowed), n=3, cutoff=0.5)
        hint = f"nearest: {', '.join(near)}; " if near else ""
        reader = f"{owner} takes" if owner else "allowed"
        listed = f"{reader}: {', '.join(sorted(allowed)) or 'nothing'}"
        if near and len(allowed) > MOST_LISTED:
            hint, listed = "", f"nearest: {', '.join(near)}"
        raise ValueError(f"{where} has {join(path, str(key))}, which is unknown; {hint}{listed}.")


def join(path: str, key: str) -> str:
    """Return the dotted path of ``key`` below ``path``."""
    return f"{path}.{key}" if path else key


def _plain(value: Any) -> Any:
    """Return ``value`` as plain dicts and lists, since msgspec takes MMEngine's dicts for objects."""
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value


def _refuse(value: Any, kind: Any, where: str, path: str) -> None:
    """Raise ValueError for the first part of ``value`` that does not fit ``kind``: msgspec does not name keys of a dict."""
    kind = _union_member(value, kind)
    base = get_args(kind)[0] if get_origin(kind) is Annotated else kind
    if isinstance(value, Mapping) and isinstance(base, type) and issubclass(base, msgspec.Struct):
        parts = _struct_parts(value, base, where, path)
    elif isinstance(value, Mapping) and get_origin(base) is dict:
        names, item_kind = get_args(base)
        if get_origin(names) is Literal:
            refuse_unknown(value, get_args(names), where, path)
        parts = [(join(path, str(key)), item, item_kind) for key, item in value.items()]
    elif isinstance(value, list | tuple) and get_origin(base) in (list, tuple):
        parts = _sequence_parts(value, base, path)
    else:
        parts = []
    for place, item, item_kind in parts:
        if not _fits(item, item_kind):
            _refuse(item, item_kind, where, place)
    if not _fits(value, kind):
        shown = f"{value!r:.200}"
        if not path:
            raise ValueError(f"{where} holds {shown}; it must hold {in_words(kind)}.")
        raise ValueError(f"{where} has {path}={shown}; give {in_words(kind)}.")


def _struct_parts(value: Mapping, struct: type[msgspec.Struct], where: str, path: str) -> list[tuple[str, Any, Any]]:
    """Return (path, item, type) of each key of ``value``; raise ValueError for a missing or, unless allowed, an unknown key."""
    if struct.__struct_config__.forbid_unknown_fields:
        refuse_unknown(value, field_names(struct), where, path)
    hints = get_type_hints(struct, include_extras=True)
    for field in msgspec.structs.fields(struct):
        if field.required and field.encode_name not in value:
            raise ValueError(f"{where} lacks {join(path, field.encode_name)}; add it.")
    return [(join(path, key), item, hints[key]) for key, item in value.items() if key in hints]


def _sequence_parts(value: list | tuple, kind: Any, path: str) -> list[tuple[str, Any, Any]]:
    """Return (path, item, type) of each item of ``value``; nothing if ``kind`` has another length."""
    item_kinds = get_args(kind)
    if get_origin(kind) is not tuple or item_kinds[-1] is Ellipsis:
        item_kinds = item_kinds[:1] * len(value)
    if len(value) != len(item_kinds):
        return []
    return [(join(path, str(i)), item, item_kinds[i]) for i, item in enumerate(value)]


def _union_member(value: Any, kind: Any) -> Any:
    """Return the member of a union that matches the shape of ``value``, or ``kind`` itself if there is none."""
    members = get_args(kind) if get_origin(kind) in (Union, UnionType) else ()
    for member in members:
        base = get_args(member)[0] if get_origin(member) is Annotated else member
        struct = isinstance(base, type) and issubclass(base, msgspec.Struct)
        if isinstance(value, Mapping) and (struct or get_origin(base) is dict):
            return member
        if isinstance(value, list | tuple) and get_origin(base) in (list, tuple):
            return member
    return kind


def _fits(value: Any, kind: Any) -> bool:
    try:
        msgspec.convert(_plain(value), kind)
    except msgspec.ValidationError:
        return False
    return True


def in_words(kind: Any) -> str:
    """Describe the values of a type: 'a whole number of at least 1', 'one of gt, all', 'a list of 3, each a number'."""
    for phrase_kind, phrase in PHRASES:
        if kind == phrase_kind:
            return phrase
        if kind == phrase_kind | None:
            return f"{phrase} or None"
    origin, args = get_origin(kind), get_args(kind)
    if origin is Literal:
        return f"one of {', '.join(map(str, args))}" if len(args) > 1 else str(args[0])
    if origin is Annotated:
        if described := next((meta.description for meta in args[1:] if isinstance(meta, Meta) and meta.pattern), None):
            return described
        return in_words(args[0]) + "".join(_range(meta) for meta in args[1:] if isinstance(meta, Meta))
    if origin in (Union, UnionType):
        return " or ".join(dict.fromkeys(in_words(member) for member in args))
    if origin is tuple and args[-1] is not Ellipsis:
        items = f", each {in_words(args[0])}" if len(set(args)) == 1 else ""
        return f"a list of {len(args)}{items}"
    if origin in (list, tuple):
        return "a list"
    return "a dict"


def _range(meta: Meta) -> str:
    limits = (("of at least", meta.ge), ("above", meta.gt), ("of at most", meta.le), ("below", meta.lt))
    phrases = [f" {relation} {limit:g}" for relation, limit in limits if limit is not None]
    if meta.min_length:
        phrases.append(f" of at least {meta.min_length}")
    return " and".join(phrases)
