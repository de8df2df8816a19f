"""What is in a container or in a variable of a closure, put back after a look at a pair."""

from __future__ import annotations

import copy
import operator
import types
from collections import deque
from collections.abc import Iterable
from typing import Any, NamedTuple

_GONE = object()


class ContainerState(NamedTuple):
    """A dictionary, list or set, and what was in it."""

    held: Any
    before: Any

    @classmethod
    def of(cls, held: Any) -> ContainerState:
        """As it is now."""
        return cls(held, copy.copy(held))

    def again(self) -> ContainerState:
        """What is there now."""
        return ContainerState.of(self.held)

    def restore(self) -> bool:
        """Put it back where it is another one; whether something had come that was not there."""
        held, before = self
        if _same(held, before):
            return False
        came = len(held) > len(before)
        if isinstance(held, dict):
            came |= any(value is not None and before.get(key) is None for key, value in held.items())
        held.clear()
        held.extend(before) if isinstance(held, list | deque) else held.update(before)
        return came


def _same(held: Any, before: Any) -> bool:
    if len(held) != len(before):
        return False
    if isinstance(held, dict):
        return all(key in held and held[key] is value for key, value in before.items())
    return held == before if isinstance(held, set) else all(map(operator.is_, held, before))


class CellState(NamedTuple):
    """A variable of a closure, and what was in it."""

    cell: types.CellType
    before: Any

    @classmethod
    def of(cls, cell: types.CellType) -> CellState:
        """As it is now."""
        return cls(cell, _content(cell))

    def again(self) -> CellState:
        """What is there now."""
        return CellState.of(self.cell)

    def restore(self) -> bool:
        """Put it back; whether something had come that was not there."""
        now = _content(self.cell)
        if now is self.before:
            return False
        if self.before is _GONE:
            del self.cell.cell_contents
        else:
            self.cell.cell_contents = self.before
        return self.before is _GONE or self.before is None


class NamesState(NamedTuple):
    """Variables of a module, attributes of a class, or what an object holds in slots."""

    holder: Any
    before: dict[str, Any]

    @classmethod
    def of(cls, holder: Any, names: Iterable[str]) -> NamesState:
        """As they are now."""
        return cls(holder, {name: _held(holder, name) for name in names})

    @classmethod
    def of_class(cls, holder: type) -> NamesState:
        """All that a class holds by itself, as it is now."""
        return cls.of(holder, _own_names(holder))

    def again(self) -> NamesState:
        """What is there now."""
        return (
            NamesState.of_class(self.holder)
            if isinstance(self.holder, type)
            else NamesState.of(self.holder, self.before)
        )

    def restore(self) -> bool:
        """Put back what is another one; whether something had come that was not there."""
        holder, before = self
        names = _own_names(holder) if isinstance(holder, type) else before
        other = [
            name for name in {**dict.fromkeys(names), **before} if _held(holder, name) is not before.get(name, _GONE)
        ]
        for name in other:
            _put(holder, name, before.get(name, _GONE))
        return any(before.get(name) in (None, _GONE) for name in other)


_OF_EVERY_CLASS = {"__dict__", "__weakref__", "__doc__", "__module__", "__annotations__", "__abstractmethods__"}


def _own_names(holder: type) -> list[str]:
    return [name for name in vars(holder) if name not in _OF_EVERY_CLASS]


def _held(holder: Any, name: str) -> Any:
    if isinstance(holder, dict):
        return holder.get(name, _GONE)
    return vars(holder).get(name, _GONE) if isinstance(holder, type) else getattr(holder, name, _GONE)


def _put(holder: Any, name: str, value: Any) -> None:
    if isinstance(holder, dict):
        holder.pop(name, None) if value is _GONE else holder.__setitem__(name, value)
        return
    # Past what the author's class makes of it: a frozen dataclass, an enumeration.
    kind: Any = type if isinstance(holder, type) else object
    kind.__delattr__(holder, name) if value is _GONE else kind.__setattr__(holder, name, value)


def _content(cell: types.CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # not yet bound
        return _GONE
