"""A text that tells whether a function or a setting of one run is that of another run."""

from __future__ import annotations

import dis
import functools
import hashlib
import numbers
import re
import types
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import nn

from pyrovae.data.data_digest import array_digest
from pyrovae.staged.pair_code.reachable import CACHED
from pyrovae.staged.pair_code.user_code import is_of_library

_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")

_LONG = 200  # letters of a text that a person reads; what is longer is cut, and a hash stands for the rest


def fingerprint(value: Any) -> str:
    """A text that is the same in two processes exactly when the setting is, as far as can be seen.

    Numbers and schedules give their value, containers and objects what they hold, tensors and arrays a digest. A
    function gives its name and a hash of its code, of its defaults and of all that it refers to. Two versions of
    Python compile to different code.

    Args:
        value: a number, a schedule, a container, a function, or any object.

    Returns:
        A short text.

    Examples:
        >>> import pyrovae as pv
        >>> from pyrovae.training.saved.fingerprint import fingerprint
        >>> fingerprint(1) == fingerprint(1.0), fingerprint(pv.linear(0, 1, steps=10))
        (True, 'linear(0.0, 1.0, steps=10)')
        >>> fingerprint(lambda step: step / 2) == fingerprint(lambda step: step / 3)
        False
    """
    text = _Reading().text(value)
    return text if len(text) <= _LONG else _shortened(text)


def _shortened(text: str) -> str:
    return f"{text[: _LONG // 2]}...#{_hash(text)}"


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "backslashreplace")).hexdigest()[:16]


class _Reading:
    """One look at a value and all that it holds; what holds itself is read once."""

    def __init__(self):
        self._known: dict[int, tuple[Any, str]] = {}  # with the values themselves, whose ids would else be used again

    def text(self, value: Any) -> str:
        if isinstance(value, numbers.Real) and not isinstance(value, bool | np.bool_):
            return repr(float(value))
        if id(value) not in self._known:
            self._known[id(value)] = value, "..."  # what holds itself
            text = next(read(self, value) for kind, read in _KINDS if isinstance(value, kind))
            self._known[id(value)] = value, text if len(text) < _LONG * 5 else _shortened(text)
        return self._known[id(value)][1]

    def _plain(self, value: Any) -> str:
        return repr(value)

    def _mapping(self, value: Mapping[Any, Any]) -> str:
        return "{" + ", ".join(sorted(f"{self.text(key)}: {self.text(item)}" for key, item in value.items())) + "}"

    def _sequence(self, value: Any) -> str:
        return f"({', '.join(map(self.text, value))})"

    def _set(self, value: Any) -> str:
        return "{" + ", ".join(sorted(map(self.text, value))) + "}"

    def _array(self, value: Any) -> str:
        if value.dtype == object:
            return self.text(value.tolist())
        if isinstance(value, torch.Tensor) and value.requires_grad:  # what training changes is no setting
            return f"{tuple(value.shape)} {str(value.dtype).removeprefix('torch.')} trained"
        if isinstance(value, torch.Tensor) and (value.is_meta or value.layout != torch.strided):
            value = value.detach().to_dense().cpu() if not value.is_meta else torch.empty(0)
        return f"{tuple(value.shape)} {str(value.dtype).removeprefix('torch.')} {array_digest(value)}"

    def _cached(self, value: Any) -> str:
        return f"cached {self.text(value.__wrapped__)}"

    def _partial(self, value: functools.partial) -> str:
        return f"partial{self.text((value.func, value.args, value.keywords))}"

    def _method(self, value: types.MethodType) -> str:
        return f"{self.text(value.__self__)}.{self.text(value.__func__)}"

    def _function(self, value: types.FunctionType) -> str:
        # The name without its module: `python train.py` and `import train` mean the same function.
        if is_of_library(value.__module__) and "<" not in value.__qualname__:  # no lambda, and nothing made by a call
            return value.__qualname__
        code = _code(value.__code__)
        held = self.text([value.__defaults__ or (), value.__kwdefaults__ or {}, _references(value)])
        return f"{value.__qualname__}#{_hash(f'{code};{held}')}"

    def _class(self, value: type) -> str:
        if is_of_library(value.__module__):
            return value.__qualname__
        own = {name: held for name, held in vars(value).items() if not name.startswith("__") or callable(held)}
        held = {
            n: h for n, h in own.items() if not isinstance(h, types.GetSetDescriptorType | types.MemberDescriptorType)
        }
        bases = [base for base in value.__bases__ if base is not object]
        return f"{value.__qualname__}#{_hash(self.text([bases, held]))}"

    def _module(self, value: nn.Module) -> str:
        """Its parts and settings; what training changes in it is not among them."""
        frozen = not any(parameter.requires_grad for parameter in value.parameters())
        tensors = {**value._parameters, **value._buffers} if frozen else {}
        settings = {name: held for name, held in vars(value).items() if _is_setting(name, held)}
        return f"{self._kind(value)}({self.text([settings, tensors, value._modules])})"

    def _object(self, value: Any) -> str:
        """What the object says of itself, and of a user's own what it holds."""
        if isinstance(value, types.ModuleType):
            return value.__name__
        if hasattr(value, "__next__"):  # how far an iterator has come is no setting
            return type(value).__qualname__
        if (
            hasattr(value, "to_numpy") and getattr(value, "ndim", 0) == 1
        ):  # a series: what is inside is its library's own
            return f"{type(value).__qualname__}({self.text(np.asarray(value.to_numpy()))})"
        text = repr(value)
        readable = not _ADDRESS.search(text)
        if is_of_library(type(value).__module__):
            return text if readable else type(value).__qualname__
        held = {**getattr(value, "__dict__", {}), **_slots(value)}
        return f"{text if readable else ''}{self._kind(value)}({self.text(held)})"

    def _kind(self, value: Any) -> str:
        """Its class, with the code of what it does when it is called."""
        kind = type(value)
        called = next((vars(k)["__call__"] for k in kind.__mro__ if "__call__" in vars(k)), None)
        if not isinstance(called, types.FunctionType) or is_of_library(called.__module__):
            return kind.__qualname__
        return f"{kind.__qualname__}{self._function(called)}"


