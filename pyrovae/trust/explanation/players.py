"""Cells of a row that come and go together."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch

from pyrovae.errors import ArgumentError


class Players(NamedTuple):
    """Which cells of a row come and go together.

    Attributes:
        labels: the player that each cell belongs to, (cells,).
        count: of players.
        shape: of a row.
        grouped: whether several cells can be one player.
    """

    labels: torch.Tensor
    count: int
    shape: torch.Size
    grouped: bool

    @classmethod
    def of(cls, shape: torch.Size, groups: Any = None) -> Players:
        """Each cell for itself, or by groups.

        Args:
            shape: of a row.
            groups: a label for each cell, of the shape of a row.
        """
        if groups is None:
            return cls(torch.arange(shape.numel()), shape.numel(), shape, False)
        labels = torch.as_tensor(groups)
        if labels.shape != shape or labels.is_floating_point():
            raise ArgumentError(
                f"groups is {str(labels.dtype).removeprefix('torch.')} of shape {tuple(labels.shape)}; give a whole "
                f"number for each cell of a row, {tuple(shape)}: cells of one number are explained together."
            )
        names, labels = labels.flatten().unique(return_inverse=True)
        return cls(labels, len(names), shape, True)

    def cells(self, mask: torch.Tensor) -> torch.Tensor:
        """What is said of players, (..., players), said of cells, (..., *shape)."""
        return mask[..., self.labels.to(mask.device)].reshape(*mask.shape[:-1], *self.shape)

    def as_given(self, shares: torch.Tensor) -> torch.Tensor:
        """(rows, players) as (rows, *shape), unless cells come in groups."""
        return shares if self.grouped else shares.reshape(len(shares), *self.shape)

    def places(self) -> torch.Tensor | None:
        """The place of each cell among the shares, (*shape); None where each cell has one of its own."""
        return self.labels.reshape(self.shape) if self.grouped else None
