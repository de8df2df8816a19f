"""Schemas in TOML files, to be looked at and edited."""

from __future__ import annotations

import math
import os
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pyrovae.data.check_plain import check_plain
from pyrovae.errors import FileError
from pyrovae.models.conditionals.column import Column
from pyrovae.models.conditionals.columns import check_column, has_classes, kind_of
from pyrovae.tables.as_frame import as_frame
from pyrovae.tables.column_label import is_label, of_lists
from pyrovae.tables.edited_column import edited_column, is_edited
from pyrovae.tables.schema import Schema
from pyrovae.tables.stated_shares import check_shares, stated_shares
from pyrovae.tables.stated_type import wrong_type
from pyrovae.tables.table_column import TableColumn
from pyrovae.training.saved import files

_LARGEST = 2**24  # bytes; one of a hundred thousand columns has about as much
_FORMS = ("number", "classes", "date", "day", "constant", "identifier")

ReadColumn = Callable[[str], Any]  # from a name to the values of the table's column


def read_schema(path: str | os.PathLike[str], frame: Any = None) -> Schema:
    """Read a schema that `Schema.save` has written, and somebody may have edited; or that of a pair that was saved.

    To correct a guess change `kind`, to any that `pv.tables.schema` takes, "left out" included. What was measured of
    the column as another kind (`center`, `spread`, `shares`, `form`) is measured anew, of the frame: the level of a
    positive column is a logarithm, that of a real one is not.

    Args:
        path: of the TOML file, or of a pair's weights or checkpoint (`.safetensors`).
        frame: the table, where a kind was changed.

    Raises:
        FileError: it is no TOML, says something that no schema says, has a changed kind and no frame is given, or is of
            a pair without a schema.

    Examples:
        >>> import pandas as pd, pyrovae as pv, tempfile, pathlib
        >>> path = pathlib.Path(tempfile.mkdtemp()) / "schema.toml"
        >>> schema = pv.tables.schema(pd.DataFrame({"x": [0.5, 1.5, -2.0]}))
        >>> schema.save(path)
        >>> pv.tables.read_schema(path) == schema
        True
    """
    return schema_from(schema_text(Path(path)), os.fspath(path), None if frame is None else as_frame(frame).get)


def schema_text(path: Path) -> str:
    """What a file says of a schema, as TOML: the file itself, or weights that were saved with one."""
    if path.suffix == ".safetensors":
        written = files.read(path)[1]
        text = written.get("schema") if isinstance(written, dict) else None
        if not isinstance(text, str):
            raise FileError(f"{os.fspath(path)!r} is of a pair that carried no schema when it was saved.")
        return text
    check_plain(path, links=True)
    try:
        with open(path, "rb") as stream:
            content = stream.read(_LARGEST + 1)
        if len(content) > _LARGEST:
            raise FileError(f"{os.fspath(path)!r} has more than {_LARGEST:,} bytes: it is no schema.")
        return content.decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise FileError(f"{os.fspath(path)!r} cannot be read: {error}.") from None


def schema_from(text: str, path: str, column: ReadColumn | None = None) -> Schema:
    """The schema that a text says, which is called by its path where it says none.

    Args:
        text: as TOML.
        path: where it stood.
        column: gives the values of a column, of which an edited one is measured anew; None where it is not there.
    """
    try:
        found = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise FileError(f"{path!r} is no TOML: {error}.") from None
    sections = found.get("column")
    if set(found) != {"column"} or not isinstance(sections, list) or not all(isinstance(one, dict) for one in sections):
        raise FileError(f"{path!r} is no schema: it has to be a list of [[column]] tables.")
    try:
        table = tuple(_edited(one, column) if is_edited(one) else _column(one) for one in sections)
    except (ValueError, TypeError, KeyError, ArithmeticError) as error:
        raise FileError(f"{path!r}: {error}") from None
    names = [one.name for one in table]
    if len(set(names)) != len(names) or not any(one.column for one in table):
        raise FileError(f"{path!r}: a name stands there twice, or no column has a kind.")
    return Schema(table)


def _edited(entries: dict[str, Any], column: ReadColumn | None) -> TableColumn:
    name, kind = entries.get("name"), entries.get("kind")
    values = column(name) if column is not None and isinstance(name, str) else None
    if values is None and kind != "left out":
        there = "no frame is given" if column is None else "the frame has no such column"
        raise ValueError(
            f"column {name!r}: kind = {kind!r} was changed from {entries.get('measured_as', 'left out')!r}, so that it "
            f"is to be measured anew, and {there}: pv.tables.read_schema(path, frame)"
        )
    return _of_its_type(edited_column(entries, values))


def _column(entries: dict[str, Any]) -> TableColumn:
    known = {"name", "form", "dtype", "levels", "kind", "center", "spread", "shares", "measured_as", "ends", "note",
             "label", "measured_levels"}  # fmt: skip
    if strange := sorted(set(entries) - known):
        raise ValueError(f"a column has {strange[0]!r}, which no schema has")
    name, form = entries.get("name"), entries.get("form")
    if not isinstance(name, str) or form not in _FORMS:
        raise ValueError(f"a column has name = {name!r}, form = {form!r}; a name is a text, a form one of {_FORMS}")
    levels = tuple(entries.get("levels", ()))
    if not all(isinstance(one, str | bool) or _is_finite(one) for one in levels) or len(set(levels)) != len(levels):
        raise ValueError(f"column {name!r}: levels are texts or numbers, each once")
    texts = {key: entries.get(key, "") for key in ("dtype", "note")}
    if not all(isinstance(text, str) for text in texts.values()):
        raise ValueError(f"column {name!r}: dtype and note are texts")
    label = of_lists(entries.get("label"))
    if label is not None and not is_label(label):
        raise ValueError(f"column {name!r}: label = {label!r}; a label is a number, a date or a list of such and texts")
    column = _of_model(entries, name, form, levels) if "kind" in entries else None
    if column is not None and entries.get("measured_levels", list(levels)) != list(levels):
        texts["note"] = "its levels are in an order made by hand"  # the guess may have said which one they had
    return _of_its_type(TableColumn(column, name, form, levels, **texts, label=label))


def _of_its_type(one: TableColumn) -> TableColumn:
    if one.column is not None and (words := wrong_type(one.form, one.dtype, one.levels)):
        raise ValueError(f"column {one.name!r}: {words}")
    return one


def _of_model(entries: dict[str, Any], name: str, form: str, levels: tuple[Any, ...]) -> Column:
    numbers = {key: entries.get(key, default) for key, default in (("center", 0.0), ("spread", 1.0))}
    if not all(_is_finite(number) for number in numbers.values()):
        raise ValueError(f"column {name!r}: center and spread are finite numbers")
    shares = stated_shares(entries, name, levels) if form == "classes" else tuple(entries.get("shares", ()))
    check_shares(name, shares)
    ends = tuple((float(low), float(high)) for low, high in entries.get("ends", ()))
    classes = len(levels) if form == "classes" else 0
    column = check_column(Column(name, entries["kind"], classes, **numbers, shares=shares, ends=ends))
    if (form == "classes") != has_classes(column) or form not in _FORMS[:4]:
        raise ValueError(f"column {name!r}: a {column.kind} column has another form than {form!r}")
    if ends and getattr(kind_of(column), "units", None) is None:
        raise ValueError(f"column {name!r}: ends are those of intervals, and a {column.kind} column has none")
    return column


def _is_finite(number: Any) -> bool:
    return isinstance(number, int | float) and not isinstance(number, bool) and math.isfinite(number)
