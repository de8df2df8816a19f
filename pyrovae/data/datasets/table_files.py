"""Tables of numbers from .csv and .parquet files."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TextIO

import numpy as np

from pyrovae.data.check_memory import check_memory
from pyrovae.data.datasets.array_files import AS_NPY, reading
from pyrovae.data.datasets.page_checksums import say_whether_checked
from pyrovae.errors import ArgumentError, DataError, FileError, argument

# What other programs write where a value is missing.
HOLES = ("", "NA", "N/A", "NaN", "nan", "NULL", "null", "None", "?")

# Other words for a hole, which are no name of a column either.
_MARKS = {mark.lower() for mark in HOLES} | {"#n/a", "#na", "inf", "-inf", "infinity", "missing", "nil", "unknown"}

_LONGEST_LINE = 2**26  # characters; a line of a million columns has a third of that

_EXACT = 2**53  # up to which floating numbers hold all whole ones

_WHOLE = re.compile(r"[+-]?[0-9]{1,4000}(\.0*)?")  # Python reads no longer ones

_SHOWN = 5  # places named in one message


class Table(NamedTuple):
    """Numbers in rows and named columns; `names` is empty where the file has none."""

    values: np.ndarray
    names: tuple[str, ...]


class TableLayout(NamedTuple):
    """How a .csv file is written: its columns' names (their numbers where it has none), and where its rows begin."""

    labels: list[str]
    named: bool
    delimiter: str
    skipped: int


def layout(path: Path, *, header: bool | None) -> TableLayout:
    """The layout of a .csv file; `header=None` finds out whether the first line holds names."""
    with reading(path):
        (line, first), second, delimiter = _head(path)
    named = _is_header(first, second) if header is None else header
    labels = [field.strip() for field in first] if named else [str(number) for number in range(len(first))]
    return TableLayout(labels, named, delimiter, line if named else 0)


def column_names(path: Path, *, header: bool | None = None) -> list[str]:
    """What the columns of a table are called; in a file without names they are called by their numbers."""
    if path.suffix.lower() == ".csv":
        return layout(path, header=header).labels
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

            table = parsed(path, layout(path, header=header), [number], kind=string())
        else:
            from pyarrow import parquet

            table = parquet.read_table(path, columns=[column])
    return np.array([str(value) for value in table.column(0).to_pylist()])


def read_csv(path: Path, *, header: bool | None, columns: Sequence[str] | None = None) -> Table:
    """The numbers of a .csv file as float64, of all columns or of those that are named."""
    shape = layout(path, header=header)
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
        say_whether_checked(path, file.metadata)
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


def _lines(path: Path, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """Line number (from 1) and fields of each line that is not blank."""
    with path.open(newline="", encoding="utf-8-sig") as stream:
        lines = csv.reader(_bounded(stream, path), delimiter=delimiter)
        try:
            yield from ((lines.line_num, fields) for fields in lines if fields)
        except csv.Error as error:
            raise FileError(f"{path}, line {lines.line_num}: {error}.") from error


def _bounded(stream: TextIO, path: Path) -> Iterator[str]:
    """The lines of a file, none of which may be longer than memory allows."""
    while line := stream.readline(_LONGEST_LINE):
        if len(line) == _LONGEST_LINE:
            raise FileError(
                f"{path} has a line of more than {_LONGEST_LINE:,} characters, which is no row of a table; "
                "a file of so many columns is read as .npy."
            )
        yield line


def _head(path: Path) -> tuple[tuple[int, list[str]], list[str], str]:
    """The first line with its number, the fields of the second, and what stands between fields."""
    with path.open(encoding="utf-8-sig") as stream:
        line = next((line for line in _bounded(stream, path) if line.strip()), "")
    if not line:
        raise FileError(f"{path} holds blank lines only.")
    delimiter = max(",;\t|", key=line.count)
    lines = _lines(path, delimiter)
    first = next(lines)
    return first, next(lines, (0, []))[1], delimiter


def _is_header(first: list[str], second: list[str]) -> bool:
    """Names all along, or a name above a number where every number could be a name, too: a year say.

    A lone hole mark such as "?" is not a name, and neither is a sign without a letter such as "-".
    """
    names = [_is_name(field) for field in first]
    above = any(name and _is_number(below) for name, below in zip(names, second, strict=False))
    numbers = [field.strip() for field in first if _is_number(field)]
    return any(names) and (not numbers or (above and all(number.isdecimal() for number in numbers)))


def _is_name(field: str) -> bool:
    text = field.strip()
    return not _is_number(text) and text.lower() not in _MARKS and any(letter.isalpha() for letter in text)


def _is_number(field: str) -> bool:
    try:
        float(field)
    except ValueError:
        return False
    return "_" not in field


def _explain(path: Path, shape: TableLayout, wanted: list[int]) -> None:
    """Goes through the file line by line, once something in it is known to be wrong, and says what."""
    names, words = shape.labels, {}
    for line, fields in _lines(path, shape.delimiter):
        if len(fields) != len(names):
            raise FileError(
                f"{path}, line {line} has {len(fields)} fields where the first line has {len(names)}; "
                "the file is cut short there, or a delimiter is missing or too many."
            )
        for number, field in enumerate(fields if line > shape.skipped else ()):
            if number in wanted and not _is_number(field) and field not in HOLES:
                words.setdefault(number, f"{names[number]!r} (line {line}: {field.strip()!r})")
    if words:
        listing = ", ".join(words[number] for number in sorted(words))
        raise DataError(
            f"{path}: not numbers: column {listing}. Name those to keep ({argument('columns')}), or encode these."
        )


def lines_of_rows(path: Path, shape: TableLayout, rows: int) -> Sequence[int]:
    """The line of the file in which each row of a .csv file stands, as editors count."""
    with path.open("rb") as stream:
        feeds, last = 0, b"\n"
        while block := stream.read(2**20):
            feeds, last = feeds + block.count(b"\n"), block[-1:]
    if shape.skipped + rows == feeds + (last != b"\n"):
        return range(shape.skipped + 1, shape.skipped + 1 + rows)
    found = [line for line, _ in _lines(path, shape.delimiter) if line > shape.skipped]  # there are blank ones
    return found if len(found) == rows else range(shape.skipped + 1, shape.skipped + 1 + rows)


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
