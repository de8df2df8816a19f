"""Documents from a file, read as what a class declares: whoever wrote them, what comes out has its types."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from pyrovae.errors import FileError

_WORDS = {
    bool: "true or false",
    int: "a whole number",
    float: "a finite number",
    str: "a text",
    tuple: "a list",
    list: "a list",
    dict: "names with values",
    NoneType: "null",
}


def read_as(kind: Any, value: Any, where: str) -> Any:
    """A plain value as a type, a dataclass or a named tuple, whose annotations say what is in it.

    Args:
        kind: the type.
        value: numbers, texts, None, lists and dicts.
        where: how an error calls the place that the value stands at.

    Raises:
        FileError: it is something else; the message says where, what, and what was expected.

    Examples:
        >>> read_as(tuple[int, ...] | None, [2, 3], "config.json, shape")
        (2, 3)
        >>> read_as(tuple[int, ...] | None, [2, "x"], "config.json, shape")
        Traceback (most recent call last):
        pyrovae.errors.FileError: config.json, shape is damaged: [2, 'x'] stands where a list or null is expected.
    """
    kind = getattr(kind, "__value__", kind)
    if kind is Any:
        return value
    origin = get_origin(kind) or kind
    if origin in (Union, UnionType):
        return _first_that_fits(get_args(kind), value, where)
    if origin is Literal:
        return value if value in get_args(kind) else _refuse(get_args(kind), value, where)
    if dataclasses.is_dataclass(kind) or hasattr(kind, "_fields"):
        return _record(kind, value, where)
    if origin in _CONTAINERS:
        return _CONTAINERS[origin](kind, value, where)
    if kind is float and type(value) is int:
        value = _as_float(value)
    plain = type(value) is kind and (kind is not float or math.isfinite(value)) and (kind is not int or _fits(value))
    return value if plain else _refuse((kind,), value, where)


def _as_float(value: int) -> float:
    try:
        return float(value)
    except OverflowError:
        return math.inf


def _fits(value: int) -> bool:
    return -(2**63) <= value < 2**63


def _first_that_fits(kinds: tuple[Any, ...], value: Any, where: str) -> Any:
    for kind in kinds:
        try:
            return read_as(kind, value, where)
        except FileError as error:
            if len(kinds) == 2 and NoneType in kinds and value is not None and isinstance(value, Mapping):
                raise error from None  # what is wrong inside it
    return _refuse(kinds, value, where)


def _record(kind: Any, value: Any, where: str) -> Any:
    """A dataclass or a named tuple, with every field but those that are None where they are left out, and no other."""
    make: Callable[..., Any] = kind
    types = get_type_hints(kind)
    names, defaults = _fields(kind)
    if not isinstance(value, Mapping):
        _refuse((dict,), value, where)
    if unknown := [name for name in value if name not in names]:
        raise FileError(f"{where} is damaged: {_shown(unknown[0])} means nothing there.")
    if missing := [name for name in names if name not in value and defaults.get(name, "none") is not None]:
        raise FileError(f"{where} is damaged: {', '.join(missing)} missing.")
    return make(**{name: read_as(types[name], one, f"{where}, {name}") for name, one in value.items()})


def _fields(kind: Any) -> tuple[list[str], dict[str, Any]]:
    """The names of a class's fields, and the values of those that may be left out."""
    if dataclasses.is_dataclass(kind):
        names = {field.name: field.default for field in dataclasses.fields(kind)}
        return list(names), {name: value for name, value in names.items() if value is not dataclasses.MISSING}
    return list(kind._fields), kind._field_defaults


def _items(kind: Any, value: Any, where: str) -> Any:
    inner = get_args(kind)
    if not isinstance(value, list | tuple):
        return _refuse((get_origin(kind),), value, where)
    kinds = [inner[0]] * len(value) if get_origin(kind) is list or inner[1:] == (...,) else inner
    if len(kinds) != len(value):
        raise FileError(f"{where} is damaged: {_shown(value)} stands where {len(kinds)} values are expected.")
    items = (read_as(one, item, where) for one, item in zip(kinds, value, strict=True))
    return list(items) if get_origin(kind) is list else tuple(items)


def _named(kind: Any, value: Any, where: str) -> dict[str, Any]:
    if not isinstance(value, Mapping) or not all(isinstance(name, str) for name in value):
        return _refuse((dict,), value, where)
    return {name: read_as(get_args(kind)[1], one, f"{where}, {_shown(name)}") for name, one in value.items()}


_CONTAINERS: dict[Any, Callable[[Any, Any, str], Any]] = {tuple: _items, list: _items, dict: _named}


def _refuse(kinds: tuple[Any, ...], value: Any, where: str) -> Any:
    expected = " or ".join(map(_words_of, kinds))
    raise FileError(f"{where} is damaged: {_shown(value)} stands where {expected} is expected.")


def _words_of(kind: Any) -> str:
    origin = get_origin(kind) or kind
    declared = dataclasses.is_dataclass(origin) or hasattr(origin, "_fields")
    return _WORDS.get(origin) or (_WORDS[dict] if declared else repr(kind))


def _shown(value: Any) -> str:
    text = ascii(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
