"""Check what a user wrote, a config, protocol, study or card, against a declared schema, and say what does not fit.

A schema is a ``msgspec.Struct``: a field for each key, with its type and range. Tasks and tools declare their own.
"""

import difflib
from collections.abc import Collection, Mapping
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

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

PHRASES = (
    (Count, "a whole number of at least 1"),
    (Index, "a whole number of at least 0"),
    (Positive, "a number above 0"),
    (NonNegative, "a number of at least 0"),
    (Fraction, "a number from 0 to 1"),
    (Number, "a number"),
    (int, "a whole number"),
    (float, "a number"),
    (str, "text"),
    (bool, "True or False"),
    (NoneType, "None"),
)

SchemaType = TypeVar("SchemaType", bound=msgspec.Struct)

PHRASES = (
    (Positive, "a number above 0"),
    (NonNegative, "a number of at least 0"),
    (Fraction, "a number from 0 to 1"),
)

SchemaType = TypeVar("SchemaType", bound=msgspec.Struct)

PHRASES = (
    (Count, "a whole number of at least 1"),
    (Index, "a whole number of at least 0"),
    (Positive, "a number above 0"),
    (NonNegative, "a number of at least 0"),
    (Fraction, "a number from 0 to 1"),
    (Number, "a number"),
    (int, "a whole number"),
    (float, "a number"),
    (str, "text"),
    (bool, "True or False"),
    (NoneType, "None"),
)

SchemaType = TypeVar("SchemaType", bound=msgspec.Struct)


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
    try:
        return msgspec.convert(_plain(data), schema)
    except msgspec.ValidationError as error:
        _refuse(data, schema, where, path)
        raise AssertionError(f"{where} does not fit {schema.__name__}, and no part of it is at fault: {error}") from None


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


def _refuse(value: Any, kind: Any, where: str, path: str) -> None:
    """Raise ValueError for the first part of ``value`` that does not fit ``kind``: msgspec does not name keys of a dict."""
    kind = _arm(value, kind)
    base = get_args(kind)[0] if get_origin(kind) is Annotated else kind
    origin = get_origin(base)
    if isinstance(value, Mapping) and isinstance(base, type) and issubclass(base, msgspec.Struct):
        refuse_unknown(value, field_names(base), where, path)
        hints = get_type_hints(base, include_extras=True)
        for field in msgspec.structs.fields(base):
            if field.required and field.encode_name not in value:
                raise ValueError(f"{where} lacks {join(path, field.encode_name)}; add it.")
        parts = [(join(path, key), item, hints[key]) for key, item in value.items()]
    elif isinstance(value, Mapping) and origin is dict:
        names, inner = get_args(base)
        if get_origin(names) is Literal:
            refuse_unknown(value, get_args(names), where, path)
        parts = [(join(path, str(key)), item, inner) for key, item in value.items()]
    elif isinstance(value, list | tuple) and origin in (list, tuple):
        inner = get_args(base)
        kinds = inner if origin is tuple and inner[-1] is not Ellipsis else (inner[0],) * len(value)
        parts = [(join(path, str(i)), item, kinds[i]) for i, item in enumerate(value) if i < len(kinds)]
        if len(value) != len(kinds):
            parts = []
    else:
        parts = []
    for place, item, inner in parts:
        if not _fits(item, inner):
            _refuse(item, inner, where, place)
    if not _fits(value, kind):
        raise ValueError(f"{where} has {path}={value!r}; give {in_words(kind)}.")


def _arm(value: Any, kind: Any) -> Any:
    """Return the member of a union whose parts are to be looked at for ``value``; ``kind`` itself where there is none."""
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
    """Say what a value of a type may be: 'a whole number of at least 1', 'one of gt, all', 'a list of 3, each a number'."""
    for known, words in PHRASES:
        if kind == known:
            return words
        if kind == known | None:
            return f"{words} or None"
    origin, inner = get_origin(kind), get_args(kind)
    if origin is Literal:
        return f"one of {', '.join(map(str, inner))}" if len(inner) > 1 else str(inner[0])
    if origin is Annotated:
        return in_words(inner[0]) + "".join(_range(meta) for meta in inner[1:] if isinstance(meta, Meta))
    if origin in (Union, UnionType):
        return " or ".join(dict.fromkeys(in_words(member) for member in inner))
    if origin is tuple and inner[-1] is not Ellipsis:
        same = f", each {in_words(inner[0])}" if len(set(inner)) == 1 else ""
        return f"a list of {len(inner)}{same}"
    if origin in (list, tuple):
        return "a list"
    return "a dict"


def _range(meta: Meta) -> str:
    limits = (("of at least", meta.ge), ("above", meta.gt), ("of at most", meta.le), ("below", meta.lt))
    words = [f" {word} {limit:g}" for word, limit in limits if limit is not None]
    if meta.min_length:
        words.append(f" of at least {meta.min_length}")
    return " and".join(words)
