"""What a Parquet file says of itself in two places: its rows, and whether its pages have checksums."""

from __future__ import annotations

import logging
from base64 import b64decode
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, NamedTuple

from pyrovae.errors import FileError

_log = logging.getLogger("pyrovae")


class _Page(NamedTuple):
    kind: bytes
    has_checksum: bool


def check_pages(path: Path, metadata: Any, *, says: bool = True) -> None:
    """Refuse a file whose parts disagree; log it where its pages have no checksums. Those that are there were compared.

    A page whose header lost its checksum would be read without one. Some writers give them to pages of one kind alone.

    Args:
        path: the file.
        metadata: of it.
        says: whether to log it, too.

    Raises:
        FileError: numbers of rows, names of columns or pages of one kind differ.
    """
    groups = [*_row_groups(metadata)]
    agree = all(_agrees(group, metadata.schema) for group in groups)
    if sum(group.num_rows for group in groups) != metadata.num_rows or not agree or _renamed(metadata):
        raise FileError(
            f"{path} is damaged: what it says of its rows or columns in one place, it says otherwise in another."
        )
    pages = set(_first_pages(path, metadata))
    if len({page.kind for page in pages}) < len(pages):
        raise FileError(f"{path} is damaged: some of its pages have a checksum, and others of their kind have none.")
    if says and pages and not any(page.has_checksum for page in pages):
        _log.info(
            "%s has no page checksums, so damage of its values could not be noticed; writers have an option for "
            "them, write_page_checksum=True of pyarrow and pandas.",
            path,
        )


def _row_groups(metadata: Any) -> Iterator[Any]:
    groups = (metadata.row_group(number) for number in range(metadata.num_row_groups))
    return (group for group in groups if group.num_rows)  # what holds no rows may have no pages


def _agrees(group: Any, schema: Any) -> bool:
    """Whether each column has as many values as there are rows; lists have their own number."""
    return all(
        group.column(number).num_values == group.num_rows or schema.column(number).max_repetition_level
        for number in range(group.num_columns)
    )


def _renamed(metadata: Any) -> bool:
    """Whether Arrow, which writes its own copy of the names, wrote others."""
    from pyarrow import ArrowException, BufferReader, ipc

    written = (metadata.metadata or {}).get(b"ARROW:schema")
    try:
        return written is not None and (
            ipc.read_schema(BufferReader(b64decode(written))).names != metadata.schema.to_arrow_schema().names
        )
    except (ValueError, OSError, ArrowException):
        return True


def _first_pages(path: Path, metadata: Any) -> Iterator[_Page]:
    with path.open("rb") as stream:
        for group in _row_groups(metadata):
            for column in (group.column(number) for number in range(group.num_columns)):
                yield _page(stream, column.data_page_offset)
                if column.has_dictionary_page:
                    yield _page(stream, column.dictionary_page_offset)


def _page(stream: IO[bytes], begin: int) -> _Page:
    """What the header of a page says, in Thrift's compact protocol: after its kind and sizes comes the checksum."""
    stream.seek(begin)
    numbers = []
    for _ in range(3):  # the kind, the size as it is and as it is packed: a byte each that says so, and a number
        stream.read(1)
        digits = [stream.read(1)]
        while digits[-1] >= b"\x80":  # more bytes of the number follow
            digits.append(stream.read(1))
        numbers.append(b"".join(digits))
    return _Page(numbers[0], stream.read(1) == b"\x15")  # the next field, a number of 32 bits
