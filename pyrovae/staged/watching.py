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
from operator import itemgetter
from typing import Any, NamedTuple

import numpy as np
import torch
from pyro.infer import ELBO
from torch import nn

from pyrovae.staged.reading import Unstageable
from pyrovae.staged.witnessing import Witness, is_of_library

_SMALL = 64  # entries of a container that are looked at one by one

_PLAIN = (bool, int, float, complex, str, bytes, type(None), np.generic)

_BYTES = 1 << 20  # of an array whose contents are compared before and after a pass

_KEYED = (dict, types.MappingProxyType)

_GONE = object()


class Field(NamedTuple):
    """One value that a pass may read, and where it is held."""

    words: str
    holder: Any
    key: Any
    value: Any
    number: int = 1  # of those with the same words

    @property
    def place(self) -> tuple[str, int]:
        """What tells it from others."""
        return self.words, self.number

    def now(self) -> Any:
        """What is there now."""
        try:
            if isinstance(self.holder, types.CellType):
                return self.holder.cell_contents
            if isinstance(self.holder, _KEYED):
                return self.holder.get(self.key, _GONE)
            if isinstance(self.holder, list | tuple | deque):
                return self.holder[self.key]
            return getattr(self.holder, self.key, _GONE)
        except (IndexError, ValueError):
            return _GONE


class Walk:
    """All fields that the code seen by a witness can reach from the pair, by the names that it says."""

    def __init__(self, witness: Witness, places: Iterable[Any]):
        self.witness = witness
        self.fields: list[Field] = []
        self.registries: list[tuple[str, dict]] = []  # of modules, whose sizes tell of layers and hooks that came
        self.marks: dict[tuple[str, int], Any] = {}  # what is compared before and after a pass, by words and number
        self._seen: set[int] = {id(witness.names)}
        self._counts: Counter[str] = Counter()
        for name, place in [*((_name(place), place) for place in places), *witness.given]:
            self._visit(name, place)
        for held, names in witness.outside.values():
            own = [name for name in sorted(names) if not _is_library(held.get(name))]
            self._hold(held.get("__name__", "").rpartition(".")[2], held, own)
        if witness.names & {"environ", "getenv"}:
            self._hold("os.environ", os.environ._data, {os.environ.encodekey(name) for name in witness.names})  # type: ignore[attr-defined]

    def values(self) -> dict[tuple[str, int], Any]:
        """Every value by its place."""
        return {field.place: field.value for field in self.fields}

    def _hold(self, owner: str, held: Any, keys: Iterable[Any]) -> None:
        for key in keys:
            value = held.get(key, _GONE)
            if value is not _GONE:
                self._add(Field(f"{owner}.{key}", held, key, value))

    def _add(self, field: Field) -> None:
        self._mark(field.words, _mark(field))
        self.fields.append(field._replace(number=self._counts[field.words]))
        self._visit(field.words, field.value)

    def _mark(self, words: str, mark: Any) -> None:
        self._counts[words] += 1
        if mark is not None:
            self.marks[words, self._counts[words]] = mark

    def _visit(self, words: str, place: Any) -> None:
        if isinstance(place, (*_PLAIN, torch.Tensor, np.ndarray)) or id(place) in self._seen:
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
        if place.__code__ in self.witness.codes:
            for name, cell in zip(place.__code__.co_freevars, place.__closure__ or (), strict=True):
                value = Field(name, cell, None, None).now()
                if value is not _GONE:
                    self._add(Field(name, cell, None, value))
        # A decorated function stands behind the one that was called.
        self._hold(place.__name__, vars(place), [*self.witness.names & set(vars(place)), "__wrapped__"])

    def _method(self, words: str, place: types.MethodType) -> None:
        self._visit(words, place.__self__)
        self._visit(words, place.__func__)

    def _partial(self, words: str, place: functools.partial) -> None:
        for part in (place.func, *place.args, *place.keywords.values()):
            self._visit(words, part)

    def _module(self, words: str, place: nn.Module) -> None:
        name = type(place).__name__
        held = vars(place)
        constants = getattr(type(place), "__constants__", ())
        of_library = is_of_library(type(place).__module__)
        wanted = set(held) if of_library else {"training", *constants, *self.witness.names}
        self._hold(
            name, held, sorted(k for k in wanted & set(held) if not k.startswith("_") or k in self.witness.names)
        )
        for registry in (place._parameters, place._buffers, place._modules):
            self._hold(name, registry, list(registry))
        hooks = (place._forward_hooks, place._forward_pre_hooks)
        self.registries += [(name, held) for held in (vars(place), place._parameters, place._modules, *hooks)]
        self._class(type(place).__name__, type(place))

    def _whole(self, words: str, place: Any) -> None:
        self._hold(type(place).__name__, vars(place), list(vars(place)))
        self._class(words, type(place))

    def _dictionary(self, words: str, place: dict) -> None:
        self._mark(f"the size of {words}", len(place))
        keys = [key for key in list(place) if not isinstance(key, str) or key in self.witness.names]
        self._hold(words, place, keys if len(keys) <= _SMALL else ())

    def _sequence(self, words: str, place: Any) -> None:
        self._mark(f"the size of {words}", len(place))
        if len(place) <= _SMALL:
            for key, value in enumerate(list(place)):
                self._add(Field(f"{words}[{key}]", place, key, value))

    def _set(self, words: str, place: Any) -> None:
        self._mark(f"the size of {words}", len(place))

    def _namespace(self, words: str, place: types.ModuleType) -> None:
        if not is_of_library(place.__name__):
            self._hold(place.__name__, vars(place), sorted(self.witness.names & set(vars(place))))

    def _class(self, words: str, place: type) -> None:
        for kind in place.__mro__:
            if not is_of_library(kind.__module__):
                self._hold(kind.__name__, vars(kind), sorted(self.witness.names & set(vars(kind))))

    def _object(self, words: str, place: Any) -> None:
        held = getattr(place, "__dict__", {})
        self._hold(words, held, sorted(self.witness.names & set(held)))
        for kind in type(place).__mro__:
            for name in _slots(kind):
                if name in self.witness.names and hasattr(place, name):
                    self._add(Field(f"{words}.{name}", place, name, getattr(place, name)))
        self._class(words, type(place))


