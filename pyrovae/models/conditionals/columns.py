"""The kinds of columns by name."""

from __future__ import annotations

import math

from pyrovae.errors import ArgumentError
from pyrovae.models.conditionals.column import Column
from pyrovae.models.conditionals.kind import Kind
from pyrovae.models.conditionals.kinds_of_classes import CLASSES
from pyrovae.models.conditionals.kinds_of_numbers import NUMBERS

KINDS: dict[str, Kind] = {**NUMBERS, **CLASSES}


def kind_of(column: Column) -> Kind:
    """The kind of a column that `check_column` has let through."""
    return KINDS[column.kind]


def has_classes(column: Column) -> bool:
    """Whether a column's numbers are those of classes."""
    return kind_of(column).has_classes


def check_column(column: Column) -> Column:
    """Refuse what is no column that a distribution can be made for."""
    if column.kind not in KINDS:
        raise ArgumentError(f"column {column.name!r}: kind={column.kind!r}; give one of {', '.join(map(repr, KINDS))}.")
    if trouble := kind_of(column).trouble(column):
        raise ArgumentError(f"column {column.name!r} {trouble}")
    if not (math.isfinite(column.center) and 0 < column.spread < math.inf):
        raise ArgumentError(
            f"column {column.name!r}: center={column.center!r}, spread={column.spread!r}; give finite ones."
        )
    return column
