"""What a pair's own objects hold: numbers that a pass changes would stand still in a graph, and others may change."""

from __future__ import annotations

import functools
import io
import itertools
import os
import random
import types
from collections import Counter, deque
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import torch
from pyro.infer import ELBO
from torch import nn

from pyrovae.staged.pair_code.fields import GONE, KEYED, PLAIN, Field, WatchedEntries
from pyrovae.staged.pair_code.user_code import UserCode, is_of_library
from pyrovae.staged.unstageable import Unstageable

_SMALL = 64  # entries of a container that are looked at one by one

_WATCHED = 10_000  # entries of one whose copy is compared before each step, in 0.1 ms

_BYTES = 1 << 20  # of an array whose contents are compared before and after a pass


class Reachable:
    """All fields that the user's code can reach from the pair, by the names that it says.

    Args:
        code: what ran.
        places: where to begin.
        refuses: whether what cannot stand in a graph is an error; else as much is looked at as can be.
    """

    def __init__(self, code: UserCode, places: Iterable[Any], *, refuses: bool = True):
        self.code = code
        self.refuses = refuses
        self.fields: list[Field] = []
        self.registries: list[tuple[str, dict]] = []  # of modules, whose sizes tell of layers and hooks that came
        self.contents: list[WatchedEntries] = []
        self.cached: list[Any] = []  # functions of the user's that remember what they gave, and need not run again
        self.storages: dict[int, tuple[str, torch.Tensor, int]] = {}  # by tensor where its numbers are
        self.marks: dict[tuple[str, int], Any] = {}  # what is compared before and after a pass, by words and number
        self._seen: set[int] = {id(code.names)}
        self._counts: Counter[str] = Counter()
        for name, place in [*((_name(place), place) for place in places), *code.given]:
            self._visit(name, place)
        for held, names in code.outside.values():
            own = [name for name in sorted(names) if not _is_library(held.get(name))]
            self._hold(held.get("__name__", "").rpartition(".")[2], held, own)
        if code.names & {"environ", "getenv"}:
            self._hold("os.environ", os.environ._data, {os.environ.encodekey(name) for name in code.names})  # type: ignore[attr-defined]

    def values(self) -> dict[tuple[str, int], Any]:
        """Every value by its place."""
        return {field.place: field.value for field in self.fields}

    def _hold(self, owner: str, held: Any, keys: Iterable[Any]) -> None:
        for key in keys:
            value = held.get(key, GONE)
            if value is not GONE:
                self._add(Field(f"{owner}.{key}", held, key, value))

    def _add(self, field: Field) -> None:
        if self.refuses and _is_iterator(field.value) and not isinstance(field.value, itertools.count):
            raise Unstageable(f"the pair holds an iterator ({field.words}), which would stand still in a graph")
        self._mark(field.words, _mark(field))
        if isinstance(field.value, torch.Tensor) and field.value.layout is torch.strided:
            self.storages[id(field.value)] = field.words, field.value, field.value.data_ptr()
        self.fields.append(field._replace(number=self._counts[field.words]))
        self._visit(field.words, field.value)

    def _mark(self, words: str, mark: Any) -> None:
        self._counts[words] += 1
        if mark is not None:
            self.marks[words, self._counts[words]] = mark

    def _visit(self, words: str, place: Any) -> None:
        if isinstance(place, (*PLAIN, torch.Tensor, np.ndarray)) or id(place) in self._seen:
            return
        self._seen.add(id(place))
        for kind, visit in _VISITS:
            if isinstance(place, kind):
                visit(self, words, place)
                return
        if not _is_library(place):
            self._object(type(place).__name__, place)

    # --- by kind --------------------------------------------------------------------------------------

    def _function(self, words: str, place: types.FunctionType) -> None:
        if place.__code__ in self.code.codes:
            for name, cell in zip(place.__code__.co_freevars, place.__closure__ or (), strict=True):
                value = Field(name, cell, None, None).now()
                if value is not GONE:
                    self._add(Field(name, cell, None, value))
            self._entries(f"{place.__name__}'s default", place.__defaults__ or ())
            self._hold(f"{place.__name__}'s default", place.__kwdefaults__ or {}, list(place.__kwdefaults__ or ()))
        # A decorated function stands behind the one that was called.
        self._hold(place.__name__, vars(place), [*self.code.names & set(vars(place)), "__wrapped__"])

    def _remembering(self, words: str, place: Any) -> None:
        if not is_of_library(innermost(place).__module__):
            self.cached.append(place)

    def _method(self, words: str, place: types.MethodType) -> None:
        self._visit(words, place.__self__)
        self._visit(words, place.__func__)

    def _partial(self, words: str, place: functools.partial) -> None:
        self._visit(words, place.func)
        self._entries(f"{words}'s argument", place.args)
        self._hold(f"{words}'s argument", place.keywords, list(place.keywords))

    def _module(self, words: str, place: nn.Module) -> None:
        name = type(place).__name__
        held = vars(place)
        constants = getattr(type(place), "__constants__", ())
        of_library = is_of_library(type(place).__module__)
        wanted = set(held) if of_library else {"training", *constants, *self.code.names}
        self._hold(name, held, sorted(k for k in wanted & set(held) if not k.startswith("_") or k in self.code.names))
        for registry in (place._parameters, place._buffers, place._modules):
            self._hold(name, registry, list(registry))
        hooks = (place._forward_hooks, place._forward_pre_hooks)
        self.registries += [(name, held) for held in (vars(place), place._parameters, place._modules, *hooks)]
        self._class(type(place).__name__, type(place))

    def _whole(self, words: str, place: Any) -> None:
        self._hold(type(place).__name__, vars(place), list(vars(place)))
        self._class(words, type(place))

    def _dictionary(self, words: str, place: Any) -> None:
        self._mark(f"the size of {words}", len(place))
        keys = [key for key in list(place) if not isinstance(key, str) or key in self.code.names]
        self._hold(words, place, keys if len(keys) <= _SMALL else ())
        self._contents(words, place)

    def _sequence(self, words: str, place: Any) -> None:
        self._mark(f"the size of {words}", len(place))
        if len(place) <= _SMALL:
            self._entries(words, place)
        else:
            self._contents(words, place)

    def _entries(self, words: str, place: Any) -> None:
        for key, value in enumerate(list(place)):
            self._add(Field(f"{words}[{key}]", place, key, value))

    def _set(self, words: str, place: Any) -> None:
        self._mark(f"the size of {words}", len(place))
        self._contents(words, place)

    def _contents(self, words: str, place: Any) -> None:
        if self.refuses and len(place) > _WATCHED:
            raise Unstageable(
                f"the pair holds {words}, a {type(place).__name__} of {len(place):,} entries, too many to be looked at "
                "before each step; make it a tensor or an array"
            )
        self.contents.append(WatchedEntries.of(words, place))
        for entry in place.values() if isinstance(place, KEYED) else place:
            self._visit(words, entry)

    def _namespace(self, words: str, place: types.ModuleType) -> None:
        if not is_of_library(place.__name__):
            self._hold(place.__name__, vars(place), sorted(self.code.names & set(vars(place))))

    def _class(self, words: str, place: type) -> None:
        for kind in place.__mro__:
            if not is_of_library(kind.__module__):
                self._hold(kind.__name__, vars(kind), sorted(self.code.names & set(vars(kind))))
                if isinstance(vars(kind).get("__call__"), CACHED):  # which no name in any code says
                    self._visit("__call__", vars(kind)["__call__"])

    def _object(self, words: str, place: Any) -> None:
        held = getattr(place, "__dict__", {})
        self._hold(words, held, sorted(self.code.names & set(held)))
        for kind in type(place).__mro__:
            for name in _slots(kind):
                if name in self.code.names and hasattr(place, name):
                    self._add(Field(f"{words}.{name}", place, name, getattr(place, name)))
        self._class(words, type(place))


