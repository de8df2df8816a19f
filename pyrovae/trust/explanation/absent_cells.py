"""What stands in the place of cells that are not known."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

import torch
from torch import Tensor

from pyrovae.errors import ArgumentError, argument
from pyrovae.pairs.looks.isolation import forked_random


class AbsentCells(Protocol):
    """A way to fill rows of which some cells are not known."""

    def filled(self, known: Tensor, seed: int) -> Iterator[Tensor]:
        """The rows with something else where cells are not known, once or several times.

        Args:
            known: which cells are, of the shape of a row.
            seed: the same one gives the same values in the same cells.
        """
        ...

    def tell(self) -> None:
        """Say where what was filled cannot be trusted."""
        ...


class Backgrounds:
    """Values that do not look at what is known: those of a baseline, or of rows drawn from others, the marginal.

    Args:
        leaf: the rows.
        others: what they are filled from: one row, or many.
    """

    def __init__(self, leaf: Tensor, others: Tensor):
        self.leaf, self.others = leaf, others

    def background(self, seed: int) -> Tensor:
        """For each row the one that fills it."""
        with forked_random(seed):
            chosen = torch.randint(len(self.others), (len(self.leaf),)) if len(self.others) > 1 else [0]
        return self.others[chosen].expand(self.leaf.shape)

    def filled(self, known: Tensor, seed: int) -> Iterator[Tensor]:
        """The rows, once."""
        yield torch.where(known | missing(self.leaf), self.leaf, self.background(seed))

    def tell(self) -> None:
        """Nothing: what fills cells is what the caller named."""


def missing(leaf: Tensor) -> Tensor:
    """Which cells are missing whatever is known, and stay so."""
    return leaf.isnan() if leaf.is_floating_point() else torch.zeros_like(leaf, dtype=torch.bool)


def backgrounds(leaf: Tensor, absent: Any, reference: Tensor) -> Backgrounds:
    """A baseline (numbers, or "mean"), or the marginal of the reference rows.

    Args:
        leaf: the rows.
        absent: "mean", "marginal", a number, or a row of numbers.
        reference: rows of the usual kind.
    """
    if isinstance(absent, str) and absent == "marginal":
        return Backgrounds(leaf, reference)
    if isinstance(absent, str) and absent == "mean":
        return Backgrounds(leaf, reference.double().nanmean(0).to(leaf.dtype)[None])
    try:
        row = torch.as_tensor(absent, dtype=leaf.dtype, device=leaf.device).expand(leaf.shape[1:])
    except (TypeError, ValueError, RuntimeError):
        raise ArgumentError(
            f"explain: {argument('absent', absent)}; give 'imputed', 'marginal', 'mean', a number, or numbers of the "
            f"shape of a row, {tuple(leaf.shape[1:])}."
        ) from None
    return Backgrounds(leaf, row[None])