_KINDS: tuple[tuple[Any, Callable[[_Reading, Any], str]], ...] = (
    ((str, bytes, bool, np.bool_, type(None), types.EllipsisType), _Reading._plain),
    (Mapping, _Reading._mapping),
    ((list, tuple), _Reading._sequence),
    ((set, frozenset), _Reading._set),
    ((torch.Tensor, np.ndarray), _Reading._array),
    (CACHED, _Reading._cached),
    (functools.partial, _Reading._partial),
    (types.MethodType, _Reading._method),
    (types.FunctionType, _Reading._function),
    (type, _Reading._class),
    (nn.Module, _Reading._module),
    (object, _Reading._object),
)


def _is_setting(name: str, held: Any) -> bool:
    return not name.startswith("_") and name != "training" and held is not None


def _slots(value: Any) -> dict[str, Any]:
    named = (vars(kind).get("__slots__", ()) for kind in type(value).__mro__)
    names = [name for slots in named for name in ((slots,) if isinstance(slots, str) else slots)]
    return {name: getattr(value, name) for name in names if name[:2] != "__" and hasattr(value, name)}


# --- functions ----------------------------------------------------------------------------------------
def _references(function: types.FunctionType) -> dict[str, Any]:
    """What a function refers to outside itself, and does not itself change."""
    read, changed = _names(function.__code__)
    found = {name: function.__globals__[name] for name in read if name in function.__globals__}
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        try:
            found[name] = cell.cell_contents
        except ValueError:  # a cell that is still empty
            continue
    said = set(_attributes(function.__code__))
    for name, value in list(found.items()):
        if isinstance(value, types.ModuleType) and not is_of_library(value.__name__):
            found[name] = {key: held for key, held in vars(value).items() if key in said}
    return {name: value for name, value in found.items() if name not in changed}


def _names(code: types.CodeType) -> tuple[set[str], set[str]]:
    """Global names that code reads, and global ones or those of enclosing functions that it writes."""
    read, changed = set(), set()
    for instruction in dis.get_instructions(code):
        if instruction.opname in ("LOAD_GLOBAL", "LOAD_NAME"):
            read.add(instruction.argval)
        elif instruction.opname == "STORE_GLOBAL" or (
            instruction.opname == "STORE_DEREF" and instruction.argval in code.co_freevars
        ):
            changed.add(instruction.argval)
    for inner in _inner(code):
        within = _names(inner)
        read |= within[0]
        changed |= within[1]
    return read, changed


def _attributes(code: types.CodeType) -> list[str]:
    return [*code.co_names, *(name for inner in _inner(code) for name in _attributes(inner))]


def _inner(code: types.CodeType) -> list[types.CodeType]:
    return [constant for constant in code.co_consts if isinstance(constant, types.CodeType)]


def _code(code: types.CodeType) -> str:
    constants = ",".join(map(_constant, code.co_consts))
    return f"{code.co_code.hex()}:{code.co_names}:{code.co_varnames}:[{constants}]"


def _constant(value: Any) -> str:
    if isinstance(value, types.CodeType):
        return _code(value)
    if isinstance(value, frozenset):  # its order follows the hash seed of the process
        return f"{{{','.join(sorted(map(_constant, value)))}}}"
    if isinstance(value, tuple):
        return f"({','.join(map(_constant, value))})"
    return repr(value)
