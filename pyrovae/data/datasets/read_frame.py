"""Tables of columns of all kinds from .csv and .parquet files, as frames."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pyrovae.data.check_memory import check_memory
from pyrovae.data.datasets.array_files import reading
from pyrovae.data.datasets.page_checksums import check_pages
from pyrovae.data.datasets.table_files import (
    check_digits,
    chosen_columns,
    column_names,
    parsed,
)
from pyrovae.data.datasets.table_layout import HOLES, is_number, lines_of_rows, table_layout
from pyrovae.data.row_words import LINE, row_words
from pyrovae.errors import DataError, FileError

_MOSTLY = 0.9  # of the cells of a column are numbers, and the others are slips

_CODE = r"^[+-]?0[0-9]"  # what begins with 0 is a text
_DIGITS = r"^[+-]?[0-9]+$"  # and so is a whole number that no whole-number type can hold


def read_frame(path: Path, *, header: bool | None = None, columns: Sequence[str] | None = None) -> Any:
    """A pandas frame of a .csv or .parquet file.

    Columns of a .csv file are whole numbers, numbers, truth values or dates (ISO 8601; with an offset from UTC they are
    those of UTC) where all of their cells are, and texts otherwise; numbers that begin with 0, as postal codes do, and
    whole ones of more than 18 digits are texts. Whole numbers with holes stay whole (Int64). Spaces around a cell are
    left out. The index of a .csv file's frame holds the lines of the file.

    Args:
        path: the file.
        header: whether the first line of a .csv file holds names; None finds out.
        columns: which; None for all.

    Raises:
        FileError: it cannot be read.
        DataError: no rows, a name twice, or a column of numbers in which a few cells are none.
    """
    names = column_names(path, header=header)
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise DataError(f"{path} has two columns {twice[0]!r}; rename one.")
    check_memory(8 * path.stat().st_size, str(path), "Take fewer rows of it.")
    wanted = chosen_columns(columns if columns is not None else names, names, path)
    frame = _csv(path, header, wanted) if path.suffix.lower() == ".csv" else _parquet(path, names, wanted)
    if not len(frame):
        raise DataError(f"{path} holds names of columns and no rows.")
    return frame


def _parquet(path: Path, names: list[str], wanted: list[int]) -> Any:
    from pyarrow import parquet

    with reading(path), parquet.ParquetFile(path, page_checksum_verification=True) as file:
        # Once as the file has them, and once as a frame; a file may say a number a million times in a few bytes.
        check_memory(2 * 8 * len(wanted) * file.metadata.num_rows, str(path), "Take fewer columns of it.")
        table = file.read(columns=[names[number] for number in wanted], use_pandas_metadata=True)
        check_pages(path, file.metadata)
        frame = to_pandas(table)
    if not {str(name) for name in frame} <= {*table.column_names}:  # pandas writes names of its own into the file
        raise FileError(f"{path} is damaged: it calls a column otherwise in one place than in another.")
    return frame


def _csv(path: Path, header: bool | None, wanted: list[int]) -> Any:
    import pandas as pd
    import pyarrow

    shape = table_layout(path, header=header)
    with reading(path):
        table = parsed(path, shape, wanted, kind=pyarrow.string())
    labels = [shape.labels[number] for number in wanted]
    index = pd.Index(lines_of_rows(path, shape, len(table)), name=LINE)
    columns = [
        _typed(column, f"{path}, column {label!r}", index) for label, column in zip(labels, table.columns, strict=True)
    ]
    return to_pandas(pyarrow.table(columns, names=labels)).set_axis(index)


def to_pandas(table: Any) -> Any:
    """A frame in which whole numbers with holes are whole, where they come from no frame that had them as floats."""
    frame = table.to_pandas(date_as_object=False)
    for name, column in zip(table.column_names, table.columns, strict=True):
        if column.null_count and str(column.type).startswith(("int", "uint")) and frame[name].dtype.kind == "f":
            kind = str(column.type).replace("int", "Int").replace("uI", "UI")
            frame[name] = column.to_pandas(integer_object_nulls=True).astype(kind).set_axis(frame.index)
    return frame


def _typed(column: Any, where: str, index: Any) -> Any:
    """A column of texts in the narrowest type that holds all of it."""
    import pyarrow
    import pyarrow.compute

    compute: Any = pyarrow.compute  # its functions are made at run time

    trimmed = compute.utf8_trim_whitespace(column.combine_chunks())
    holes = compute.is_in(trimmed, value_set=pyarrow.array(HOLES))
    texts = compute.if_else(holes, None, trimmed)
    if texts.null_count != len(texts) and not compute.any(compute.match_substring_regex(texts, _CODE)).as_py():
        for kind in ("int64", "float64", "bool", "date32", pyarrow.timestamp("us"), pyarrow.timestamp("us", "UTC")):
            try:
                found = texts.cast(kind)
            except pyarrow.ArrowInvalid:
                continue
            if kind == "float64":
                if compute.all(compute.match_substring_regex(texts, _DIGITS)).as_py():
                    return texts
                check_digits(found.to_numpy(zero_copy_only=False), texts, where)
            return found
    _check_slips(texts, where, index)
    return texts


def _check_slips(texts: Any, where: str, index: Any) -> None:
    """Refuse a column of numbers in which a few cells are something else: as texts, each number would be a class."""
    cells = texts.to_pylist()
    there = [(row, cell) for row, cell in enumerate(cells) if cell is not None]
    slips = [(row, cell) for row, cell in there if not is_number(cell)]
    if slips and len(slips) <= (1 - _MOSTLY) * len(there):
        row, cell = slips[0]
        raise DataError(
            f"{where}: numbers but for {len(slips)} of {len(there)} cells, the first one {cell!r} in "
            f"{row_words(index, row)}. Leave these cells empty, or mend them."
        )
