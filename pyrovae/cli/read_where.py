"""`--where column=value` and `column=low..high`: what is given of new rows, read by the schema of a run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pyrovae.errors import ArgumentError
from pyrovae.tables.schema import Schema
from pyrovae.tables.table_column import Level, TableColumn

_TRUTH = {"true": True, "yes": True, "false": False, "no": False}


def read_where(schema: Schema, texts: Sequence[str]) -> dict[str, Any]:
    """Values of columns by name.

    Args:
        schema: of the run.
        texts: `column=value`, or `column=lowest..highest` of which one may be left out.

    Raises:
        ArgumentError: no column and value, a column twice, or more or less than one value.

    Examples:
        >>> import pandas as pd, pyrovae as pv
        >>> schema = pv.tables.schema(pd.DataFrame({"age": [31.5, 40.0], "job": ["cook", "clerk"]}))
        >>> read_where(schema, ["job=cook", "age=40"])
        {'job': 'cook', 'age': 40.0}
        >>> read_where(schema, ["age=30..40"])
        {'age': (30.0, 40.0)}
    """
    columns, found = {one.name: one for one in schema.table}, {}
    for text in texts:
        name, value = _parted(text, columns)
        if name in found:
            raise ArgumentError(f"--where gives {name!r} twice: a cell has one value. Draw once for each.")
        found[name] = _value(columns[name], value) if name in columns else value
    return found


def _parted(text: str, columns: dict[str, TableColumn]) -> tuple[str, str]:
    """Column and value; a name may hold equals signs of its own."""
    ends = [place for place, letter in enumerate(text) if letter == "="]
    parts = [(text[:place].strip(), text[place + 1 :].strip()) for place in ends]
    name, value = next((part for part in reversed(parts) if part[0] in columns), parts[0] if parts else (text, ""))
    unequal = name not in columns and any(mark in name for mark in "<>!~")
    if unequal:
        raise ArgumentError(
            f"--where {text}: inequalities are not taken; give one value, column=value, or a range: column=low..high."
        )
    if not name or not value:
        raise ArgumentError(f"--where {text}: give a column and its value: column=value, such as class=rare.")
    return name, value


def _value(column: TableColumn, text: str) -> Any:
    """What a text says for a column; the text itself where that is nothing."""
    if ".." in text and text not in column.levels:
        low, _, high = text.partition("..")
        return tuple(_value(column, end.strip()) if end.strip() else None for end in (low, high))
    if column.form == "classes":
        return next((level for level in column.levels if _says(text, level)), text)
    return _number(text) if column.form == "number" else text


def _says(text: str, level: Level) -> bool:
    if isinstance(level, bool):
        return _TRUTH.get(text.lower()) is level
    return text == level.strip() if isinstance(level, str) else _number(text) == level


def _number(text: str) -> Any:
    try:
        return float(text)
    except ValueError:
        return text