_VISITS: tuple[tuple[Any, Callable[..., None]], ...] = (
    (types.FunctionType, Walk._function),
    (types.MethodType, Walk._method),
    (functools.partial, Walk._partial),
    (nn.Module, Walk._module),
    (ELBO, Walk._whole),
    (dict, Walk._dictionary),
    ((list, tuple, deque), Walk._sequence),
    ((set, frozenset), Walk._set),
    (types.ModuleType, Walk._namespace),
    (type, Walk._class),
)


def _name(place: Any) -> str:
    return getattr(place, "__name__", type(place).__name__)


def _slots(kind: type) -> tuple[str, ...]:
    slots = vars(kind).get("__slots__", ())
    return (slots,) if isinstance(slots, str) else tuple(slots)


_OPEN = (types.SimpleNamespace, dict, list, tuple, set, frozenset, deque, functools.partial, nn.Module)


def _is_library(value: Any) -> bool:
    """Whether a value is a library's function, class or module, or an object that only a library looks into."""
    if isinstance(value, (*_PLAIN, torch.Tensor, np.ndarray, types.MethodType)):
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
    if isinstance(value, _PLAIN):
        return (type(value), value) if value == value else None
    if isinstance(value, np.ndarray) and value.nbytes <= _BYTES and value.dtype != object:
        return value.tobytes()
    if _is_generator(value):
        return _state_of(value)
    if isinstance(value, itertools.count):
        return repr(value)
    if _is_iterator(value):
        raise Unstageable(f"the pair holds an iterator ({field.words}), which would stand still in a graph")
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


