"""The places that a pass may read, and what was in them."""

from __future__ import annotations

import operator
import types
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np

PLAIN = (bool, int, float, complex, str, bytes, type(None), np.generic)

KEYED = (dict, types.MappingProxyType)

GONE = object()


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
            if isinstance(self.holder, KEYED):
                return self.holder.get(self.key, GONE)
            if isinstance(self.holder, list | tuple | deque):
                return self.holder[self.key]
            return getattr(self.holder, self.key, GONE)
        except (IndexError, ValueError):
            return GONE

    def put(self, value: Any) -> None:
        """Put a value there."""
        if isinstance(self.holder, types.CellType):
            self.holder.cell_contents = value
        elif isinstance(self.holder, dict | list | deque):
            self.holder[self.key] = value
        elif not isinstance(self.holder, tuple | types.MappingProxyType):
            setattr(self.holder, self.key, value)


@contextmanager
def put_back(fields: Iterable[Field]) -> Iterator[None]:
    """What is in some places is there again afterwards."""
    before = [(field, field.now()) for field in fields]
    try:
        yield
    finally:
        for field, value in before:
            if value is not GONE and field.now() is not value:
                field.put(value)


class WatchedEntries(NamedTuple):
    """A container whose entries are not looked at one by one, and what was in it."""

    words: str
    held: Any
    entries: tuple[Any, ...]

    @classmethod
    def of(cls, words: str, held: Any) -> WatchedEntries:
        """What is in it now."""
        return cls(words, held, _entries(held))

    def moved(self) -> bool:
        """Whether another object is in it now."""
        return not all_same(_entries(self.held), self.entries)

    def differs(self) -> bool:
        """Whether another value is in it now."""
        now = _entries(self.held)
        if len(now) != len(self.entries):
            return True
        return any(one is not other and not equal(one, other) for one, other in zip(now, self.entries, strict=True))


def _entries(held: Any) -> tuple[Any, ...]:
    return (*held.keys(), *held.values()) if isinstance(held, KEYED) else tuple(held)


def all_same(one: tuple[Any, ...], other: tuple[Any, ...]) -> bool:
    """Whether two containers hold the same objects."""
    return len(one) == len(other) and all(map(operator.is_, one, other))


def equal(one: Any, other: Any) -> bool:
    """Whether two plain values are one."""
    return type(one) is type(other) and isinstance(one, PLAIN) and one == other
