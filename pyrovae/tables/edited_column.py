"""Columns of a schema whose kind somebody has changed by hand."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pyrovae.models.conditionals.columns import KINDS
from pyrovae.tables.column_label import of_lists
from pyrovae.tables.guess_column import guessed_column
from pyrovae.tables.table_column import TableColumn


def is_edited(entries: Mapping[str, Any]) -> bool:
    """Whether the kind is another one than that as which the column was measured, or the column had none.

    Raises:
        ValueError: there is no such kind.
    """
    kind = entries.get("kind", "left out")
    if kind not in (*KINDS, "left out"):
        raise ValueError(f"column {entries.get('name')!r}: kind={kind!r}; give one of {', '.join(KINDS)}, or left out")
    if "measured_as" not in entries:
        return "kind" in entries and entries.get("form") in ("identifier", "constant")
    return entries.get("kind") != entries["measured_as"]


def edited_column(entries: Mapping[str, Any], values: Any) -> TableColumn:
    """The column as its new kind, measured anew.

    Args:
        entries: what the file says.
        values: of the frame's column; of one that is left out they are not asked for.

    Raises:
        DataError, ArgumentError: the values are none of this kind.
    """
    return _measured(entries, values)._replace(label=of_lists(entries.get("label")))


def _measured(entries: Mapping[str, Any], values: Any) -> TableColumn:
    name, kind = entries["name"], entries.get("kind", "left out")
    if kind == "left out":
        return TableColumn(None, name, "identifier", dtype=entries.get("dtype", ""), note="left out")
    levels = entries.get("levels")
    if kind == "ordinal" and entries.get("form") == "classes" and levels:
        import pandas as pd

        ordered = pd.Series(pd.Categorical(values, categories=levels, ordered=True))  # in the order of the file
        made = guessed_column(name, ordered, kind)
        return made._replace(dtype=entries.get("dtype", made.dtype))
    return guessed_column(name, values, kind)
