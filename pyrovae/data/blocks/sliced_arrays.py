"""Arrays on disk of which neighbouring rows can be had: Zarr, HDF5, and whatever slices into numpy."""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import numpy as np
import torch

from pyrovae.data.blocks.check_stored import SMALLER, check_stored
from pyrovae.data.blocks.reader import Leaves
from pyrovae.data.check_memory import check_memory
from pyrovae.data.datasets.array_files import said_in_a_line
from pyrovae.data.inspection import leaves_of, pick
from pyrovae.errors import DataError, FileError
from pyrovae.pairs.argument_names import argument_words

_BYTES = 2**22  # of a block at least: smaller ones cost more calls than they mix

_BYTES_OF_BLOCK = 100  # what its place and size take in memory


class SlicedArrays:
    """Arrays of the same rows by position or name, in blocks that end where the chunks of one of them do.

    Args:
        arrays: of Zarr or h5py; arrays in memory may stand beside them.
    """

    label = "the arrays on disk"

    def __init__(self, arrays: Mapping[Any, Any]):
        self.arrays = dict(arrays)
        for name, array in self.arrays.items():
            if is_array_on_disk(array):
                check_stored(array, argument_words(name))
        first = {name: _rows(array, 0, 1, argument_words(name)) for name, array in self.arrays.items()}
        leaves_of(tuple(first.values()))  # numbers, and with rows
        rows = {name: int(array.shape[0]) for name, array in self.arrays.items()}
        if len(set(rows.values())) > 1:
            words = ", ".join(f"{argument_words(name)} has {count}" for name, count in rows.items())
            raise DataError(f"the arguments have different numbers of rows: {words}")
        self.rows = next(iter(rows.values()))
        bytes_of_row = sum(leaf.nbytes for leaf in first.values())
        size = self._block_rows(bytes_of_row)
        check_memory(2 * bytes_of_row * min(size, self.rows), f"a block of {self.label}", SMALLER)
        check_memory(
            _BYTES_OF_BLOCK * (self.rows // size), f"the list of the blocks of {self.label}", "Take fewer rows."
        )
        self.ends = [*range(0, self.rows, size), self.rows]
        self.sizes = [end - start for start, end in pairwise(self.ends)]

    def _block_rows(self, bytes_of_row: int) -> int:
        """So many rows that no chunk is read twice, and enough of them."""
        chunks = [chunk[0] for array in self.arrays.values() if (chunk := getattr(array, "chunks", None))]
        whole = max(chunks, default=1)
        return whole * max(1, math.ceil(_BYTES / max(bytes_of_row * whole, 1)))

    def read(self, block: int) -> Leaves:
        """The rows of a block."""
        start, end = self.ends[block], self.ends[block + 1]
        return {
            name: pick(_rows(array, start, end, argument_words(name)), slice(None))
            for name, array in self.arrays.items()
        }


def is_array_on_disk(thing: Any) -> bool:
    """Whether it is an array of Zarr or a data set of h5py."""
    kind = type(thing)
    return kind.__module__.partition(".")[0] in ("zarr", "h5py") and hasattr(kind, "shape") and hasattr(kind, "dtype")


def _rows(array: Any, start: int, end: int, where: str) -> np.ndarray | torch.Tensor:
    if isinstance(array, torch.Tensor):
        return array[start:end]
    try:
        return np.asarray(array[start:end])
    except Exception as error:  # of the library that reads it, of any kind, about this file
        raise FileError(f"{where}: rows {start} to {end} cannot be read: {said_in_a_line(error)}.") from error
