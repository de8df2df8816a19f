"""Numbers of a table's rows in the words of its columns: classes by name, dates as dates."""

from __future__ import annotations

from typing import Any

import numpy as np

from pyrovae.models.conditionals.columns import has_classes
from pyrovae.report import svg
from pyrovae.tables.schema import Schema
from pyrovae.tables.table_column import DATES, TableColumn

_HOLE = "–"
_LONGEST = 18  # letters of a class


def known_columns(schema: Schema) -> list[TableColumn]:
    """The columns of the model."""
    return [one for one in schema.table if one.column is not None]


def worded(column: TableColumn, number: float) -> str:
    """A cell.

    Examples:
        >>> import pandas as pd, pyrovae as pv
        >>> frame = pd.DataFrame({"day": pd.to_datetime(["2020-01-31", "2020-03-01"]), "job": ["cook", "clerk"]})
        >>> [worded(one, 1.0) for one in pv.tables.schema(frame).table]
        ['1970-01-02', 'cook']
    """
    if not np.isfinite(number):
        return _HOLE
    if column.column is not None and has_classes(column.column):
        return short(str(column.levels[min(max(round(number), 0), len(column.levels) - 1)]))
    if column.form in DATES:
        moment = np.datetime64("1970-01-01T00:00") + np.timedelta64(round(number * 1440), "m")
        return str(moment.astype("datetime64[D]") if column.form == "day" else moment).replace("T", " ")
    return f"{number:,.4g}" if abs(number) < 1e4 or abs(number) >= 1e15 else f"{number:,.0f}"


def short(text: str, longest: int = _LONGEST) -> str:
    """A name that is not too long for its place."""
    return text if len(text) <= longest else f"{text[: longest - 1].rstrip()}…"


def cells(schema: Schema, rows: Any) -> list[list[str]]:
    """Rows of a table, cell by cell."""
    columns = known_columns(schema)
    flat = np.asarray(rows, np.float64).reshape(len(rows), -1)
    return [[worded(one, number) for one, number in zip(columns, row, strict=True)] for row in flat.tolist()]


def words_of(one: TableColumn) -> svg.Words | None:
    """How an axis calls the numbers of a column; None where these are what they are."""
    assert one.column is not None
    if has_classes(one.column):
        return svg.Words(lambda place: short(worded(one, place), 9), whole=True)
    return svg.Words(lambda place: worded(one, place)) if one.form in DATES else None
