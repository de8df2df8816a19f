"""What data on disk are to those who read them: rows in blocks, each of which is read at once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import torch

Leaves = dict[Any, torch.Tensor]


class Reader(Protocol):
    """Rows in blocks.

    Attributes:
        sizes: how many rows each block has.
        label: what the data are called in an error.
    """

    sizes: list[int]
    label: str

    def read(self, block: int) -> Leaves:
        """The rows of a block, by position or name of the argument that they are."""
        ...


def bytes_of(leaves: Mapping[Any, torch.Tensor]) -> int:
    """How much memory tensors take."""
    return sum(leaf.numel() * leaf.element_size() for leaf in leaves.values())
