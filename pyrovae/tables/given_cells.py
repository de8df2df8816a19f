"""Cells of new rows that are given: one value each, or a range."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import torch

from pyrovae.errors import ArgumentError, DataError, argument
from pyrovae.models.conditionals.columns import kind_of
from pyrovae.tables.bands import band
from pyrovae.tables.column_label import column_text
from pyrovae.tables.schema import Schema
from pyrovae.tables.table_column import DATES, TableColumn

_SHOWN = 12  # columns or classes named in one message


class GivenCells(NamedTuple):
    """One row that holds what is given and holes, (1, columns), and the ranges of others, by place."""

    row: torch.Tensor
    ranges: dict[int, tuple[float, float]]

    def within(self, rows: torch.Tensor) -> torch.Tensor:
        """Which rows lie within the ranges."""
        found = torch.ones(len(rows), dtype=torch.bool)
        for place, (low, high) in self.ranges.items():
            found &= (rows[:, place] >= low) & (rows[:, place] <= high)
        return found


def given_cells(schema: Schema, where: Any) -> GivenCells:
    """What is given of new rows, by name of columns.

    Args:
        schema: of the rows.
        where: of each column a value, or a tuple of a lowest and a highest one, of which one may be None.

    Raises:
        ArgumentError: a column or a class that the schema does not know, a range that holds nothing or has no order.
    """
    import pandas as pd

    where = where.to_dict() if isinstance(where, pd.Series) else where
    if not isinstance(where, Mapping) or not where:
        raise ArgumentError(f"where={where!r}; give values of columns by name, such as {{'class': 'rare'}}.")
    known = [one for one in schema.table if one.column is not None]
    where = {column_text(name): value for name, value in where.items()}
    for name, value in where.items():
        if name not in {one.name for one in known}:
            raise ArgumentError(f"{argument('where', {name: value})}: {_unknown(schema, name)}")
        if not pd.api.types.is_scalar(value) and not (isinstance(value, tuple) and len(value) == 2):
            raise ArgumentError(f"{argument('where', {name: value})}: give one value, or a range: (lowest, highest).")
    row, ranges = torch.full((1, len(known)), torch.nan, dtype=torch.float64), {}
    for place, one in enumerate(known):
        value = where.get(one.name)
        if isinstance(value, tuple):
            ranges[place] = _range(one, value)
        elif one.name in where:
            row[0, place] = _held(one, value)
    return GivenCells(row, ranges)


def _held(one: TableColumn, value: Any) -> float:
    """The number of a value that the rows are to have, and that their type holds: they would have another one."""
    import pandas as pd

    number = _number(one, value)
    if one.form not in ("number", "day"):
        return number
    made = one.values(np.array([number]))
    if not pd.api.types.is_float_dtype(made.dtype) and one.numbers(made)[0][0] != number:
        kind = "days without a time" if one.form == "day" else one.dtype
        raise ArgumentError(
            f"{argument('where', {one.name: value})}: {one.name!r} is of {kind}, so that the rows would have "
            f"{made.iloc[0]} there. Give that, or a range."
        )
    return number


def _range(one: TableColumn, ends: tuple[Any, Any]) -> tuple[float, float]:
    """The lowest and the highest number, both within."""
    words = argument("where", {one.name: ends})
    assert one.column is not None
    if not kind_of(one.column).ordered:
        raise ArgumentError(f"{words}: {one.name!r} is {one.column.kind}, and its classes have no order: give one.")
    if ends == (None, None):
        raise ArgumentError(f"{words}: give one end at least.")
    if one.column.ends and all(end is None or isinstance(end, int | float) for end in ends):
        return _intervals_within(one, ends)
    low, high = (
        far if end is None else _number(one, end) for end, far in zip(ends, (-math.inf, math.inf), strict=True)
    )
    if low > high:
        raise ArgumentError(f"{words}: the lowest comes first, and nothing lies between.")
    return low, high


def _intervals_within(one: TableColumn, ends: tuple[float | None, float | None]) -> tuple[float, float]:
    """The first and the last interval of which no part is outside."""
    low, high = (far if end is None else end for end, far in zip(ends, (-math.inf, math.inf), strict=True))
    bands = [band(level) for level in one.levels]
    inside = [place for place, found in enumerate(bands) if found and found.low >= low and found.high <= high]
    if not inside:
        raise ArgumentError(
            f"{argument('where', {one.name: ends})}: no interval of {one.name!r} lies within; they are "
            f"{', '.join(map(str, one.levels[:_SHOWN]))}{', ...' * (len(one.levels) > _SHOWN)}."
        )
    return float(inside[0]), float(inside[-1])


def _unknown(schema: Schema, name: str) -> str:
    for one in schema.table:
        if one.name == name:
            return f"{name!r} is no column of the model ({one.note}), so that nothing follows from it."
    names = [one.name for one in schema.table if one.column is not None]
    more = ", ..." if len(names) > _SHOWN else ""
    return f"there is no column {name!r}; the schema's columns are {', '.join(map(repr, names[:_SHOWN]))}{more}."


def _number(one: TableColumn, value: Any) -> float:
    """What a value of a column is in the rows."""
    import pandas as pd

    try:
        number = float(one.numbers(pd.Series([value]))[0][0])
    except DataError:
        number = math.nan
    if math.isnan(number):
        assert one.column is not None
        more = ", ..." if len(one.levels) > _SHOWN else ""
        levels = f"its classes are {', '.join(map(repr, one.levels[:_SHOWN]))}{more}"
        dates = "it is a date, such as 2020-01-31"
        kind = f"it is {one.column.kind}: {kind_of(one.column).words}"
        words = levels if one.levels else dates if one.form in DATES else kind
        raise ArgumentError(f"{argument('where', {one.name: value})}: {one.name!r} cannot be {value!r}; {words}.")
    return number
