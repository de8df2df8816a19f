"""What the author of a program can reach from it: closures, attributes, globals that its code names."""

from __future__ import annotations

import functools
import sys
import types
from collections import deque
from collections.abc import Iterable, Iterator
from typing import Any

import torch

MANY = 1_000  # entries of a container from which on it holds data, not state

_MOST = 10_000  # objects that are looked at

_CLOSED = (str, bytes, int, float, complex, bool, type(None), types.ModuleType, type)

_OF_LIBRARIES = ("torch", "pyro", "numpy", "pyrovae")


def inside(program: Any) -> Iterator[Any]:
    """The program, and what it holds, each object once; libraries are not looked into, their modules are."""
    waiting, seen = deque([program]), {id(program)}
    while waiting and len(seen) < _MOST:
        one = waiting.popleft()
        yield one
        for part in _parts(one):
            if id(part) not in seen and not isinstance(part, _CLOSED):
                seen.add(id(part))
                waiting.append(part)


def is_inside(one: Any, other: Any) -> bool:
    """Whether either of two programs is the other, or holds it."""
    return any(part is other for part in inside(one)) or any(part is one for part in inside(other))


def _parts(one: Any) -> Iterable[Any]:
    if isinstance(one, types.FunctionType):
        return () if _is_of_library(one.__module__) else _of_function(one)
    if isinstance(one, types.CellType):
        return _contents(one)
    if isinstance(one, types.MethodType):
        return one.__self__, one.__func__
    if isinstance(one, types.BuiltinMethodType | types.MethodWrapperType):
        return (one.__self__,)  # a list's own `append`, say
    if isinstance(one, functools.partial):
        return one.func, *one.args, *one.keywords.values()
    if isinstance(one, dict):
        return tuple(one.values()) if len(one) < MANY else ()
    if isinstance(one, list | tuple | set | frozenset | deque):
        return tuple(one) if len(one) < MANY else ()
    if isinstance(one, torch.nn.Module | types.SimpleNamespace) or not _is_of_library(type(one).__module__):
        return tuple(getattr(one, "__dict__", {}).values())
    return ()


def _of_function(one: types.FunctionType) -> Iterator[Any]:
    yield from one.__closure__ or ()
    yield from one.__defaults__ or ()
    yield from (one.__kwdefaults__ or {}).values()
    yield from vars(one).values()
    yield from (one.__globals__[name] for name in _names(one.__code__) if name in one.__globals__)


def _contents(cell: types.CellType) -> tuple[Any, ...]:
    try:
        return (cell.cell_contents,)
    except ValueError:  # not yet bound
        return ()


def _names(code: types.CodeType) -> Iterator[str]:
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _names(constant)


def _is_of_library(module: str | None) -> bool:
    root = (module or "").partition(".")[0]
    return root in _OF_LIBRARIES or root in sys.stdlib_module_names
