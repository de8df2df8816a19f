"""What is in a container or in a variable of a closure, put back after a look at a pair."""

from __future__ import annotations

import copy
import operator
import types
from collections import deque
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


def _content(cell: types.CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # not yet bound
        return _GONE
