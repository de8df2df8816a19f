"""What an explanation holds."""

from __future__ import annotations

from typing import Any, NamedTuple

from torch import Tensor

from pyrovae.errors import ArgumentError, argument
from pyrovae.pairs.numbers import as_whole
from pyrovae.plots.in_words import in_words


class Explanation(NamedTuple):
    """Shares of cells in a figure of each row; `value ≈ base + sum of the shares`.

    Attributes:
        contribution: (rows, *shape of a row), or (rows, groups) in the order of their numbers.
        error: its standard error over the repeats, in which everything is drawn anew: orders, latents, absent cells.
        value: the figure of each row, (rows,).
        base: the figure where no cell is known, (rows,).
        completeness: value - base - sum of the shares, (rows,): what the shares leave unexplained.
        of: the figure.
        method: how it was shared out.
        absent: what stood in the place of absent cells.
        names: of the columns, where the data are a frame.
        groups: which cells were explained together, by their place among the shares, (*shape of a row).

    Examples:
        >>> import torch, pyrovae as pv
        >>> truth = pv.truth.LinearGaussian(torch.ones(3, 1), torch.zeros(3), 0.5)
        >>> found = pv.explain(truth, torch.tensor([[0.1, 0.0, 3.0]]), of="evidence", absent=0.0, repeats=4, draws=2)
        >>> found.ranked(0)[0][0]
        2
    """

    contribution: Tensor
    error: Tensor
    value: Tensor
    base: Tensor
    completeness: Tensor
    of: str
    method: str
    absent: str
    names: tuple[str, ...] | None = None
    groups: Tensor | None = None

    def __repr__(self) -> str:
        """Figures in words, and not all of their numbers."""
        return in_words(self)

    def ranked(self, row: int, *, largest: bool = False) -> list[tuple[Any, float, float]]:
        """Cells of one row with their shares and standard errors, the greatest in size first.

        Args:
            row: which.
            largest: the greatest first, and not the greatest in size.

        Returns:
            `(cell, share, error)`: a column's name or place; of rows that are no vector the place in the row, flat.
        """
        place = as_whole(row)
        if place is None or not -len(self.value) <= place < len(self.value):
            raise ArgumentError(f"{argument('row', row)}; there are {len(self.value)} rows.")
        shares, errors = self.contribution[place].flatten(), self.error[place].flatten()
        order = (shares if largest else shares.abs()).argsort(descending=True)
        names = self.names or range(len(shares))
        return [(names[cell], float(shares[cell]), float(errors[cell])) for cell in order.tolist()]
