"""Between the layout of plates and rows of numbers, which a network takes and gives for each datum."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor


class RowLayout(NamedTuple):
    """Where the rows stand among the batch dimensions of a site.

    Attributes:
        dim: the data plate's dimension, negative.
        batch_shape: the site's own; more dimensions to its left are those of particles.
        depth: batch dimensions that sites of a row have at most.
    """

    dim: int
    batch_shape: tuple[int, ...]
    depth: int

    @property
    def others(self) -> tuple[int, ...]:
        """The sizes of the other dimensions of its batch."""
        padded = (1,) * (self.depth - len(self.batch_shape)) + self.batch_shape
        return padded[: self.depth + self.dim] + padded[self.depth + self.dim + 1 :]

    @property
    def cells(self) -> int:
        """How many values of the site a row has."""
        return math.prod(self.others)

    def to_rows(self, value: Tensor, events: int) -> Tensor:
        """A value (particles…, *batch, *event) as (particles…, rows, numbers)."""
        batch = value.dim() - events
        if batch < self.depth:
            value = value.reshape((1,) * (self.depth - batch) + value.shape)
        extra = max(batch - self.depth, 0)
        rows_first = value.movedim(extra + self.depth + self.dim, extra)
        return rows_first.reshape((*rows_first.shape[: extra + 1], -1))

    def from_rows(self, numbers: Tensor) -> Tensor:
        """(particles…, rows, cells * n) as (particles…, *batch, n)."""
        extra = numbers.dim() - 2
        laid = numbers.reshape(numbers.shape[:-1] + self.others + (-1,))
        laid = laid.movedim(extra, extra + self.depth + self.dim)
        return laid if extra else laid.reshape((*laid.shape[self.depth - len(self.batch_shape) : -1], laid.shape[-1]))


def joined(parts: list[Tensor]) -> Tensor:
    """Rows of several values side by side, whatever particles each has."""
    leading = torch.broadcast_shapes(*(part.shape[:-1] for part in parts))
    return torch.cat([part.expand((*leading, part.shape[-1])) for part in parts], -1)
