"""A schema as TOML."""

from __future__ import annotations

import datetime
import json
from collections.abc import Sequence
from typing import Any

from pyrovae.tables.table_column import TableColumn


def schema_toml(table: Sequence[TableColumn]) -> str:
    """A table of its own for each column."""
    return "\n".join(map(_section, table))


def _section(one: TableColumn) -> str:
    entries: dict[str, Any] = {"name": one.name, "form": one.form, "dtype": one.dtype, "levels": list(one.levels)}
    if one.column is not None:
        column = one.column
        entries |= {
            "kind": column.kind,
            "center": column.center,
            "spread": column.spread,
            "shares": list(column.shares),
            "measured_as": column.kind,
        }
        if one.form == "classes":
            entries["measured_levels"] = list(one.levels)  # those to which the shares belong, whatever order is made
        if column.ends:
            entries["ends"] = [list(ends) for ends in column.ends]
    if one.label is not None:
        entries["label"] = one.label
    if one.note:
        entries["note"] = one.note
    return "[[column]]\n" + "".join(f"{name} = {_toml(value)}\n" for name, value in entries.items())


def _toml(value: Any) -> str:
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_toml, value))}]"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, datetime.datetime):
        return value.isoformat()
    return json.dumps(value, ensure_ascii=True).replace("\x7f", "\\u007f") if isinstance(value, str) else repr(value)
