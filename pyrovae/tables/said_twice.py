"""Columns that say what another one says."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from pyrovae.tables.table_column import TableColumn

_FEWEST = 20  # rows of which it is no chance
_FIRST = 1_000  # rows that settle most pairs
_LEAST = 1e-300  # of what is divided by
_WIDEST = 200  # columns of which all pairs are looked at


def said_twice(table: Sequence[TableColumn], frame: Any) -> tuple[TableColumn, ...]:
    """The columns, with a note where one follows from an earlier one, or that from it.

    Numbers do where they lie on a straight line, classes where each class of one goes with one class of the other.
    """
    here = [(place, one) for place, one in enumerate(table) if one.column is not None][:_WIDEST]
    known = [(place, one, one.numbers(frame[one.name])[0]) for place, one in here]
    notes: dict[int, str] = {}
    for later, (place, one, values) in enumerate(known):
        for _, other, before in known[:later]:
            if (one.form == "classes") == (other.form == "classes") and (words := _words(one, values, other, before)):
                notes[place] = words
                break
    return tuple(
        one._replace(note="; ".join(filter(None, [one.note, notes.get(place)]))) for place, one in enumerate(table)
    )


def _words(one: TableColumn, values: np.ndarray, other: TableColumn, before: np.ndarray) -> str:
    both = ~np.isnan(values) & ~np.isnan(before)
    x, y = before[both], values[both]
    says = _of_classes if one.form == "classes" else _of_numbers
    if len(x) < _FEWEST or not says(x[:_FIRST], y[:_FIRST], one.name, other.name):
        return ""
    return says(x, y, one.name, other.name)


def _of_numbers(x: np.ndarray, y: np.ndarray, name: str, other: str) -> str:
    x, y = ((one - one.mean()) / max(abs(one).max(), _LEAST) for one in (x, y))  # squares of 1e200 are infinite
    size = np.sqrt((x**2).sum() * (y**2).sum())
    return (
        f"a straight line of {other!r}: leave one out" if size > 0 and abs((x * y).sum()) > (1 - 1e-10) * size else ""
    )


def _of_classes(x: np.ndarray, y: np.ndarray, name: str, other: str) -> str:
    pairs = len(np.unique(np.stack([x, y], 1), axis=0))
    first, second = len(np.unique(x)), len(np.unique(y))
    if min(first, second) < 2 or pairs * _FEWEST > len(x):
        return ""
    if pairs == first == second:
        return f"one to one with {other!r}: leave one out"
    return f"follows from {other!r}" if pairs == first else f"{other!r} follows from it" if pairs == second else ""
