"""Whether a Parquet file has checksums, so that damage of its values can be noticed at all."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import IO, Any

_log = logging.getLogger("pyrovae")


def say_whether_checked(path: Path, metadata: Any) -> None:
    """Log it where the pages of a file that was read have no checksums; those that are there were compared."""
    column = metadata.row_group(0).column(0) if metadata.num_row_groups else None
    if column is None:
        return
    begins = [column.data_page_offset, *([column.dictionary_page_offset] if column.has_dictionary_page else [])]
    with path.open("rb") as stream:
        stream.seek(min(begins))
        if not _has_checksum(stream):
            _log.info(
                "%s has no page checksums, so damage of its values could not be noticed; writers have an option for "
                "them, write_page_checksum=True of pyarrow and pandas.",
                path,
            )


def _has_checksum(stream: IO[bytes]) -> bool:
    """Whether the header of a page (Thrift's compact protocol) goes on with field 4, the checksum, after the sizes."""
    for _ in range(3):  # the page's type, its size as it is and as it is packed: a byte each that says so, and a number
        stream.read(1)
        while stream.read(1) >= b"\x80":  # more bytes of the number follow
            pass
    return stream.read(1) == b"\x15"  # the next field, a number of 32 bits
