"""What the author of a program can reach from it: closures, attributes, globals that its code names."""

from __future__ import annotations

import dis
import functools
import itertools
import sys
import types
from collections import deque
from collections.abc import Iterable, Iterator
from typing import Any

import torch

MANY = 1_000  # entries of a container from which on it holds data, not state

_MOST = 10_000  # objects that are looked at

_CLOSED = (str, bytes, int, float, complex, bool, type(None), types.ModuleType)

_OF_LIBRARIES = ("torch", "pyro", "numpy", "pyrovae")


def inside(program: Any, *, classes: bool = False) -> Iterator[Any]:
    """The program, and what it holds, each object once; libraries are not looked into, their modules are.

    Args:
        program: a model or a guide.
        classes: whether the author's classes belong to it: what their attributes and the code of their methods hold.
    """
    waiting, seen = deque([program]), {id(program)}
    while waiting and len(seen) < _MOST:
        one = waiting.popleft()
        yield one
        own = (type(one),) if classes else ()
        for part in (*_parts(one), *own):
            if isinstance(part, type) and not (classes and _is_of_the_author(part.__module__)):
                continue
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
    if isinstance(one, type):
        return tuple(vars(one).values()) + one.__bases__
    if isinstance(one, property):
        return one.fget, one.fset, one.fdel
    if isinstance(one, staticmethod | classmethod | functools._lru_cache_wrapper):
        return (one.__wrapped__,)
    if isinstance(one, dict):
        return tuple(one.values()) if len(one) < MANY else ()
    if isinstance(one, list | tuple | set | frozenset | deque):
        return tuple(one) if len(one) < MANY else ()
    if isinstance(one, torch.nn.Module | types.SimpleNamespace) or not _is_of_library(type(one).__module__):
        return *getattr(one, "__dict__", {}).values(), *(getattr(one, name, None) for name in slots(type(one)))
    return ()


def _of_function(one: types.FunctionType) -> Iterator[Any]:
    yield from one.__closure__ or ()
    yield from one.__defaults__ or ()
    yield from (one.__kwdefaults__ or {}).values()
    yield from vars(one).values()
    yield from (one.__globals__[name] for name in names(one.__code__) if name in one.__globals__)


def _contents(cell: types.CellType) -> tuple[Any, ...]:
    try:
        return (cell.cell_contents,)
    except ValueError:  # not yet bound
        return ()


@functools.lru_cache(maxsize=4096)
def names(code: types.CodeType) -> tuple[str, ...]:
    """What a code, and those inside it, say of attributes and variables of the module."""
    return tuple(dict.fromkeys(itertools.chain(code.co_names, *map(names, _within(code)))))


@functools.lru_cache(maxsize=4096)
def rebound_names(code: types.CodeType) -> tuple[str, ...]:
    """The variables of the module that a code, or one inside it, binds: `global count`."""
    own = (one.argval for one in dis.get_instructions(code) if one.opname in ("STORE_GLOBAL", "DELETE_GLOBAL"))
    return tuple(dict.fromkeys(itertools.chain(own, *map(rebound_names, _within(code)))))


def _within(code: types.CodeType) -> Iterator[types.CodeType]:
    return (constant for constant in code.co_consts if isinstance(constant, types.CodeType))


@functools.lru_cache(maxsize=4096)
def slots(kind: type) -> tuple[str, ...]:
    """The names of what objects of an author's class hold beside a `__dict__`."""
    members = (vars(one).items() for one in kind.__mro__ if not _is_of_library(one.__module__))
    return tuple(name for held in members for name, value in held if isinstance(value, types.MemberDescriptorType))


def _is_of_library(module: str | None) -> bool:
    root = (module or "").partition(".")[0]
    return root in _OF_LIBRARIES or root in sys.stdlib_module_names


@functools.lru_cache(maxsize=4096)
def _is_of_the_author(module: str | None) -> bool:
    """Not so what is installed: classes of large packages hold thousands of objects, which no pair counts in."""
    path = str(getattr(sys.modules.get(module or ""), "__file__", None) or "")
    return not _is_of_library(module) and "site-packages" not in path and "dist-packages" not in path
