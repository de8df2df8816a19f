"""Rows in blocks but for some that are held out."""

from __future__ import annotations

import numpy as np
import torch

from pyrovae.data.blocks.reader import Leaves, Reader


class BlocksWithout:
    """What a reader reads, without some of its rows.

    Args:
        reader: of all rows.
        rows: which ones are left out, in order.
    """

    def __init__(self, reader: Reader, rows: np.ndarray):
        ends = np.cumsum(reader.sizes)
        left_out = np.split(rows, np.searchsorted(rows, ends[:-1]))
        self._reader, self.label = reader, reader.label
        starts = ends - reader.sizes
        self._blocks = [
            (number, torch.from_numpy(np.setdiff1d(np.arange(size), out - start, assume_unique=True)))
            for number, (size, out, start) in enumerate(zip(reader.sizes, left_out, starts, strict=True))
            if len(out) < size
        ]
        self.sizes = [len(kept) for _, kept in self._blocks]

    def read(self, block: int) -> Leaves:
        """The rows of a block that are kept."""
        number, kept = self._blocks[block]
        return {name: leaf[kept] for name, leaf in self._reader.read(number).items()}
