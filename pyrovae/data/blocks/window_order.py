"""The order of an epoch of data on disk: blocks at random, and rows at random within a window of blocks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch

from pyrovae.data.order_generator import order_generator


class Window(NamedTuple):
    """Blocks that are in memory together.

    Attributes:
        blocks: their numbers, in the order of reading.
        first: how many rows of the epoch come before.
        rows: how many it has.
        key: what its order is a function of.
    """

    blocks: list[int]
    first: int
    rows: int
    key: tuple[int, int, int]

    @property
    def places(self) -> torch.Tensor:
        """Where each of its rows goes, block after block."""
        return torch.randperm(self.rows, generator=order_generator("window", *self.key))


def windows_of(sizes: Sequence[int], rows: int, seed: int, epoch: int) -> list[Window]:
    """The windows of an epoch: a function of the arguments alone, whatever was read before.

    Args:
        sizes: how many rows each block has.
        rows: of a window; it is full when another block would bring it beyond, and has one block at least.
        seed: of the order.
        epoch: which, counted from 0.

    Examples:
        >>> [window.blocks for window in windows_of([4, 4, 4, 4], 8, seed=0, epoch=0)]
        [[0, 1], [2, 3]]
        >>> windows_of([4, 4, 4, 4], 8, seed=0, epoch=0)[1].first
        8
    """
    found: list[Window] = []
    for block in torch.randperm(len(sizes), generator=order_generator("window", seed, epoch)).tolist():
        last = found[-1] if found else None
        if last is not None and last.rows + sizes[block] <= rows:
            found[-1] = last._replace(blocks=[*last.blocks, block], rows=last.rows + sizes[block])
        else:
            first = 0 if last is None else last.first + last.rows
            found.append(Window([block], first, sizes[block], (seed, epoch, len(found))))
    return found
