"""Tables of numbers from .csv and .parquet files."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from pyrovae.errors import DataError, FileError
from pyrovae.readers import reading

# What other programs write where a value is missing.
_HOLES = ("", "NA", "N/A", "NaN", "nan", "NULL", "null", "None", "?")
_SHOWN = 5  # places named in one message


class Table(NamedTuple):
    """Numbers in rows and named columns; `names` is empty where the file has none."""

    values: np.ndarray
    names: tuple[str, ...]


def read_csv(path: Path, *, header: bool | None) -> Table:
    """The numbers of a .csv file as float64; `header=None` finds out whether the first line holds names."""
    with reading(path):
        (line, first), second, delimiter = _head(path)
        named = _is_header(first, second) if header is None else header
        labels = [field.strip() for field in first] if named else [str(number) for number in range(len(first))]
        table = _parsed(path, labels, delimiter=delimiter, skipped=line if named else 0)
    _check_holes(table, path, labels)
    if not len(table):
        raise DataError(f"{path} holds a line of names and no rows.")
    return Table(_matrix(table), tuple(labels) if named else ())


def _parsed(path: Path, labels: list[str], *, delimiter: str, skipped: int):
    from pyarrow import ArrowInvalid, csv, float64

    numbers = [str(number) for number in range(len(labels))]  # names may occur twice, these do not
    # One type for all: inference looks at the first block only, and fails on a later "3.5" among integers.
    convert = csv.ConvertOptions(column_types=dict.fromkeys(numbers, float64()), null_values=list(_HOLES))
    read, parse = csv.ReadOptions(column_names=numbers, skip_rows=skipped), csv.ParseOptions(delimiter=delimiter)
    try:
        return csv.read_csv(path, read_options=read, parse_options=parse, convert_options=convert)
    except ArrowInvalid:
        _explain(path, labels, delimiter=delimiter, skipped=skipped)
        raise


def read_parquet(path: Path) -> Table:
    """The numbers of a .parquet file as float64."""
    from pyarrow import parquet, types

    with reading(path):
        table = parquet.read_table(path)
    # pandas writes an index that is not 0, 1, 2, ... as one more column; it is not data.
    table = table.drop_columns([n for n in table.column_names if re.fullmatch(r"__index_level_\d+__", n)])
    fine = (types.is_integer, types.is_floating, types.is_boolean, types.is_decimal)
    other = [f"{f.name!r} ({f.type})" for f in table.schema if not any(test(f.type) for test in fine)]
    if other:
        raise DataError(f"{path}: not numbers: column {', '.join(other)}. Drop or encode these columns.")
    _check_holes(table, path, table.column_names)
    return Table(_matrix(table), tuple(table.column_names))


def _matrix(table) -> np.ndarray:
    matrix = np.empty((len(table), table.num_columns))
    for number, column in enumerate(table.columns):
        matrix[:, number] = column.to_numpy()
    return matrix


def _lines(path: Path, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """Line number (from 1) and fields of each line that is not blank."""
    with path.open(newline="", encoding="utf-8-sig") as stream:
        lines = csv.reader(stream, delimiter=delimiter)
        try:
            yield from ((lines.line_num, fields) for fields in lines if fields)
        except csv.Error as error:
            raise FileError(f"{path}, line {lines.line_num}: {error}.") from error


def _head(path: Path) -> tuple[tuple[int, list[str]], list[str], str]:
    """The first line with its number, the fields of the second, and what stands between fields."""
    with path.open(encoding="utf-8-sig") as stream:
        line = next((line for line in stream if line.strip()), "")
    if not line:
        raise FileError(f"{path} holds blank lines only.")
    delimiter = max(",;\t|", key=line.count)
    lines = _lines(path, delimiter)
    first = next(lines)
    return first, next(lines, (0, []))[1], delimiter


def _is_header(first: list[str], second: list[str]) -> bool:
    """Names all along, or a word above a number; a lone hole mark such as "?" is not a name."""
    words = [not _is_number(field) and field.strip() not in _HOLES for field in first]
    above = any(word and _is_number(below) for word, below in zip(words, second, strict=False))
    return above or (any(words) and not any(_is_number(field) for field in first))


def _is_number(field: str) -> bool:
    try:
        float(field)
    except ValueError:
        return False
    return "_" not in field


def _explain(path: Path, names: list[str], *, delimiter: str, skipped: int) -> None:
    """Goes through the file line by line, once something in it is known to be wrong, and says what."""
    words: dict[int, str] = {}
    for line, fields in _lines(path, delimiter):
        if len(fields) != len(names):
            raise FileError(
                f"{path}, line {line} has {len(fields)} fields where the first line has {len(names)}; "
                "the file is cut short there, or a delimiter is missing or too many."
            )
        for number, field in enumerate(fields if line > skipped else ()):
            if not _is_number(field) and field not in _HOLES:
                words.setdefault(number, f"{names[number]!r} (line {line}: {field.strip()!r})")
    if words:
        listing = ", ".join(words[number] for number in sorted(words))
        raise DataError(f"{path}: not numbers: column {listing}. Drop or encode these columns.")


def _check_holes(table, path: Path, names: list[str]) -> None:
    places = []
    for name, column in zip(names, table.columns, strict=True):
        rows = np.flatnonzero(column.is_null().to_numpy()) if column.null_count else ()
        places += [f"row {row}, column {name!r}" for row in rows[: _SHOWN - len(places)]]
    if places:
        total = sum(column.null_count for column in table.columns)
        raise DataError(
            f"{path}: {total} missing values: {'; '.join(places)}{'; ...' if total > len(places) else ''} (rows "
            "counted from 0, without the line of names). Drop these rows or fill the holes."
        )
