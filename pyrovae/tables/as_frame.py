"""Frames of other libraries as those of pandas, and back."""

from __future__ import annotations

from typing import Any

from pyrovae.errors import ArgumentError, DataError
from pyrovae.tables.column_label import column_text
from pyrovae.tables.of_type import of_type


def as_frame(frame: Any, *, names: bool = True) -> Any:
    """A pandas frame of what is given.

    Args:
        frame: of pandas, or of any library that exchanges tables.
        names: whether its names are made texts.
    """
    try:
        import pandas as pd
    except ImportError:
        raise ArgumentError("tables need pandas: pip install pandas.") from None
    found = frame if isinstance(frame, pd.DataFrame) else _exchanged(frame)
    known = [column_text(name) for name in found.columns]
    if twice := [name for name in known if known.count(name) > 1]:
        raise DataError(f"the frame has two columns {twice[0]!r}; rename one.")
    return found.set_axis(known, axis=1) if names else found


def _exchanged(frame: Any) -> Any:
    import pandas as pd

    try:
        if hasattr(frame, "__arrow_c_stream__"):
            return _from_arrow(_arrow(frame))
        if hasattr(frame, "__dataframe__"):
            return pd.api.interchange.from_dataframe(frame)
    except (TypeError, ValueError, NotImplementedError) as error:  # pyarrow's own are ValueErrors
        raise DataError(f"this {type(frame).__name__} does not become a frame: {error}.") from None
    if hasattr(frame, "to_pandas"):
        return frame.to_pandas()
    lazy = " (of a lazy one, .collect() it first)" if hasattr(frame, "collect") else ""
    raise DataError(f"give a DataFrame (pandas, polars, pyarrow){lazy}; this is {type(frame).__name__}.")


def _from_arrow(table: Any) -> Any:
    """With dates as pandas has them, and not as objects, and whole numbers whole, holes or none."""
    import pandas as pd
    import pyarrow

    found = table.to_pandas(date_as_object=False)
    for name, column in zip(table.column_names, table.columns, strict=True):
        if column.null_count and pyarrow.types.is_integer(column.type):  # as doubles they lose their last digits
            nullable = str(column.type).replace("int", "Int").replace("u", "U")  # such as UInt8
            found[name] = column.to_pandas(types_mapper=lambda _, name=nullable: pd.api.types.pandas_dtype(name))
    return found


def in_form_of(frame: Any, other: Any) -> Any:
    """A pandas frame as one of another frame's library, with the types of that; as it is where that is not known."""
    if (library := type(other).__module__.split(".")[0]) not in ("polars", "pyarrow"):
        return frame
    import pyarrow

    types = {field.name: field.type for field in _arrow(other).schema}
    found = pyarrow.Table.from_pandas(frame, preserve_index=False)
    table = pyarrow.table({name: _cast(found[name], types.get(name)) for name in found.column_names})
    if library == "pyarrow":
        return table
    import polars  # pyright: ignore[reportMissingImports] - a user's own

    made: Any = polars.from_arrow(table)
    cast = {name: made[name].cast(kind, strict=False) for name, kind in other.schema.items() if name in made.columns}
    # A cell that its type cannot hold, such as a level that an Enum has not, would be a hole.
    return made.with_columns(**{name: one for name, one in cast.items() if one.null_count() == made[name].null_count()})


def _arrow(frame: Any) -> Any:
    import pyarrow

    return frame if isinstance(frame, pyarrow.Table) else pyarrow.table(frame)


def _cast(column: Any, kind: Any) -> Any:
    import pandas as pd
    import pyarrow

    if kind is not None and pyarrow.types.is_integer(kind) and pyarrow.types.is_floating(column.type):
        return pyarrow.Array.from_pandas(of_type(column.to_pandas().to_numpy(dtype=float), pd.ArrowDtype(kind)))
    try:
        return column if kind is None else column.cast(kind)
    except (pyarrow.ArrowInvalid, pyarrow.ArrowNotImplementedError):  # a type that cannot hold what was drawn
        return column
