"""Arrays on disk of which neighbouring rows can be had: Zarr, HDF5, and whatever slices into numpy."""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import numpy as np
import torch

from pyrovae.data.blocks.reader import Leaves
from pyrovae.data.inspection import argument_words, leaves_of, pick
from pyrovae.errors import DataError

_BYTES = 2**22  # of a block at least: smaller ones cost more calls than they mix


class SlicedArrays:
    """Arrays of the same rows by position or name, in blocks that end where the chunks of one of them do.

    Args:
        arrays: of Zarr or h5py; arrays in memory may stand beside them.
    """

    label = "the arrays on disk"

    def __init__(self, arrays: Mapping[Any, Any]):
        self.arrays = dict(arrays)
        first = {name: _rows(array, 0, 1, argument_words(name)) for name, array in self.arrays.items()}
        leaves_of(tuple(first.values()))  # numbers, and with rows
        rows = {name: int(array.shape[0]) for name, array in self.arrays.items()}
        if len(set(rows.values())) > 1:
            words = ", ".join(f"{argument_words(name)} has {count}" for name, count in rows.items())
            raise DataError(f"the arguments have different numbers of rows: {words}")
        self.rows = next(iter(rows.values()))
        size = self._block_rows(sum(leaf.nbytes for leaf in first.values()))
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
    return kind.__module__.partition(".")[0] in ("zarr", "h5py") and hasattr(thing, "shape") and hasattr(thing, "dtype")


def _rows(array: Any, start: int, end: int, where: str) -> np.ndarray | torch.Tensor:
    if not len(array.shape):
        raise DataError(f"{where} has no dimension; the first dimension must count the rows")
    rows = array[start:end]
    return rows if isinstance(rows, torch.Tensor) else np.asarray(rows)
