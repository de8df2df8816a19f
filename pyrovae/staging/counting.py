"""Whether a pair counts: numbers of its own that a pass changes would stand still in a graph."""

from __future__ import annotations

import functools
import types
from collections.abc import Iterator, Mapping
from typing import Any

from torch import nn

from pyrovae.pairs import HasPair, Structure, unwrapped

_SMALL = 8  # entries of a list or dictionary that is looked into: `calls = [0]` is a counter, a log is not
_DEPTH = 3
_LIBRARIES = ("torch", "pyro", "pyrovae", "numpy", "builtins")


def numbers_of(pair: HasPair, structure: Structure) -> dict[str, Any]:
    """Every number that the pair's functions, objects and modules hold, by a name for people."""
    found: dict[str, Any] = {}
    pair = unwrapped(pair)
    seen: set[int] = set()
    for module in structure.modules.values():
        for path, part in module.named_modules():
            found.update(_numbers(f"{type(module).__name__}.{path}" if path else type(module).__name__, vars(part)))
            seen.add(id(part))
    for place in (pair, pair.model, pair.guide):
        for name, held in _holders(place, seen, _DEPTH):
            found.update(_numbers(name, held))
    return found


def changed(before: Mapping[str, Any], after: Mapping[str, Any]) -> str | None:
    """The first number that is another one now, in words."""
    for name, value in before.items():
        if name in after and after[name] != value:
            return f"{name} was {value} before a pass and is {after[name]} after it"
    return None


def _numbers(owner: str, held: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for name, value in held.items():
        if _is_number(value):
            yield f"{owner}.{name}", value
        elif isinstance(value, list | dict) and 0 < len(value) <= _SMALL:
            entries = value.items() if isinstance(value, dict) else enumerate(value)
            yield from ((f"{owner}.{name}[{key!r}]", entry) for key, entry in list(entries) if _is_number(entry))


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and value == value


def _holders(place: Any, seen: set[int], depth: int) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """What a function or an object can count in: its attributes, closure and the globals that it names."""
    if id(place) in seen or depth < 0 or getattr(place, "__module__", "").split(".")[0] in _LIBRARIES:
        return
    seen.add(id(place))
    if isinstance(place, functools.partial):
        inner = [place.func, *place.args, *place.keywords.values()]
    elif isinstance(place, types.MethodType):
        inner = [place.__self__, place.__func__]
    elif isinstance(place, types.FunctionType):
        names = _named(place)
        yield place.__name__, names
        inner = list(names.values())
    elif hasattr(place, "__dict__") and not isinstance(place, type | types.ModuleType | nn.Module):
        yield type(place).__name__, vars(place)
        inner = list(vars(place).values())
    else:
        return
    for value in inner:
        if callable(value) or hasattr(value, "__dict__"):
            yield from _holders(value, seen, depth - 1)


def _named(function: types.FunctionType) -> dict[str, Any]:
    """The variables from outside that a function names."""
    code = function.__code__
    cells = {}
    for name, cell in zip(code.co_freevars, function.__closure__ or (), strict=True):
        try:
            cells[name] = cell.cell_contents
        except ValueError:
            continue  # not bound yet
    outside = {name: function.__globals__[name] for name in code.co_names if name in function.__globals__}
    return {**outside, **cells, **vars(function)}
