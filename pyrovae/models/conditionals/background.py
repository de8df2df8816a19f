"""What an outlier may be: for each kind of column a distribution much wider than the column."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from pyrovae.models.conditionals.column import Column
from pyrovae.models.conditionals.columns import kind_of


def background(columns: Sequence[Column], rows: Tensor) -> Tensor:
    r"""Log-densities of cells that may be anything that their column can hold, (..., columns).

    Numbers have a Cauchy density around the column's centre, twice as wide as the column, of their logarithm where the
    kind is positive, and cut off below 0; a mass at 0 as the column has it; whole numbers the mass between their
    neighbours; proportions are uniform; classes are all as probable. NaN stays NaN.
    """
    cells = (rows[..., place].double() for place in range(len(columns)))
    return torch.stack([kind_of(column).anything(column, x) for column, x in zip(columns, cells, strict=True)], -1)


def background_draws(columns: Sequence[Column], like: Tensor) -> Tensor:
    """Draws of it in the shape and type of others, (..., columns), finite ones."""
    uniform = torch.rand(like.shape, dtype=torch.float64, device=like.device)
    drawn = [kind_of(column).anything_drawn(column, uniform[..., place]) for place, column in enumerate(columns)]
    return torch.stack(drawn, -1).to(like.dtype)