# --- from pass to pass --------------------------------------------------------------------------------
def difference(last: Walk, before: Walk, after: Walk) -> str | None:
    """The first value of a pair's own that a pass makes another one each time, in words.

    Args:
        last: after the pass before on this kind of batch.
        before: before this pass; passes on other kinds, or the user, may have changed something since.
        after: after it. What is then as it was after the last one counts nothing: `self.rows = len(x)`.
    """
    for place, mark in before.marks.items():
        now = after.marks.get(place, mark)
        if now != mark and now != last.marks.get(place):
            return f"{place[0]}{_shown(mark, now)}"
    return None


def _shown(mark: Any, now: Any) -> str:
    if isinstance(mark, tuple) and isinstance(now, tuple):
        return f" was {mark[1]!r} before a pass and is {now[1]!r} after it"
    if isinstance(mark, int | str) and len(f"{mark}{now}") < 60:
        return f" was {mark} before a pass and is {now} after it"
    return " is another one after each pass"


def rebound(before: Walk, after: Walk) -> list[Field]:
    """Where a pass puts tensors in the place of others."""
    old = before.values()
    return [
        field
        for field in after.fields
        if isinstance(field.value, torch.Tensor) and old.get(field.place, field.value) is not field.value
    ]


def steady(before: Walk, after: Walk) -> list[Field]:
    """What a pass has left alone."""
    old = before.values()
    return [field for field in after.fields if old.get(field.place, field.value) is field.value]


class Watch:
    """Looks, before each step, whether what a pair reads is still what it was."""

    def __init__(self, fields: Iterable[Field], registries: Iterable[tuple[str, dict]] = ()):
        self._registries = list(registries)
        self._take(fields)

    def _take(self, fields: Iterable[Field]) -> None:
        self._dictionaries = [held for _, held in self._registries]
        self._sizes = list(map(len, self._dictionaries))
        self.fields = [field for field in fields if not isinstance(field.holder, tuple)]  # which cannot change
        by_holder: dict[int, list[Field]] = {}
        for field in self.fields:
            by_holder.setdefault(id(field.holder), []).append(field)
        many = [held for held in by_holder.values() if len(held) > 1 and isinstance(held[0].holder, _KEYED)]
        # All entries of a dictionary at once: tuples are compared in C, by identity first.
        self._many = [
            (itemgetter(*(field.key for field in held)), held[0].holder, tuple(field.value for field in held))
            for held in many
        ]
        taken = {id(field) for held in many for field in held}
        single = [field for field in self.fields if id(field) not in taken]
        self._keyed = [(field.holder, field.key, field.value) for field in single if isinstance(field.holder, _KEYED)]
        self._others = [field for field in single if not isinstance(field.holder, _KEYED)]

    def moved(self) -> bool:
        """Whether any value is another one now."""
        try:
            return (
                self._sizes != list(map(len, self._dictionaries))
                or any(get(holder) != values for get, holder, values in self._many)
                or any(holder[key] is not value for holder, key, value in self._keyed)
                or any(field.now() is not field.value for field in self._others)
            )
        except Exception:
            return True  # an entry is gone, or is a tensor that was another tensor

    def changed(self) -> str | None:
        """The first value that is another one now, in words."""
        if not self.moved():
            return None
        for field in self.fields:
            now = field.now()
            if now is not field.value and not _equal(now, field.value):
                shown = isinstance(now, _PLAIN) and isinstance(field.value, _PLAIN)
                return f"{field.words} was {field.value!r} and is {now!r}" if shown else f"{field.words} is another one"
        grown = [name for (name, held), size in zip(self._registries, self._sizes, strict=True) if len(held) != size]
        return f"a part, a hook or an attribute of {grown[0]} has come or gone" if grown else None

    def forget_changes(self) -> None:
        """Leave alone from now on what is another one now: a pass has changed it, not the user."""
        if self.moved():
            self._take([field for field in self.fields if field.now() is field.value])


def _equal(one: Any, other: Any) -> bool:
    return type(one) is type(other) and isinstance(one, _PLAIN) and one == other
