"""Data that are larger than memory, as `fit` and every question take them."""

from __future__ import annotations

import os
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Callable
from functools import cached_property
from itertools import accumulate
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import Dataset

from pyrovae.data.blocks.column_arguments import Wanted
from pyrovae.data.blocks.reader import Leaves, Reader, bytes_of
from pyrovae.data.blocks.sliced_arrays import SlicedArrays, is_array_on_disk
from pyrovae.data.blocks.stored_tables import Fragments, HubRows, open_parquet
from pyrovae.data.check_memory import check_memory
from pyrovae.data.inspection import pick, signed
from pyrovae.errors import ArgumentError, DataError, argument, warn_user
from pyrovae.pairs.numbers import check_count

_MEMORY = 2**28


class OnDisk(Dataset):
    """Rows that stay on disk: a `Dataset` that reads in blocks, made by `on_disk`.

    Attributes:
        reader: what reads the blocks.
        memory: bytes that rows in memory take.
    """

    def __init__(self, reader: Reader, *, memory: int = _MEMORY):
        self.reader, self.memory = reader, memory
        self.ends = list(accumulate(reader.sizes))
        self._bounds = torch.tensor(self.ends)
        self._held: OrderedDict[int, Leaves] = OrderedDict()

    def __len__(self) -> int:
        return self.ends[-1]

    def __repr__(self) -> str:
        return f"OnDisk({len(self):,} rows in {len(self.reader.sizes):,} blocks of {self.reader.label})"

    def __getitem__(self, row: int) -> Any:
        if not -len(self) <= row < len(self):
            raise IndexError(f"row {row} of {len(self)}")
        return self.__getitems__([row % len(self)])[0]

    def __getitems__(self, rows: list[int]) -> list[Any]:
        """Several rows, as a `DataLoader` collates them."""
        leaves = self.take(torch.as_tensor(rows))
        if list(leaves) == [0]:
            return list(leaves[0])
        by_place = all(isinstance(name, int) for name in leaves)
        values = [
            tuple(leaf[row] for leaf in leaves.values()) if by_place else {k: leaf[row] for k, leaf in leaves.items()}
            for row in range(len(rows))
        ]
        return values

    @cached_property
    def window(self) -> int:
        """How many rows are shuffled together: two windows fit into the memory."""
        rows, largest = self.memory // 2 // self.row_bytes, max(self.reader.sizes)
        if largest > max(rows, 1):
            size = largest * self.row_bytes / 2**20
            warn_user(
                f"{self.reader.label} has blocks of {largest:,} rows, {size:,.0f} MiB each, and two of them stand in "
                f"memory, above {argument('memory', self.memory)}. Smaller row groups, or chunks, "
                "take less and are shuffled better."
            )
        return max(1, rows)

    @cached_property
    def row_bytes(self) -> int:
        """What a row takes."""
        first = self.block(0)
        return max(1, bytes_of(first) // self.reader.sizes[0])

    def block(self, number: int) -> Leaves:
        """The rows of one block; those read last are held as far as the memory allows."""
        if number in self._held:
            self._held.move_to_end(number)
            return self._held[number]
        block = self.read(number)
        self._held[number] = block
        while len(self._held) > 1 and sum(map(bytes_of, self._held.values())) > self.memory:
            self._held.popitem(last=False)
        return block

    def read(self, number: int) -> Leaves:
        """The rows of one block, read anew.

        Raises:
            DataError: they are not so many, or not of the shape of the others.
        """
        block = self.reader.read(number)
        for name, leaf in block.items():
            if len(leaf) != self.reader.sizes[number]:
                raise DataError(
                    f"{self.reader.label}: block {number} has {len(leaf)} rows where {self.reader.sizes[number]} were "
                    f"said ({name!r}); the data have changed while they were read."
                )
        return block

    def forget(self) -> None:
        """Let go of the blocks that are held."""
        self._held.clear()

    def take(self, rows: torch.Tensor | slice) -> Leaves:
        """The given rows of every argument."""
        if isinstance(rows, slice):
            start, end, _ = rows.indices(len(self))
            return self._neighbours(start, end)
        numbers = torch.bucketize(rows, self._bounds, right=True)
        found: Leaves = {}
        for number in numbers.unique().tolist():
            here = (numbers == number).nonzero().flatten()
            inside = rows[here] - (self.ends[number] - self.reader.sizes[number])
            for name, leaf in self.block(number).items():
                if name not in found:
                    found[name] = leaf.new_empty((len(rows), *leaf.shape[1:]))
                signed(found[name]).index_copy_(0, here, signed(pick(leaf, inside)))
        return found

    def _neighbours(self, start: int, end: int) -> Leaves:
        if (end - start) * self.row_bytes > self.memory:
            check_memory(
                2 * (end - start) * self.row_bytes,
                f"{self.reader.label}, {end - start:,} rows at once,",
                "Give fewer rows, or a pair that takes its rows in batches.",
            )
        parts = []
        for number in range(bisect_right(self.ends, start), len(self.ends)):
            first = self.ends[number] - self.reader.sizes[number]
            if first >= end:
                break
            parts.append({name: leaf[max(start - first, 0) : end - first] for name, leaf in self.block(number).items()})
        return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}

    def encoded(self, encode: Callable[[Any], Any]) -> OnDisk | None:
        """The same rows as a schema reads them; None where these are no columns of a table, or some were chosen."""
        reader = self.reader
        if not isinstance(reader, Fragments | HubRows) or reader.encode or reader.wanted is not None:
            return None
        return OnDisk(type(reader)(reader.dataset, None, encode), memory=self.memory)


