"""Columns of which each cell says in which interval a number lies."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from pyrovae.errors import ArgumentError, DataError
from pyrovae.models.conditionals.column import Column
from pyrovae.models.conditionals.columns import KINDS, check_column
from pyrovae.models.conditionals.interval_masses import middles, wrong_ends
from pyrovae.tables.bands import Band, band, ends_of
from pyrovae.tables.less_skewed import less_skewed_by_logarithm
from pyrovae.tables.table_column import TableColumn, column_of, plain_value

_FEWEST, _MOST = 3, 20  # texts of intervals that are taken for such without being told


def banded_column(name: str, values: Any, kind: str | None) -> TableColumn | None:
    """A column of intervals: of pandas' own, of texts where a kind says so or all are such; None where it is none.

    Raises:
        ArgumentError: pandas' intervals are to be something else, or the column, which is to be of intervals, is none.
        DataError: intervals overlap, so that a number would lie in several.
    """
    import pandas as pd

    own, wanted = _interval_type(values) is not None, kind is not None and bool(_units(kind))
    if (kind is not None and not wanted and not own) or pd.api.types.is_numeric_dtype(values):
        if wanted:
            raise ArgumentError(
                f"kinds: {name!r} is to be {kind}, and holds {values.dtype}: intervals are texts such as '30-39', "
                "'<5' and '100+', or those of pandas (pd.cut)."
            )
        return None
    if own and kind is not None and not wanted:
        raise ArgumentError(f"kinds: {name!r} holds intervals; give 'interval', 'positive_interval' or 'left out'.")
    levels = list(values.cat.categories if isinstance(values.dtype, pd.CategoricalDtype) else values.dropna().unique())
    few = _FEWEST <= len(levels) <= max(_MOST, values.notna().sum() / 2)
    if not own and not wanted and not few:
        return None
    bands = [band(plain_value(level)) for level in levels]
    trouble = _trouble(levels, bands)
    if trouble and (own or wanted):
        raise DataError(f"column {name!r} is to be one of intervals: {trouble}")
    if trouble or not (own or wanted or any(one.low < one.high for one in bands if one)):
        return None
    note = "" if own or wanted else "texts of intervals: for classes in their order, say ordinal"
    return _made(name, values, kind, sorted(zip(bands, levels, strict=True), key=_begin), note)  # type: ignore[arg-type]


def _made(name: str, values: Any, kind: str | None, known: Sequence[tuple[Band, Any]], note: str) -> TableColumn:
    ends, type_ = ends_of([one for one, _ in known]), _interval_type(values)
    dtype = str(values.dtype) if type_ is None or str(values.dtype) == str(type_) else f"category[{type_}]"
    plain = check_column(Column(name, kind or "interval", len(ends), ends=ends))
    made = TableColumn(plain, name, "classes", tuple(str(level) for _, level in known), dtype, note)
    numbers, _ = made.numbers(values)
    if kind is None:
        seen = np.array(middles(ends))[numbers[~np.isnan(numbers)].astype(int)]
        if ends[0][0] >= 0 and less_skewed_by_logarithm(seen):
            plain = plain._replace(kind="positive_interval")
    return made._replace(column=column_of(plain, numbers))


def _begin(one: tuple[Any, Any]) -> tuple[float, float]:
    return one[0].low, one[0].high


def _trouble(levels: Sequence[Any], bands: Sequence[Band | None]) -> str:
    """Why these are no intervals of one number, in words."""
    for level, one in zip(levels, bands, strict=True):
        if one is None or math.isnan(one.low):
            return f"{level!r} is none. They are written as '30-39', '<5', '100+' or '(0, 18]'."
    known = sorted(zip(bands, levels, strict=True), key=_begin)
    ends = ends_of([one for one, _ in known])  # type: ignore[misc]  # none is None, as was just seen
    for (low, high), (_, level) in zip(ends, known, strict=True):
        if not low < high:
            return f"in {level!r} lies no number, or a single one, which an interval of numbers without steps has not."
    for place in range(1, len(ends)):
        if ends[place - 1][1] > ends[place][0]:
            pair = f"{known[place - 1][1]!s} and {known[place][1]!s}"
            return f"{pair} overlap, so that a number would lie in both. Cut the numbers on one grid, or leave it out."
    return wrong_ends(ends, len(ends)) or "" if len(ends) > 1 else "there is but one."


def _units(kind: str) -> Any:
    return getattr(KINDS[kind], "units", None)


def _interval_type(values: Any) -> Any:
    """The type of pandas' intervals, by themselves or as categories."""
    import pandas as pd

    dtype = values.dtype.categories.dtype if isinstance(values.dtype, pd.CategoricalDtype) else values.dtype
    return dtype if isinstance(dtype, pd.IntervalDtype) else None
