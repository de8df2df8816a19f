"""Tables of numbers from .csv and .parquet files."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from pyrovae.data.check_memory import check_memory
from pyrovae.data.datasets.array_files import AS_NPY, reading
from pyrovae.data.datasets.page_checksums import check_pages
from pyrovae.data.datasets.table_layout import (
    HOLES,
    TableLayout,
    csv_lines,
    is_number,
    lines_of_rows,
    table_layout,
)
from pyrovae.errors import ArgumentError, DataError, FileError, argument

_EXACT = 2**53  # up to which floating numbers hold all whole ones

_WHOLE = re.compile(r"[+-]?[0-9]{1,4000}(\.0*)?")  # Python reads no longer ones

_SHOWN = 5  # places named in one message


class Table(NamedTuple):
    """Numbers in rows and named columns; `names` is empty where the file has none."""

    values: np.ndarray
    names: tuple[str, ...]


def column_names(path: Path, *, header: bool | None = None) -> list[str]:
    """What the columns of a table are called; in a file without names they are called by their numbers."""
    if path.suffix.lower() == ".csv":
        return table_layout(path, header=header).labels
    from pyarrow import parquet

    with reading(path):
        names = parquet.read_schema(path).names
    # pandas writes an index that is not 0, 1, 2, ... as one more column; it is not data.
    return [name for name in names if not re.fullmatch(r"__index_level_\d+__", name)]


def column_text(path: Path, column: str, *, header: bool | None = None) -> np.ndarray:
    """One column as texts `(rows,)`, numbers too, such as the classes that rows belong to."""
    (number,) = chosen_columns([column], column_names(path, header=header), path)
    with reading(path):
        if path.suffix.lower() == ".csv":
            from pyarrow import string

            table = parsed(path, table_layout(path, header=header), [number], kind=string())
        else:
            from pyarrow import parquet

            with parquet.ParquetFile(path, page_checksum_verification=True) as file:
                check_memory(64 * file.metadata.num_rows, str(path), AS_NPY)  # a text of Python's each
                table = file.read(columns=[column])
                check_pages(path, file.metadata, says=False)
    return np.array([str(value) for value in table.column(0).to_pylist()])


def read_csv(path: Path, *, header: bool | None, columns: Sequence[str] | None = None) -> Table:
    """The numbers of a .csv file as float64, of all columns or of those that are named."""
    shape = table_layout(path, header=header)
    wanted = chosen_columns(columns if columns is not None else shape.labels, shape.labels, path, all=columns is None)
    check_memory(path.stat().st_size, str(path), AS_NPY)
    with reading(path):
        table = parsed(path, shape, wanted)
    labels = [shape.labels[number] for number in wanted]
    _check_missing(table, path, labels, shape)
    if not len(table):
        raise DataError(f"{path} holds a line of names and no rows.")
    matrix = _matrix(table)
    _check_digits(path, shape, wanted, matrix)
    return Table(matrix, tuple(labels) if shape.named else ())


def _check_digits(path: Path, shape: TableLayout, wanted: list[int], matrix: np.ndarray) -> None:
    """Look at whole numbers again, as texts, where a floating number may have no place for their last digits."""
    from pyarrow import string

    for place in np.flatnonzero((np.abs(matrix) >= _EXACT).any(axis=0)):
        with reading(path):
            texts = parsed(path, shape, [wanted[place]], kind=string()).column(0)
        check_digits(matrix[:, place], texts, f"{path}: column {shape.labels[wanted[place]]!r}")


def check_digits(numbers: np.ndarray, texts: Any, where: str) -> None:
    """Refuse whole numbers that are not those written down.

    Args:
        numbers: as they were read; NaN for a hole.
        texts: Arrow's, as they stand in the file.
        where: the column, for the error.

    Raises:
        DataError: the last digits of one are others.
    """
    large = np.abs(numbers) >= _EXACT
    for number, text in zip(numbers[large], texts.filter(large).to_pylist(), strict=True):
        written = text.strip()
        if _WHOLE.fullmatch(written) and np.isfinite(number) and int(number) != int(written.partition(".")[0]):
            raise DataError(_rounded(where))


def _rounded(where: str) -> str:
    return (
        f"{where} holds whole numbers above 2**53, whose last digits a floating number has no place for. Leave out "
        f"what only names the rows ({argument('columns')}), or store what the numbers differ by."
    )


def chosen_columns(columns: Sequence[str], known: list[str], path: Path, *, all: bool = False) -> list[int]:
    """Where the named columns stand."""
    if all:  # names may occur twice
        return list(range(len(known)))
    unknown = [name for name in columns if name not in known]
    if unknown or not columns:
        listing = ", ".join(known[:20]) + (", ..." if len(known) > 20 else "")
        raise ArgumentError(f"{path} has no column {', '.join(map(repr, unknown)) or 'at all'}; it has {listing}.")
    if twice := sorted({name for name in columns if known.count(name) > 1}):
        raise DataError(
            f"{path} has more than one column called {', '.join(map(repr, twice[:5]))}, so its columns cannot be told "
            "apart by name: give each a name of its own."
        )
    return [known.index(name) for name in columns]


def parsed(path: Path, shape: TableLayout, wanted: list[int], kind=None):
    """The wanted columns of a .csv file, all of one type of Arrow's: numbers where none is given."""
    from pyarrow import ArrowInvalid, csv, float64

    numbers = [str(number) for number in range(len(shape.labels))]  # names may occur twice, these do not
    # One type for all: inference looks at the first block only, and fails on a later "3.5" among integers.
    types = dict.fromkeys(numbers, kind or float64())
    convert = csv.ConvertOptions(
        column_types=types, null_values=list(HOLES), include_columns=[numbers[number] for number in wanted]
    )
    # A line must fit into a block.
    read = csv.ReadOptions(column_names=numbers, skip_rows=shape.skipped, block_size=2**20 + 64 * len(numbers))
    # A blank line is nothing among several columns, and a hole in a single one.
    parse = csv.ParseOptions(delimiter=shape.delimiter, ignore_empty_lines=len(numbers) > 1)
    try:
        return csv.read_csv(path, read_options=read, parse_options=parse, convert_options=convert)
    except ArrowInvalid:
        _explain(path, shape, wanted)
        raise


