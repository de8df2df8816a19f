"""Tables on disk: Parquet and what else pyarrow.dataset opens, and Hugging Face's datasets."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from pyrovae.data.blocks.column_arguments import ColumnArguments, Wanted
from pyrovae.data.blocks.reader import Leaves
from pyrovae.data.check_memory import check_memory
from pyrovae.data.check_plain import check_plain
from pyrovae.data.datasets.array_files import existing, reading
from pyrovae.data.datasets.page_checksums import check_pages
from pyrovae.data.datasets.read_frame import to_pandas
from pyrovae.errors import DataError, FileError

_BYTES = 2**22

_SMALLER = "Write it again in smaller row groups: pyarrow.parquet.write_table(..., row_group_size=100_000)."


class Fragments:
    """The row groups of a folder or file of Parquet; of another format each file is a block.

    Args:
        dataset: of pyarrow.dataset.
        columns: which are which argument; None for all as one matrix. For `encode` the names of those to read.
        encode: makes rows of a frame, in the place of columns of numbers.
        label: what it is called in an error.
    """

    def __init__(
        self, dataset: Any, columns: Wanted, encode: Callable[[Any], Any] | None = None, label: str = "the dataset"
    ):
        self.dataset, self.wanted, self.encode, self.label = dataset, columns, encode, label
        if columns is not None and encode is None:  # else a schema says what columns are, or the pair may have one
            _ = self.arguments
        with reading(Path(label)):
            self.parts = [part for fragment in dataset.get_fragments() for part in _parts(fragment)]
            self.sizes = [_rows_of(part) for part in self.parts]
        kept = [(part, size) for part, size in zip(self.parts, self.sizes, strict=True) if size]
        self.parts, self.sizes = [part for part, _ in kept], [size for _, size in kept]
        if not kept:
            raise DataError(f"{label} is empty; give at least one row")

    @cached_property
    def arguments(self) -> ColumnArguments:
        """Which columns are which argument."""
        return ColumnArguments(self.dataset.schema, self.wanted, self.label)

    def read(self, block: int) -> Leaves:
        """The rows of a block."""
        if self.encode is None:
            return self.arguments.leaves(self.table(block, self.arguments.names))
        table = self.table(block, None if self.wanted is None else list(self.wanted))
        return {0: self.encode(to_pandas(table))}

    def table(self, block: int, names: list[str] | None) -> Any:
        """Columns of a block, all where none are named."""
        columns = len(self.dataset.schema.names if names is None else names)
        # Once as the file has them, and once as arrays; a file may say a number a million times in a few bytes.
        check_memory(2 * 8 * columns * self.sizes[block], f"{self.label}, {_place(self.parts[block])},", _SMALLER)
        with reading(Path(self.label)):
            self._check_columns(self.parts[block], names)
            table = self.parts[block].to_table(schema=self.dataset.schema, columns=names)
        if len(table) != self.sizes[block]:
            raise FileError(
                f"{self.label}, {_place(self.parts[block])}: {len(table)} rows, {self.sizes[block]} before."
            )
        return table

    def _check_columns(self, part: Any, names: Sequence[str] | None) -> None:
        """Refuse a file without a column that others have: it would be read as holes."""
        from pyarrow.dataset import get_partition_keys

        there = {*part.physical_schema.names, *get_partition_keys(part.partition_expression)}
        if missing := [name for name in names or () if name not in there]:
            raise DataError(
                f"{self.label}, {_place(part)} has no column {', '.join(map(repr, missing[:3]))}, which other files of "
                "the folder have: add it there, name the columns to take, or keep the file in a folder of its own."
            )


class HubRows:
    """A dataset of Hugging Face's library, whose rows lie in Arrow files.

    Args:
        dataset: `datasets.Dataset`; what `select` and `shuffle` left of it.
        columns: which are which argument; None for all as one matrix.
        encode: makes rows of a frame, in the place of columns of numbers.
    """

    label = "the dataset"

    def __init__(self, dataset: Any, columns: Wanted, encode: Callable[[Any], Any] | None = None):
        if not len(dataset):
            raise DataError("the dataset is empty; give at least one row")
        self.wanted, self.encode, self.dataset = columns, encode, dataset
        self.rows = dataset.with_format("arrow")
        first = self.rows[:1]
        self.schema = first.schema
        if columns is not None:
            _ = self.arguments
        step = max(1, math.ceil(_BYTES / max(first.nbytes, 1)))
        self.starts = range(0, len(dataset), step)
        self.sizes = [min(step, len(dataset) - start) for start in self.starts]

    @cached_property
    def arguments(self) -> ColumnArguments:
        """Which columns are which argument."""
        return ColumnArguments(self.schema, self.wanted, self.label)

    def read(self, block: int) -> Leaves:
        """The rows of a block."""
        start = self.starts[block]
        table = self.rows[start : start + self.sizes[block]]
        return {0: self.encode(to_pandas(table))} if self.encode else self.arguments.leaves(table)


def open_parquet(path: Path) -> Any:
    """A file or a folder of Parquet as a dataset of pyarrow, whose pages are checked.

    Raises:
        FileError: it is not there, damaged, or no plain file; or a link in it leads to another folder.
    """
    from pyarrow import dataset as arrow

    path = existing(path)
    files = _files_in(path) if path.is_dir() else [path]

    options = arrow.ParquetFragmentScanOptions(page_checksum_verification=True)
    with reading(path):
        found = arrow.dataset(
            [str(file) for file in files], format=arrow.ParquetFileFormat(default_fragment_scan_options=options)
        )
        for number, fragment in enumerate(found.get_fragments()):
            check_pages(Path(fragment.path), fragment.metadata, says=number == 0)
    return found


def _files_in(folder: Path) -> list[Path]:
    """The files of a folder but for those whose names begin with a dot or a line, as of notes beside the data.

    pyarrow's own walk follows links to folders, in circles without end, and passes over what is no plain file.
    """
    found: list[Path] = []
    for place, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if name[0] not in "._")
        for name in folders:
            check_plain(Path(place, name), links=False)
        found += [Path(place, name) for name in sorted(names) if name[0] not in "._"]
    if not found:
        raise FileError(f"{folder} holds no files of Parquet.")
    check_plain(*found, links=True)
    return found


def _parts(fragment: Any) -> list[Any]:
    return fragment.split_by_row_group() if hasattr(fragment, "split_by_row_group") else [fragment]


def _rows_of(part: Any) -> int:
    groups = getattr(part, "row_groups", None)
    return sum(group.num_rows for group in groups) if groups else part.count_rows()


def _place(part: Any) -> str:
    groups = getattr(part, "row_groups", None)
    return f"row group {groups[0].id} of {Path(part.path).name}" if groups else f"part {getattr(part, 'path', '')}"