def on_disk(source: Any, *, columns: Wanted = None, memory: int = _MEMORY) -> OnDisk:
    """Data that stay on disk, for `fit` and for every question: Parquet, Zarr, HDF5, Hugging Face's datasets.

    Rows are read in blocks (a row group of Parquet, chunks of an array). An epoch takes the blocks in a random order
    and shuffles the rows within windows of as many blocks as half of the memory holds; the next window is read while
    the pair trains on this one. The order is a function of the seed and the epoch, so that a run that was killed goes
    on bit for bit, with one process or several. Rows that are neighbours on disk meet in one window: where they are
    sorted (by class, by time), shuffle them once as they are written.

    What this opens, `fit` takes as it is, too: `pyarrow.dataset.Dataset`, arrays of Zarr and h5py, `datasets.Dataset`.

    Args:
        source: a path of a file or folder of Parquet; `pyarrow.dataset.Dataset`; an array of Zarr or h5py, or a tuple
            or dict of them as `fit` takes arrays; a `datasets.Dataset`.
        columns: of a table, which are which argument. Left out, all of them are the matrix `(rows, columns)` that
            `model(x)` takes, or what the pair's schema makes of them. Names are such a matrix; a dict gives arguments
            by name, `{"x": ["a", "b"], "y": "class"}`. A column of lists is an array `(rows, *shape)`.
        memory: bytes that rows in memory may take.

    Returns:
        A `Dataset` of the rows.

    Raises:
        FileError: it cannot be read.
        DataError: no rows, or columns that are no numbers where there is no schema.
        ArgumentError: no such column, or `columns` for arrays.

    Examples:
        >>> import pathlib, tempfile, numpy as np, pyarrow, pyarrow.parquet, pyrovae as pv
        >>> folder = pathlib.Path(tempfile.mkdtemp())
        >>> table = pyarrow.table({"a": np.arange(100.0), "b": np.ones(100)})
        >>> pyarrow.parquet.write_table(table, folder / "part-0.parquet", row_group_size=30)
        >>> rows = pv.on_disk(folder)
        >>> len(rows), rows[40].tolist()
        (100, [40.0, 1.0])
    """
    memory = check_count("memory", memory)
    reader = _reader(source, columns)
    if reader is None:
        kind = type(source)
        raise ArgumentError(
            f"{argument('source')} is a {kind.__module__.split('.')[0]} {kind.__name__}; give a path of Parquet files, "
            "a pyarrow.dataset.Dataset, arrays of Zarr or h5py, or a datasets.Dataset. Arrays in memory go to fit as "
            "they are."
        )
    return OnDisk(reader, memory=memory)


def as_on_disk(data: Any) -> OnDisk | None:
    """What `fit` is given, where it lies on disk; None where it does not."""
    data = data[0] if isinstance(data, tuple) and len(data) == 1 else data
    if isinstance(data, OnDisk):
        return data
    reader = None if isinstance(data, str | os.PathLike) else _reader(data, None)
    return None if reader is None else OnDisk(reader)


def _reader(source: Any, columns: Wanted) -> Reader | None:
    if isinstance(source, str | os.PathLike):
        path = Path(source).expanduser()
        return Fragments(open_parquet(path), columns, label=str(path))
    if _is_arrow_dataset(source):
        return Fragments(source, columns)
    if _is_hub_dataset(source):
        return HubRows(source, columns)
    named = (
        source if isinstance(source, dict) else dict(enumerate(source)) if isinstance(source, tuple) else {0: source}
    )
    if not any(map(is_array_on_disk, named.values())):
        return None
    if columns is not None:
        raise ArgumentError(f"{argument('columns')} means nothing for arrays; give those that the pair takes.")
    return SlicedArrays(named)


def _is_arrow_dataset(thing: Any) -> bool:
    kinds = {kind.__module__ + "." + kind.__name__ for kind in type(thing).__mro__}
    return "pyarrow._dataset.Dataset" in kinds


def _is_hub_dataset(thing: Any) -> bool:
    kind = type(thing)
    named = kind.__module__.startswith("datasets.") and kind.__name__ == "Dataset"
    # What a transform of the user's makes of a row, only the library knows.
    return named and thing.format["type"] != "custom"