def read_parquet(path: Path, columns: Sequence[str] | None = None) -> Table:
    """The numbers of a .parquet file as float64, of all columns or of those that are named."""
    from pyarrow import parquet, types

    names = column_names(path)
    wanted = [names[number] for number in chosen_columns(columns if columns is not None else names, names, path)]
    with reading(path), parquet.ParquetFile(path, page_checksum_verification=True) as file:
        fine = (types.is_integer, types.is_floating, types.is_boolean, types.is_decimal)
        fields = [file.schema_arrow.field(name) for name in wanted]
        other = [f"{field.name!r} ({field.type})" for field in fields if not any(test(field.type) for test in fine)]
        if other:
            raise DataError(
                f"{path}: not numbers: column {', '.join(other)}. Name those to keep "
                f"({argument('columns')}), or encode these."
            )
        # Once as the file has them, and once as a matrix.
        check_memory(2 * 8 * len(wanted) * file.metadata.num_rows, str(path), AS_NPY)
        table = file.read(columns=wanted)
        check_pages(path, file.metadata)
    _check_missing(table, path, table.column_names)
    matrix = _matrix(table)
    for number, column in enumerate(table.columns):
        if types.is_integer(column.type) and _is_rounded(matrix[:, number], column.to_numpy()):
            raise DataError(_rounded(f"{path}: column {table.column_names[number]!r}"))
    return Table(matrix, tuple(table.column_names))


def _is_rounded(numbers: np.ndarray, whole: np.ndarray) -> bool:
    large = np.abs(numbers) >= _EXACT
    return bool((numbers[large].astype(object) != whole[large].astype(object)).any())


def _matrix(table) -> np.ndarray:
    matrix = np.empty((len(table), table.num_columns))
    for number, column in enumerate(table.columns):
        matrix[:, number] = column.to_numpy()
    return matrix


def _explain(path: Path, shape: TableLayout, wanted: list[int]) -> None:
    """Goes through the file line by line, once something in it is known to be wrong, and says what."""
    names, words = shape.labels, {}
    for line, fields in csv_lines(path, shape.delimiter):
        if len(fields) != len(names):
            raise FileError(
                f"{path}, line {line} has {len(fields)} fields where the first line has {len(names)}; "
                "the file is cut short there, or a delimiter is missing or too many."
            )
        for number, field in enumerate(fields if line > shape.skipped else ()):
            if number in wanted and not is_number(field) and field not in HOLES:
                words.setdefault(number, f"{names[number]!r} (line {line}: {field.strip()!r})")
    if words:
        listing = ", ".join(words[number] for number in sorted(words))
        raise DataError(
            f"{path}: not numbers: column {listing}. Name those to keep ({argument('columns')}), or encode these."
        )


def _check_missing(table, path: Path, names: list[str], shape: TableLayout | None = None) -> None:
    found = [
        (row, name)
        for name, column in zip(names, table.columns, strict=True)
        for row in (np.flatnonzero(column.is_null().to_numpy())[:_SHOWN].tolist() if column.null_count else ())
    ][:_SHOWN]
    if found:
        lines = None if shape is None else lines_of_rows(path, shape, len(table))
        places = [f"row {row}, column {name!r}" for row, name in found]
        if lines is not None:
            places = [f"line {lines[row]}, column {name!r}" for row, name in found]
        total = sum(column.null_count for column in table.columns)
        raise DataError(
            f"{path}: {total} missing values: {'; '.join(places)}{'; ...' if total > len(places) else ''}"
            f"{' (rows counted from 0)' if lines is None else ''}. Drop these rows or fill the holes."
        )