CACHED = type(functools.cache(len))  # what both `cache` and `lru_cache` make of a function


def innermost(function: Any) -> Any:
    """The function inside of caches and partial ones."""
    while isinstance(function, (CACHED, functools.partial)):
        function = function.func if isinstance(function, functools.partial) else function.__wrapped__
    return function


_VISITS: tuple[tuple[Any, Callable[..., None]], ...] = (
    (CACHED, Reachable._remembering),
    (types.FunctionType, Reachable._function),
    (types.MethodType, Reachable._method),
    (functools.partial, Reachable._partial),
    (nn.Module, Reachable._module),
    (ELBO, Reachable._whole),
    (KEYED, Reachable._dictionary),
    ((list, tuple, deque), Reachable._sequence),
    ((set, frozenset), Reachable._set),
    (types.ModuleType, Reachable._namespace),
    (type, Reachable._class),
)


def _name(place: Any) -> str:
    return getattr(place, "__name__", type(place).__name__)


def _slots(kind: type) -> tuple[str, ...]:
    slots = vars(kind).get("__slots__", ())
    return (slots,) if isinstance(slots, str) else tuple(slots)


_OPEN = (types.SimpleNamespace, dict, list, tuple, set, frozenset, deque, functools.partial, nn.Module)


def _is_library(value: Any) -> bool:
    """Whether a value is a library's function, class or module, or an object that only a library looks into."""
    if isinstance(value, (*PLAIN, torch.Tensor, np.ndarray, types.MethodType)):
        return False
    if isinstance(value, types.ModuleType):
        return is_of_library(value.__name__)
    if isinstance(value, types.FunctionType | types.BuiltinFunctionType | type):
        return is_of_library(value.__module__)
    return not (isinstance(value, _OPEN) or _is_generator(value) or _is_iterator(value)) and _root(value) in _CLOSED


_CLOSED = ("torch", "pyro", "pyrovae", "numpy")


def _root(value: Any) -> str:
    return type(value).__module__.partition(".")[0]


# --- what is compared before and after a pass -----------------------------------------------------------
def _mark(field: Field) -> Any:
    """What tells whether a pass has changed a value; None where nothing can be said."""
    value = field.value
    if isinstance(value, PLAIN):
        return (type(value), value) if value == value else None
    if isinstance(value, np.ndarray) and value.nbytes <= _BYTES and value.dtype != object:
        return value.tobytes()
    if _is_generator(value):
        return _state_of(value)
    if isinstance(value, itertools.count):
        return repr(value)
    return None


def _is_generator(value: Any) -> bool:
    return isinstance(value, random.Random | np.random.Generator | np.random.RandomState | torch.Generator)


def _state_of(generator: Any) -> str:
    if isinstance(generator, random.Random):
        return repr(generator.getstate())
    if isinstance(generator, torch.Generator):
        return repr(generator.get_state().tolist())
    state = generator.bit_generator.state if isinstance(generator, np.random.Generator) else generator.get_state()
    return repr(state)


def _is_iterator(value: Any) -> bool:
    return hasattr(value, "__next__") and _root(value) in ("builtins", "itertools") and not isinstance(value, io.IOBase)
