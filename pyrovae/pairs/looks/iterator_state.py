"""An iterator that a pair holds: nobody can put it back, and a look that takes from it is told of."""

from __future__ import annotations

import inspect
import itertools
import operator
import types
from collections import deque
from typing import Any, NamedTuple

from pyrovae.errors import warn_user

_told: deque[Any] = deque(maxlen=16)  # those of which it was said; most iterators cannot be referred to weakly


class IteratorState(NamedTuple):
    """An iterator, and how far it was."""

    held: Any
    place: Any

    @classmethod
    def of(cls, held: Any) -> IteratorState:
        """As it is now."""
        return cls(held, _place(held))

    def tell(self) -> None:
        """Warn, once, where somebody has taken from it."""
        if _place(self.held) != self.place and not any(self.held is one for one in _told):
            _told.append(self.held)
            warn_user(
                f"the pair takes from an iterator that it holds (a {type(self.held).__name__}) at each run, and looks "
                "at a pair are runs, too. An iterator cannot be put back after them, and moves on beside the training. "
                "Keep a number in its place (count += 1), or give what it yields as data."
            )


def is_iterator(one: Any) -> bool:
    """Whether it is one of Python's own; those of an author's class hold what can be put back."""
    return hasattr(type(one), "__next__") and type(one).__module__ in ("builtins", "itertools")


def _place(one: Any) -> Any:
    """What tells how far an iterator is, as far as it says: a generator but whether it has begun."""
    if isinstance(one, itertools.count):
        return repr(one)
    return inspect.getgeneratorstate(one) if isinstance(one, types.GeneratorType) else operator.length_hint(one, -1)
