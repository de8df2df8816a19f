"""How a .csv file is written: what stands between its fields, which names its columns have, where its rows begin."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, TextIO

from pyrovae.data.datasets.array_files import reading
from pyrovae.errors import FileError

# What other programs write where a value is missing.
HOLES = ("", "NA", "N/A", "NaN", "nan", "NULL", "null", "None", "?")

# Other words for a hole, which are no name of a column either.
_MARKS = {mark.lower() for mark in HOLES} | {"#n/a", "#na", "inf", "-inf", "infinity", "missing", "nil", "unknown"}

_LONGEST_LINE = 2**26  # characters; a line of a million columns has a third of that


class TableLayout(NamedTuple):
    """How a .csv file is written: its columns' names (their numbers where it has none), and where its rows begin."""

    labels: list[str]
    named: bool
    delimiter: str
    skipped: int


def table_layout(path: Path, *, header: bool | None) -> TableLayout:
    """The layout of a .csv file; `header=None` finds out whether the first line holds names."""
    with reading(path):
        (line, first), second, delimiter = _head(path)
    named = _is_header(first, second) if header is None else header
    labels = [field.strip() for field in first] if named else [str(number) for number in range(len(first))]
    return TableLayout(labels, named, delimiter, line if named else 0)


def csv_lines(path: Path, delimiter: str) -> Iterator[tuple[int, list[str]]]:
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
    lines = csv_lines(path, delimiter)
    first = next(lines)
    return first, next(lines, (0, []))[1], delimiter


def _is_header(first: list[str], second: list[str]) -> bool:
    """Names all along, or a name above a number where every number could be a name, too: a year say.

    A lone hole mark such as "?" is not a name, and neither is a sign without a letter such as "-".
    """
    names = [_is_name(field) for field in first]
    above = any(name and is_number(below) for name, below in zip(names, second, strict=False))
    numbers = [field.strip() for field in first if is_number(field)]
    return any(names) and (not numbers or (above and all(number.isdecimal() for number in numbers)))


def _is_name(field: str) -> bool:
    text = field.strip()
    return not is_number(text) and text.lower() not in _MARKS and any(letter.isalpha() for letter in text)


def is_number(field: str) -> bool:
    """Whether a field says a number; Python's 1_000 is none."""
    try:
        float(field)
    except ValueError:
        return False
    return "_" not in field


def lines_of_rows(path: Path, shape: TableLayout, rows: int) -> Sequence[int]:
    """The line of the file in which each row of a .csv file stands, as editors count."""
    with path.open("rb") as stream:
        feeds, last = 0, b"\n"
        while block := stream.read(2**20):
            feeds, last = feeds + block.count(b"\n"), block[-1:]
    if shape.skipped + rows == feeds + (last != b"\n"):
        return range(shape.skipped + 1, shape.skipped + 1 + rows)
    found = [line for line, _ in csv_lines(path, shape.delimiter) if line > shape.skipped]  # there are blank ones
    return found if len(found) == rows else range(shape.skipped + 1, shape.skipped + 1 + rows)
